//! The clients: a quiet round that learns what is right, and then many that ask again and again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use sc_http::client::{H1, H2};
use sc_net::tasks::Tasks;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::account::{Account, Loss, Protocol, Try, Verdict};
use super::client::{Dialler, Failure, Line, PATIENCE, Secure, Seen};
use super::plan::Deed;
use super::targets::{Site, Target};
use crate::supervisor::random::Random;

/// Clients of each protocol, and the streams of one that speaks HTTP/2. They must meet every hand-over, not make the machine
/// busy.
const KEPT_ALIVE: u64 = 4;
const SINGLE: u64 = 4;
const HTTP2: u64 = 2;
const STREAMS: u64 = 6;

/// Longest pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(12);

/// Most requests of a client on one connection.
const SESSION: u64 = 30;

/// A request is sent so often when each of its connections is closed before an answer.
const TRIES: usize = 3;

/// The quiet round asks so often before it believes that something cannot be had.
const QUIET_TRIES: usize = 3;

/// What all clients share.
pub(super) struct World {
    pub(super) dialler: Dialler,
    pub(super) account: RefCell<Account>,
    sites: Vec<Known>,
    began: Instant,
    /// The latest disturbance.
    latest: RefCell<Option<(Deed, Instant)>>,
    over: CancellationToken,
}

/// A site and what the quiet round got for each of its targets.
pub(super) struct Known {
    site: Site,
    expected: Vec<Seen>,
}

/// Asks for everything once; what fails is left out.
///
/// Shape: what is left out is told in words.
pub(super) async fn quiet_round(dialler: &Dialler, sites: Vec<Site>) -> (Vec<Known>, Vec<String>) {
    let (mut known, mut left_out) = (Vec::new(), Vec::new());
    for mut site in sites {
        let (mut targets, mut expected) = (Vec::new(), Vec::new());
        for target in std::mem::take(&mut site.targets) {
            match quiet(dialler, &site, &target).await {
                Ok(seen) => {
                    targets.push(target);
                    expected.push(seen);
                }
                Err(why) => left_out.push(format!("{} {}: {why}", target.method, url(&site, &target))),
            }
        }
        site.targets = targets;
        if !site.targets.is_empty() {
            known.push(Known { site, expected });
        }
    }
    (known, left_out)
}

async fn quiet(dialler: &Dialler, site: &Site, target: &Target) -> Result<Seen, String> {
    let mut why = String::new();
    for _ in 0..QUIET_TRIES {
        let asked = timeout_at(Instant::now() + PATIENCE, async {
            let (connection, _line) = dialler.http1(site).await.map_err(|(failure, _)| failure)?;
            dialler.ask1(connection, site, target).await
        });
        match asked.await.unwrap_or_else(|_| Err(Failure::late())) {
            Ok((seen, _)) if !seen.status.is_server_error() => return Ok(seen),
            Ok((seen, _)) => why = format!("answered {} before anything was disturbed", seen.status),
            Err(failure) => why = failure.why,
        }
    }
    Err(why)
}

fn url(site: &Site, target: &Target) -> String {
    format!("https://{}{}", site.name, target.path)
}

impl World {
    pub(super) fn new(dialler: Dialler, sites: Vec<Known>) -> Self {
        World {
            dialler,
            account: RefCell::default(),
            sites,
            began: Instant::now(),
            latest: RefCell::default(),
            over: CancellationToken::new(),
        }
    }

    /// Starts the clients of a seed; each ends soon after [`World::end`].
    pub(super) fn start(self: &Rc<Self>, seed: u64, tasks: &Tasks) {
        let mut seeds = Random::new(seed ^ 0x10ad);
        for _ in 0..KEPT_ALIVE {
            tasks.spawn("drill client", kept_alive(self.clone(), Random::new(seeds.next())));
        }
        for _ in 0..SINGLE {
            tasks.spawn("drill client", single(self.clone(), Random::new(seeds.next())));
        }
        for _ in 0..HTTP2 {
            tasks.spawn("drill client", multiplexed(self.clone(), Random::new(seeds.next())));
        }
    }

    /// Lets every client end after the request that it is at.
    pub(super) fn end(&self) {
        self.over.cancel();
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Notes that something was done to the server now.
    pub(super) fn disturbed(&self, deed: Deed) {
        self.latest.replace(Some((deed, Instant::now())));
    }

    fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    fn pick(&self, random: &mut Random) -> Option<&Known> {
        let at = usize::try_from(random.below(self.sites.len() as u64)).unwrap_or(0);
        self.sites.get(at)
    }

    async fn pause(&self, random: &mut Random) {
        let pause = tokio::time::sleep(random.within(PAUSE));
        tokio::select! {
            () = pause => {}
            () = self.over.cancelled() => {}
        }
    }

    /// One request over HTTP/1.1, sent again as far as HTTP allows; the connection comes back when it can be used again.
    async fn request1(&self, protocol: Protocol, wanted: &Wanted<'_>, kept: Option<Kept>) -> Option<Kept> {
        let began = Instant::now();
        let mut kept = kept;
        for _ in 0..TRIES {
            let (mut line, is_reused) = (None, kept.is_some());
            let tried = timeout_at(began + PATIENCE, async {
                let (connection, ours) = match kept.take() {
                    Some(kept) => kept,
                    None => self.dialler.http1(wanted.site).await.map_err(|(failure, dialled)| {
                        line = dialled;
                        failure
                    })?,
                };
                line = Some(ours.clone());
                let (seen, again) = self.dialler.ask1(connection, wanted.site, wanted.target).await?;
                Ok((seen, again.map(|again| (again, ours))))
            });
            let result = tried.await.unwrap_or_else(|_| Err(Failure::late()));
            let seen = result.as_ref().map(|(seen, _)| seen);
            if self.settle(protocol, wanted, (line.as_deref(), is_reused), began, seen) {
                return result.ok().and_then(|(_, again)| again);
            }
        }
        self.send_away(protocol, wanted);
        None
    }

    /// The same over HTTP/2, on a connection that is shared with others.
    async fn request2(&self, wanted: &Wanted<'_>, shared: &Mutex<Option<(H2, Rc<Line>)>>) {
        let began = Instant::now();
        for _ in 0..TRIES {
            let mut line = None;
            let tried = timeout_at(began + PATIENCE, async {
                let (connection, ours) = {
                    let mut shared = shared.lock().await;
                    match shared.as_ref().filter(|(connection, _)| connection.is_open()) {
                        Some(open) => open.clone(),
                        None => {
                            let dialled = self.dialler.http2(wanted.site).await;
                            let dialled = dialled.map_err(|(failure, dialled)| {
                                line = dialled;
                                failure
                            })?;
                            shared.insert(dialled).clone()
                        }
                    }
                };
                line = Some(ours);
                self.dialler.ask2(&connection, wanted.site, wanted.target).await
            });
            let result = tried.await.unwrap_or_else(|_| Err(Failure::late()));
            if self.settle(Protocol::Http2, wanted, (line.as_deref(), true), began, result.as_ref()) {
                return;
            }
        }
        self.send_away(Protocol::Http2, wanted);
    }

    /// Writes down what a try came to; says whether the request is done with.
    fn settle(
        &self,
        protocol: Protocol,
        wanted: &Wanted<'_>,
        (line, is_reused): (Option<&Line>, bool),
        began: Instant,
        result: Result<&Seen, &Failure>,
    ) -> bool {
        let one = Try {
            site: wanted.site,
            target: wanted.target,
            expected: wanted.expected,
            line,
            is_reused,
            began,
        };
        let verdict = one.judge(result);
        let mut account = self.account.borrow_mut();
        match verdict {
            Verdict::Again => {
                account.reconnected += 1;
                return false;
            }
            Verdict::Whole => account.took(began.elapsed()),
            Verdict::Changed => account.changed += 1,
            Verdict::Killed => account.killed += 1,
            Verdict::Lost { why, by_application } => {
                account.lose(self.loss(protocol, wanted, line, (why, by_application)));
            }
        }
        account.count(protocol);
        true
    }

    /// A server that closes one connection after another without an answer loses the request in the end.
    fn send_away(&self, protocol: Protocol, wanted: &Wanted<'_>) {
        let why = format!("{TRIES} connections were closed without an answer");
        let mut account = self.account.borrow_mut();
        account.lose(self.loss(protocol, wanted, None, (why, false)));
        account.count(protocol);
    }

    fn loss(
        &self,
        protocol: Protocol,
        wanted: &Wanted<'_>,
        line: Option<&Line>,
        (why, by_application): (String, bool),
    ) -> Loss {
        let latest = self.latest.borrow();
        Loss {
            at: self.elapsed(),
            protocol,
            method: wanted.target.method.clone(),
            url: url(wanted.site, wanted.target),
            port: line.map(|line| line.port),
            why,
            by_application,
            after: latest.as_ref().map(|(deed, when)| (deed.to_string(), when.elapsed())),
        }
    }
}

/// A connection that can carry another request.
type Kept = (H1<Secure>, Rc<Line>);

/// One request and its right answer.
struct Wanted<'a> {
    site: &'a Site,
    target: &'a Target,
    expected: &'a Seen,
}

impl Known {
    pub(super) fn name(&self) -> &str {
        &self.site.name
    }

    pub(super) fn targets(&self) -> usize {
        self.site.targets.len()
    }

    /// What is asked for next; every third time the first target, which is the site's front page.
    fn next(&self, random: &mut Random) -> Option<Wanted<'_>> {
        let at = match random.below(3) {
            0 => 0,
            _ => usize::try_from(random.below(self.site.targets.len() as u64)).unwrap_or(0),
        };
        Some(Wanted {
            site: &self.site,
            target: self.site.targets.get(at)?,
            expected: self.expected.get(at)?,
        })
    }
}

async fn kept_alive(world: Rc<World>, mut random: Random) {
    while !world.is_over() {
        let Some(known) = world.pick(&mut random) else { return };
        let mut kept: Option<Kept> = None;
        for _ in 0..=random.below(SESSION) {
            let Some(wanted) = known.next(&mut random) else { return };
            // As a browser: what is known to be closed is not used.
            kept = kept.and_then(|(mut connection, line)| connection.is_open().then_some((connection, line)));
            kept = world.request1(Protocol::KeptAlive, &wanted, kept).await;
            world.pause(&mut random).await;
            if world.is_over() {
                return;
            }
        }
    }
}

async fn single(world: Rc<World>, mut random: Random) {
    while !world.is_over() {
        let wanted = world.pick(&mut random).and_then(|known| known.next(&mut random));
        let Some(wanted) = wanted else { return };
        drop(world.request1(Protocol::Single, &wanted, None).await);
        world.pause(&mut random).await;
    }
}

async fn multiplexed(world: Rc<World>, mut random: Random) {
    while !world.is_over() {
        let Some(known) = world.pick(&mut random) else { return };
        let shared = Mutex::new(None);
        let streams = (0..STREAMS).map(|_| stream(&world, known, &shared, Random::new(random.next())));
        join_all(streams.collect::<Vec<_>>()).await;
    }
}

async fn stream(world: &World, known: &Known, shared: &Mutex<Option<(H2, Rc<Line>)>>, mut random: Random) {
    for _ in 0..=random.below(SESSION) {
        let Some(wanted) = known.next(&mut random) else { return };
        world.request2(&wanted, shared).await;
        world.pause(&mut random).await;
        if world.is_over() {
            return;
        }
    }
}
