//! The table of `docs/limits.md`, from the JSON Schema of the file: each limit with its default and the attack that it
//! answers, taken apart from its description.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

/// One row for each key below `limits`.
pub(super) fn table(schema: &Value) -> Result<String> {
    let limits = &schema["properties"]["shimmercat-devlove"]["properties"]["limits"]["properties"];
    let limits = limits.as_object().context("the schema has no `limits`")?;
    let mut text = String::from("| limit | default | what it bounds | what it answers |\n|---|---|---|---|\n");
    for (name, key) in limits {
        let words = key["description"].as_str().unwrap_or_default();
        let (words, default) = words.rsplit_once(" Default: ").unwrap_or((words, ""));
        let (meaning, answers) = words.split_once(" Answers: ").unwrap_or((words, ""));
        let default = default.trim_end_matches('.');
        let answers = answers.trim_end_matches('.');
        writeln!(text, "| `{name}` | {default} | {meaning} | {answers} |")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_description_is_taken_apart() {
        let key = json!({ "description": "How many. Answers: much, often. Default: 3." });
        let limits = json!({ "properties": { "streams": key } });
        let schema = json!({ "properties": { "shimmercat-devlove": { "properties": { "limits": limits } } } });
        let text = table(&schema).unwrap_or_default();
        assert!(
            text.ends_with("| `streams` | 3 | How many. | much, often |\n"),
            "{text}"
        );
    }
}
