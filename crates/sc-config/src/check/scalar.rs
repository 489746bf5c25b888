//! Texts and numbers: one function says for every kind of scalar what is wrong with a text.
//!
//! The kinds are those of [`crate::keys::Scalar`]. Parsing itself is done by the types that own each grammar.
use crate::address::Address;
use crate::balance::{Statuses, StatusesError};
use crate::diagnostic::Diagnostic;
use crate::keys::Scalar;
use crate::names::{self, NamePattern};
use crate::networks::Network;
use crate::settings::Redis;
use crate::units;

/// What is wrong with a text.
pub(super) struct Problem {
    message: String,
    label: Option<String>,
    hint: Option<String>,
    /// Whether the message needs the key in front of it.
    needs_key: bool,
}

impl Problem {
    fn new(message: impl ToString) -> Self {
        Self {
            message: message.to_string(),
            label: None,
            hint: None,
            needs_key: false,
        }
    }

    fn of_key(message: impl ToString) -> Self {
        Self {
            needs_key: true,
            ..Self::new(message)
        }
    }

    fn hint(self, hint: impl Into<Option<String>>) -> Self {
        Self {
            hint: hint.into(),
            ..self
        }
    }

    fn label(self, label: impl Into<String>) -> Self {
        Self {
            label: Some(label.into()),
            ..self
        }
    }

    /// The diagnostic about the value of `key`.
    pub(super) fn about(self, key: &str) -> Diagnostic {
        let message = if self.needs_key {
            format!("`{key}` {}", self.message)
        } else {
            self.message
        };
        Diagnostic {
            label: self.label,
            ..Diagnostic::error(message)
        }
        .maybe_hint(self.hint)
    }
}

/// Checks a text against its kind.
pub(super) fn check(kind: Scalar, text: &str) -> Result<(), Problem> {
    match kind {
        Scalar::Domain => names::split_key(text)
            .map(drop)
            .map_err(|error| Problem::new(&error).hint(error.hint())),
        Scalar::Host => text
            .parse::<NamePattern>()
            .map(drop)
            .map_err(|error| Problem::new(&error).hint(error.hint())),
        Scalar::Listen => listen(text).map(drop),
        Scalar::Connect => connect(text).map(drop),
        Scalar::Network => text
            .parse::<Network>()
            .map(drop)
            .map_err(|error| Problem::new(&error).hint(error.hint())),
        Scalar::Bandwidth => units::bandwidth(text).map(drop).map_err(of_unit),
        Scalar::Latency => units::latency(text).map(drop).map_err(of_unit),
        Scalar::Time => units::time_limit(text).map(drop).map_err(of_unit),
        Scalar::TimeFrom(least) => match units::time_limit(text).map_err(of_unit)? {
            time if time < least => Err(must_be(kind, text)),
            _ => Ok(()),
        },
        Scalar::Size(least, most) => match units::size(text).map_err(of_unit)? {
            size if (least..=most).contains(&size) => Ok(()),
            _ => Err(must_be(kind, text)),
        },
        Scalar::Integer(least, most) => match text.parse::<u32>() {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            _ => Err(must_be(kind, text)),
        },
        Scalar::Number(numbers) => match text.parse::<u32>() {
            Ok(number) if numbers.contains(&number) => Ok(()),
            _ => Err(must_be(kind, text)),
        },
        Scalar::Word(words) => word(kind, text, words),
        Scalar::Path => plain(text),
        Scalar::FileName => file_name(text),
        Scalar::Extension => fits(kind, text, |text| text.bytes().all(|b| b.is_ascii_alphanumeric())),
        Scalar::ScriptPath => fits(kind, text, is_script_path),
        Scalar::AbsolutePath => plain(text).and_then(|()| fits(kind, text, |text| text.starts_with('/'))),
        Scalar::Variable => fits(kind, text, is_variable),
        Scalar::HeaderName => header_name(text),
        Scalar::HeaderValue => header_value(text),
        Scalar::RedirectFrom => redirect_from(text),
        Scalar::RedirectTo => redirect_to(text),
        Scalar::RequestPath => request_path(text),
        Scalar::Statuses => match text.parse::<Statuses>() {
            Ok(_) => Ok(()),
            Err(StatusesError) => Err(must_be(kind, text).hint("as in `200` or `200-399`".to_owned())),
        },
        Scalar::ServerName => server_name(kind, text),
        Scalar::Credential => credential(text),
        Scalar::LogCodes => log_codes(text),
        Scalar::Redis => redis(text),
        Scalar::Instance => instance(kind, text),
    }
}

/// Reads an address to listen on.
pub(super) fn listen(text: &str) -> Result<Address, Problem> {
    let address = text.parse::<Address>().and_then(Address::for_listening);
    address.map_err(|error| Problem::new(&error).hint(error.hint()))
}

/// Reads an address to connect to.
///
/// Shape: a bare port is that port of `localhost`, of whichever family: development servers on Node listen on `::1`
/// alone where the system resolves `localhost` to it first.
pub(super) fn connect(text: &str) -> Result<Address, Problem> {
    let address = text.parse::<Address>().and_then(Address::for_connecting);
    let address = address.map_err(|error| Problem::new(&error).hint(error.hint()))?;
    let is_bare = text
        .strip_prefix(':')
        .unwrap_or(text)
        .bytes()
        .all(|b| b.is_ascii_digit());
    match address.port() {
        Some(port) if is_bare => Ok(Address::Name {
            host: "localhost".to_owned(),
            port,
        }),
        _ => Ok(address),
    }
}

fn of_unit(error: units::UnitError) -> Problem {
    Problem::new(&error).hint(error.hint())
}

fn must_be(kind: Scalar, text: &str) -> Problem {
    Problem::of_key(format!("must be {}", kind.words())).label(format!("not `{text}`"))
}

fn word(kind: Scalar, text: &str, words: &[&'static str]) -> Result<(), Problem> {
    if words.contains(&text) {
        return Ok(());
    }
    let nearest = names::nearest(text, words.iter().copied());
    Err(must_be(kind, text).hint(nearest.map(|nearest| format!("did you mean `{nearest}`?"))))
}

fn plain(text: &str) -> Result<(), Problem> {
    match text {
        "" => Err(Problem::of_key("is empty")),
        _ if text.chars().any(char::is_control) => Err(Problem::of_key("has control characters in it")),
        _ => Ok(()),
    }
}

fn fits(kind: Scalar, text: &str, is_good: impl Fn(&str) -> bool) -> Result<(), Problem> {
    if text.is_empty() || !is_good(text) {
        return Err(must_be(kind, text));
    }
    Ok(())
}

/// A path that is the same decoded and not, without anything that could lead elsewhere.
fn is_script_path(text: &str) -> bool {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty() && !name.starts_with('.') && bytes.all(|b| b.is_ascii_alphanumeric() || b"-_.~+".contains(&b))
    };
    text.strip_prefix('/').is_some_and(|path| path.split('/').all(is_name))
}

/// Variables of programs: in capital letters, as all of CGI's are.
fn is_variable(text: &str) -> bool {
    let is_name = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    text.bytes().all(is_name) && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn file_name(text: &str) -> Result<(), Problem> {
    plain(text)?;
    if text.contains('/') || text.starts_with('.') {
        let hint = "write only a name, as in `index.html`".to_owned();
        return Err(Problem::of_key("must be a file name that is not hidden, without a folder").hint(hint));
    }
    Ok(())
}

/// Fields that belong to the connection or to the framing of a message (RFC 9110 §7.6.1, RFC 9112 §6).
const NOT_OURS_TO_SET: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
];

/// Source: the token of RFC 9110 §5.6.2.
fn header_name(text: &str) -> Result<(), Problem> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(Problem::new(format!("`{text}` is not a field name")));
    }
    if NOT_OURS_TO_SET.contains(&text.to_ascii_lowercase().as_str()) {
        return Err(Problem::new(format!("the field `{text}` cannot be set")).label("belongs to the connection"));
    }
    Ok(())
}

fn header_value(text: &str) -> Result<(), Problem> {
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Problem::of_key("has control characters in its value"));
    }
    if text != text.trim() {
        return Err(Problem::of_key("has blanks at an end of its value"));
    }
    Ok(())
}

fn redirect_from(text: &str) -> Result<(), Problem> {
    let path = text.strip_suffix("/*").unwrap_or(text);
    let is_path = text.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
    match path {
        _ if !is_path => Err(Problem::new(format!("`{text}` is not a path")).hint(START.to_owned())),
        _ if path.contains('*') => {
            Err(Problem::new(format!("`{text}` has its `*` in the wrong place")).hint(STAR.to_owned()))
        }
        _ if path.contains(['?', '#']) => {
            let hint = "queries are not compared; write only the path".to_owned();
            Err(Problem::new(format!("`{text}` is more than a path")).hint(hint))
        }
        _ => Ok(()),
    }
}

const START: &str = "a path begins with `/` and has no blanks";
const STAR: &str = "`/*` at the end matches every path below";

fn redirect_to(text: &str) -> Result<(), Problem> {
    let is_place = ["/", "https://", "http://"].iter().any(|start| text.starts_with(start));
    let rest = text.strip_suffix('*').unwrap_or(text);
    if !is_place || !text.bytes().all(|b| b.is_ascii_graphic()) {
        let hint = "write a path as in `/new` or a URL as in `https://www.example.com/`".to_owned();
        return Err(Problem::new(format!("`{text}` is not a path or URL")).hint(hint));
    }
    if rest.contains('*') {
        let hint = "a `*` at the end stands for the rest of the path".to_owned();
        return Err(Problem::new(format!("`{text}` has its `*` in the wrong place")).hint(hint));
    }
    Ok(())
}

fn request_path(text: &str) -> Result<(), Problem> {
    if !text.starts_with('/') || text.contains('#') || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Problem::new(format!("`{text}` is not a path")).hint(START.to_owned()));
    }
    Ok(())
}

fn server_name(kind: Scalar, text: &str) -> Result<(), Problem> {
    let is_name = text.parse::<NamePattern>().is_ok_and(|name| !name.is_wildcard());
    if is_name || text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    Err(must_be(kind, text))
}

/// Source: RFC 1929 §2, one length byte for each.
fn credential(text: &str) -> Result<(), Problem> {
    if text.is_empty() || text.len() > 255 {
        return Err(Problem::new("user names and passwords have 1 to 255 bytes"));
    }
    Ok(())
}

fn log_codes(text: &str) -> Result<(), Problem> {
    const SETS: [&str; 4] = ["all", "default", "empty", "connection"];
    let is_code = |word: &str| {
        word.strip_prefix('M')
            .is_some_and(|digits| digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    for word in text
        .split(['+', '\\', '(', ')'])
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        if !SETS.contains(&word) && !is_code(word) {
            let known = "`all`, `default`, `empty`, `connection`, and codes such as `M40101`";
            let nearest = names::nearest(word, SETS);
            let hint = nearest.map_or(format!("the words are {known}"), |near| {
                format!("did you mean `{near}`?")
            });
            return Err(Problem::new(format!("`{word}` is not a set or code of log events")).hint(hint));
        }
    }
    if text.trim().is_empty() {
        Err(Problem::of_key("is empty").hint("write `empty` to log nothing".to_owned()))
    } else {
        Ok(())
    }
}

/// Longest name of an instance: it stands in every key of Redis.
const INSTANCE_MAX_BYTES: usize = 64;

/// A colon would end the name inside a key of Redis.
fn instance(kind: Scalar, text: &str) -> Result<(), Problem> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if text.is_empty() || text.len() > INSTANCE_MAX_BYTES || !text.bytes().all(plain) {
        return Err(must_be(kind, text).hint(format!("at most {INSTANCE_MAX_BYTES} of them, as in `shop`")));
    }
    Ok(())
}

fn redis(text: &str) -> Result<(), Problem> {
    text.parse::<Redis>().map(|_| ()).map_err(|_| {
        // What was written may hold a password, so it is not repeated.
        let hint = "URLs begin with `redis://`, `rediss://` or `unix://`".to_owned();
        Problem::of_key(format!("must be {}", Scalar::Redis.words())).hint(hint)
    })
}
