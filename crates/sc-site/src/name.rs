//! Names of sites: an exact host name or a wildcard, and which configured name a mistyped one may have meant.
//!
//! Matching is on whole labels and ignores case. Turning IDNs into punycode is not done here: names come in as they
//! stand in the `Host` field. Where names are looked up: [`crate::sites`].

use std::fmt;

/// The name of a site: `www.x.y`, or `*.x.y` for every name below `x.y` at any depth (not `x.y` itself).
///
/// Shape: lower-case, without a trailing dot.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum NamePattern {
    /// This name and no other.
    Exact(Box<str>),
    /// Every name that ends in a dot and this suffix.
    Wildcard(Box<str>),
}

/// The text cannot name a site.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a host name or `*.` and a host name")]
pub struct NotAName(pub String);

/// Longest name that DNS can carry (RFC 1035 §2.3.4).
const NAME_BYTES: usize = 253;

impl NamePattern {
    /// Reads a name or wildcard.
    ///
    /// Errors: [`NotAName`] for empty labels, characters that no authority can hold, and stars elsewhere than in front.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let refuse = || NotAName(text.to_owned());
        let (is_wildcard, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let is_address = name.starts_with('[') && name.ends_with(']');
        if name.len() > NAME_BYTES || !(name.split('.').all(is_label) || is_address && !is_wildcard) {
            return Err(refuse());
        }
        Ok(if is_wildcard {
            NamePattern::Wildcard(name.into())
        } else {
            NamePattern::Exact(name.into())
        })
    }

    /// Whether a host (in any case, with or without a trailing dot) is covered.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            NamePattern::Exact(name) => host.eq_ignore_ascii_case(name),
            NamePattern::Wildcard(suffix) => host
                .len()
                .checked_sub(suffix.len() + 1)
                .filter(|&at| at > 0)
                .and_then(|at| host.get(at..))
                .is_some_and(|tail| {
                    tail.starts_with('.') && tail.get(1..).is_some_and(|t| t.eq_ignore_ascii_case(suffix))
                }),
        }
    }

    /// The name without the star: the host itself, or what stands behind `*.`.
    pub fn stem(&self) -> &str {
        match self {
            NamePattern::Exact(name) | NamePattern::Wildcard(name) => name,
        }
    }

    /// Whether it is a wildcard.
    pub fn is_wildcard(&self) -> bool {
        matches!(self, NamePattern::Wildcard(_))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamePattern::Exact(name) => f.write_str(name),
            NamePattern::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// The configured names that are nearest to a host, best first; none that differ too much to be meant.
///
/// Shape: at most `most` names; those with at most a third of their characters changed, or where one holds the other.
pub fn nearest<'a>(host: &str, names: impl IntoIterator<Item = &'a NamePattern>, most: usize) -> Vec<&'a NamePattern> {
    let host = host.to_ascii_lowercase();
    let mut found: Vec<(usize, &NamePattern)> = names
        .into_iter()
        .filter_map(|name| {
            let stem = name.stem();
            let distance = edit_distance(&host, stem);
            let is_inside = host.ends_with(&format!(".{stem}")) || stem.ends_with(&format!(".{host}"));
            let is_near = distance <= (host.len().max(stem.len()) / 3).max(1);
            (is_inside || is_near).then_some((if is_inside { distance.min(1) } else { distance }, name))
        })
        .collect();
    found.sort();
    found.dedup_by(|a, b| a.1 == b.1);
    found.into_iter().take(most).map(|(_, name)| name).collect()
}

/// How many single characters must be changed, added, left out or swapped with their neighbour to make one from the other.
fn edit_distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = Vec::with_capacity(other.len() + 1);
        row.push(i + 1);
        for (j, b) in other.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

/// Reads any bytes as the name of a site, for fuzzing.
///
/// Shape: a name shows as what reads back as it, matches itself in any case, and a wildcard only what is below it.
pub fn fuzz_name(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(name) = NamePattern::parse(text) else { return };
    assert_eq!(NamePattern::parse(&name.to_string()).as_ref(), Ok(&name));
    let stem = name.stem();
    assert_eq!(name.matches(stem), !name.is_wildcard());
    assert_eq!(name.matches(&stem.to_ascii_uppercase()), !name.is_wildcard());
    assert_eq!(name.matches(&format!("a.{stem}.")), name.is_wildcard());
    assert!(!name.matches(&format!("a{stem}")) && !name.matches(&format!(".{stem}")) && !name.matches(""));
    assert_eq!(nearest(stem, [&name], 1), [&name]);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn patterns_are_read_and_match() {
        let name = NamePattern::parse("WWW.Example.com.").unwrap();
        assert_eq!(name.to_string(), "www.example.com");
        assert!(name.matches("www.EXAMPLE.com") && name.matches("www.example.com.") && !name.matches("example.com"));
        let wild = NamePattern::parse("*.Example.com").unwrap();
        assert!(wild.matches("a.example.com") && wild.matches("b.a.Example.COM"));
        assert!(!wild.matches("example.com") && !wild.matches(".example.com") && !wild.matches("badexample.com"));
        for bad in [
            "",
            ".",
            "*",
            "*.",
            "a..b",
            "a.*.b",
            "a b",
            "a/b",
            "*.*.x",
            "a:1",
            &"x".repeat(254),
        ] {
            assert!(NamePattern::parse(bad).is_err(), "{bad:?}");
        }
        assert!(NamePattern::parse("phpmyadmin").is_ok() && NamePattern::parse("[::1]").is_ok());
    }

    #[test]
    fn nearest_offers_what_was_meant() {
        let names: Vec<_> = [
            "www.shop.example",
            "api.shop.example",
            "*.tenants.shop.example",
            "phpmyadmin",
        ]
        .map(|n| NamePattern::parse(n).unwrap())
        .into();
        let asked = |host: &str| {
            nearest(host, &names, 3)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(asked("wwww.shop.example")[0], "www.shop.example");
        assert_eq!(asked("wwwshop.example")[0], "www.shop.example");
        assert_eq!(asked("phpmyadmni"), ["phpmyadmin"]);
        assert!(asked("shop.example").contains(&"www.shop.example".to_owned()));
        assert!(asked("fonts.gstatic.com").is_empty());
    }

    #[test]
    fn edit_distance_counts_swaps_once() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("ab", "ba"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
    }
}
