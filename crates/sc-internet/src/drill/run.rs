//! A drill from its settings to its report: second instance, quiet round, load and disturbances, sum.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use sc_config::{Diagnostic, Places, Settings};
use sc_net::tasks::Tasks;
use sc_site::SiteError;
use sc_tls::{CaError, ClientConfigError};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::account::Protocol;
use super::client::{Dialler, PATIENCE};
use super::control::Desk;
use super::disturb::{Disturber, settled};
use super::instance::{Folder, Instance};
use super::load::{Known, World, quiet_round};
use super::plan::Plan;
use super::report::{Deeds, Report};
use super::{settings, targets};
use crate::master::load;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(250);

/// What a drill begins with.
pub struct Drill {
    /// The person's settings, with the command line laid over the file.
    pub settings: Settings,
    /// Where the person's project keeps things; only its certificate is read.
    pub places: Places,
    /// Where the sequences of requests and disturbances come from.
    pub seed: u64,
    /// How long the load lasts.
    pub lasts: Duration,
    /// Whether applications may be asked for `/`.
    pub with_apps: bool,
    /// The folder for temporary files.
    pub temporary: PathBuf,
    /// Random bits that no other drill has.
    pub random: u64,
    /// What time it is.
    pub clock: fn() -> SystemTime,
}

/// What is loaded.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The names of the sites.
    pub sites: Vec<String>,
    /// How many different requests there are.
    pub targets: usize,
    /// Requests that failed before anything was disturbed, and why.
    pub left_out: Vec<String>,
    /// Why a certificate had to be made.
    pub minted_because: Option<String>,
    /// Whether there is a Redis to disturb.
    pub has_redis: bool,
}

/// What is told on the way.
pub enum Told<'a> {
    /// The load begins now.
    Begins(&'a Plan, &'a Scope),
    /// It goes on.
    Goes {
        /// For so long already.
        elapsed: Duration,
        /// Requests with a verdict.
        requests: u64,
        /// Those that were lost.
        lost: u64,
        /// What was done to the server.
        deeds: &'a Deeds,
    },
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// Internet mode would refuse the settings.
    #[error("the configuration cannot be served")]
    Mistakes(Vec<Diagnostic>),
    /// A site cannot be made.
    #[error("a site cannot be served as it is configured")]
    Site(#[source] SiteError),
    /// The temporary folder cannot be made.
    #[error("cannot make a folder below `{}`", path.display())]
    Folder {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No certificate can be made.
    #[error("cannot make a certificate for the drill")]
    Certificate(#[from] CaError),
    /// The clients cannot trust the certificate.
    #[error("the drill's clients cannot use the certificate")]
    Trust(#[from] ClientConfigError),
    /// The second instance does not serve, or cannot be asked.
    #[error("the instance for the drill does not serve: {0}")]
    Instance(String),
    /// There is nothing to ask for.
    #[error("there is nothing to ask for")]
    Nothing(Vec<String>),
    /// It was stopped before the load began.
    #[error("stopped before the load began")]
    Interrupted,
}

impl DrillError {
    /// Whether the configuration is at fault.
    pub fn is_configuration(&self) -> bool {
        matches!(self, DrillError::Mistakes(_) | DrillError::Site(_))
    }
}

/// Runs a drill to its end, or until `stop` is.
///
/// Errors: as [`DrillError`] says; lost requests are no error but stand in the report.
/// Cancel: the second instance ends by itself.
pub async fn run(drill: Drill, told: &dyn Fn(Told<'_>), stop: impl Future<Output = ()>) -> Result<Report, DrillError> {
    let stopped = CancellationToken::new();
    let watch = async {
        stop.await;
        stopped.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        report = Box::pin(go(drill, told, &stopped)) => report,
        () = watch => Err(DrillError::Interrupted),
    }
}

async fn go(drill: Drill, told: &dyn Fn(Told<'_>), stopped: &CancellationToken) -> Result<Report, DrillError> {
    let mut settings = settings::on_loopback(drill.settings);
    load::check(&settings).map_err(DrillError::Mistakes)?;
    load::try_sites(&settings).map_err(DrillError::Site)?;
    let folder = Folder::make(&drill.temporary, drill.random).map_err(|source| DrillError::Folder {
        path: drill.temporary.clone(),
        source,
    })?;
    let certified = settings::certify(&mut settings, &drill.places, &folder, (drill.clock)())?;
    let sites = targets::sites(&settings, drill.with_apps, drill.seed);
    let tasks = Tasks::new(|_| {});
    let instance = tokio::select! {
        started = Instance::start(&settings, &folder, &tasks) =>
            started.map_err(|error| DrillError::Instance(sc_server::chain(&error)))?,
        () = stopped.cancelled() => return Err(DrillError::Interrupted),
    };
    let work = Work {
        dialler: Dialler::new(instance.https, &certified.trust, tasks.spawner())?,
        may_have_standby: settings.standby != Some(false),
        minted_because: certified.minted_because,
        seed: drill.seed,
        lasts: drill.lasts,
    };
    let done = work.go(sites, &instance, told, stopped).await;
    // Connections of the clients end here, so that the instance has nothing to wait for.
    tasks.abort_all();
    let words = instance.words.clone();
    let ended = instance.stop().await;
    let mut report = done?;
    report.notes.extend(
        words
            .lines()
            .into_iter()
            .map(|line| format!("the instance said: {line}")),
    );
    report
        .notes
        .extend(ended.err().map(|why| format!("the instance did not end well: {why}")));
    Ok(report)
}

/// What is done once the instance serves.
struct Work {
    dialler: Dialler,
    may_have_standby: bool,
    minted_because: Option<String>,
    seed: u64,
    lasts: Duration,
}

impl Work {
    async fn go(
        self,
        sites: Vec<targets::Site>,
        instance: &Instance,
        told: &dyn Fn(Told<'_>),
        stopped: &CancellationToken,
    ) -> Result<Report, DrillError> {
        let desk = Desk::at(&instance.control);
        let prepared = async {
            let standing = settled(&desk, self.may_have_standby)
                .await
                .map_err(DrillError::Instance)?;
            Ok::<_, DrillError>((standing, quiet_round(&self.dialler, sites).await))
        };
        let (standing, (known, left_out)) = tokio::select! {
            prepared = prepared => prepared?,
            () = stopped.cancelled() => return Err(DrillError::Interrupted),
        };
        let scope = Scope {
            sites: known.iter().map(|known| known.name().to_owned()).collect(),
            targets: known.iter().map(Known::targets).sum(),
            left_out,
            minted_because: self.minted_because,
            has_redis: standing.has_redis,
        };
        if known.is_empty() {
            return Err(DrillError::Nothing(scope.left_out));
        }
        let plan = Plan::new(self.seed, self.lasts, standing.lanes, standing.has_redis);
        told(Told::Begins(&plan, &scope));

        let disturber = Disturber {
            desk: desk.clone(),
            master: instance.pid,
            https: instance.https,
            has_standby: standing.has_standby,
            world: Rc::new(World::new(self.dialler, known)),
            done: Rc::default(),
        };
        let interrupted = load_and_disturb(&disturber, &plan, told, stopped).await;
        let status = desk.status().await.unwrap_or_default();
        Ok(sum(&disturber, &plan, &scope, &status, interrupted))
    }
}

/// Has the clients ask and everything go wrong for as long as planned; says whether it was stopped before.
async fn load_and_disturb(
    disturber: &Disturber,
    plan: &Plan,
    told: &dyn Fn(Told<'_>),
    stopped: &CancellationToken,
) -> bool {
    let (world, done) = (&disturber.world, &disturber.done);
    let clients = Tasks::new(|_| {});
    world.start(plan.seed, &clients);
    let disturb = async {
        disturber.carry_out(plan).await;
        std::future::pending::<()>().await;
    };
    let ticks = async {
        while world.elapsed() < plan.lasts {
            tokio::time::sleep(TICK.min(plan.lasts)).await;
            tell(told, world, done);
        }
    };
    let interrupted = tokio::select! {
        () = disturb => false,
        () = ticks => false,
        () = stopped.cancelled() => true,
    };
    world.end();
    let in_flight = async {
        // Every request has its own deadline, so all of them end.
        let _ = timeout(PATIENCE * 2, clients.wait()).await;
    };
    tokio::select! {
        () = in_flight => {}
        () = stopped.cancelled() => {}
    }
    tell(told, world, done);
    interrupted
}

fn sum(disturber: &Disturber, plan: &Plan, scope: &Scope, status: &Value, interrupted: bool) -> Report {
    let counted = |name: &str| status[name].as_u64().unwrap_or(0);
    let mut account = disturber.world.account.borrow_mut();
    Report {
        seed: plan.seed,
        lasted: disturber.world.elapsed(),
        interrupted,
        requests: account.total(),
        by_protocol: Protocol::ALL.into_iter().zip(account.requests).collect(),
        deeds: disturber.done.borrow().clone(),
        latency: account.latency(),
        reconnected: account.reconnected,
        killed: account.killed,
        changed: account.changed,
        lost: account.lost,
        lost_by_application: account.lost_by_application,
        losses: std::mem::take(&mut account.losses),
        forced_closes: counted("forced_closes"),
        panics: counted("panics"),
        notes: scope
            .left_out
            .iter()
            .map(|left_out| format!("not asked for: {left_out}"))
            .collect(),
    }
}

fn tell(told: &dyn Fn(Told<'_>), world: &World, done: &RefCell<Deeds>) {
    let (requests, lost) = {
        let account = world.account.borrow();
        (account.total(), account.lost)
    };
    told(Told::Goes {
        elapsed: world.elapsed(),
        requests,
        lost,
        deeds: &done.borrow(),
    });
}
