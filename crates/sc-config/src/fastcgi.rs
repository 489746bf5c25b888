//! Settings of an application that speaks FastCGI: which files are its programs, and what it is told beside the request.
//!
//! What a request leads to is decided in sc-site; here are only the values.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::wire;

/// The settings of `application-protocol: fastcgi`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FastCgi {
    /// Extensions of programs, without dot, in lower case. Never empty.
    pub script_extensions: Vec<String>,
    /// The program that answers for what is no file, as a path below the root folder; `None` when there is none.
    pub front_controller: Option<String>,
    /// Where the application sees the root folder, when that is somewhere else than where we see it.
    #[serde(with = "wire::path::option")]
    pub document_root: Option<PathBuf>,
    /// Whether connections are kept for another request.
    pub keep_connection: bool,
    /// Variables that are added to every request, in the order of the file.
    pub variables: Vec<(String, String)>,
}

impl Default for FastCgi {
    /// PHP with one program for everything, one connection for each request.
    fn default() -> Self {
        Self {
            script_extensions: vec!["php".to_owned()],
            front_controller: Some("/index.php".to_owned()),
            document_root: None,
            keep_connection: false,
            variables: Vec::new(),
        }
    }
}

/// Names of index files of a site with such an application, when `index` is not given.
pub(crate) fn default_index() -> Vec<String> {
    vec!["index.php".to_owned(), "index.html".to_owned()]
}
