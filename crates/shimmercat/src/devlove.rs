//! `shimmercat devlove`: puts the pieces of a run together and hands them to the mode.

use std::rc::Rc;
use std::time::SystemTime;

use sc_config::{Diagnostic, Found};
use sc_devlove::{RunError, Signal, Start};

use crate::args::Devlove;
use crate::report::{Report, is_coloured};
use crate::runtime::in_runtime;
use crate::settings::{self, Flags};
use crate::signals::{self, Heard, Signals};
use crate::voice::Speaker;

/// Runs devlove until it is told to stop.
pub(crate) fn run(args: Devlove) -> Result<(), Report> {
    let flags = Flags::of(&args)?;
    let found = settings::found(&args.place)?;
    let coloured = is_coloured(&std::io::stderr());
    let (settings, warnings) =
        settings::read(&found, &flags).map_err(|mistakes| Report::mistaken(&mistakes, coloured))?;
    Report::warn(&sc_config::render_all(&warnings, coloured));
    let places = settings::places(&found.folder, &args.place)?;
    let log_codes = settings::log_codes(settings.log_codes.as_deref())?;
    let (voice, speaking) = Speaker::start(settings.log_format);
    let start = Start {
        settings,
        places,
        log_codes,
        voice: Rc::new(voice),
        reread: reread(found.clone(), flags),
        found,
        version: env!("CARGO_PKG_VERSION"),
        clock: SystemTime::now,
        marker: format!("{:016x}", settings::random()?),
    };
    let done = in_runtime(BLOCKING_THREADS, async {
        let mut signals = Signals::listen().map_err(signals::failed)?;
        let next = async || match signals.next().await {
            Heard::Stop => Signal::Stop,
            Heard::Reload => Signal::Reload,
        };
        let lived = sc_devlove::run(start, next).await;
        lived.map_err(|error| refused(&error))
    });
    speaking.finish();
    done
}

/// Threads for file reads that are not in the page cache and for name look-ups.
const BLOCKING_THREADS: usize = 16;

fn refused(error: &RunError) -> Report {
    Report::refused(error, (error.is_taken(), error.is_configuration()), error.hint())
}

fn reread(found: Found, flags: Flags) -> Box<dyn Fn() -> sc_devlove::Reread> {
    Box::new(move || {
        let render = |mistakes: Vec<Diagnostic>| mistakes.iter().map(|d| sc_config::render(d, false)).collect();
        // A run that began without a file looks whether somebody has written one since.
        let found = if found.path.is_some() {
            found.clone()
        } else {
            sc_config::discover(&found.folder, None)
        };
        settings::read(&found, &flags)
            .map(|(settings, _)| settings)
            .map_err(render)
    })
}
