//! `sc-tool pac`: a proxy auto-config for the project's names. It holds no secret.
//!
//! The text itself is that of [`sc_config::pac`], the same that the server gives at its proxy port.
use std::process::ExitCode;

use crate::args::Pac;
use crate::report::Report;
use crate::screen::Screen;
use crate::surroundings::Surroundings;
use crate::target::Target;

/// Prints the script.
///
/// Errors: no instance.
pub(crate) fn print(args: &Pac, around: &Surroundings, screen: Screen) -> Result<ExitCode, Report> {
    let target = Target::find(&args.place, around)?;
    if target.names.is_empty() {
        screen.warning("no instance of this project runs, so no name goes to the proxy");
    }
    let below: Vec<String> = target
        .names
        .iter()
        .filter_map(|name| name.strip_prefix('*'))
        .map(str::to_owned)
        .collect();
    let exact: Vec<String> = target.names.into_iter().filter(|name| !name.starts_with('*')).collect();
    screen.data(&sc_config::pac::text(&target.proxy.to_string(), &exact, &below));
    Ok(ExitCode::SUCCESS)
}
