//! The catalogue of events in `docs/logs.md`, from the list in `crates/sc-server/src/event.rs`.
//!
//! That list is a macro call with one entry an event: its words as comments, its fields, and its code. It is read as text,
//! since xtask uses no room; an entry that is not understood is an error, so that none can be left out.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

const SOURCE: &str = "crates/sc-server/src/event.rs";

struct Entry {
    words: String,
    fields: Vec<String>,
    code: u32,
    name: String,
    severity: String,
    sets: Vec<&'static str>,
}

/// The catalogue as a table, in the order of the codes.
pub(super) fn table() -> Result<String> {
    let file = crate::shell::root().join(SOURCE);
    render(&std::fs::read_to_string(&file).with_context(|| format!("cannot read {SOURCE}"))?)
}

fn render(source: &str) -> Result<String> {
    let mut entries = entries(source)?;
    entries.sort_by_key(|entry| entry.code);
    let mut text = String::from("| code | event | severity | sets | fields | meaning |\n|---|---|---|---|---|---|\n");
    for Entry {
        words,
        fields,
        code,
        name,
        severity,
        sets,
    } in entries
    {
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        let (sets, fields) = (sets.join(", "), fields.join(" "));
        writeln!(
            text,
            "| `M{code:05}` | `{name}` | {severity} | {sets} | {fields} | {words} |"
        )?;
    }
    Ok(text)
}

fn entries(source: &str) -> Result<Vec<Entry>> {
    let (_, list) = source
        .split_once("\nevents! {\n")
        .context("event.rs has no list of events")?;
    let (list, _) = list.split_once("\n}\n").context("the list of events does not end")?;
    let mut found = vec![record(source)?];
    let (mut words, mut fields, mut is_inside) = (String::new(), Vec::new(), false);
    for line in list.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            if !is_inside {
                words = format!("{words}{comment}").trim().to_owned();
            }
        } else if let Some(constants) = line.split_once("} = (").and_then(|(_, rest)| rest.strip_suffix(");")) {
            found.push(entry(
                std::mem::take(&mut words),
                std::mem::take(&mut fields),
                constants,
            )?);
            is_inside = false;
        } else if line.ends_with('{') {
            is_inside = true;
        } else if let Some((field, _)) = line.split_once(": ") {
            fields.push(field.to_owned());
        } else if !line.is_empty() {
            bail!("the list of events has a line that is not understood: `{line}`");
        }
    }
    Ok(found)
}

/// The access-log line, which stands apart from the list; its fields have a table of their own in the document.
fn record(source: &str) -> Result<Entry> {
    let (_, rest) = source
        .split_once("pub const RECORD: Code = Code {")
        .context("event.rs has no record")?;
    let value = |key: &str| {
        let line = rest
            .lines()
            .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
        line.map(|value| value.trim_end_matches(',').trim_matches('"').trim())
            .with_context(|| format!("the record has no `{key}`"))
    };
    let severity = value("severity")?.trim_start_matches("Severity::");
    let constants = [
        value("number")?,
        value("name")?,
        severity,
        value("is_default")?,
        value("is_connection")?,
    ];
    entry(value("summary")?.to_owned(), Vec::new(), &constants.join(", "))
}

fn entry(words: String, fields: Vec<String>, constants: &str) -> Result<Entry> {
    let parts: Vec<&str> = constants.split(", ").collect();
    let [code, name, severity, is_default, is_connection] = parts[..] else {
        bail!("an event has other constants than its code, name, severity and sets: `{constants}`");
    };
    let sets = [("default", is_default), ("connection", is_connection)];
    Ok(Entry {
        words,
        fields,
        code: code
            .replace('_', "")
            .parse()
            .with_context(|| format!("`{code}` is not a code"))?,
        name: name.trim_matches('"').to_owned(),
        severity: severity.to_lowercase(),
        sets: sets
            .into_iter()
            .filter(|(_, is_in)| *is_in == "true")
            .map(|(set, _)| set)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_rows() {
        let record = "pub const RECORD: Code = Code {\n  number: 30201,\n  name: \"exchange\",\n  severity: Severity::Info,\n  \
                      is_default: true,\n  is_connection: false,\n  summary: \" Ended.\",\n};\n";
        let source = "\nevents! {\n    /// One thing\n    /// happened.\n    Thing {\n        /// Serial.\n        connection: u64,\n    } \
                      = (101, \"thing\", Debug, false, true);\n    /// Another.\n    Other {} = (30_001, \"other\", Info, true, false);\n}\n";
        let want = "| `M00101` | `thing` | debug | connection | `connection` | One thing happened. |\n\
                    | `M30001` | `other` | info | default |  | Another. |\n\
                    | `M30201` | `exchange` | info | default |  | Ended. |\n";
        let rendered = render(&format!("{record}{source}"));
        assert!(rendered.as_ref().is_ok_and(|text| text.ends_with(want)), "{rendered:?}");
    }
}
