//! Log lines as a person reads them on a terminal, from the fields that the JSON has.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::words::{size, time};

/// `200 GET https://www.example.com/ 1.2 kB 3 ms h2 file`
pub(crate) fn record(line: &Map<String, Value>, is_coloured: bool) -> String {
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or("-");
    let number = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or(0);
    let status = number("status");
    let (colour, plain) = match (is_coloured, status) {
        (false, _) => ("", ""),
        (true, 0..=199 | 500..) => ("\x1b[31m", "\x1b[0m"),
        (true, 400..=499) => ("\x1b[33m", "\x1b[0m"),
        (true, _) => ("\x1b[32m", "\x1b[0m"),
    };
    let protocol = match text("protocol") {
        "HTTP/2" => "h2",
        "HTTP/1.0" => "h1.0",
        _ => "h1",
    };
    let status = if status == 0 {
        "---".to_owned()
    } else {
        status.to_string()
    };
    let took = time(Duration::from_micros(number("took_us")));
    let sent = size(number("sent_bytes"));
    let (method, url) = (text("method"), text("url"));
    let mut told = format!("{colour}{status}{plain} {method} {url} {sent} {took} {protocol}");
    if let Some(handler) = line.get("handler").and_then(Value::as_str) {
        let _ = write!(told, " {handler}");
    }
    if text("end") != "complete" {
        let _ = write!(told, " ({})", text("end"));
    }
    if let Some(fault) = line.get("fault").and_then(Value::as_str) {
        let _ = write!(told, "\n    why: {fault}");
    }
    told
}

/// A text in the colour of its severity.
pub(crate) fn painted(severity: &str, text: &str, is_coloured: bool) -> String {
    match severity {
        "attention" if is_coloured => format!("\x1b[33m{text}\x1b[0m"),
        "error" if is_coloured => format!("\x1b[1;31m{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}
