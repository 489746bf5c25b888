//! The file of cases: read, written, and made into bytes.
//!
//! ```text
//! # Title of a group
//! == name of a case
//! > a line, to which CR LF is added      (\r \n \t \0 \xNN \\ are what they are in C, {x*20} is twenty x)
//! + bytes without
//! both: what both servers made of it     or   ours: …   nginx: …   rfc: who is right, and where that is written
//! ```
//! `{F}` and `{A}` are the names of the site of files and of the application, `{p}` is a path that only this case has,
//! `{E}` the entity-tag that the server itself gives `/a.txt`.

use std::fmt::Write as _;

/// What the two servers made of a case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Same(String),
    Differs { ours: String, nginx: String },
}

impl Outcome {
    pub(super) fn of(ours: String, nginx: String) -> Self {
        if ours == nginx {
            Outcome::Same(ours)
        } else {
            Outcome::Differs { ours, nginx }
        }
    }

    /// Ours and nginx's.
    pub(super) fn both(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Outcome::Same(both) => (Some(both), Some(both)),
            Outcome::Differs { ours, nginx } => (Some(ours), Some(nginx)),
        }
    }
}

/// The path that only the case of this number has.
pub(super) fn path_of(at: usize) -> String {
    format!("/c{at:03}")
}

/// One case.
#[derive(Clone, Debug, Default)]
pub(super) struct Case {
    pub(super) group: String,
    pub(super) name: String,
    /// Lines as they stand in the file, with their marks.
    pub(super) lines: Vec<String>,
    pub(super) expected: Option<Outcome>,
    pub(super) verdict: Option<String>,
}

/// Reads the file.
pub(super) fn read(text: &str) -> Vec<Case> {
    let (mut cases, mut group): (Vec<Case>, String) = (Vec::new(), String::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(title) = line.strip_prefix("# ") {
            group = title.to_owned();
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            assert!(
                cases.iter().all(|case| case.name != name),
                "two cases are called `{name}`"
            );
            cases.push(Case {
                group: group.clone(),
                name: name.to_owned(),
                ..Case::default()
            });
            continue;
        }
        let case = cases.last_mut().expect("a case begins with its name");
        if line.starts_with("> ") || line.starts_with("+ ") || line == ">" {
            case.lines.push(line.to_owned());
        } else if let Some(both) = line.strip_prefix("both: ") {
            case.expected = Some(Outcome::Same(both.to_owned()));
        } else if let Some(ours) = line.strip_prefix("ours: ") {
            case.expected = Some(Outcome::Differs {
                ours: ours.to_owned(),
                nginx: String::new(),
            });
        } else if let Some(theirs) = line.strip_prefix("nginx: ") {
            match &mut case.expected {
                Some(Outcome::Differs { nginx, .. }) => theirs.clone_into(nginx),
                _ => panic!("`nginx:` stands behind `ours:`: {line}"),
            }
        } else if let Some(verdict) = line.strip_prefix("rfc: ") {
            case.verdict = Some(verdict.to_owned());
        } else {
            panic!("a line that is not understood: {line}");
        }
    }
    cases
}

/// Writes it again.
pub(super) fn write(cases: &[Case]) -> String {
    let (mut text, mut group) = (String::new(), "");
    for case in cases {
        if case.group != group {
            group = &case.group;
            let _ = writeln!(text, "# {group}\n");
        }
        let _ = writeln!(text, "== {}\n{}", case.name, case.lines.join("\n"));
        match &case.expected {
            Some(Outcome::Same(both)) => drop(writeln!(text, "both: {both}")),
            Some(Outcome::Differs { ours, nginx }) => drop(writeln!(text, "ours: {ours}\nnginx: {nginx}")),
            None => {}
        }
        if let Some(verdict) = &case.verdict {
            let _ = writeln!(text, "rfc: {verdict}");
        }
        text.push('\n');
    }
    text
}

impl Case {
    pub(super) fn goes_to_files(&self) -> bool {
        self.lines.iter().any(|line| line.contains("{F}"))
    }

    pub(super) fn asks_for_tag(&self) -> bool {
        self.lines.iter().any(|line| line.contains("{E}"))
    }

    pub(super) fn is_head(&self) -> bool {
        self.lines.first().is_some_and(|line| line.contains("HEAD "))
    }

    pub(super) fn lacks_verdict(&self) -> bool {
        matches!(self.expected, Some(Outcome::Differs { .. })) && self.verdict.is_none()
    }

    pub(super) fn has_idle_verdict(&self) -> bool {
        matches!(self.expected, Some(Outcome::Same(_))) && self.verdict.is_some()
    }

    /// What is sent: the case, and the probe behind it.
    pub(super) fn bytes(&self, at: usize, files: &str, application: &str, tag: Option<&str>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let path = path_of(at);
        let replace = |text: &str| {
            let text = text.replace("{F}", files).replace("{A}", application);
            text.replace("{p}", &path).replace("{E}", tag.unwrap_or_default())
        };
        for line in &self.lines {
            put(&mut bytes, &replace(line.get(2..).unwrap_or_default()));
            if line.starts_with('>') {
                bytes.extend_from_slice(b"\r\n");
            }
        }
        let (probe, name) = match self.goes_to_files() {
            true => ("/probe.txt".to_owned(), files),
            false => (format!("{path}/probe"), application),
        };
        let probe = format!("GET {probe} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        bytes.extend_from_slice(probe.as_bytes());
        bytes
    }
}

/// Appends a text with its escapes and repetitions taken for what they mean.
fn put(bytes: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let mut used = letter.len_utf8();
        if letter == '\\' {
            let (byte, length) = escape(rest.get(1..).unwrap_or_default());
            bytes.push(byte);
            used += length;
        } else if let Some((word, count, length)) = repetition(rest) {
            let mut once = Vec::new();
            put(&mut once, word);
            bytes.extend(once.repeat(count));
            used = length;
        } else {
            bytes.extend_from_slice(letter.to_string().as_bytes());
        }
        rest = rest.get(used..).unwrap_or_default();
    }
}

fn escape(text: &str) -> (u8, usize) {
    match text.as_bytes() {
        [b'r', ..] => (b'\r', 1),
        [b'n', ..] => (b'\n', 1),
        [b't', ..] => (b'\t', 1),
        [b'0', ..] => (0, 1),
        [b'\\', ..] => (b'\\', 1),
        [b'x', _, _, ..] => (u8::from_str_radix(&text[1..3], 16).expect("two hexadecimal digits"), 3),
        _ => panic!("no such escape: {text}"),
    }
}

/// `{word*count}` at the front of a text, and its length.
fn repetition(text: &str) -> Option<(&str, usize, usize)> {
    let inner = text.strip_prefix('{')?;
    let (inner, _) = inner.split_once('}')?;
    let (word, count) = inner.rsplit_once('*')?;
    Some((word, count.parse().ok()?, inner.len() + 2))
}
