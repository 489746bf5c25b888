//! Event streams (`text/event-stream`) have no end of their own. When the server comes to its, they end as tunnels do, and
//! between two events: browsers connect again by themselves, and neither lose nor repeat one.
//!
//! Source: HTML Living Standard §9.2.5 and §9.2.6. A stream that is compressed, or whose length was declared, is left alone.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body::Frame;
use sc_http::{Answer, Body, Drain, Fault, Payload};

/// Lets an answer that is an event stream end with the server; whether it is one.
pub(crate) fn end_with(drain: impl FnOnce() -> Drain, answer: &mut Answer) -> bool {
    let headers = &answer.head.headers;
    let is_stream = headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| is_event_stream(value.as_bytes()))
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_LENGTH);
    let Payload::Body(body) = &mut answer.payload else {
        return false;
    };
    if !is_stream || body.exact_bytes().is_some() {
        return false;
    }
    let drain = drain();
    *body = Body::stream(EventStream {
        body: std::mem::take(body),
        place: Place::default(),
        time: Box::pin(async move { drain.tunnel_is_due().await }),
        is_due: false,
        is_over: false,
    });
    true
}

fn is_event_stream(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// The body of an event stream.
struct EventStream {
    body: Body,
    place: Place,
    /// Until it is to end.
    time: Pin<Box<dyn Future<Output = ()>>>,
    is_due: bool,
    is_over: bool,
}

impl http_body::Body for EventStream {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.is_due = self.is_due || self.time.as_mut().poll(cx).is_ready();
        if self.is_due && self.place.is_between_events() {
            // The application is told at once.
            self.body = Body::empty();
            self.is_over = true;
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx));
        let data = match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => data,
            Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
            Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
            None => return Poll::Ready(None),
        };
        if !self.is_due {
            self.place.follow(&data);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let event = self.place.finish_event(&data);
        Poll::Ready(Some(Ok(Frame::data(data.slice(..event)))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || http_body::Body::is_end_stream(&self.body)
    }
}

/// Where the bytes of an event stream stand: an event ends with an empty line, a line with CR, LF or both.
#[derive(Clone, Copy, Debug)]
struct Place {
    is_line_empty: bool,
    was_cr: bool,
    is_between: bool,
}

impl Default for Place {
    fn default() -> Self {
        Place {
            is_line_empty: true,
            was_cr: false,
            is_between: true,
        }
    }
}

impl Place {
    fn is_between_events(self) -> bool {
        self.is_between
    }

    fn follow(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    /// Follows bytes to the end of the event under way; gives back how many belong to it.
    fn finish_event(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for byte in bytes {
            if self.is_between {
                break;
            }
            self.step(*byte);
            taken += 1;
        }
        taken
    }

    fn step(&mut self, byte: u8) {
        let is_second_half = byte == b'\n' && self.was_cr;
        self.was_cr = byte == b'\r';
        match byte {
            // The line has ended with its CR already.
            _ if is_second_half => {}
            b'\r' | b'\n' => {
                self.is_between = self.is_line_empty;
                self.is_line_empty = true;
            }
            _ => (self.is_line_empty, self.is_between) = (false, false),
        }
    }
}

/// Follows any bytes as an event stream, for fuzzing.
///
/// Shape: where events end does not depend on how they arrive, and is where a plain reading finds it: behind an empty line.
pub fn fuzz_event_stream(bytes: &[u8]) {
    let (mut whole, mut ends) = (Place::default(), vec![0]);
    for (at, byte) in bytes.iter().enumerate() {
        whole.step(*byte);
        if whole.is_between_events() {
            ends.push(at + 1);
        }
    }
    let text = |end: usize| {
        let text: Vec<u8> = bytes.get(..end).unwrap_or_default().to_vec();
        String::from_utf8_lossy(&text).replace("\r\n", "\n").replace('\r', "\n")
    };
    for end in ends.iter().filter(|end| bytes.len() < 256 && **end > 0) {
        let text = text(*end);
        assert!(text == "\n" || text.ends_with("\n\n"), "{text:?}");
    }
    let (before, after) = bytes.split_at(bytes.len() / 2);
    let mut place = Place::default();
    place.follow(before);
    let end = before.len() + place.finish_event(after);
    assert_eq!(place.is_between_events(), ends.contains(&end));
    assert!(end == bytes.len() || place.is_between_events());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_type_is_known_by_its_essence() {
        for (text, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream ; charset=utf-8", true),
            ("text/event-stream-x", false),
            ("text/html", false),
            ("", false),
        ] {
            assert_eq!(is_event_stream(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn events_are_cut_between_them(
            events in prop::collection::vec(("data: [a-z]{0,5}", "(id: [0-9])?", 0..3usize), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut whole, mut ends) = (String::new(), vec![0]);
            for (data, id, ending) in events {
                let end = ["\n", "\r\n", "\r"][ending];
                whole.push_str(&[&data, end].concat());
                if !id.is_empty() {
                    whole.push_str(&[&id, end].concat());
                }
                whole.push_str(end);
                ends.push(whole.len());
            }
            let cut = cut.index(whole.len() + 1);
            let (before, after) = whole.as_bytes().split_at(cut);
            let mut place = Place::default();
            place.follow(before);
            let end = cut + place.finish_event(after);
            prop_assert!(place.is_between_events());
            // A CR LF may be cut in half: its line has ended with the CR.
            prop_assert!(ends.contains(&end) || ends.contains(&(end + 1)), "{whole:?} cut at {end}");
            prop_assert!(!ends.iter().any(|other| cut < *other && *other < end), "{whole:?}: from {cut} to {end}");
        }
    }
}
