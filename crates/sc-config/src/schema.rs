//! The JSON Schema of the file, written from the table of keys, for editors.
//!
//! Dialect 2020-12. It accepts everything the checker accepts, and refuses unknown keys and values of the wrong kind;
//! what values mean together stays with the checker.
use serde_json::{Map, Value, json};

use crate::keys::{FILE, Key, Scalar, Shape, Table};

/// The JSON Schema of `devlove.yaml`, pretty-printed, ending with a line end.
pub fn schema() -> String {
    let mut root = table(&FILE);
    if let Value::Object(object) = &mut root {
        object.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        object.insert("title".to_owned(), json!("ShimmerCatDevlove"));
        object.insert(
            "description".to_owned(),
            json!("The devlove file of a project (devlove.yaml)."),
        );
    }
    format!("{root:#}\n")
}

fn table(table: &Table) -> Value {
    let usable = table.keys.iter().filter(|key| !matches!(key.shape, Shape::Later));
    let properties: Map<_, _> = usable.map(|key| (key.name.to_owned(), property(key))).collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("additionalProperties".to_owned(), json!(false));
    if !table.required.is_empty() {
        object.insert("required".to_owned(), json!(table.required));
    }
    object.insert("properties".to_owned(), Value::Object(properties));
    Value::Object(object)
}

fn property(key: &Key) -> Value {
    let mut value = shape(&key.shape);
    if let Value::Object(object) = &mut value {
        let description = match key.default {
            Some(default) => format!("{} Default: {default}.", key.doc),
            None => key.doc.to_owned(),
        };
        object.insert("description".to_owned(), json!(description));
    }
    value
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::False => json!({ "const": false }),
        Shape::Scalar(kind) => scalar(*kind),
        Shape::List(item) => json!({ "type": "array", "minItems": 1, "items": self::shape(item) }),
        Shape::OneOrMore(item) => {
            let one = self::shape(item);
            json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
        }
        Shape::Map(Scalar::Domain, value) => {
            json!({ "type": "object", "minProperties": 1, "additionalProperties": self::shape(value) })
        }
        Shape::Map(key, value) => {
            json!({ "type": "object", "propertyNames": key_schema(*key), "additionalProperties": self::shape(value) })
        }
        Shape::Table(known) => table(known),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(self::shape).collect::<Vec<_>>() }),
        Shape::Later => json!(false),
    }
}

/// Keys are texts in JSON, whatever they look like.
fn key_schema(kind: Scalar) -> Value {
    match kind {
        Scalar::Integer(..) => json!({ "pattern": "^[0-9]+$" }),
        other => scalar(other),
    }
}

fn scalar(kind: Scalar) -> Value {
    let text = || json!({ "type": "string", "minLength": 1 });
    match kind {
        Scalar::Integer(least, most) => {
            json!({ "anyOf": [{ "type": "integer", "minimum": least, "maximum": most }, { "type": "string", "pattern": "^[0-9]+$" }] })
        }
        Scalar::Number(numbers) => {
            let texts: Vec<_> = numbers.iter().map(ToString::to_string).collect();
            json!({ "anyOf": [{ "enum": numbers }, { "enum": texts }] })
        }
        Scalar::Word(words) => json!({ "enum": words }),
        Scalar::Listen | Scalar::Connect => {
            let least = u8::from(matches!(kind, Scalar::Connect));
            json!({ "anyOf": [{ "type": "integer", "minimum": least, "maximum": 65535 }, text()] })
        }
        Scalar::Size(..) | Scalar::Bandwidth | Scalar::Time | Scalar::TimeFrom(_) => {
            json!({ "type": ["string", "number"] })
        }
        Scalar::HeaderValue => json!({ "type": ["string", "number", "boolean"] }),
        Scalar::Credential => json!({ "type": ["string", "number", "boolean"] }),
        Scalar::ScriptPath | Scalar::AbsolutePath => json!({ "type": "string", "pattern": "^/." }),
        Scalar::Variable => json!({ "type": "string", "pattern": "^[A-Z_][A-Z0-9_]*$" }),
        Scalar::RedirectFrom => json!({ "type": "string", "pattern": "^/" }),
        Scalar::RequestPath => json!({ "type": "string", "pattern": "^/" }),
        Scalar::Statuses => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 100, "maximum": 599 }, { "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" }] })
        }
        Scalar::RedirectTo => json!({ "type": "string", "pattern": "^(/|https?://)" }),
        Scalar::Domain
        | Scalar::Path
        | Scalar::FileName
        | Scalar::Extension
        | Scalar::Network
        | Scalar::Host
        | Scalar::Latency
        | Scalar::HeaderName
        | Scalar::LogCodes
        | Scalar::Redis
        | Scalar::ServerName
        | Scalar::Instance => text(),
    }
}
