//! From the tree of a file to settings, with every mistake reported at once.
//!
//! Two looks: [`shape`] compares each value with the table of keys; [`build`] and [`domain`] put values together and
//! report what they mean together. The file system is only asked whether folders and files are there, through a
//! function, so that tests and fuzzing need none.
mod balance;
mod build;
mod domain;
mod fields;
mod scalar;
mod shape;

use std::path::Path;
use std::sync::Arc;

use self::fields::Fields;
use crate::diagnostic::{Diagnostic, Severity};
use crate::keys;
use crate::names;
use crate::settings::Settings;
use crate::source::{Place, Source};
use crate::tree::{Entry, Node, Value};

/// What stands at a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    Nothing,
    File,
    Folder,
}

/// Asks what stands at an absolute path.
pub(crate) type Look<'a> = &'a dyn Fn(&Path) -> Standing;

/// What a file was found to say.
pub(crate) struct Checked {
    pub(crate) settings: Settings,
    /// Where the key of each of its domains stands, in their order.
    pub(crate) domain_places: Vec<Place>,
}

/// Checks the whole tree and makes settings of it.
///
/// Shape: `folder` is absolute, and relative paths of the file start there; diagnostics are added to `found`. `None`
/// exactly when `found` holds an error.
pub(crate) fn settings(
    root: Option<&Node>,
    source: &Arc<Source>,
    folder: &Path,
    look: Look<'_>,
    found: &mut Vec<Diagnostic>,
) -> Option<Checked> {
    let built = match root {
        Some(node) if matches!(node.value, Value::Map(_)) => devlove_file(node, folder, look, found),
        other => {
            found.push(not_a_devlove_file(other, source));
            None
        }
    };
    let usable = found.iter().all(|diagnostic| diagnostic.severity != Severity::Error);
    built.filter(|_| usable)
}

/// Whether a text is what a kind of scalar asks for.
#[cfg(test)]
pub(crate) fn fits(kind: keys::Scalar, text: &str) -> bool {
    scalar::check(kind, text).is_ok()
}

const TOP_KEY: &str = "shimmercat-devlove";

fn devlove_file(node: &Node, folder: &Path, look: Look<'_>, found: &mut Vec<Diagnostic>) -> Option<Checked> {
    let fields = Fields::of(node);
    let Some(top) = fields.get(TOP_KEY) else {
        found.push(no_top_key(node, fields.all()));
        return None;
    };
    let spot = shape::Spot {
        key: "the file",
        place: &node.place,
        example: "",
        in_list: false,
    };
    shape::check(node, &keys::Shape::Table(&keys::FILE), spot, found);
    let mut domain_places = Vec::new();
    let mut builder = build::Builder {
        folder,
        look,
        found,
        domain_places: &mut domain_places,
    };
    let settings = builder.top(top);
    Some(Checked {
        settings,
        domain_places,
    })
}

fn no_top_key(root: &Node, entries: &[Entry]) -> Diagnostic {
    let place = entries.first().map_or(&root.place, |entry| &entry.place);
    let error = Diagnostic::error(format!("the key `{TOP_KEY}` is missing")).at(place.clone());
    match entries
        .iter()
        .find(|entry| names::nearest(&entry.key, [TOP_KEY]).is_some())
    {
        Some(near) => error.at(near.place.clone()).hint(format!("did you mean `{TOP_KEY}`?")),
        None => error.hint(format!("begin with `{TOP_KEY}:`, and indent everything else below it")),
    }
}

fn not_a_devlove_file(root: Option<&Node>, source: &Arc<Source>) -> Diagnostic {
    let start = || Place {
        source: Arc::clone(source),
        line: 1,
        column: 1,
        length: 1,
    };
    let message = if root.is_some() {
        "the file must be a mapping"
    } else {
        "the file is empty"
    };
    Diagnostic::error(message)
        .at(root.map_or_else(start, |node| node.place.clone()))
        .hint(format!(
            "begin with `{TOP_KEY}:`; `shimmercat init` writes a first file"
        ))
}
