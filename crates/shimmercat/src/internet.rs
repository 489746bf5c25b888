//! `shimmercat internet`: puts the pieces of a run together and hands them to the mode. Also the worker's side of it.

use std::rc::Rc;
use std::time::SystemTime;

use sc_config::{Diagnostic, Found, Settings};
use sc_internet::{RunError, Signal, Start, WorkerStart};

use crate::args::Internet;
use crate::report::{Kind, Report, is_coloured};
use crate::runtime::in_runtime;
use crate::settings::{self, Flags};
use crate::signals::{self, Heard, Signals};
use crate::teller::Teller;

/// Threads of a worker for file reads that are not in the page cache and for name look-ups.
pub(crate) const BLOCKING_THREADS: usize = 4;

/// Runs the master until it is told to stop.
pub(crate) fn run(args: &Internet) -> Result<(), Report> {
    let flags = Flags::of_internet(args)?;
    let found = settings::found(&args.place)?;
    if found.path.is_none() {
        // Guesses are for whoever builds a site; nobody wants them on the Internet.
        let message = format!("there is no devlove.yaml in `{}`", found.folder.display());
        return Err(
            Report::new(Kind::Configuration, message).hint("`shimmercat init` writes one; -C DIR looks elsewhere")
        );
    }
    let coloured = is_coloured(&std::io::stderr());
    let (settings, warnings) =
        settings::read(&found, &flags).map_err(|mistakes| Report::mistaken(&mistakes, coloured))?;
    Report::warn(&sc_config::render_all(&warnings, coloured));
    let places = settings::places(&found.folder, &args.place)?;
    let log_codes = settings::log_codes(settings.log_codes.as_deref())?;
    let voice = Rc::new(Teller::new(settings.log_format));
    let start = Start {
        settings,
        places,
        log_codes,
        voice: voice.clone(),
        reread: reread(found.clone(), flags),
        found,
        version: env!("CARGO_PKG_VERSION"),
        clock: SystemTime::now,
        seed: settings::random()?,
        environment: std::env::vars_os().collect(),
    };
    let done = in_runtime(BLOCKING_THREADS, async {
        let mut signals = Signals::listen().map_err(signals::failed)?;
        let next = async || match signals.next().await {
            Heard::Stop => Signal::Stop,
            Heard::Reload => Signal::Reload,
        };
        let lived = Box::pin(sc_internet::run(start, next)).await;
        lived.map_err(|error| refused(&error, coloured))
    });
    voice.finish();
    done
}

/// Runs a worker's process.
pub(crate) fn work() -> Result<(), Report> {
    // By its short name, too, a worker is to be known: `top` and `pgrep` would show how it was executed, as `exe`. Where
    // that cannot be set, nothing else is missing.
    let _ = std::fs::write("/proc/self/comm", "shimmercat");
    in_runtime(BLOCKING_THREADS, async {
        // Its master is told to stop, not it; only a worker without a master listens to this.
        let mut signals = Signals::listen().map_err(signals::failed)?;
        let start = WorkerStart {
            clock: SystemTime::now,
            last_resort: Rc::new(Report::say),
        };
        let asked_to_stop = async || while signals.next().await != Heard::Stop {};
        let lived = sc_internet::work(start, asked_to_stop).await;
        lived.map_err(|error| Report::new(Kind::Failed, "a worker ended").caused_by(&error))
    })
}

fn refused(error: &RunError, coloured: bool) -> Report {
    if let RunError::Mistakes(mistakes) = error {
        return Report::mistaken(mistakes, coloured);
    }
    Report::refused(error, (error.is_taken(), error.is_configuration()), error.hint())
}

fn reread(found: Found, flags: Flags) -> Box<dyn Fn() -> Result<Settings, Vec<Diagnostic>>> {
    Box::new(move || settings::read(&found, &flags).map(|(settings, _)| settings))
}
