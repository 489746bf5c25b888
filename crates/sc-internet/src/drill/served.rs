//! The second instance's own side: a master like any other, whose settings and orders come from the drill.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use sc_config::{Found, Settings};
use sc_net::channel::Channel;
use sc_net::document;
use sc_server::log_codes::LogCodes;

use super::instance::{self, READY};
use crate::master::{self, RunError, Signal, Start};
use crate::messages::DOCUMENT_BYTES;
use crate::voice::Voice;

/// Field that every answer gets, with another value after each reload: so every reload changes something.
const MARK: &str = "Shimmercat-Drill";

/// What the instance begins with.
pub struct Served {
    /// Version of the program.
    pub version: &'static str,
    /// What time it is.
    pub clock: fn() -> SystemTime,
    /// Random bits that no other run has.
    pub seed: u64,
    /// The environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// Says an error to the drill.
    pub say: Rc<dyn Fn(&str)>,
}

/// Why it could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServedError {
    /// The drill did not say what to serve: this command is for the program itself.
    #[error("nobody says what to serve")]
    Order(#[source] io::Error),
    /// The places cannot be used.
    #[error("the folder of the drill cannot be used")]
    Places(#[from] sc_config::PlacesError),
    /// The master could not begin, or gave up.
    #[error("the instance cannot serve")]
    Run(#[source] RunError),
}

/// Serves what the drill hands over on standard input, until it says stop or is gone.
///
/// Errors: as [`ServedError`] says; the drill reads them on stderr.
pub async fn serve(served: Served) -> Result<(), ServedError> {
    let channel = Rc::new(Channel::from_stdin().map_err(ServedError::Order)?);
    let (folder, settings) = order(&channel).await.map_err(ServedError::Order)?;
    let _gone_with_us = Leftovers(folder.clone());
    let places = instance::places(&folder)?;
    let found = sc_config::discover(&instance::project(&folder), Some(Path::new(".")));
    let start = Start {
        reread: reread(settings.clone()),
        settings,
        found: Found { path: None, ..found },
        places,
        log_codes: LogCodes::default(),
        voice: Rc::new(Quiet {
            channel: channel.clone(),
            say: served.say,
        }),
        version: served.version,
        clock: served.clock,
        seed: served.seed,
        environment: served.environment,
    };
    let told = Cell::new(0);
    let next = async || match told.replace(told.get() + 1) {
        // Whatever comes next, also the end of the drill, means stop.
        0 => {
            told.set(0);
            let _ = channel.receive().await;
            told.set(1);
            Signal::Stop
        }
        1 => Signal::Stop,
        _ => std::future::pending().await,
    };
    Box::pin(master::run(start, next)).await.map_err(ServedError::Run)
}

/// What the drill said: where its folder is, and the settings.
async fn order(channel: &Channel) -> io::Result<(PathBuf, Settings)> {
    let message = channel.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let settings = message.fds.first().ok_or(io::ErrorKind::InvalidData)?;
    let settings = serde_json::from_slice(&document::read(settings, DOCUMENT_BYTES)?)?;
    Ok((OsStr::from_bytes(&message.bytes).into(), settings))
}

/// Settings that are the same and yet others.
fn reread(settings: Settings) -> Box<dyn Fn() -> master::Reread> {
    let count = Cell::new(0_u64);
    Box::new(move || {
        count.set(count.get() + 1);
        let mut settings = settings.clone();
        for domain in &mut settings.domains {
            domain.headers.push((MARK.to_owned(), count.get().to_string()));
        }
        Ok(settings)
    })
}

/// Tells the drill when all serve, and errors; the rest is told to nobody.
struct Quiet {
    channel: Rc<Channel>,
    say: Rc<dyn Fn(&str)>,
}

impl Voice for Quiet {
    fn ready(&self, _block: &[String]) {
        // A drill that is gone is noticed elsewhere.
        let _ = self.channel.try_send(READY, &[]);
    }

    fn line(&self, json: &str) {
        if json.contains("\"severity\":\"error\"") {
            (self.say)(json);
        }
    }

    fn go_on(&self) {}

    fn farewell(&self, _words: &[String]) {}
}

/// The drill's folder, for when the drill itself was killed.
struct Leftovers(PathBuf);

impl Drop for Leftovers {
    fn drop(&mut self) {
        instance::remove(&self.0);
    }
}
