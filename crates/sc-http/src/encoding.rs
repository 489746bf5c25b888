//! Choice of a content coding from `Accept-Encoding` (RFC 9110 §12.5.3).
//!
//! Compressing is the caller's; so is `Vary: Accept-Encoding`.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// A content coding that this program can send.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Coding {
    /// No coding.
    Identity,
    /// `gzip` (RFC 1952).
    Gzip,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
}

impl Coding {
    /// How many there are; `coding as usize` is below it.
    pub const COUNT: usize = 4;

    /// The coding as `Content-Encoding` names it; nothing is sent for [`Coding::Identity`].
    pub fn as_str(self) -> &'static str {
        match self {
            Coding::Identity => "identity",
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }

    fn is_named(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.as_str()) || (self == Coding::Gzip && name.eq_ignore_ascii_case("x-gzip"))
    }
}

/// Chooses among the codings on offer, in the caller's order of preference among equals.
///
/// Shape: identity need not be offered, it is the last resort; `None` means that the client accepts nothing of all this,
/// and RFC 9110 lets the caller send identity anyway. A malformed quality counts as 0.
pub fn choose(headers: &HeaderMap, offered: &[Coding]) -> Option<Coding> {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return Some(Coding::Identity);
    }
    let quality = |coding| quality_of(headers, coding);
    let mut best = None;
    for coding in offered.iter().copied().filter(|coding| *coding != Coding::Identity) {
        let quality = quality(coding).unwrap_or(0);
        if quality > best.map_or(0, |(_, best)| best) {
            best = Some((coding, quality));
        }
    }
    // An identity that is not mentioned is acceptable, but less so than anything the client asked for.
    let identity = quality(Coding::Identity);
    match (best, identity) {
        (Some((coding, quality)), identity) if quality >= identity.unwrap_or(1) => Some(coding),
        (_, Some(0)) => None,
        _ => Some(Coding::Identity),
    }
}

/// Runs the negotiation on any bytes, a line each, for fuzzing.
///
/// Shape: the choice does not depend on letter case, or on how members are spread over lines; with less on offer another
/// coding is taken only where the first is gone.
pub fn fuzz_accept_encoding(input: &[u8]) {
    const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];
    let lines = || input.split(|b| *b == b'\n').map(|line| line.trim_ascii());
    let (mut several, mut loud) = (HeaderMap::new(), HeaderMap::new());
    let mut joined = Vec::new();
    for line in lines() {
        let Ok(value) = http::HeaderValue::from_bytes(line) else {
            continue;
        };
        if value.to_str().is_err() {
            continue;
        }
        joined.extend_from_slice(line);
        joined.extend_from_slice(b", ");
        several.append(ACCEPT_ENCODING, value);
        if let Ok(value) = http::HeaderValue::from_bytes(&line.to_ascii_uppercase()) {
            loud.append(ACCEPT_ENCODING, value);
        }
    }
    let chosen = choose(&several, &ALL);
    assert_eq!(chosen, choose(&loud, &ALL), "names of codings have no case");
    if let (Ok(value), false) = (http::HeaderValue::from_bytes(&joined), several.is_empty()) {
        let mut one = HeaderMap::new();
        one.insert(ACCEPT_ENCODING, value);
        assert_eq!(chosen, choose(&one, &ALL), "several lines are one list");
    }
    for gone in ALL {
        let offered: Vec<Coding> = ALL.into_iter().filter(|coding| *coding != gone).collect();
        if chosen != Some(gone) {
            assert_eq!(chosen, choose(&several, &offered), "nobody missed what was not chosen");
        }
    }
    if let Some(coding @ (Coding::Brotli | Coding::Zstd | Coding::Gzip)) = chosen {
        assert!(quality_of(&several, coding).is_some_and(|quality| quality > 0));
    }
}

/// Thousandths for one coding; `None` when neither it nor, for a real coding, `*` is mentioned.
fn quality_of(headers: &HeaderMap, coding: Coding) -> Option<u16> {
    let mut wildcard = None;
    for member in crate::hop::list(headers, &ACCEPT_ENCODING) {
        let mut parts = member.split(';').map(crate::hop::trim);
        let name = parts.next().unwrap_or_default();
        let is_named = coding.is_named(name);
        if is_named || name == "*" {
            let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let quality = quality.map_or(1000, thousandths);
            if is_named {
                return Some(quality);
            }
            wildcard = Some(quality);
        }
    }
    match (coding, wildcard) {
        // `*` speaks for identity only when it forbids it.
        (Coding::Identity, Some(1..)) => None,
        (_, wildcard) => wildcard,
    }
}

/// `qvalue` of RFC 9110 §12.4.2 in thousandths.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    let fraction = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let value = fraction.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        "0" => value,
        "1" if value == 0 => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(field: &str, expected: Option<Coding>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(field).expect("field"));
        assert_eq!(
            choose(&headers, &[Coding::Brotli, Coding::Zstd, Coding::Gzip]),
            expected,
            "{field}"
        );
    }

    #[test]
    fn the_best_coding_is_chosen() {
        check("gzip, deflate, br, zstd", Some(Coding::Brotli));
        check("gzip, deflate", Some(Coding::Gzip));
        check("x-gzip", Some(Coding::Gzip));
        check("br;q=0.5, GZIP;q=0.8", Some(Coding::Gzip));
        check("br;q=0, *", Some(Coding::Zstd));
        check("*", Some(Coding::Brotli));
        check("", Some(Coding::Identity));
        check("identity", Some(Coding::Identity));
        check("gzip;q=0.5, identity", Some(Coding::Identity));
        check("gzip;q=1.0001", Some(Coding::Identity));
        check("gzip;q=2", Some(Coding::Identity));
        check("identity;q=0", None);
        check("*;q=0", None);
        check("*;q=0, gzip", Some(Coding::Gzip));
        check("*;q=0, identity", Some(Coding::Identity));
        check("deflate", Some(Coding::Identity));
        assert_eq!(choose(&HeaderMap::new(), &[Coding::Gzip]), Some(Coding::Identity));
    }
}
