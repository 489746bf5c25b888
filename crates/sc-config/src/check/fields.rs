//! Reading values that already have the right shape.
//!
//! Every function gives nothing for a value that does not fit; [`super::shape`] has reported it by then.
use crate::tree::{Entry, Node, Value, is_bool};

/// The keys of a mapping.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [Entry]);

impl<'a> Fields<'a> {
    /// The keys of `node`; none when it is no mapping.
    pub(super) fn of(node: &'a Node) -> Self {
        match &node.value {
            Value::Map(entries) => Self(entries),
            _ => Self(&[]),
        }
    }

    /// All keys in the order of the file.
    pub(super) fn all(self) -> &'a [Entry] {
        self.0
    }

    /// One key.
    pub(super) fn get(self, name: &str) -> Option<&'a Entry> {
        self.0.iter().find(|entry| entry.key == name)
    }

    /// The first of these keys that is there.
    pub(super) fn first_of(self, names: &[&str]) -> Option<&'a Entry> {
        names.iter().find_map(|name| self.get(name))
    }

    /// The value of a key.
    pub(super) fn node(self, name: &str) -> Option<&'a Node> {
        self.get(name).map(|entry| &entry.node)
    }

    /// The text of a key.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        self.node(name).and_then(text)
    }

    /// The truth value of a key.
    pub(super) fn flag(self, name: &str) -> Option<bool> {
        self.text(name).and_then(is_bool)
    }

    /// The values of a key that takes one or more.
    pub(super) fn many(self, name: &str) -> &'a [Node] {
        self.node(name).map_or(&[], many)
    }

    /// What `read` makes of each value of a key that takes one or more.
    pub(super) fn each<T>(self, name: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        self.many(name).iter().filter_map(text).filter_map(read).collect()
    }
}

/// The text of a scalar.
pub(super) fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => Some(text),
        _ => None,
    }
}

/// A list's items, or the one value that stands for a list of one.
pub(super) fn many(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Scalar { .. } | Value::Map(_) => std::slice::from_ref(node),
    }
}
