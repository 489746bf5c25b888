//! The expression of `--log-codes`: which events are generated at all.
//!
//! Grammar: `EXPR = TERM (('+' | '\') TERM)*`, read from left to right; a term is a named set (`all`, `default`, `empty`,
//! `connection`), a single code (`M40101`), or an expression in parentheses. `+` is union, `\` is difference.

use std::collections::BTreeSet;

use crate::event::{CATALOGUE, Code};

/// A set of event codes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogCodes(BTreeSet<u32>);

/// The expression cannot be read.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what} at character {at} of `{text}`")]
pub struct ExpressionError {
    /// The whole expression.
    pub text: String,
    /// Position, counted from 1.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

/// How deep parentheses may nest.
const DEPTH: usize = 16;

impl LogCodes {
    /// Reads an expression.
    ///
    /// Errors: an unknown set or code, a missing term or parenthesis, with its position.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let mut reader = Reader { text, at: 0 };
        let set = reader.expression(0)?;
        reader.spaces();
        match reader.rest().is_empty() {
            true => Ok(LogCodes(set)),
            false => Err(reader.error("expected `+`, `\\` or the end")),
        }
    }

    /// Whether events of this code are generated.
    pub fn contains(&self, code: &Code) -> bool {
        self.0.contains(&code.number)
    }
}

impl Default for LogCodes {
    fn default() -> Self {
        LogCodes(of(|code| code.is_default))
    }
}

fn of(want: impl Fn(&Code) -> bool) -> BTreeSet<u32> {
    CATALOGUE
        .iter()
        .filter(|code| want(code))
        .map(|code| code.number)
        .collect()
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn error(&self, what: impl Into<String>) -> ExpressionError {
        let at = self.text.get(..self.at).map_or(0, |before| before.chars().count()) + 1;
        ExpressionError {
            text: self.text.to_owned(),
            at,
            what: what.into(),
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.spaces();
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expression(&mut self, depth: usize) -> Result<BTreeSet<u32>, ExpressionError> {
        let mut set = self.term(depth)?;
        loop {
            if self.eat('+') {
                set.extend(self.term(depth)?);
            } else if self.eat('\\') {
                let without = self.term(depth)?;
                set.retain(|code| !without.contains(code));
            } else {
                return Ok(set);
            }
        }
    }

    fn term(&mut self, depth: usize) -> Result<BTreeSet<u32>, ExpressionError> {
        if depth > DEPTH {
            return Err(self.error("parentheses nest too deep"));
        }
        if self.eat('(') {
            let set = self.expression(depth + 1)?;
            return if self.eat(')') {
                Ok(set)
            } else {
                Err(self.error("expected `)`"))
            };
        }
        let word: &str = self.rest();
        let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
        let word = word.get(..end).unwrap_or("");
        let set = match word {
            "all" => of(|_| true),
            "default" => of(|code| code.is_default),
            "connection" => of(|code| code.is_connection),
            "empty" => BTreeSet::new(),
            "" => return Err(self.error("expected a set or a code")),
            code => match CATALOGUE.iter().find(|known| known.label() == code) {
                Some(known) => BTreeSet::from([known.number]),
                None => return Err(self.error(format!("unknown set or code `{code}`"))),
            },
        };
        self.at += word.len();
        Ok(set)
    }
}

/// Reads any bytes as an expression, for fuzzing.
///
/// Shape: a mistake is placed within the text or right behind it; union and difference of a set with itself are what they
/// are in arithmetic of sets.
pub fn fuzz_log_codes(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match LogCodes::parse(text) {
        Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.at), "{error}"),
        Ok(codes) => {
            assert!(
                codes
                    .0
                    .iter()
                    .all(|code| CATALOGUE.iter().any(|known| known.number == *code))
            );
            let of = |expression: String| LogCodes::parse(&expression).map(|codes| codes.0).unwrap_or_default();
            if text.matches('(').count() + 2 <= DEPTH {
                assert_eq!(of(format!("({text})+({text})")), codes.0);
                assert_eq!(of(format!("({text})\\({text})")), BTreeSet::new());
                assert_eq!(of(format!("all\\(all\\({text}))")), codes.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn numbers(text: &str) -> BTreeSet<u32> {
        LogCodes::parse(text).unwrap().0
    }

    #[test]
    fn sets_unions_and_differences() {
        assert_eq!(numbers("empty"), BTreeSet::new());
        assert_eq!(numbers("all").len(), CATALOGUE.len());
        assert_eq!(numbers(" M40101 + M60002"), BTreeSet::from([40101, 60002]));
        assert_eq!(numbers("M40101+M60002\\M40101"), BTreeSet::from([60002]));
        assert_eq!(numbers("M40101+(M60002\\M60002)"), BTreeSet::from([40101]));
        assert!(!numbers("all\\connection").contains(&40101));
        assert!(numbers("all\\connection").contains(&30201));
        assert_eq!(LogCodes::default().0, numbers("default"));
    }

    #[test]
    fn mistakes_say_where() {
        for (text, at) in [
            ("", 1),
            ("all+", 5),
            ("all all", 5),
            ("al", 1),
            ("(all", 5),
            ("M99999", 1),
            ("all\\é", 5),
        ] {
            assert_eq!(LogCodes::parse(text).unwrap_err().at, at, "{text}");
        }
        let deep = format!("{}all{}", "(".repeat(99), ")".repeat(99));
        assert!(LogCodes::parse(&deep).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = LogCodes::parse(&text);
        }
    }
}
