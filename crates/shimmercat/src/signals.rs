//! Signals of the system, handed to the modes as events.

use tokio::signal::unix::{self, SignalKind, signal};

use crate::report::{Kind, Report};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// Stop, letting open exchanges finish.
    Stop,
    /// Read the file again.
    Reload,
}

/// SIGINT and SIGTERM stop, SIGHUP reloads.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// Errors: the system's, when handlers cannot be set up.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    ///
    /// Cancel: nothing is lost.
    pub(crate) async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.interrupt.recv() => Heard::Stop,
            _ = self.terminate.recv() => Heard::Stop,
            _ = self.hangup.recv() => Heard::Reload,
        }
    }
}

/// What is told when signals cannot be heard.
pub(crate) fn failed(error: std::io::Error) -> Report {
    Report::new(Kind::Failed, "cannot listen to signals").caused_by(&error)
}
