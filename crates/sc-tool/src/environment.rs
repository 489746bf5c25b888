//! The variables that make other programs use the little network: its proxy and its trust.
//!
//! The proxy is given as an HTTP proxy everywhere, also in `ALL_PROXY`: the port speaks both dialects, every program
//! that reads these variables can do HTTP `CONNECT`, and several fail on `socks5h://` alone (Python's httpx without an
//! extra package, Node). Loopback stays direct. Where a program takes one file of roots instead of one more root, the
//! file is the system's roots and ours, in the project's state folder. Old versions of Node read no proxy variables:
//! for them `NODE_OPTIONS` loads a small script from the same folder.
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use sc_config::places::private_folder;

use crate::ca::CaFile;
use crate::files;
use crate::profile::cannot;
use crate::report::Report;
use crate::surroundings::Surroundings;
use crate::target::Target;

/// Where systems keep their roots as one file: Debian, Fedora, openSUSE, Alpine and macOS, FreeBSD.
const SYSTEM_ROOTS: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// What stays direct.
const DIRECT: &str = "localhost,127.0.0.1,::1";

/// Variables that take the proxy, each also in lower case. Source: curl(1), the manuals of Go, Python, Node.
const PROXY_NAMES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// Variables that take a file of all roots.
const BUNDLE_NAMES: [&str; 8] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

/// Variables that take one more root.
const EXTRA_NAMES: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// What the script for old versions of Node is called, and what it says.
const NODE_FILE: &str = "node-proxy.cjs";
const NODE_SCRIPT: &str = include_str!("node_proxy.cjs");

/// Variables and their values, in a fixed order.
pub(crate) type Variables = Vec<(String, OsString)>;

/// Works out the variables, and writes the files they point to into the project's state folder.
///
/// Errors: no CA, or the state folder cannot be written.
pub(crate) fn variables(target: &Target, around: &Surroundings) -> Result<Variables, Report> {
    let ca = target.home.ca()?;
    let state = &target.home.places.state;
    private_folder(state).map_err(|error| Report::of(&error))?;
    let write = |path: &Path, text: &str| files::write(path, text).map_err(|error| cannot("write", path, &error));
    let bundle = state.join("ca-bundle.pem");
    write(
        &bundle,
        &bundle_text(&ca, around.ssl_cert_file.as_deref().filter(|file| *file != bundle)),
    )?;
    let script = state.join(NODE_FILE);
    write(&script, NODE_SCRIPT)?;

    let mut variables = Variables::new();
    let proxy = format!("http://{}", target.proxy);
    for name in PROXY_NAMES {
        variables.push((name.to_owned(), proxy.clone().into()));
        variables.push((name.to_ascii_lowercase(), proxy.clone().into()));
    }
    for name in ["NO_PROXY", "no_proxy"] {
        variables.push((name.to_owned(), DIRECT.into()));
    }
    variables.extend(BUNDLE_NAMES.map(|name| (name.to_owned(), bundle.clone().into())));
    variables.extend(EXTRA_NAMES.map(|name| (name.to_owned(), ca.path.clone().into())));
    variables.push(("NODE_USE_ENV_PROXY".to_owned(), "1".into()));
    variables.push((
        "NODE_OPTIONS".to_owned(),
        node_options(&script, around.node_options.as_deref()).into(),
    ));
    Ok(variables)
}

/// The roots that were used before, and ours after them.
fn bundle_text(ca: &CaFile, own: Option<&Path>) -> String {
    let files = own
        .map(Path::to_owned)
        .into_iter()
        .chain(SYSTEM_ROOTS.map(PathBuf::from));
    let mut text = files
        .filter_map(|file| fs::read_to_string(file).ok())
        .next()
        .unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text + &ca.pem
}

/// What was set before and the script, quoted as Node wants it when there is a blank in its path.
fn node_options(script: &Path, before: Option<&str>) -> String {
    let script = script.display().to_string();
    let script = if script.contains([' ', '"', '\\']) {
        format!("\"{}\"", script.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        script
    };
    let ours = format!("--require={script}");
    match before {
        Some(before) if before.contains(&ours) => before.to_owned(),
        Some(before) => format!("{before} {ours}"),
        None => ours,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::node_options;

    #[test]
    fn options_of_node_are_kept_and_ours_is_added_once() {
        let script = Path::new("/a b/x.cjs");
        let once = node_options(script, Some("--max-old-space-size=99"));
        assert_eq!(once, "--max-old-space-size=99 --require=\"/a b/x.cjs\"");
        assert_eq!(node_options(script, Some(&once)), once);
        assert_eq!(node_options(Path::new("/x.cjs"), None), "--require=/x.cjs");
    }
}
