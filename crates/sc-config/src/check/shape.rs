//! First look at the file: does every value have the shape that the table of keys asks for?
//!
//! Unknown keys, missing keys, wrong kinds of values and texts that cannot be read are reported here, all of them.
//! What remains for [`super::build`] is what values mean together; it may take for granted that a wrong value was
//! reported and skip it.
use crate::diagnostic::Diagnostic;
use crate::keys::{Scalar, Shape, TABLES, Table};
use crate::names;
use crate::source::Place;
use crate::tree::{Entry, Node, Value, is_bool};

use super::scalar;

/// Where a value stands, for messages.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    /// The key whose value it is (or whose list holds it).
    pub(super) key: &'a str,
    /// The place of that key.
    pub(super) place: &'a Place,
    /// A value as it could stand there; empty when none is known.
    pub(super) example: &'a str,
    /// Whether it is an item of a list that stands there.
    pub(super) in_list: bool,
}

impl<'a> Spot<'a> {
    fn of(entry: &'a Entry, example: &'a str) -> Self {
        Self {
            key: &entry.key,
            place: &entry.place,
            example,
            in_list: false,
        }
    }

    fn item(self, item: &'a Node) -> Self {
        Self {
            place: &item.place,
            example: "",
            in_list: true,
            ..self
        }
    }
}

/// Checks `node` against `shape` and adds what is wrong to `found`.
pub(super) fn check(node: &Node, shape: &Shape, spot: Spot<'_>, found: &mut Vec<Diagnostic>) {
    match (shape, &node.value) {
        (Shape::Table(table), Value::Map(entries)) => check_table(entries, table, spot, found),
        (Shape::Table(table), _) if node.is_null() => check_table(&[], table, spot, found),
        (Shape::Map(key, shape), Value::Map(entries)) => check_map(entries, *key, shape, found),
        (Shape::List(shape) | Shape::OneOrMore(shape), Value::List(items)) => {
            if items.is_empty() {
                found.push(Diagnostic::error(format!("the list of `{}` is empty", spot.key)).at(spot.place.clone()));
            }
            for item in items {
                check(item, shape, spot.item(item), found);
            }
        }
        (Shape::OneOrMore(shape), _) => check_one(node, shape, shape_of_many(shape), spot, found),
        (Shape::Either(shapes), _) => match pick(node, shapes) {
            Some(shape) => check(node, shape, spot, found),
            None => found.push(wrong_kind(node, shape.words(), spot)),
        },
        _ => check_one(node, shape, shape.words(), spot, found),
    }
}

fn shape_of_many(shape: &Shape) -> String {
    format!("{} or a list of them", shape.words())
}

fn check_one(node: &Node, shape: &Shape, words: String, spot: Spot<'_>, found: &mut Vec<Diagnostic>) {
    match (shape, &node.value) {
        _ if node.is_null() => found.push(
            Diagnostic::error(format!("`{}` has no value", spot.key))
                .at(spot.place.clone())
                .label(format!("must be {words}"))
                .hint("write a value after the `:`, or remove the key"),
        ),
        (Shape::Bool, Value::Scalar { text, .. }) if is_bool(text).is_some() => {}
        (Shape::False, Value::Scalar { text, .. }) if is_bool(text) == Some(false) => {}
        (Shape::Scalar(kind), Value::Scalar { text, .. }) => {
            if let Err(problem) = scalar::check(*kind, text) {
                found.push(problem.about(spot.key).at(node.place.clone()));
            }
        }
        _ => found.push(wrong_kind(node, words, spot)),
    }
}

/// The shape among several that fits the kind of YAML value; `None` when none does.
pub(super) fn pick<'s>(node: &Node, shapes: &'s [Shape]) -> Option<&'s Shape> {
    let has_bool = shapes.iter().any(|shape| matches!(shape, Shape::Bool | Shape::False));
    let fits = |shape: &Shape| match (shape, &node.value) {
        (Shape::Bool, Value::Scalar { text, plain: true }) => is_bool(text).is_some(),
        (Shape::False, Value::Scalar { text, plain: true }) => is_bool(text) == Some(false),
        (Shape::Scalar(_) | Shape::OneOrMore(_), Value::Scalar { text, plain }) => {
            !(*plain && has_bool && (old_bool(text).is_some() || is_bool(text).is_some())) || node.is_null()
        }
        (Shape::List(_) | Shape::OneOrMore(_), Value::List(_)) => true,
        (Shape::Map(..) | Shape::Table(_), Value::Map(_)) => true,
        _ => false,
    };
    shapes.iter().find(|shape| fits(shape))
}

/// Truth values of YAML 1.1, which are plain texts in YAML 1.2.
fn old_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" => Some(true),
        "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

fn wrong_kind(node: &Node, words: String, spot: Spot<'_>) -> Diagnostic {
    let place = match &node.value {
        Value::Scalar { text, .. } if !text.is_empty() => node.place.clone(),
        _ => spot.place.clone(),
    };
    let whose = if spot.in_list { "each item of " } else { "" };
    let error = Diagnostic::error(format!("{whose}`{}` must be {words}", spot.key)).at(place);
    match &node.value {
        Value::Scalar { text, plain: true } if words.contains("`false`") && old_bool(text).is_some() => error
            .label("a text in YAML 1.2")
            .hint(format!("write `{}`", old_bool(text).unwrap_or(false))),
        _ => {
            let error = error.label(format!("this is {}", node.kind()));
            let example =
                (!spot.example.is_empty()).then(|| format!("write it as in `{}: {}`", spot.key, spot.example));
            error.maybe_hint(example)
        }
    }
}

fn check_map(entries: &[Entry], key: Scalar, shape: &Shape, found: &mut Vec<Diagnostic>) {
    for entry in entries {
        if let Err(problem) = scalar::check(key, &entry.key) {
            found.push(
                Diagnostic {
                    label: None,
                    ..problem.about(&entry.key)
                }
                .at(entry.place.clone()),
            );
        }
        check(&entry.node, shape, Spot::of(entry, ""), found);
    }
}

fn check_table(entries: &[Entry], table: &Table, spot: Spot<'_>, found: &mut Vec<Diagnostic>) {
    for entry in entries {
        let key = table.key(&entry.key);
        let spot = Spot::of(entry, key.map_or("", |key| key.example));
        match key {
            Some(key) if matches!(key.shape, Shape::Later) => found.push(not_yet(&entry.key, &entry.place)),
            Some(key) if key.name == "root-dir" && matches!(entry.node.value, Value::Map(_)) => {
                found.push(not_yet("root-dir", &entry.place).label("as a mapping"));
            }
            Some(key) => check(&entry.node, &key.shape, spot, found),
            None => found.push(unknown(entry, table)),
        }
    }
    for required in table.required {
        if !entries.iter().any(|entry| entry.key == *required) {
            let message = format!("the key `{required}` is missing in {}", table.what);
            let example = table.key(required).map_or("", |key| key.example);
            let error = Diagnostic::error(message).at(spot.place.clone());
            found.push(if example.is_empty() {
                error
            } else {
                error.hint(format!("add `{required}: {example}`"))
            });
        }
    }
}

fn not_yet(key: &str, place: &Place) -> Diagnostic {
    Diagnostic::error(format!("`{key}` is not supported yet"))
        .at(place.clone())
        .hint("remove it, or put a `#` before it")
}

fn unknown(entry: &Entry, table: &Table) -> Diagnostic {
    let key = entry.key.as_str();
    let error = Diagnostic::error(format!("unknown key `{key}`"))
        .at(entry.place.clone())
        .label(format!("not a key of {}", table.what));
    let elsewhere = TABLES.iter().find(|other| other.usable().any(|name| name == key));
    let nearest = names::nearest(key, table.usable());
    match (nearest, elsewhere) {
        _ if key == "<<" => {
            error.hint("merge keys are not read; an alias can stand for a whole value, as in `key: *name`")
        }
        (Some(nearest), _) => error.hint(format!("did you mean `{nearest}`?")),
        (None, Some(other)) => error.hint(format!("`{key}` is a key of {}", other.what)),
        (None, None) => {
            let known: Vec<_> = table.usable().map(|name| format!("`{name}`")).collect();
            error.hint(format!("the keys here are {}", known.join(", ")))
        }
    }
}
