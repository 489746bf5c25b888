//! HTTP dates (RFC 9110 §5.6.7), with the current one made once a second.
//!
//! Parsing is `httpdate`'s. The cache belongs to the thread: a worker has one.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderValue;

struct Now {
    second: u64,
    text: HeaderValue,
}

thread_local! {
    static NOW: RefCell<Now> = const { RefCell::new(Now { second: u64::MAX, text: HeaderValue::from_static("") }) };
}

/// The current date as `Date` carries it.
pub fn now() -> HeaderValue {
    with_now(HeaderValue::clone)
}

/// Lends the current date, without a copy.
pub(crate) fn with_now<R>(read: impl FnOnce(&HeaderValue) -> R) -> R {
    let time = SystemTime::now();
    let second = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    NOW.with_borrow_mut(|now| {
        if now.second != second {
            *now = Now {
                second,
                text: format(time),
            };
        }
        read(&now.text)
    })
}

/// A time as an IMF-fixdate, e.g. `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// Shape: years outside 1970–9999 become the nearest that can be written.
pub fn format(time: SystemTime) -> HeaderValue {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let time = time.clamp(SystemTime::UNIX_EPOCH, last);
    let text = httpdate::fmt_http_date(time);
    HeaderValue::from_maybe_shared(Bytes::from(text))
        .unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// Reads a date in any of the three forms of RFC 9110 §5.6.7.
pub fn parse(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_both_ways() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(format(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse(&format(time)), Some(time));
        assert_eq!(parse(&HeaderValue::from_static("yesterday")), None);
        assert_eq!(parse(&now()).map(|t| t <= SystemTime::now()), Some(true));
        assert_eq!(
            format(SystemTime::UNIX_EPOCH - Duration::from_secs(5)),
            "Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }
}
