//! Domain names and the patterns that stand for them in the file.
//!
//! A name is kept lower-case and in punycode; names without dots are names too. `*.x` covers every depth below `x`,
//! not `x` itself. The old prefixes `elec ` and `api ` of a domain key are split off here; what they mean is the
//! checker's business. Nothing is resolved.
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One name (`www.x.example`) or all names below one (`*.x.example`).
///
/// Shape: lower-case punycode without a closing dot; ordered by name, the exact one before its wildcard.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct NamePattern {
    name: String,
    wildcard: bool,
}

/// The word that may stand before the name of a domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Prefix {
    /// `elec`: files first, then the application.
    Elec,
    /// `api`: everything goes to the application.
    Api,
}

/// What is wrong with a name.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NameError {
    /// Nothing was written.
    #[error("the name is empty")]
    Empty,
    /// A URL where a name is wanted.
    #[error("`{0}` is a URL, not a name")]
    Url(String),
    /// A name with a port.
    #[error("`{0}` has a port in it")]
    Port(String),
    /// A name with a path.
    #[error("`{0}` has a path in it")]
    Path(String),
    /// An IP address.
    #[error("`{0}` is an address, not a name")]
    Address(String),
    /// A last label made of digits, which browsers read as an IPv4 address (WHATWG URL, "ends in a number").
    #[error("browsers take `{0}` for an address, because its last part is a number")]
    Number(String),
    /// A star anywhere but as the whole first label.
    #[error("`{0}` has its `*` in the wrong place")]
    Star(String),
    /// A word before the name that is not `elec` or `api`.
    #[error("`{0}` is not a word that can stand before a name")]
    Word(String),
    /// A letter that cannot be in a name, an empty label, one that is too long, or a hyphen at an end.
    #[error("`{0}` is not a domain name")]
    Malformed(String),
}

impl NameError {
    /// Says what to write instead, where that is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Url(text) => {
                let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
                let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
                format!("write only the name, `{host}`")
            }
            Self::Port(text) | Self::Path(text) => {
                let host = text.split(['/', ':']).next().unwrap_or_default();
                format!("write only the name, `{host}`")
            }
            Self::Address(_) => "give the site a name; the little network makes it reachable".to_owned(),
            Self::Star(_) => {
                "a wildcard is the whole first part, as in `*.example.com`; it covers every depth".to_owned()
            }
            Self::Word(_) => "only `elec` and `api` can stand there".to_owned(),
            Self::Malformed(text) if text.contains('_') => return None,
            Self::Empty | Self::Number(_) | Self::Malformed(_) => return None,
        };
        Some(hint)
    }
}

/// Longest name in its textual form (RFC 1035 §2.3.4: 255 bytes on the wire).
const NAME_MAX_BYTES: usize = 253;

/// Longest label (RFC 1035 §2.3.4).
const LABEL_MAX_BYTES: usize = 63;

impl NamePattern {
    /// The name, without the `*.` of a wildcard.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says whether this stands for all names below [`name`](Self::name).
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Says whether `host` is covered.
    ///
    /// Shape: `host` is compared without regard to ASCII case and to one closing dot; it must already be punycode.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if !self.wildcard {
            return host.eq_ignore_ascii_case(&self.name);
        }
        let Some(cut) = host.len().checked_sub(self.name.len() + 1).filter(|cut| *cut > 0) else {
            return false;
        };
        match (host.get(..cut), host.get(cut..cut + 1), host.get(cut + 1..)) {
            (Some(_), Some("."), Some(tail)) => tail.eq_ignore_ascii_case(&self.name),
            _ => false,
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.name)
    }
}

impl From<NamePattern> for String {
    fn from(name: NamePattern) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for NamePattern {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl FromStr for NamePattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let own = || text.to_owned();
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let bare = name.strip_suffix('.').unwrap_or(name);
        if text.is_empty() || text == "." {
            return Err(NameError::Empty);
        }
        if text.contains("://") {
            return Err(NameError::Url(own()));
        }
        if bare
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok()
        {
            return Err(NameError::Address(own()));
        }
        if name.contains('*') {
            return Err(NameError::Star(own()));
        }
        if name.contains('/') {
            return Err(NameError::Path(own()));
        }
        if name.contains(':') {
            return Err(NameError::Port(own()));
        }
        let name = to_ascii(bare).ok_or_else(|| NameError::Malformed(own()))?;
        if name.rsplit('.').next().is_some_and(ends_in_number) {
            return Err(NameError::Number(own()));
        }
        Ok(Self { name, wildcard })
    }
}

/// Splits the key of a domain into its old prefix, if it has one, and its name.
///
/// Errors: `Word` when something else stands before the name; what [`NamePattern`] refuses.
pub fn split_key(key: &str) -> Result<(Option<Prefix>, NamePattern), NameError> {
    let key = key.trim();
    let Some((word, rest)) = key.split_once(char::is_whitespace) else {
        return Ok((None, key.parse()?));
    };
    let prefix = match word {
        "elec" => Prefix::Elec,
        "api" => Prefix::Api,
        _ => return Err(NameError::Word(word.to_owned())),
    };
    let rest = rest.trim_start();
    if rest.contains(char::is_whitespace) {
        return Err(NameError::Malformed(rest.to_owned()));
    }
    Ok((Some(prefix), rest.parse()?))
}

/// Turns a host name into lower-case punycode; `None` when it is not one.
///
/// Source: UTS 46 through the `idna` crate; lengths of RFC 1035 §2.3.4. Underscores pass, as they do in browsers.
pub(crate) fn to_ascii(host: &str) -> Option<String> {
    let name = idna::domain_to_ascii(host).ok()?;
    let name = name.strip_suffix('.').unwrap_or(&name);
    let fits = !name.is_empty() && name.len() <= NAME_MAX_BYTES;
    (fits && name.split('.').all(is_label)).then(|| name.to_owned())
}

fn is_label(label: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !label.is_empty()
        && label.len() <= LABEL_MAX_BYTES
        && label.bytes().all(inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Source: WHATWG URL §3.5, "ends in a number checker".
fn ends_in_number(label: &str) -> bool {
    let hexadecimal = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    label.bytes().all(|b| b.is_ascii_digit()) || label.strip_prefix("0x").is_some_and(hexadecimal)
}

/// The known name that is most like `wrong`, when one is near enough to be meant.
///
/// Shape: case is ignored; about one letter in three may differ.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase().replace('_', "-");
    let distance = |name: &str| strsim::damerau_levenshtein(&wrong, &name.to_lowercase());
    let limit = match wrong.chars().count() {
        0..=3 => 1,
        letters => (letters / 3).max(2),
    };
    known
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(d, _)| *d <= limit)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn names_are_folded() {
        for (text, shown) in [
            ("WWW.Example.COM", "www.example.com"),
            ("www.example.com.", "www.example.com"),
            ("phpmyadmin", "phpmyadmin"),
            ("Bücher.example", "xn--bcher-kva.example"),
            ("*.Tenants.example", "*.tenants.example"),
            ("my_app.test", "my_app.test"),
        ] {
            let name: NamePattern = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(name.to_string(), shown);
            assert_eq!(shown.parse::<NamePattern>().unwrap(), name);
        }
    }

    #[test]
    fn refusals() {
        for (text, error) in [
            ("", "the name is empty"),
            ("https://x.example/", "`https://x.example/` is a URL, not a name"),
            ("x.example:443", "`x.example:443` has a port in it"),
            ("x.example/shop", "`x.example/shop` has a path in it"),
            ("127.0.0.1", "`127.0.0.1` is an address, not a name"),
            ("[::1]", "`[::1]` is an address, not a name"),
            (
                "x.123",
                "browsers take `x.123` for an address, because its last part is a number",
            ),
            ("*", "`*` has its `*` in the wrong place"),
            ("*x.example", "`*x.example` has its `*` in the wrong place"),
            ("www.*.example", "`www.*.example` has its `*` in the wrong place"),
            ("*.*.example", "`*.*.example` has its `*` in the wrong place"),
            ("a..b", "`a..b` is not a domain name"),
            ("-a.b", "`-a.b` is not a domain name"),
            ("a&b", "`a&b` is not a domain name"),
        ] {
            assert_eq!(text.parse::<NamePattern>().unwrap_err().to_string(), error);
        }
        assert!(format!("{}.example", "a".repeat(64)).parse::<NamePattern>().is_err());
        assert!(["a"; 130].join(".").parse::<NamePattern>().is_err());
    }

    #[test]
    fn wildcards_cover_every_depth() {
        let name: NamePattern = "*.shop.example".parse().unwrap();
        assert!(name.matches("a.shop.example"));
        assert!(name.matches("a.b.Shop.Example."));
        assert!(!name.matches("shop.example"));
        assert!(!name.matches(".shop.example"));
        assert!(!name.matches("ashop.example"));
        assert!(!name.matches("é.xx"));
    }

    #[test]
    fn prefixes() {
        let (prefix, name) = split_key("elec   www.x").unwrap();
        assert_eq!((prefix, name.to_string()), (Some(Prefix::Elec), "www.x".to_owned()));
        assert_eq!(split_key("api x").unwrap().0, Some(Prefix::Api));
        assert_eq!(split_key("elec").unwrap().0, None);
        assert_eq!(split_key("site www.x").unwrap_err(), NameError::Word("site".to_owned()));
        assert!(split_key("elec a b").is_err());
    }

    #[test]
    fn nearest_names() {
        let known = ["root-dir", "consultant", "port", "spa"];
        assert_eq!(nearest("root_dir", known), Some("root-dir"));
        assert_eq!(nearest("consultnat", known), Some("consultant"));
        assert_eq!(nearest("Port", known), Some("port"));
        assert_eq!(nearest("banana", known), None);
    }
}
