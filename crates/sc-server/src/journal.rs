//! Where events and records go. The mode decides; the engine only hands them over.

use std::time::SystemTime;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::event::{Code, Event, RECORD};
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

/// A record as one JSON object on one line, without the line end: its [`record_map`].
pub fn record_line(record: &Record) -> String {
    Value::Object(record_map(record)).to_string()
}

/// What a log line says of an event.
///
/// Shape: `time` (RFC 3339, UTC), `code`, `event`, `severity`, then the event's own fields.
pub fn event_map(event: &Event, at: SystemTime) -> Map<String, Value> {
    map(at, event.code(), event.fields())
}

/// What a log line says of a record; shaped as [`event_map`].
pub fn record_map(record: &Record) -> Map<String, Value> {
    map(record.at, &RECORD, record.fields())
}

fn map(at: SystemTime, code: &Code, fields: Map<String, Value>) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("time".to_owned(), rfc3339(at).into());
    map.insert("code".to_owned(), code.label().into());
    map.insert("event".to_owned(), code.name.into());
    map.insert("severity".to_owned(), code.severity.as_str().into());
    map.extend(fields);
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
