//! What a client or an application says of the order in which responses are wanted: the `Priority` field (RFC 9218 §4, §5).
//!
//! Only what is said is read here; the order itself is kept by the protocol driver, for HTTP/2 in `h2::turns`.

use http::{HeaderMap, HeaderName};

use crate::hop;

/// The field's name.
const PRIORITY: HeaderName = HeaderName::from_static("priority");

/// The least urgent of the levels 0 to 7.
pub const LAST_URGENCY: u8 = 7;

/// What some party said; what it did not say is `None`.
///
/// Shape: `urgency` is 0 (first) to 7. Source: RFC 9218 §4.1, §4.2.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Priority {
    /// Which responses come first.
    pub urgency: Option<u8>,
    /// Whether parts of the response are of use while others of the same urgency are sent.
    pub is_incremental: Option<bool>,
}

impl Priority {
    /// Reads all lines of the field; `None` where there is none.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(PRIORITY).iter().peekable();
        lines.peek()?;
        let mut priority = Priority::default();
        for line in lines {
            priority.read(line.as_bytes())?;
        }
        Some(priority)
    }

    /// Reads one value of the field, or of a PRIORITY_UPDATE frame; `None` for one that is no dictionary.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut priority = Priority::default();
        priority.read(value)?;
        Some(priority)
    }

    /// What holds when an application has its say too: what it says goes first (RFC 9218 §8).
    pub fn overridden_by(self, other: Priority) -> Self {
        Priority {
            urgency: other.urgency.or(self.urgency),
            is_incremental: other.is_incremental.or(self.is_incremental),
        }
    }

    /// Takes over the members of a dictionary (RFC 9651 §3.2). Those that mean nothing, or are out of range, change nothing.
    fn read(&mut self, value: &[u8]) -> Option<()> {
        let mut rest = hop::trim_bytes(value);
        while !rest.is_empty() {
            let key_bytes = rest.iter().take_while(|byte| is_key(**byte)).count();
            let (key, after) = rest.split_at_checked(key_bytes)?;
            if !key
                .first()
                .is_some_and(|byte| byte.is_ascii_lowercase() || *byte == b'*')
            {
                return None;
            }
            let (member, after) = member(after)?;
            match (key, member) {
                (b"u", [b'=', digit @ b'0'..=b'7']) => self.urgency = Some(digit - b'0'),
                (b"i", b"" | b"=?1") => self.is_incremental = Some(true),
                (b"i", b"=?0") => self.is_incremental = Some(false),
                _ => {}
            }
            rest = hop::trim_bytes(after);
            if rest.is_empty() {
                break;
            }
            rest = hop::trim_bytes(rest.strip_prefix(b",")?);
            // A comma with nothing behind it.
            if rest.is_empty() {
                return None;
            }
        }
        Some(())
    }
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
}

/// The rest of a member up to the comma behind it, without its parameters, and what follows.
fn member(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut value_bytes, mut is_quoted, mut is_escaped, mut depth) = (None, false, false, 0usize);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if std::mem::take(&mut is_escaped) => {}
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            b';' if depth == 0 => value_bytes = value_bytes.or(Some(at)),
            b',' if depth == 0 => {
                return Some((hop::trim_bytes(text.get(..value_bytes.unwrap_or(at))?), text.get(at..)?));
            }
            b' '..=b'~' | b'\t' => {}
            _ => return None,
        }
    }
    let is_whole = !is_quoted && depth == 0;
    is_whole.then(|| {
        (
            hop::trim_bytes(text.get(..value_bytes.unwrap_or(text.len())).unwrap_or(text)),
            &[][..],
        )
    })
}

/// Reads any bytes as a value, for fuzzing.
///
/// Shape: urgencies are within their range; what is said again behind a value goes before what it says itself.
pub fn fuzz(value: &[u8]) {
    let Some(said) = Priority::parse(value) else { return };
    assert!(said.urgency.is_none_or(|urgency| urgency <= LAST_URGENCY));
    if hop::trim_bytes(value).is_empty() {
        assert_eq!(said, Priority::default());
        return;
    }
    let again = |more: &[u8]| Priority::parse(&[value, more].concat());
    assert_eq!(
        again(b" ;x=\"y, u=1\" , zz=(1 2)"),
        Some(said),
        "parameters and strangers say nothing"
    );
    let urgent = Priority {
        urgency: Some(0),
        ..said
    };
    assert_eq!(again(b", u=0"), Some(urgent));
    let incremental = Priority {
        is_incremental: Some(false),
        ..said
    };
    assert_eq!(again(b",\ti=?0"), Some(incremental));
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn said(urgency: Option<u8>, is_incremental: Option<bool>) -> Option<Priority> {
        Some(Priority {
            urgency,
            is_incremental,
        })
    }

    #[test]
    fn fields_are_read() {
        for (value, expected) in [
            ("", said(None, None)),
            ("u=0", said(Some(0), None)),
            ("u=7, i", said(Some(7), Some(true))),
            ("i=?0,u=5", said(Some(5), Some(false))),
            ("i=?1;x=y, u=2;a", said(Some(2), Some(true))),
            ("u=1,  u=3", said(Some(3), None)),
            ("u=8", said(None, None)),
            ("u=-1, i", said(None, Some(true))),
            ("u=2.0, i=1", said(None, None)),
            ("a=\"x, u=1\\\" u=1\", b=(1 2, 3);c, u=6", said(Some(6), None)),
            ("u=1,", None),
            ("U=1", None),
            ("u=1 i", said(None, None)),
            ("u=1 , i", said(Some(1), Some(true))),
            ("=1", None),
            ("a=\"x", None),
            ("a=(1", None),
            ("u=1, \u{e4}", None),
            ("u=1 ;x", said(Some(1), None)),
            ("\t u=1 ", said(Some(1), None)),
            ("u=7; x\r\n", None),
        ] {
            assert_eq!(Priority::parse(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn lines_are_one_field_and_applications_have_their_say() {
        let mut headers = HeaderMap::new();
        assert_eq!(Priority::of(&headers), None);
        headers.append(PRIORITY, HeaderValue::from_static("u=1"));
        headers.append(PRIORITY, HeaderValue::from_static("i"));
        let client = Priority::of(&headers);
        assert_eq!(client, said(Some(1), Some(true)));
        let app = Priority::parse(b"u=5").unwrap_or_default();
        assert_eq!(
            client.map(|client| client.overridden_by(app)),
            said(Some(5), Some(true))
        );
    }
}
