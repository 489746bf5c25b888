//! Content codings: which ones a client prefers, and what they are called in names of precompressed files.
//!
//! The negotiation is [`sc_http::encoding`]'s; here it gives an order, because a file may be there in one coding and not
//! in another. Encoding itself is [`super::compress`]'s.

use http::HeaderMap;
use sc_http::encoding::{Coding, choose};
use smallvec::SmallVec;

/// Codings in the order in which a client wants them.
pub(crate) type Wanted = SmallVec<[Coding; 3]>;

/// The codings that a client prefers to the file as it is, best first; none for clients that name none.
pub(crate) fn wanted(headers: &HeaderMap) -> Wanted {
    if !headers.contains_key(http::header::ACCEPT_ENCODING) {
        return Wanted::new();
    }
    let mut left: Wanted = SmallVec::from_buf([Coding::Brotli, Coding::Zstd, Coding::Gzip]);
    let mut found = Wanted::new();
    while let Some(coding) = choose(headers, &left).filter(|coding| *coding != Coding::Identity) {
        left.retain(|other| *other != coding);
        found.push(coding);
    }
    found
}

/// What a precompressed sibling's name ends in.
pub(crate) fn suffix(coding: Coding) -> &'static [u8] {
    match coding {
        Coding::Identity => b"",
        Coding::Brotli => b".br",
        Coding::Zstd => b".zst",
        Coding::Gzip => b".gz",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn check(field: &str, expected: &[Coding]) {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT_ENCODING, field.parse().unwrap());
        assert_eq!(wanted(&headers).as_slice(), expected, "{field:?}");
    }

    #[test]
    fn qualities_decide_and_then_our_order() {
        use Coding::{Brotli, Gzip, Zstd};
        assert!(wanted(&HeaderMap::new()).is_empty());
        check("gzip, deflate, br, zstd", &[Brotli, Zstd, Gzip]);
        check("gzip;q=1.0, br;q=0.5", &[Gzip, Brotli]);
        check("br;q=0, gzip", &[Gzip]);
        check("*", &[Brotli, Zstd, Gzip]);
        check("*;q=0.1, gzip", &[Gzip, Brotli, Zstd]);
        check("gzip;q=0.5, identity", &[]);
        check("identity;q=0.2, gzip;q=0.5", &[Gzip]);
        check("", &[]);
        check("deflate", &[]);
    }
}
