//! A blocking HTTP/1.1 client over any stream.
//!
//! Keeps header lines in the order and case they came in, interim responses and trailers too. It sends what it is told,
//! also what is wrong: `send_raw` takes any bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Instant;

use super::SOCKET_PATIENCE;

/// A request to be written.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without headers and body. `Host` must be added.
    pub fn new(method: &str, target: &str) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A GET for `target` of `host`.
    pub fn get(host: &str, target: &str) -> Request {
        Request::new("GET", target).header("Host", host)
    }

    /// A POST of `body` to `target` of `host`.
    pub fn post(host: &str, target: &str, body: impl Into<Vec<u8>>) -> Request {
        Request::new("POST", target).header("Host", host).body(body)
    }

    /// Adds a header line.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body; its `Content-Length` is added when it is sent.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        [text.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// A response, or the head of one.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header lines as they came.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Trailer lines as they came.
    pub trailers: Vec<(String, String)>,
    /// The 1xx responses that came before it.
    pub interim: Vec<Response>,
}

impl Response {
    /// The value of a header, the first of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }
}

/// A client's connection.
pub struct Http1<S> {
    stream: BufReader<S>,
}

impl<S: Read + Write> Http1<S> {
    /// Talks over `stream`.
    pub fn new(stream: S) -> Http1<S> {
        Http1 {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a request and reads its response; panics when the connection does not give one.
    pub fn request(&mut self, request: &Request) -> Response {
        self.send_raw(&request.bytes());
        self.read_response(&request.method).expect("a response")
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        stream
            .write_all(bytes)
            .and_then(|()| stream.flush())
            .expect("the request is taken");
    }

    /// Reads a whole response to a request of this method; `None` when the connection ends first.
    pub fn read_response(&mut self, method: &str) -> Option<Response> {
        let mut interim = Vec::new();
        loop {
            let mut response = self.read_head()?;
            if (100..200).contains(&response.status) && response.status != 101 {
                interim.push(response);
                continue;
            }
            response.interim = interim;
            if method != "HEAD" && ![101, 204, 304].contains(&response.status) {
                self.read_body(&mut response);
            }
            return Some(response);
        }
    }

    /// Reads the head of one response, interim ones included; `None` when the connection ends first.
    pub fn read_head(&mut self) -> Option<Response> {
        let line = self.read_line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        Some(Response {
            status,
            headers: self.read_fields(),
            ..Response::default()
        })
    }

    /// Reads lines until one contains `text`, and returns it; for streams without end.
    ///
    /// Shape: panics when the stream ends first, or after `SOCKET_PATIENCE`.
    pub fn read_until(&mut self, text: &str) -> String {
        let started = Instant::now();
        let mut last = String::new();
        while started.elapsed() < SOCKET_PATIENCE {
            match self.read_line() {
                Some(line) if line.contains(text) => return line,
                Some(line) => last = line,
                None => panic!("the stream ended before `{text}`, after {last:?}"),
            }
        }
        panic!("no `{text}` within {SOCKET_PATIENCE:?}, last seen: {last:?}")
    }

    /// Whether the server closes the connection now, without a byte more.
    pub fn is_closed(&mut self) -> bool {
        self.stream.fill_buf().map_or(true, |left| left.is_empty())
    }

    /// The stream, e.g. after a 101. Nothing that was read ahead may be left.
    pub fn into_stream(self) -> S {
        assert!(
            self.stream.buffer().is_empty(),
            "bytes after the response: {:?}",
            self.stream.buffer()
        );
        self.stream.into_inner()
    }

    /// The stream below.
    pub fn stream(&mut self) -> &mut S {
        self.stream.get_mut()
    }

    fn read_body(&mut self, response: &mut Response) {
        let is_chunked = response
            .header("transfer-encoding")
            .is_some_and(|coding| coding.contains("chunked"));
        let length = response
            .header("content-length")
            .map(|text| text.parse::<u64>().expect("a length"));
        match length {
            _ if is_chunked => self.read_chunks(response),
            Some(length) => {
                self.stream
                    .by_ref()
                    .take(length)
                    .read_to_end(&mut response.body)
                    .expect("the body");
                assert_eq!(response.body.len() as u64, length, "the body is as long as promised");
            }
            None => {
                self.stream
                    .read_to_end(&mut response.body)
                    .expect("the body until the end of the connection");
            }
        }
    }

    fn read_chunks(&mut self, response: &mut Response) {
        loop {
            let line = self.read_line().expect("the size of a chunk");
            let size = line
                .split(';')
                .next()
                .and_then(|size| u64::from_str_radix(size.trim(), 16).ok());
            let size = size.unwrap_or_else(|| panic!("no chunk size: {line:?}"));
            if size == 0 {
                response.trailers = self.read_fields();
                return;
            }
            let before = response.body.len() as u64;
            self.stream
                .by_ref()
                .take(size)
                .read_to_end(&mut response.body)
                .expect("a chunk");
            assert_eq!(response.body.len() as u64 - before, size, "the chunk is whole");
            assert_eq!(self.read_line().as_deref(), Some(""), "a chunk ends with an empty line");
        }
    }

    fn read_fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.read_line().expect("header lines end with an empty one");
            let Some((name, value)) = line.split_once(':') else {
                return fields;
            };
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn read_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) if line.is_empty() && error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("the connection failed: {error}"),
        }
    }
}
