//! The YAML parser's complaints in words that say what to do.
//!
//! The parser names the rule of its grammar that failed; people want the usual slip behind it. Only the text of a
//! diagnostic is made here; what the parser says stays as the `why:` line where it adds something.
use std::sync::Arc;

use saphyr_parser::ScanError;

use crate::diagnostic::Diagnostic;
use crate::source::Source;
use crate::tree;

/// Turns a syntax error into a diagnostic.
pub(crate) fn explain(source: &Arc<Source>, error: &ScanError) -> Diagnostic {
    let mark = *error.marker();
    let place = tree::place(source, mark, mark);
    let line = source.line(place.line);
    let info = error.info();
    let (label, hint) = slip(info, line, source.line(place.line.saturating_sub(1)));
    let diagnostic = Diagnostic::error("the file is not valid YAML")
        .at(place)
        .label(label.unwrap_or("here"));
    match hint {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic.why(info.to_owned()),
    }
}

const TAB: &str = "indent with blanks, YAML allows no tabs there";
const STAR: &str = "put a name that begins with `*` into quotes, as in `\"*.example.com\":`";
const COLON: &str = "a key ends with `: `, and its value is on the same line or indented below it";
const CLOSED: &str = "a quote or bracket before this place is not closed";
const INDENT: &str = "keys of one mapping begin in the same column";
const QUOTE: &str = "put the text into quotes";

/// The usual slip behind a complaint: what to say beside the caret, and what to try.
fn slip(info: &str, line: &str, line_before: &str) -> (Option<&'static str>, Option<&'static str>) {
    let has_tab = |line: &str| line.starts_with('\t') || line.trim_start_matches(' ').starts_with('\t');
    let key_begins_with_star = line.trim_start().starts_with('*');
    match info {
        _ if info.contains("tab") || has_tab(line) => (Some("a tab"), Some(TAB)),
        _ if key_begins_with_star || info.contains("anchor") => (Some("taken for an alias"), Some(STAR)),
        _ if info.contains("unexpected end of stream") => (Some("the file ends here"), Some(CLOSED)),
        _ if info.contains("flow") || info.contains("bracket") || info.contains("trailing content") => {
            (Some("not expected here"), Some(CLOSED))
        }
        _ if info.contains("unprintable") => (Some("a control character"), None),
        _ if info.contains("unexpected character") => (Some("cannot begin a text"), Some(QUOTE)),
        _ if info.contains("unknown escape") => (
            Some("unknown escape"),
            Some("write `\\\\` for a backslash, or use single quotes"),
        ),
        "mapping values are not allowed in this context"
            if line_before.contains(':') || line.matches(": ").count() > 1 =>
        {
            (
                Some("this `:` is not expected"),
                Some("check the indentation, and put a text that holds `: ` into quotes"),
            )
        }
        _ if info.contains("simple key") => (Some("not a key"), Some(COLON)),
        _ if info.contains("block mapping") || info.contains("indentation") || info.contains("block collection") => {
            (Some("not expected here"), Some(INDENT))
        }
        _ => (None, None),
    }
}
