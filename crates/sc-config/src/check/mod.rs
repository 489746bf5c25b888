//! From the tree of a file to settings, with every mistake reported at once.
//!
//! Two looks: [`shape`] compares each value with the table of keys; [`build`] and [`domain`] put values together and
//! report what they mean together. The file system is only asked whether folders and files are there, through a
//! function, so that tests and fuzzing need none.
mod build;
mod domain;
mod fields;
mod scalar;
mod shape;

use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity};
use crate::keys;
use crate::settings::Settings;
use crate::source::{Place, Source};
use crate::tree::{Node, Value};

/// What stands at a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    Nothing,
    File,
    Folder,
}

/// Asks what stands at an absolute path.
pub(crate) type Look<'a> = &'a dyn Fn(&Path) -> Standing;

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
) -> Option<Settings> {
    let built = match root {
        Some(
            node @ Node {
                value: Value::Map(entries),
                ..
            },
        ) => {
            let spot = shape::Spot {
                key: "the file",
                place: &node.place,
            };
            shape::check(node, &keys::Shape::Table(&keys::FILE), spot, found);
            let top = entries.iter().find(|entry| entry.key == "shimmercat-devlove");
            top.map(|entry| build::Builder { folder, look, found }.top(entry))
        }
        other => {
            found.push(not_a_devlove_file(other, source));
            None
        }
    };
    let usable = found.iter().all(|diagnostic| diagnostic.severity != Severity::Error);
    built.filter(|_| usable)
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
        .hint("begin with `shimmercat-devlove:`; `shimmercat init` writes a first file")
}
