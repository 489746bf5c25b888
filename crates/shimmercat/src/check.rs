//! `shimmercat check`: every mistake of the file at once, nothing bound. With `--as` also what a mode would say to it.

use std::time::SystemTime;

use sc_config::{Diagnostic, Found, Loaded};
use sc_internet::Project;

use crate::args::{Check, Mode};
use crate::output;
use crate::report::{Report, is_coloured};
use crate::settings;

/// Reads the file and reports.
pub(crate) fn run(args: &Check) -> Result<(), Report> {
    let found = settings::found(&args.place)?;
    let coloured = is_coloured(&std::io::stderr());
    let loaded = settings::load(&found).map_err(|mistakes| Report::mistaken(&mistakes, coloured))?;
    let findings = findings(args, &found, &loaded)?;
    if !findings.is_empty() {
        return Err(Report::found(&findings, coloured));
    }
    Report::warn(&sc_config::render_all(&loaded.warnings, coloured));
    output::data(&good(args, &found, &loaded))
}

/// What a mode would refuse or do otherwise; nothing when no mode was asked for.
fn findings(args: &Check, found: &Found, loaded: &Loaded) -> Result<Vec<Diagnostic>, Report> {
    let Some(mode) = args.mode else {
        return Ok(Vec::new());
    };
    let mut findings = loaded.warnings.clone();
    if mode == Mode::Internet {
        let project = Project {
            settings: &loaded.settings,
            places: &settings::places(&found.folder, &args.place)?,
            sources: &loaded.sources,
            domain_places: &loaded.domain_places,
            now: SystemTime::now(),
        };
        findings.extend(sc_internet::findings(&project));
    }
    Ok(findings)
}

fn good(args: &Check, found: &Found, loaded: &Loaded) -> String {
    if found.path.is_none() {
        return "no devlove.yaml here; `shimmercat init` writes one".to_owned();
    }
    let count = loaded.settings.domains.len();
    let domains = if count == 1 { "domain" } else { "domains" };
    let ready = match args.mode {
        None => "",
        Some(Mode::Devlove) => ", ready for `devlove`",
        Some(Mode::Internet) => ", ready for `internet`",
    };
    format!("{}: {count} {domains}, no mistakes{ready}", found.shown.display())
}
