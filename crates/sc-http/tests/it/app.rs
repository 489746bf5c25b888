//! The service that the tests talk to: one path for each thing that an answer can be.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use sc_http::{Answer, Body, Duplex, End, Exchange, Fault, Head, Kind, Meter, Payload, Protocol, Service, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What one exchange left behind.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    /// Method and target.
    pub(crate) request: String,
    /// Counts, as they were when the guard was dropped.
    pub(crate) end: End,
    pub(crate) status: u16,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// The service.
#[derive(Default)]
pub(crate) struct App {
    /// The record of all exchanges that have ended.
    pub(crate) noted: Rc<RefCell<Vec<Noted>>>,
    /// Bytes that `/big` was asked for.
    pub(crate) made: Rc<Cell<u64>>,
}

struct Guard {
    request: String,
    meter: Rc<Meter>,
    noted: Rc<RefCell<Vec<Noted>>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.noted.borrow_mut().push(Noted {
            request: std::mem::take(&mut self.request),
            end: self.meter.end.get(),
            status: self.meter.status.get(),
            received: self.meter.received_bytes.get(),
            sent: self.meter.sent_bytes.get(),
        });
    }
}

/// A body of `left` bytes in pieces of `piece`, that counts what it was asked for.
pub(crate) struct Made {
    pub(crate) left: u64,
    pub(crate) piece: usize,
    pub(crate) made: Rc<Cell<u64>>,
    pub(crate) says: Option<u64>,
    pub(crate) end: Option<Result<HeaderMap, Fault>>,
}

impl http_body::Body for Made {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.left == 0 {
            return Poll::Ready(self.end.take().map(|end| end.map(Frame::trailers)));
        }
        let piece = self.left.min(self.piece as u64);
        self.left -= piece;
        self.made.set(self.made.get() + piece);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; piece as usize])))))
    }

    fn size_hint(&self) -> SizeHint {
        self.says.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

pub(crate) fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = fields.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).expect("value"),
        )
    });
    pairs.collect()
}

pub(crate) fn head(status: u16, of: &[(&'static str, &str)]) -> Head {
    Head {
        status: StatusCode::from_u16(status).expect("status"),
        headers: fields(of),
    }
}

/// Reads a body to its end.
pub(crate) async fn read_all(body: &mut Body) -> Result<(Vec<u8>, HeaderMap), Fault> {
    let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((bytes, trailers))
}

impl App {
    fn guard(&self, exchange: &Exchange) -> Guard {
        Guard {
            request: format!("{} {}", exchange.method, exchange.target),
            meter: exchange.meter.clone(),
            noted: self.noted.clone(),
        }
    }

    fn made(&self, left: u64, says: Option<u64>, end: Option<Result<HeaderMap, Fault>>) -> Body {
        Body::stream(Made {
            left,
            piece: 10_000,
            made: self.made.clone(),
            says,
            end,
        })
    }

    async fn route(&self, exchange: &mut Exchange) -> Answer {
        let number = exchange
            .query()
            .and_then(|query| query.parse::<u64>().ok())
            .unwrap_or(0);
        let ok = head(200, &[("date", "now")]);
        let text = |text: String| Answer::new(head(200, &[("date", "now")]), Body::full(text));
        match exchange.path() {
            "/" | "*" => text("hello".into()),
            "/empty" => Answer::new(head(204, &[("date", "now")]), Body::empty()),
            "/echo" => Answer::new(ok, std::mem::take(&mut exchange.body)),
            "/sink" => match read_all(&mut exchange.body).await {
                Ok((bytes, trailers)) => text(format!("{} bytes, {} trailers", bytes.len(), trailers.len())),
                Err(fault) => Answer::new(
                    Head::new(fault.kind().treatment().status),
                    Body::full(fault.to_string()),
                ),
            },
            "/big" => Answer::new(ok, self.made(number, Some(number), None)),
            "/chunked" => Answer::new(ok, self.made(number, None, None)),
            "/short" => Answer::new(ok, self.made(number, Some(number + 1), None)),
            "/long" => Answer::new(ok, self.made(number, Some(number.saturating_sub(1)), None)),
            "/fail" => {
                let fault = Fault::new(Side::Upstream, Kind::UpstreamClosed, "as asked");
                Answer::new(ok, self.made(number, None, Some(Err(fault))))
            }
            "/trailers" => Answer::new(
                ok,
                self.made(number, None, Some(Ok(fields(&[("x-trailer", "t"), ("host", "no")])))),
            ),
            "/hints" => {
                exchange.interim.send(head(103, &[("link", "</a.css>; rel=preload")]));
                tokio::time::sleep(Duration::from_millis(10)).await;
                exchange.interim.send(head(102, &[]));
                text("after hints".into())
            }
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(number)).await;
                text("slow".into())
            }
            "/never" => std::future::pending().await,
            "/see" => {
                let mut lines = format!(
                    "{} {} {} {}\n",
                    exchange.method,
                    exchange.scheme.as_str(),
                    exchange.authority,
                    exchange.target
                );
                for (name, value) in &exchange.headers {
                    lines.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
                }
                text(lines)
            }
            "/hop" => Answer::new(
                head(
                    200,
                    &[
                        ("date", "now"),
                        ("connection", "x"),
                        ("transfer-encoding", "gzip"),
                        ("upgrade", "h9"),
                        ("keep-alive", "1"),
                    ],
                ),
                Body::full("ok"),
            ),
            "/tunnel" => {
                let status = if exchange.protocol == Protocol::Http2 { 200 } else { 101 };
                Answer {
                    head: head(status, &[("date", "now")]),
                    payload: Payload::Tunnel(echoing()),
                    guard: None,
                }
            }
            "" => Answer {
                head: head(200, &[("date", "now")]),
                payload: Payload::Handover,
                guard: None,
            },
            _ => Answer::new(head(404, &[("date", "now")]), Body::full("nothing here")),
        }
    }
}

impl Service for App {
    fn answer_now(&self, exchange: &Exchange) -> Option<Answer> {
        let number = exchange.query().and_then(|query| query.parse().ok());
        let bytes = number.filter(|_| exchange.path() == "/now")?;
        let mut answer = Answer::new(head(200, &[("date", "now")]), Body::full(vec![b'n'; bytes]));
        answer.guard = Some(Box::new(self.guard(exchange)));
        Some(answer)
    }

    async fn answer(&self, mut exchange: Box<Exchange>) -> Answer {
        let guard = self.guard(&exchange);
        let mut answer = self.route(&mut exchange).await;
        answer.guard = Some(Box::new(guard));
        answer
    }
}

/// A stream that answers in capitals and says `bye` when the other side has ended.
pub(crate) fn echoing() -> Box<dyn Duplex> {
    let (near, mut far) = tokio::io::duplex(1000);
    tokio::task::spawn_local(async move {
        let mut space = [0; 100];
        loop {
            match far.read(&mut space).await {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    space[..read].make_ascii_uppercase();
                    if far.write_all(&space[..read]).await.is_err() {
                        return;
                    }
                }
            }
        }
        let _ = far.write_all(b"bye").await;
    });
    Box::new(near)
}
