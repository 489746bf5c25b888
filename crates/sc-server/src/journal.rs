//! Where events and records go. The mode decides; the engine only hands them over.

use std::time::SystemTime;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::event::{Event, RECORD};
use crate::record::Record;

/// Takes what happened. Must not block.
pub trait Journal {
    /// One event.
    fn event(&self, event: Event);
    /// One ended exchange.
    fn record(&self, record: Record);
}

/// An event as one JSON object on one line, without the line end.
///
/// Shape: `time` (RFC 3339, UTC), `code`, `event`, `severity`, then the event's own fields.
pub fn event_line(event: &Event, at: SystemTime) -> String {
    let code = event.code();
    line(at, &code.label(), code.name, code.severity.as_str(), event.fields())
}

/// A record as one JSON object on one line, without the line end.
pub fn record_line(record: &Record) -> String {
    line(record.at, &RECORD.label(), RECORD.name, RECORD.severity.as_str(), record.fields())
}

fn line(at: SystemTime, code: &str, name: &str, severity: &str, fields: Map<String, Value>) -> String {
    let mut map = Map::new();
    map.insert("time".to_owned(), rfc3339(at).into());
    map.insert("code".to_owned(), code.into());
    map.insert("event".to_owned(), name.into());
    map.insert("severity".to_owned(), severity.into());
    map.extend(fields);
    Value::Object(map).to_string()
}

/// A point in time as RFC 3339 text in UTC, e.g. `2026-11-22T11:02:58.123Z`.
pub fn rfc3339(at: SystemTime) -> String {
    let millis = OffsetDateTime::from(at).replace_millisecond(OffsetDateTime::from(at).millisecond());
    millis.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
