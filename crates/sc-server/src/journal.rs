//! Where events and records go. The mode decides; the engine only hands them over.

use std::time::SystemTime;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::event::Event;
use crate::line;
use crate::record::Record;

/// Takes what happened. Must not block.
pub trait Journal {
    /// One event.
    fn event(&self, event: Event);
    /// One ended exchange.
    fn record(&self, record: Record);
}

/// An event as one JSON object on one line, without the line end: its [`event_map`].
pub fn event_line(event: &Event, at: SystemTime) -> String {
    Value::Object(event_map(event, at)).to_string()
}

/// A record as one JSON object on one line, without the line end; shaped as [`event_map`].
pub fn record_line(record: &Record) -> String {
    let mut out = String::new();
    line::put_record(&mut out, record, None);
    out
}

/// Appends the [`record_line`] of a record, with the number of the worker that writes it as its last field.
pub fn put_record_of_worker(out: &mut String, record: &Record, worker: u64) {
    line::put_record(out, record, Some(worker));
}

/// What a log line says of an event.
///
/// Shape: `time` (RFC 3339, UTC), `code`, `event`, `severity`, then the event's own fields.
pub fn event_map(event: &Event, at: SystemTime) -> Map<String, Value> {
    let (code, fields) = (event.code(), event.fields());
    let mut map = Map::new();
    map.insert("time".to_owned(), rfc3339(at).into());
    map.insert("code".to_owned(), code.label().into());
    map.insert("event".to_owned(), code.name.into());
    map.insert("severity".to_owned(), code.severity.as_str().into());
    map.extend(fields);
    map
}

/// What the [`record_line`] of a record says.
pub fn record_map(record: &Record) -> Map<String, Value> {
    serde_json::from_str(&record_line(record)).unwrap_or_default()
}

/// The same without what every line begins with.
pub fn record_fields(record: &Record) -> Map<String, Value> {
    let mut map = record_map(record);
    for name in ["time", "code", "event", "severity"] {
        map.shift_remove(name);
    }
    map
}

/// A point in time as RFC 3339 text in UTC, always with milliseconds, e.g. `2026-11-22T11:02:58.120Z`.
pub fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second, milli) = (at.hour(), at.minute(), at.second(), at.millisecond());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_have_one_width() {
        let at = |millis| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1_795_345_378_120), "2026-11-22T11:02:58.120Z");
    }
}
