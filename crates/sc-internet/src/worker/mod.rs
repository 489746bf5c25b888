//! A worker's life: it is told who it is, tests itself, says that it is ready, accepts when it is told, drains, ends.
//!
//! It binds nothing and decides nothing about its life; the master does (`crate::supervisor`). It shares nothing with other
//! workers but the sockets of its lane and the keys of session tickets. When its master is gone for good it serves on for
//! a while, drains and ends by itself.

mod diary;
mod engine;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use sc_net::channel::{Channel, Message};
use sc_net::counters::Counters;
use sc_net::document;
use sc_net::listen::Listener;
use sc_server::Kind;
use sc_server::metrics::Metric;
use sc_tls::{Credentials, tickets};
use tokio::sync::watch;
use tokio::time::Instant;

use self::engine::Engine;
use crate::messages::{DOCUMENT_BYTES, Document, Outcast, ToMaster, ToWorker, reason};
use crate::sockets::Role;

/// How long a worker without a master serves on: a service manager starts another in the meantime.
const ORPHAN_TIME: Duration = Duration::from_secs(60);

/// How long the last log lines may take to leave.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How often a worker looks after itself and shows that its loop turns.
const BEAT: Duration = Duration::from_millis(100);

/// Shared cells of a worker: one for each metric, then two of its own.
pub(crate) const CELLS: usize = Metric::COUNT + 2;

/// The cell that counts beats.
pub(crate) const HEARTBEAT: usize = Metric::COUNT;

/// The cell with the number of its latest log line.
pub(crate) const LAST_LINE: usize = Metric::COUNT + 1;

/// What a worker begins with.
pub struct Start {
    /// What time it is.
    pub clock: fn() -> SystemTime,
    /// Where log lines go when there is neither a bus nor a master.
    pub last_resort: Rc<dyn Fn(&str)>,
}

/// Why a worker ended otherwise than it should.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It was started by somebody else than a master.
    #[error("a worker is started by `shimmercat internet` only")]
    NoMaster(#[source] io::Error),
    /// The master said something that cannot be.
    #[error("the master was not understood: {0}")]
    Master(String),
    /// It cannot serve.
    #[error("this worker cannot serve: {0}")]
    Unfit(String),
}

/// Lives a worker's life.
///
/// Shape: `asked_to_stop` is asked again and again, and must lose nothing when dropped in between; it only counts once
/// the master is gone.
/// Errors: [`WorkerError`]; the master was told too.
pub async fn run(start: Start, asked_to_stop: impl AsyncFnMut()) -> Result<(), WorkerError> {
    let channel = Rc::new(Channel::from_stdin().map_err(WorkerError::NoMaster)?);
    // Before there is another thread, and before anything that comes from outside is looked at.
    let confined = confine();
    let first = channel.receive().await.map_err(WorkerError::NoMaster)?;
    let Some(Message { bytes, fds }) = first else {
        return Ok(());
    };
    let begun = match begin(&start, &channel, &bytes, fds) {
        Ok((engine, sockets)) => engine.test_itself().await.map(|()| (engine, sockets)),
        Err(why) => Err(why),
    };
    let (engine, sockets) = match begun {
        Ok(begun) => begun,
        Err(why) => {
            // A master that is gone need not be told.
            let _ = tell(
                &channel,
                &ToMaster::Failed {
                    why: reason(why.clone()),
                },
            )
            .await;
            return Err(WorkerError::Unfit(why));
        }
    };
    let _ = tell(&channel, &ToMaster::Ready { confined }).await;
    let mut life = Life {
        channel,
        engine: Rc::new(engine),
        sockets,
        deadline: watch::Sender::new(None),
        is_orphan: false,
    };
    life.live(asked_to_stop).await
}

/// Gives up what a worker never needs; the names of what holds.
fn confine() -> Vec<String> {
    let words = sc_net::confine::confine().words();
    words.into_iter().map(str::to_owned).collect()
}

/// Makes the engine of what the master said first.
fn begin(
    start: &Start,
    channel: &Rc<Channel>,
    bytes: &[u8],
    fds: Vec<OwnedFd>,
) -> Result<(Engine, Vec<(Role, OwnedFd)>), String> {
    let said = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let ToWorker::Start {
        worker,
        lane,
        generation,
        sockets,
    } = said
    else {
        return Err("the first message is no start".to_owned());
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or("a descriptor is missing");
    let document = read_document(&next()?)?;
    let credentials = read_credentials(&next()?)?;
    let tickets = read_root(&next()?)?;
    let counters = Counters::open(next()?, CELLS).map_err(|error| error.to_string())?;
    let sockets = sockets
        .into_iter()
        .map(|role| Ok((role, next()?)))
        .collect::<Result<_, &str>>()?;
    let parts = engine::Parts {
        worker,
        lane,
        generation,
        document,
        credentials,
        tickets,
        counters,
    };
    Ok((Engine::new(start, channel.clone(), parts)?, sockets))
}

fn read(fd: &OwnedFd) -> Result<Vec<u8>, String> {
    document::read(fd, DOCUMENT_BYTES).map_err(|error| error.to_string())
}

fn read_document(fd: &OwnedFd) -> Result<Document, String> {
    serde_json::from_slice(&read(fd)?).map_err(|error| error.to_string())
}

fn read_credentials(fd: &OwnedFd) -> Result<Credentials, String> {
    Credentials::from_document(&read(fd)?).map_err(|error| sc_server::chain(&error))
}

fn read_root(fd: &OwnedFd) -> Result<tickets::Root, String> {
    tickets::Root::from_document(&read(fd)?).map_err(|error| sc_server::chain(&error))
}

async fn tell(channel: &Channel, message: &ToMaster) -> io::Result<()> {
    channel.send(&serde_json::to_vec(message)?, &[]).await
}

/// A worker that serves, or is about to.
struct Life {
    channel: Rc<Channel>,
    engine: Rc<Engine>,
    sockets: Vec<(Role, OwnedFd)>,
    /// Until when everything must have ended; `None` until it drains.
    deadline: watch::Sender<Option<Instant>>,
    is_orphan: bool,
}

impl Life {
    async fn live(&mut self, mut asked_to_stop: impl AsyncFnMut()) -> Result<(), WorkerError> {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let engine = self.engine.clone();
        let deadline = self.deadline.subscribe();
        let mut drained = std::pin::pin!(engine.drained(deadline));
        let mut alone_since = None;
        loop {
            tokio::select! {
                forced = &mut drained => return self.end(forced).await,
                said = self.channel.receive(), if !self.is_orphan => match said {
                    Ok(Some(message)) => self.obey(message).await?,
                    // There were no descriptors left for what came with a message. It is lost; its master is not.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => self.engine.told_incomplete(&error),
                    // Whether the master ended or broke its own rules: it is a master no more.
                    Ok(None) | Err(_) => {
                        self.is_orphan = true;
                        alone_since = Some(Instant::now());
                        self.engine.told_alone();
                    }
                },
                () = asked_to_stop(), if self.is_orphan => {
                    // As with a master: whoever asks twice does not want to wait for those who idle.
                    if self.deadline.borrow().is_some() {
                        self.engine.hurry();
                    }
                    self.drain(self.engine.drain_time());
                }
                _ = beat.tick() => {
                    self.engine.beat();
                    if let Some(outcasts) = self.engine.news_of_applications() {
                        self.tell_of_applications(outcasts);
                    }
                    if alone_since.is_some_and(|since: Instant| since.elapsed() >= ORPHAN_TIME) {
                        alone_since = None;
                        self.drain(self.engine.drain_time());
                    }
                }
            }
        }
    }

    /// Tells the master, or tries again with the next beat; a master that is gone need not be told.
    fn tell_of_applications(&self, outcasts: Vec<Outcast>) {
        let told = serde_json::to_vec(&ToMaster::Outcasts(outcasts)).map(|bytes| self.channel.try_send(&bytes, &[]));
        if let Ok(Err(error)) = told
            && error.kind() == io::ErrorKind::WouldBlock
        {
            self.engine.tell_of_applications_again();
        }
    }

    async fn obey(&mut self, message: Message) -> Result<(), WorkerError> {
        let said = serde_json::from_slice(&message.bytes);
        let mut fds = message.fds.into_iter();
        let mut next = || fds.next().ok_or_else(|| "a descriptor is missing".to_owned());
        let obeyed = match said.map_err(|error| WorkerError::Master(error.to_string()))? {
            ToWorker::Start { .. } => Err("it was started twice".to_owned()),
            ToWorker::Activate => {
                let activated = self.activate();
                // Only a worker that does accept may have the one before it drain.
                let said = match &activated {
                    Ok(()) => ToMaster::Accepting,
                    Err(why) => ToMaster::Failed {
                        why: reason(why.clone()),
                    },
                };
                // A master that is gone need not be told.
                let _ = tell(&self.channel, &said).await;
                activated
            }
            ToWorker::Configure { attempt } => {
                let document = next().and_then(|fd| read_document(&fd));
                let refused = document.and_then(|document| self.engine.configure(document)).err();
                // A master that is gone need not be told.
                let _ = tell(
                    &self.channel,
                    &ToMaster::Configured {
                        attempt,
                        refused: refused.map(reason),
                    },
                )
                .await;
                Ok(())
            }
            ToWorker::Certify => {
                let credentials = next().and_then(|fd| read_credentials(&fd));
                credentials.map(|credentials| self.engine.certify(credentials))
            }
            ToWorker::Tickets => {
                let root = next().and_then(|fd| read_root(&fd));
                root.map(|root| self.engine.adopt(root))
            }
            ToWorker::Drain { within } => {
                self.drain(within);
                Ok(())
            }
            ToWorker::Hurry => {
                self.engine.hurry();
                Ok(())
            }
        };
        obeyed.map_err(WorkerError::Master)
    }

    fn activate(&mut self) -> Result<(), String> {
        for (role, socket) in self.sockets.drain(..) {
            let kind = match role {
                Role::Https => Kind::Tls,
                Role::Socks => Kind::Proxy,
                Role::Redirect => Kind::Redirect,
            };
            let listener = Listener::from_owned(socket).map_err(|error| sc_server::chain(&error))?;
            self.engine.listen(listener, kind);
        }
        Ok(())
    }

    /// Begins to end, or has the end come sooner.
    fn drain(&mut self, within: Duration) {
        // A worker that was never active gives its sockets back right now.
        self.sockets.clear();
        self.engine.drain();
        let wanted = Instant::now() + within;
        self.deadline
            .send_modify(|deadline| *deadline = Some(deadline.map_or(wanted, |former| former.min(wanted))));
    }

    async fn end(&self, forced: u64) -> Result<(), WorkerError> {
        self.engine.beat();
        self.engine.last_lines(LAST_LINES).await;
        // A master that is gone need not be told.
        let _ = tell(&self.channel, &ToMaster::Drained { forced }).await;
        Ok(())
    }
}
