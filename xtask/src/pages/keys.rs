//! The table of keys in `docs/configuration.md`, from the JSON Schema of the file.
//!
//! It walks the objects of the schema from the top, follows local references, and lists each key with its type and
//! description. It is no validator: keywords that do not change what a reader types are ignored.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde_json::Value;

/// How deep objects are followed; the file itself is less deep.
const DEPTH: usize = 24;

const LIST: &str = "list of ";

/// One row for every key below the first one of the file, in the order of the schema.
pub(super) fn table(schema: &Value) -> Result<String> {
    let mut text = String::from("| key | value | meaning |\n|---|---|---|\n");
    walk(
        schema,
        &schema["properties"]["shimmercat-devlove"],
        "",
        &mut text,
        DEPTH,
    )?;
    Ok(text)
}

fn walk(schema: &Value, node: &Value, path: &str, text: &mut String, depth: usize) -> Result<()> {
    let Some(depth) = depth.checked_sub(1) else {
        bail!("the schema is nested too deeply at `{path}`")
    };
    let node = resolve(schema, node);
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        let at = format!("{path}{name}");
        row(schema, child, &at, text)?;
        walk(schema, child, &format!("{at}."), text, depth)?;
    }
    for other in ["additionalProperties", "items"] {
        if node[other].is_object() && node["properties"].is_null() {
            let at = if other == "items" {
                path.to_owned()
            } else {
                format!("{path}*.")
            };
            walk(schema, &node[other], &at, text, depth)?;
        }
    }
    for (_, child) in node["patternProperties"].as_object().into_iter().flatten() {
        walk(schema, child, &format!("{path}*."), text, depth)?;
    }
    for choice in ["oneOf", "anyOf", "allOf"]
        .iter()
        .flat_map(|word| node[word].as_array().into_iter().flatten())
    {
        walk(schema, choice, path, text, depth)?;
    }
    Ok(())
}

fn row(schema: &Value, node: &Value, path: &str, text: &mut String) -> Result<()> {
    let line = |words: &str| words.replace('\n', " ").replace('|', "\\|");
    let resolved = resolve(schema, node);
    let meaning = node["description"]
        .as_str()
        .or_else(|| resolved["description"].as_str())
        .unwrap_or_default();
    let row = format!("| `{path}` | {} | {} |\n", line(&kind(schema, node)), line(meaning));
    if !text.contains(&row) {
        write!(text, "{row}")?;
    }
    Ok(())
}

fn kind(schema: &Value, node: &Value) -> String {
    let node = resolve(schema, node);
    if !node["const"].is_null() {
        return value(&node["const"]);
    }
    if let Some(values) = node["enum"].as_array() {
        return values.iter().map(value).collect::<Vec<_>>().join(", ");
    }
    for word in ["oneOf", "anyOf"] {
        if let Some(choices) = node[word].as_array() {
            return any_of(choices.iter().map(|choice| kind(schema, choice)).collect());
        }
    }
    match &node["type"] {
        Value::String(name) if name == "array" => format!("{LIST}{}", kind(schema, &node["items"])),
        Value::String(name) if name == "object" => "mapping".to_owned(),
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

/// Joins what a key may be; "x or list of x" is told as people say it.
fn any_of(mut kinds: Vec<String>) -> String {
    kinds.dedup();
    match kinds.as_slice() {
        [first @ .., list]
            if list
                .strip_prefix(LIST)
                .is_some_and(|item| first.last().is_some_and(|one| one == item)) =>
        {
            format!("{}, or a list of them", first.join(" or "))
        }
        _ => kinds.join(" or "),
    }
}

fn value(value: &Value) -> String {
    format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn resolve<'a>(schema: &'a Value, node: &'a Value) -> &'a Value {
    let named = node["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
    named.and_then(|pointer| schema.pointer(pointer)).unwrap_or(node)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_listed_with_their_types() {
        let project = json!({ "properties": {
            "domains": { "type": "object", "description": "All names", "additionalProperties": { "$ref": "#/$defs/d" } },
        } });
        let schema = json!({
            "properties": { "shimmercat-devlove": project },
            "$defs": { "d": { "type": "object", "properties": {
                "port": { "anyOf": [{ "type": "integer" }, { "type": "string" }], "description": "Where" },
                "audience": { "enum": ["public", "network"] },
            } } },
        });
        let want = "| `domains` | mapping | All names |\n| `domains.*.port` | integer or string | Where |\n\
                    | `domains.*.audience` | `public`, `network` |  |\n";
        assert!(
            table(&schema).is_ok_and(|text| text.ends_with(want)),
            "{:?}",
            table(&schema)
        );
    }
}
