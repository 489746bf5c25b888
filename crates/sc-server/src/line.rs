//! Writes log lines of records: one JSON object each (RFC 8259), straight into a text and without a tree in between.
//!
//! One line is written for every exchange, so this is on the way of each. What the fields mean is in `docs/logs.md`.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use crate::event::RECORD;
use crate::journal::rfc3339;
use crate::record::{Record, end_word};

/// What a line of an ordinary record takes, about.
const ORDINARY_BYTES: usize = 512;

/// Appends the line of a record, without the line end; `worker` is the number of the process that writes it, if it has one.
pub(crate) fn put_record(out: &mut String, record: &Record, worker: Option<u64>) {
    out.reserve(ORDINARY_BYTES);
    put_beginning(out, record.at);
    put_number(out, "connection", record.connection);
    if record.stream != 0 {
        put_number(out, "stream", record.stream.into());
    }
    put_text(out, "client", &record.client);
    put_word(out, "entry", record.entry.as_str());
    put_word(out, "protocol", record.protocol.as_str());
    put_text(out, "method", record.method.as_str());
    put_text(out, "url", &record.url);
    put_number(out, "status", record.status.into());
    put_number(out, "received_bytes", record.received_bytes);
    put_number(out, "sent_bytes", record.sent_bytes);
    put_number(out, "took_us", micros(record.took));
    put_word(out, "end", end_word(record.end));
    let notes = &record.notes;
    notes.with_site(|site| {
        put_text(out, "site", site);
        put_word(out, "handler", notes.handler().as_str());
    });
    notes.with_upstream(|upstream| put_text(out, "upstream", upstream));
    if let Some(first_byte) = notes.first_byte() {
        put_number(out, "upstream_us", micros(first_byte));
    }
    if notes.retries() > 0 {
        put_number(out, "retries", notes.retries().into());
    }
    if let Some(fault) = notes.fault() {
        if let Some(label) = notes.fault_label() {
            put_word(out, "fault_kind", label);
        }
        put_text(out, "fault", &fault);
        put_name(out, "tried");
        out.push_str(&serde_json::Value::from(notes.tried()).to_string());
    }
    if let Some(worker) = worker {
        put_number(out, "worker", worker);
    }
    out.push('}');
}

/// What all records begin with, save for the point within the second: it is the same for thousands of lines.
#[derive(Default)]
struct Beginning {
    second: Option<u64>,
    /// Up to the point after the seconds.
    before: String,
    /// From the zone on.
    after: String,
}

thread_local! {
    static BEGINNING: RefCell<Beginning> = RefCell::default();
}

fn put_beginning(out: &mut String, at: SystemTime) {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    BEGINNING.with_borrow_mut(|beginning| {
        if beginning.second != Some(since.as_secs()) {
            beginning.renew(since.as_secs());
        }
        out.push_str(&beginning.before);
        let millis = since.subsec_millis();
        for digit in [millis / 100, millis / 10 % 10, millis % 10] {
            out.push(char::from_digit(digit, 10).unwrap_or('0'));
        }
        out.push_str(&beginning.after);
    });
}

impl Beginning {
    fn renew(&mut self, second: u64) {
        let text = rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        let whole = text.split_once('.').map_or(&*text, |(whole, _)| whole);
        self.second = Some(second);
        self.before = format!("{{\"time\":\"{whole}.");
        self.after = format!(
            "Z\",\"code\":\"{}\",\"event\":\"{}\",\"severity\":\"{}\"",
            RECORD.label(),
            RECORD.name,
            RECORD.severity.as_str()
        );
    }
}

fn put_name(out: &mut String, name: &'static str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}

fn put_number(out: &mut String, name: &'static str, number: u64) {
    put_name(out, name);
    out.push_str(itoa::Buffer::new().format(number));
}

/// A text of ours, of which it is known that nothing in it needs an escape.
fn put_word(out: &mut String, name: &'static str, word: &'static str) {
    put_name(out, name);
    out.push('"');
    out.push_str(word);
    out.push('"');
}

/// A text that anybody may have chosen.
fn put_text(out: &mut String, name: &'static str, text: &str) {
    put_name(out, name);
    let is_plain = text
        .bytes()
        .fold(true, |plain, b| plain & (b >= 0x20) & (b != b'"') & (b != b'\\'));
    if is_plain {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use std::rc::Rc;

    use http::Method;
    use proptest::prelude::*;
    use sc_http::{End, Kind, Protocol};
    use sc_site::Notes;
    use serde_json::{Map, Value};

    use super::*;
    use crate::record::Entry;

    fn record(at: SystemTime, url: &str) -> Record {
        Record {
            at,
            connection: 7,
            stream: 0,
            client: "127.0.0.1:40000".into(),
            entry: Entry::Direct,
            protocol: Protocol::Http11,
            method: Method::GET,
            url: url.to_owned(),
            status: 200,
            received_bytes: 0,
            sent_bytes: 1024,
            took: Duration::from_micros(250),
            end: End::Complete,
            notes: Rc::new(Notes::default()),
        }
    }

    fn line(record: &Record, worker: Option<u64>) -> String {
        let mut out = String::new();
        put_record(&mut out, record, worker);
        out
    }

    #[test]
    fn a_line_is_as_it_is_documented() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_345_378_120);
        let mut record = record(at, "https://www.shop.example/");
        assert_eq!(
            line(&record, Some(3)),
            concat!(
                r#"{"time":"2026-11-22T11:02:58.120Z","code":"M30201","event":"exchange","severity":"info","connection":7,"#,
                r#""client":"127.0.0.1:40000","entry":"direct","protocol":"HTTP/1.1","method":"GET","#,
                r#""url":"https://www.shop.example/","status":200,"received_bytes":0,"sent_bytes":1024,"took_us":250,"#,
                r#""end":"complete","worker":3}"#
            )
        );
        (record.stream, record.end) = (5, End::Failed(Kind::Internal));
        let map: Map<String, Value> = serde_json::from_str(&line(&record, None)).unwrap();
        assert_eq!((&map["stream"], map.contains_key("worker")), (&5.into(), false));
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_the_line_is_one_of_json_as_serde_writes_it(
            url in any::<String>(), millis in 0..4_000_000_000_000_u64
        ) {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            let written = line(&record(at, &url), Some(1));
            prop_assert!(!written.contains('\n'));
            let map: Map<String, Value> = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(map["url"].as_str().unwrap(), url);
            prop_assert_eq!(map["time"].as_str().unwrap(), rfc3339(at));
            prop_assert_eq!(Value::Object(map).to_string(), written);
        }
    }
}
