//! The TCP ports that the project's file gives a name.
use sc_config::{Found, Kind};

use crate::report::{Exit, Report};
use crate::target::Home;

/// Ports of this very name under `tcp:`, in the order of the file; none when the name is not in it.
///
/// Errors: the file has mistakes.
pub(crate) fn of(home: &Home, name: &str) -> Result<Vec<u16>, Report> {
    let found = match home.instance.as_ref().and_then(|instance| instance.config.as_deref()) {
        Some(path) => Found::file(path),
        None => sc_config::discover(&home.places.folder, None),
    };
    let loaded = sc_config::load(&found).map_err(|mistakes| {
        let file = found.shown.display();
        Report::failed(format!("`{file}` has mistakes ({} of them)", mistakes.len()))
            .with_exit(Exit::Config)
            .hint("`shimmercat check` shows them")
    })?;
    let domain = loaded
        .settings
        .domains
        .iter()
        .find(|domain| domain.name.to_string() == name);
    Ok(match domain.map(|domain| &domain.kind) {
        Some(Kind::Network { tcp, .. }) => tcp.iter().map(|(port, _)| *port).collect(),
        _ => Vec::new(),
    })
}
