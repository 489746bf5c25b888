//! The JSON Schema against the case files: what the checker accepts, the schema accepts.
//!
//! The validator knows only the words that our schema uses and panics on any other, so that it cannot pass by accident.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value, json};

use crate::cases;

#[test]
fn accepted_files_fit_the_schema() {
    let schema: Value = serde_json::from_str(&sc_config::schema()).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(cases::folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("ok-") && name.ends_with(".yaml") && !name.ends_with(".local.yaml") {
            let text = fs::read_to_string(&path).unwrap();
            fits(&schema, &json_of(&text)).unwrap_or_else(|why| panic!("{name}: {why}"));
            seen += 1;
        }
    }
    assert!(seen > 10);
}

#[test]
fn misspelt_files_do_not() {
    let schema: Value = serde_json::from_str(&sc_config::schema()).unwrap();
    for name in [
        "key-unknown",
        "key-unknown-top",
        "no-domains",
        "domains-empty",
        "kinds-wrong",
        "log-wrong",
        "no-top-key",
    ] {
        let text = fs::read_to_string(cases::folder().join(format!("{name}.yaml"))).unwrap();
        assert!(fits(&schema, &json_of(&text)).is_err(), "{name}");
    }
}

fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    let Value::Object(words) = schema else {
        return if schema == &json!(true) {
            Ok(())
        } else {
            Err(format!("{value} is refused"))
        };
    };
    for (word, rule) in words {
        let good = match word.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => match rule {
                Value::Array(names) => names.iter().any(|name| is_a(name.as_str().unwrap(), value)),
                name => is_a(name.as_str().unwrap(), value),
            },
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => rule.as_array().unwrap().iter().any(|one| fits(one, value).is_ok()),
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| !text.is_empty()),
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            "minItems" => value.as_array().is_none_or(|items| !items.is_empty()),
            "minProperties" => value.as_object().is_none_or(|object| !object.is_empty()),
            "required" => value.as_object().is_none_or(|object| {
                rule.as_array()
                    .unwrap()
                    .iter()
                    .all(|key| object.contains_key(key.as_str().unwrap()))
            }),
            "items" => {
                value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .try_for_each(|item| fits(rule, item))?;
                true
            }
            "propertyNames" => {
                value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .try_for_each(|(key, _)| fits(rule, &json!(key)))?;
                true
            }
            "properties" => {
                let known = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(key, one)| Some((rule.get(key)?, one)));
                known.into_iter().try_for_each(|(rule, one)| fits(rule, one))?;
                true
            }
            "additionalProperties" => {
                let known = |key: &String| words.get("properties").is_some_and(|known| known.get(key).is_some());
                let mut others = value.as_object().into_iter().flatten().filter(|(key, _)| !known(key));
                others.try_for_each(|(key, one)| fits(rule, one).map_err(|why| format!("{key}: {why}")))?;
                true
            }
            other => panic!("the schema uses `{other}`, which this test does not know"),
        };
        if !good {
            return Err(format!("{value} does not fit `{word}`: {rule}"));
        }
    }
    Ok(())
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        other => panic!("the schema uses the type `{other}`"),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[0-9]+$" => !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()),
        "^/" => text.starts_with('/'),
        "^(/|https?://)" => ["/", "http://", "https://"].iter().any(|start| text.starts_with(start)),
        other => panic!("the schema uses the pattern `{other}`"),
    }
}

/// Reads YAML the way an editor's schema support does.
fn json_of(text: &str) -> Value {
    let mut parser = Parser::new_from_str(text);
    let mut anchors = Vec::new();
    loop {
        match parser.next_event().unwrap().unwrap().0 {
            Event::StreamStart | Event::DocumentStart(_) => {}
            event => return node(&mut parser, event, &mut anchors),
        }
    }
}

fn node<'a>(parser: &mut Parser<'a, StrInput<'a>>, event: Event<'a>, anchors: &mut Vec<(usize, Value)>) -> Value {
    let next = |parser: &mut Parser<'a, StrInput<'a>>| parser.next_event().unwrap().unwrap().0;
    let (value, anchor) = match event {
        Event::Alias(anchor) => return anchors.iter().find(|(known, _)| *known == anchor).unwrap().1.clone(),
        Event::Scalar(text, ScalarStyle::Plain, anchor, _) => {
            let number = text
                .parse::<i64>()
                .ok()
                .map(Value::from)
                .or_else(|| text.parse::<f64>().ok().map(Value::from));
            let plain = match &*text {
                "" | "~" | "null" => Value::Null,
                "true" => json!(true),
                "false" => json!(false),
                _ => number.unwrap_or_else(|| json!(text)),
            };
            (plain, anchor)
        }
        Event::Scalar(text, _, anchor, _) => (json!(text), anchor),
        Event::SequenceStart(anchor, _) => {
            let mut items = Vec::new();
            loop {
                match next(parser) {
                    Event::SequenceEnd => break,
                    event => items.push(node(parser, event, anchors)),
                }
            }
            (Value::Array(items), anchor)
        }
        Event::MappingStart(anchor, _) => {
            let mut object = Map::new();
            loop {
                match next(parser) {
                    Event::MappingEnd => break,
                    Event::Scalar(key, ..) => {
                        let event = next(parser);
                        object.insert(key.into_owned(), node(parser, event, anchors));
                    }
                    other => panic!("a key that is {other:?}"),
                }
            }
            (Value::Object(object), anchor)
        }
        other => panic!("unexpected {other:?}"),
    };
    anchors.push((anchor, value.clone()));
    value
}
