//! `shimmercat check`: every mistake of the file at once, nothing bound.

use crate::args::Check;
use crate::output;
use crate::report::{Report, is_coloured};
use crate::settings;

/// Reads the file and reports.
pub(crate) fn run(args: &Check) -> Result<(), Report> {
    let found = settings::found(&args.place)?;
    let coloured = is_coloured(&std::io::stderr());
    match settings::load(&found) {
        Ok(loaded) => {
            Report::warn(&sc_config::render_all(&loaded.warnings, coloured));
            let count = loaded.settings.domains.len();
            let domains = if count == 1 { "domain" } else { "domains" };
            match &found.path {
                Some(_) => output::data(&format!("{}: {count} {domains}, no mistakes", found.shown.display())),
                None => output::data("no devlove.yaml here; `shimmercat init` writes one"),
            }
        }
        Err(mistakes) => Err(Report::mistakes(
            mistakes.iter().map(|d| sc_config::render(d, coloured)).collect(),
        )),
    }
}
