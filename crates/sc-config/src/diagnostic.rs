//! What is wrong with a file, and how a person reads it.
//!
//! A diagnostic says what, where, why and what to try, each in one line; rendering adds the excerpt and fits it into
//! 80 columns, plain or coloured. Text from the file is made harmless for terminals here, whatever it holds.
use crate::source::Place;

use unicode_width::UnicodeWidthChar;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but does not do what one would expect.
    Warning,
}

impl Severity {
    /// The word in front of the message.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing to say about a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, one line, no final stop.
    pub message: String,
    /// Where; `None` when no place of a file is to blame.
    pub place: Option<Place>,
    /// Words beside the carets.
    pub label: Option<String>,
    /// Other places that have to do with it, with the words beside their carets.
    pub others: Vec<(Place, String)>,
    /// Why it is wrong.
    pub why: Option<String>,
    /// What to try.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            label: None,
            others: Vec::new(),
            why: None,
            hint: None,
        }
    }

    /// A warning without a place.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// Says where.
    pub fn at(self, place: Place) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }

    /// Puts words beside the carets.
    pub fn label(self, label: impl Into<String>) -> Self {
        Self {
            label: Some(label.into()),
            ..self
        }
    }

    /// Adds another place.
    pub fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.others.push((place, label.into()));
        self
    }

    /// Says why.
    pub fn why(self, why: impl Into<String>) -> Self {
        Self {
            why: Some(why.into()),
            ..self
        }
    }

    /// Says what to try.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Says what to try, if anything.
    pub fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

/// Width that every rendered line fits into, unless a single word is longer.
const WIDTH: usize = 80;

/// Renders one diagnostic, ending with a line end.
pub fn render(diagnostic: &Diagnostic, colour: bool) -> String {
    let paint = Paint { colour };
    let mut out = String::new();
    let tone = match diagnostic.severity {
        Severity::Error => Tone::Error,
        Severity::Warning => Tone::Warning,
    };
    wrapped(
        &mut out,
        &paint,
        tone,
        &format!("{}: ", diagnostic.severity.word()),
        &diagnostic.message,
    );
    if let Some(place) = &diagnostic.place {
        excerpt(&mut out, &paint, tone, place, diagnostic.label.as_deref());
    }
    for (place, label) in &diagnostic.others {
        excerpt(&mut out, &paint, Tone::Frame, place, Some(label));
    }
    if let Some(why) = &diagnostic.why {
        wrapped(&mut out, &paint, Tone::Advice, "why:  ", why);
    }
    if let Some(hint) = &diagnostic.hint {
        wrapped(&mut out, &paint, Tone::Advice, "hint: ", hint);
    }
    out
}

/// Renders several diagnostics with an empty line between them.
pub fn render_all(diagnostics: &[Diagnostic], colour: bool) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| render(diagnostic, colour))
        .collect::<Vec<_>>()
        .join("\n")
}

#[derive(Clone, Copy)]
enum Tone {
    Error,
    Warning,
    Frame,
    Advice,
}

struct Paint {
    colour: bool,
}

impl Paint {
    fn put(&self, out: &mut String, tone: Tone, text: &str) {
        let code = match tone {
            Tone::Error => "\x1b[1;31m",
            Tone::Warning => "\x1b[1;33m",
            Tone::Frame => "\x1b[34m",
            Tone::Advice => "\x1b[1;36m",
        };
        if self.colour && !text.is_empty() {
            out.push_str(code);
            out.push_str(text);
            out.push_str("\x1b[0m");
        } else {
            out.push_str(text);
        }
    }
}

/// Writes `head` and `text`, broken at blanks and indented under its own beginning.
fn wrapped(out: &mut String, paint: &Paint, tone: Tone, head: &str, text: &str) {
    paint.put(out, tone, head.trim_end());
    let indent = head.len();
    let mut column = head.trim_end().len();
    for (index, word) in words(&harmless(text)).into_iter().enumerate() {
        let gap = if index == 0 { indent - column } else { 1 };
        let width = width(word);
        if index > 0 && column + gap + width > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push_str(&" ".repeat(gap));
            column += gap;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
}

/// Splits at blanks, but not inside backticks, so that values stay in one piece.
fn words(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c: char| {
        inside ^= c == '`';
        c == ' ' && !inside
    })
    .collect()
}

/// Writes the place, its line of the file, and carets below it.
fn excerpt(out: &mut String, paint: &Paint, tone: Tone, place: &Place, label: Option<&str>) {
    paint.put(out, Tone::Frame, "  --> ");
    out.push_str(&harmless(&place.to_string()));
    out.push('\n');
    let number = place.line.to_string();
    let label = label.map(harmless);
    let room = WIDTH.saturating_sub(number.len() + 3);
    let window = Window::of(place, room);
    paint.put(out, Tone::Frame, &format!("{number} |"));
    if !window.text.is_empty() {
        out.push(' ');
        out.push_str(&window.text);
    }
    out.push('\n');
    let margin = format!("{} |", " ".repeat(number.len()));
    paint.put(out, Tone::Frame, &margin);
    out.push_str(&" ".repeat(window.before + 1));
    let carets = "^".repeat(window.width);
    match label {
        Some(label) if window.before + window.width + 1 + width(&label) > room => {
            paint.put(out, tone, &carets);
            out.push('\n');
            paint.put(out, Tone::Frame, &margin);
            let shift = window.before.min(room.saturating_sub(width(&label)));
            out.push_str(&" ".repeat(shift + 1));
            paint.put(out, tone, &label);
        }
        Some(label) => paint.put(out, tone, &format!("{carets} {label}")),
        None => paint.put(out, tone, &carets),
    }
    out.push('\n');
}

/// The part of a line that fits, and where the carets go; all in columns of the terminal.
struct Window {
    text: String,
    before: usize,
    width: usize,
}

impl Window {
    fn of(place: &Place, room: usize) -> Self {
        let start = place.column.saturating_sub(1);
        // No more than the terminal's width on either side can be seen, however long the line is.
        let skipped = start.saturating_sub(room);
        let line = harmless(place.source.line(place.line).trim_end());
        let near: Vec<char> = line.chars().skip(skipped).take(3 * room).collect();
        let start = start - skipped;
        let end = start.saturating_add(place.length.max(1));
        let columns =
            |from: usize, to: usize| -> usize { near.iter().take(to).skip(from).map(|c| c.width().unwrap_or(0)).sum() };
        // Cut at the front only when the marked part would otherwise not be seen.
        let mut first = 0;
        while first < start && columns(first, end) + usize::from(skipped + first > 0) > room.saturating_sub(1) {
            first += 1;
        }
        let is_cut = skipped + first > 0;
        let mut text = String::from(if is_cut { "…" } else { "" });
        let mut used = usize::from(is_cut);
        let before = used + columns(first, start);
        for (index, c) in near.iter().enumerate().skip(first) {
            let width = c.width().unwrap_or(0);
            if used + columns(index, near.len()) > room && used + width + 1 > room {
                text.push('…');
                break;
            }
            text.push(*c);
            used += width;
        }
        let width = columns(start, end).max(1).min(room.saturating_sub(before).max(1));
        Self { text, before, width }
    }
}

/// Replaces what could move a terminal's cursor or change its colours, character by character.
fn harmless(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' => ' ',
        c if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
        {
            '\u{fffd}'
        }
        c => c,
    };
    text.chars().map(shown).collect()
}

fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}
