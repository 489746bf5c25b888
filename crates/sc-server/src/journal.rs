//! Where events and records go. The mode decides; the engine only hands them over.

use std::time::SystemTime;

use serde_json::{Map, Value};
use time::OffsetDateTime;

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
    line(
        record.at,
        &RECORD.label(),
        RECORD.name,
        RECORD.severity.as_str(),
        record.fields(),
    )
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
