//! The YAML parser's complaints in words that say what to do.
//!
//! The parser names the rule of its grammar that failed; people want the usual slip behind it. Only the text of a
//! diagnostic is made here; what the parser says stays as the `why:` line where it adds something.
use std::sync::Arc;

use saphyr_parser::ScanError;

use crate::diagnostic::Diagnostic;
use crate::source::{Place, Source};
use crate::tree;

/// Turns a syntax error into a diagnostic.
pub(crate) fn explain(source: &Arc<Source>, error: &ScanError) -> Diagnostic {
    let mark = *error.marker();
    let mut place = tree::place(source, mark, mark);
    let at_end = (place.line..=source.lines()).all(|number| source.line(number).trim().is_empty());
    if at_end {
        end_of(source, &mut place);
    }
    let line = source.line(place.line);
    let before = (1..place.line)
        .rev()
        .map(|number| source.line(number))
        .find(|line| !line.trim().is_empty());
    let slip = match at_end {
        true => Slip {
            label: "the file ends here",
            hint: Some(CLOSED),
        },
        false => slip(error.info(), line, before.unwrap_or_default()),
    };
    let diagnostic = Diagnostic::error("the file is not valid YAML")
        .at(place)
        .label(slip.label);
    match slip.hint {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic.why(error.info().to_owned()),
    }
}

/// Moves a place that lies beyond the last line of text to its end, where people look.
fn end_of(source: &Source, place: &mut Place) {
    let mut numbers = (1..=source.lines()).rev();
    if let Some(number) = numbers.find(|number| !source.line(*number).trim().is_empty()) {
        (place.line, place.column) = (number, source.line(number).trim_end().chars().count() + 1);
    }
}

/// The usual slip behind a complaint.
struct Slip {
    label: &'static str,
    hint: Option<&'static str>,
}

const TAB: &str = "indent with blanks, YAML allows no tabs there";
const STAR: &str = "put a name that begins with `*` into quotes, as in `\"*.example.com\":`";
const ALIAS: &str = "`*name` stands for a value that was marked `&name` before; a text with a `*` needs quotes";
const COLON: &str = "a key ends with `:`, and its value is on the same line or indented below it";
const VALUE: &str = "check the indentation, and put a text that holds `: ` into quotes";
const CLOSED: &str = "a quote or bracket before this place is not closed";
const QUOTE_OPEN: &str = "close the quote, or use the other kind of quotes around it";
const INDENT: &str = "keys of one mapping begin in the same column";
const QUOTE: &str = "put the text into quotes";
const ESCAPE: &str = "write `\\\\` for a backslash, or use single quotes";

fn slip(info: &str, line: &str, before: &str) -> Slip {
    let of = |label, hint| Slip {
        label,
        hint: Some(hint),
    };
    let has_tab = line.trim_start_matches(' ').starts_with('\t');
    let says = |word: &str| info.contains(word);
    match info {
        _ if says("tab") || has_tab => of("a tab", TAB),
        _ if line.trim_start().starts_with('*') => of("taken for an alias", STAR),
        _ if says("anchor") => of("no such anchor", ALIAS),
        _ if says("unknown escape") || says("escape code") => of("unknown escape", ESCAPE),
        _ if says("quoted scalar") => of("this quote", QUOTE_OPEN),
        _ if says("flow") || says("bracket") || says("trailing content") => of("not expected here", CLOSED),
        _ if says("unprintable") => Slip {
            label: "a control character",
            hint: None,
        },
        _ if says("unexpected character") => of("cannot begin a text", QUOTE),
        _ if says("mapping values") && !before.contains(':') => of("the line before has no `:`", COLON),
        _ if says("mapping values") => of("this `:` is not expected", VALUE),
        _ if says("simple key") => of("not a key", COLON),
        _ if says("block mapping") || says("indentation") || says("block collection") => {
            of("not expected here", INDENT)
        }
        _ => Slip {
            label: "here",
            hint: None,
        },
    }
}
