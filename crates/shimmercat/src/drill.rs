//! `shimmercat drill`: has the mode load a second instance of the person's sites, and shows what was lost.
//!
//! The plan and the live line go to stderr, the table or the JSON to stdout.

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use sc_internet::drill::{Deeds, Drill, DrillError, Loss, Plan, Protocol, Report as Outcome, Scope, Served, Told};
use sc_internet::systemd::VARIABLES;
use serde_json::{Value, json};

use crate::args;
use crate::internet::BLOCKING_THREADS;
use crate::output;
use crate::report::{Kind, Report, is_coloured};
use crate::runtime::in_runtime;
use crate::settings::{self, Flags};
use crate::signals::{self, Heard, Signals};

/// Steps of the plan that are shown.
const FIRST_STEPS: usize = 6;

/// Names of sites, and messages, that are shown.
const SHOWN: usize = 8;

/// Losses that the table tells one by one; the JSON has more.
const LOSSES: usize = 20;

/// A seed that is easy to type again.
const SEEDS: u64 = 1_000_000;

/// Runs a drill; lost requests are its failure.
pub(crate) fn run(args: &args::Drill) -> Result<(), Report> {
    let flags = Flags::of_internet(&as_internet(args))?;
    let found = settings::found(&args.place)?;
    if found.path.is_none() {
        let message = format!("there is no devlove.yaml in `{}`", found.folder.display());
        return Err(Report::new(Kind::Configuration, message).hint("-C DIR looks elsewhere"));
    }
    let coloured = is_coloured(&std::io::stderr());
    let (settings, warnings) =
        settings::read(&found, &flags).map_err(|mistakes| Report::mistaken(&mistakes, coloured))?;
    Report::warn(&sc_config::render_all(&warnings, coloured));
    let random = settings::random()?;
    let drill = Drill {
        settings,
        places: settings::places(&found.folder, &args.place)?,
        seed: args.seed.unwrap_or(random % SEEDS),
        lasts: Duration::from_secs(args.seconds),
        with_apps: !args.no_apps,
        temporary: std::env::temp_dir(),
        random,
        clock: SystemTime::now,
    };
    let shown = Shown {
        is_live: !args.json && std::io::stderr().is_terminal(),
        plan: RefCell::default(),
    };
    let mut outcome = None;
    in_runtime(BLOCKING_THREADS, async {
        let mut signals = Signals::listen().map_err(signals::failed)?;
        let stop = async { while signals.next().await != Heard::Stop {} };
        let done = sc_internet::drill::run(drill, &|told| shown.told(&told), stop).await;
        shown.end_line();
        outcome = Some(done.map_err(|error| refused(&error, coloured))?);
        Ok(())
    })?;
    let Some(outcome) = outcome else { return Ok(()) };
    if args.json {
        output::data(&as_json(&outcome, shown.plan.take()).to_string())?;
    } else {
        output::data(&table(&outcome).join("\n"))?;
    }
    verdict(&outcome)
}

/// Runs the second instance, for the drill that started this process.
pub(crate) fn serve() -> Result<(), Report> {
    let served = Served {
        version: env!("CARGO_PKG_VERSION"),
        clock: SystemTime::now,
        seed: settings::random()?,
        environment: std::env::vars_os()
            // What a service manager says to the drill is not said to its instance.
            .filter(|(name, _)| !VARIABLES.iter().any(|variable| name == variable))
            .collect(),
        say: Rc::new(Report::say),
    };
    in_runtime(BLOCKING_THREADS, async {
        let done = sc_internet::drill::serve(served).await;
        done.map_err(|error| Report::new(Kind::Failed, "the drill's instance ended").caused_by(&error))
    })
}

/// The drill's options as those of the mode.
fn as_internet(args: &args::Drill) -> args::Internet {
    args::Internet {
        place: args.place.clone(),
        listen: Vec::new(),
        redirect: Vec::new(),
        enable_socks_5: false,
        socks_5: None,
        forward: None,
        cert: args.cert.clone(),
        key: args.key.clone(),
        workers: args.workers,
        redis: None,
        log: args::Log {
            log_codes: None,
            log_format: None,
        },
    }
}

fn refused(error: &DrillError, coloured: bool) -> Report {
    if let DrillError::Mistakes(mistakes) = error {
        return Report::mistaken(mistakes, coloured);
    }
    let kind = if error.is_configuration() {
        Kind::Configuration
    } else {
        Kind::Failed
    };
    let mut report = Report::new(kind, error.to_string());
    if let DrillError::Nothing(left_out) = error {
        for one in left_out.iter().take(SHOWN) {
            report = report.hint(one);
        }
        return report.hint("applications must answer before a drill begins; --no-apps needs sites with files");
    }
    if let Some(cause) = std::error::Error::source(error) {
        report = report.caused_by(cause);
    }
    report
}

/// Lost requests, or an end before the time, are told once more as the command's failure.
fn verdict(outcome: &Outcome) -> Result<(), Report> {
    if outcome.is_good() {
        return Ok(());
    }
    let again = format!("shimmercat drill --seed {} does the same again", outcome.seed);
    let message = match (outcome.lost, outcome.interrupted) {
        (0, true) => "the drill was stopped before its end, with nothing lost so far".to_owned(),
        (0, false) => "not a single request came to an end".to_owned(),
        (1, _) => "a request was lost".to_owned(),
        (lost, _) => format!("{lost} requests were lost"),
    };
    Err(Report::new(Kind::Failed, message).hint(again))
}

/// What a person sees while it goes on.
struct Shown {
    is_live: bool,
    plan: RefCell<Option<(Plan, Scope)>>,
}

impl Shown {
    fn told(&self, told: &Told<'_>) {
        match told {
            Told::Begins(plan, scope) => {
                Report::say(&introduction(plan, scope).join("\n"));
                self.plan.replace(Some(((*plan).clone(), (*scope).clone())));
            }
            Told::Goes {
                elapsed,
                requests,
                lost,
                deeds,
            } if self.is_live => {
                let seconds = elapsed.as_secs();
                live(&format!(
                    "{seconds:>4} s  {requests} requests, lost={lost}; {}",
                    done(deeds)
                ));
            }
            Told::Goes { .. } => {}
        }
    }

    /// Leaves the live line.
    fn end_line(&self) {
        if self.is_live {
            live("");
        }
    }
}

/// Writes over the last line of the terminal.
fn live(text: &str) {
    let text: String = text.chars().take(79).collect();
    // Nobody is left to be told when stderr is gone.
    let _ = write!(std::io::stderr().lock(), "\r\x1b[K{text}");
}

fn introduction(plan: &Plan, scope: &Scope) -> Vec<String> {
    let mut lines = vec![format!(
        "drill --seed {}: {} s on loopback, a second instance with {} lanes",
        plan.seed,
        plan.lasts.as_secs(),
        plan.lanes
    )];
    lines.push(format!("  asks    {} URLs of {}", scope.targets, some(&scope.sites)));
    let first = plan.steps.iter().take(FIRST_STEPS);
    let mut begins = "  first  ";
    for step in first {
        lines.push(format!("{begins} {:>4.1} s  {}", step.at.as_secs_f32(), step.deed));
        begins = "         ";
    }
    let rest = plan.steps.len().saturating_sub(FIRST_STEPS);
    if rest > 0 {
        lines.push(format!("          and {rest} more"));
    }
    if !scope.has_redis {
        lines.push("  redis   there is none to disturb".to_owned());
    }
    if let Some(why) = &scope.minted_because {
        lines.push(format!("  cert    made for the drill: {why}"));
    }
    for left_out in scope.left_out.iter().take(SHOWN) {
        lines.push(format!("  without {left_out}"));
    }
    lines
}

fn some(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn done(deeds: &Deeds) -> String {
    format!(
        "recycled {}, reloaded {}, killed {}, Redis {}",
        deeds.recycles,
        deeds.reloads,
        deeds.kills,
        deeds.redis_kills + deeds.redis_freezes
    )
}

fn table(outcome: &Outcome) -> Vec<String> {
    let mut lines = vec![row(
        "requests",
        format!(
            "{} in {:.1} s, seed {}",
            outcome.requests,
            outcome.lasted.as_secs_f32(),
            outcome.seed
        ),
    )];
    for (protocol, count) in &outcome.by_protocol {
        lines.push(row("", format!("{count:<8} {}", protocol.as_str())));
    }
    let deeds = &outcome.deeds;
    for (count, what) in [
        (deeds.recycles, "recycles"),
        (deeds.reloads, "reloads"),
        (deeds.kills, "workers killed (SIGKILL)"),
        (deeds.redis_kills, "Redis killed (SIGKILL)"),
        (deeds.redis_freezes, "Redis stopped (SIGSTOP) for a while"),
    ] {
        let name = if what == "recycles" { "disturbed" } else { "" };
        lines.push(row(name, format!("{count:<8} {what}")));
    }
    if let Some(latency) = outcome.latency {
        let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(millis);
        lines.push(row("latency", format!("p50 {p50}, p99 {p99}, max {max}")));
    }
    let counted = |count: u64, what: &str| format!("{count:<8} {what}");
    lines.push(row(
        "reconnected",
        counted(
            outcome.reconnected,
            "closed without an answer and sent again, as browsers do",
        ),
    ));
    lines.push(row(
        "killed",
        counted(outcome.killed, "in flight on a worker when it was killed: not promised"),
    ));
    for (name, count, what) in [
        ("changed", outcome.changed, "files written meanwhile, not compared"),
        (
            "cut",
            outcome.forced_closes,
            "exchanges or tunnels that were cut at a deadline",
        ),
        ("panics", outcome.panics, "panics in exchanges"),
    ] {
        if count > 0 {
            lines.push(row(name, counted(count, what)));
        }
    }
    for (index, skipped) in deeds.skipped.iter().take(SHOWN).enumerate() {
        lines.push(row(if index == 0 { "not done" } else { "" }, skipped.clone()));
    }
    lines.extend(outcome.notes.iter().take(SHOWN).map(|note| row("note", note.clone())));
    lines.push(match outcome.lost_by_application {
        0 => format!("lost={}", outcome.lost),
        theirs => format!("lost={} ({theirs} of them are errors of an application)", outcome.lost),
    });
    for loss in outcome.losses.iter().take(LOSSES) {
        lines.extend(told(loss));
    }
    let more = outcome.lost.saturating_sub(LOSSES as u64);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines
}

fn row(name: &str, text: String) -> String {
    format!("{name:<12} {text}")
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// A lost request in full.
fn told(loss: &Loss) -> Vec<String> {
    let port = loss
        .port
        .map_or_else(String::new, |port| format!(", client port {port}"));
    let whose = if loss.by_application { "application: " } else { "" };
    let mut lines = vec![
        format!("  {} {}", loss.method, loss.url),
        format!(
            "    at {:.3} s over {}{port}",
            loss.at.as_secs_f32(),
            loss.protocol.as_str()
        ),
        format!("    {whose}{}", loss.why),
    ];
    if let Some((deed, before)) = &loss.after {
        lines.push(format!("    {} ms after: {deed}", before.as_millis()));
    }
    lines
}

fn as_json(outcome: &Outcome, begun: Option<(Plan, Scope)>) -> Value {
    let protocol = |protocol: Protocol| match protocol {
        Protocol::KeptAlive => "h1_kept_alive",
        Protocol::Single => "h1_single",
        Protocol::Http2 => "h2",
    };
    let by_protocol: serde_json::Map<_, _> = outcome
        .by_protocol
        .iter()
        .map(|(one, count)| (protocol(*one).to_owned(), (*count).into()))
        .collect();
    let losses: Vec<_> = outcome
        .losses
        .iter()
        .map(|loss| {
            json!({
                "at_ms": millis_of(loss.at),
                "protocol": protocol(loss.protocol),
                "method": loss.method.as_str(),
                "url": loss.url,
                "client_port": loss.port,
                "why": loss.why,
                "by_application": loss.by_application,
                "after": loss.after.as_ref().map(|(deed, _)| deed),
                "after_ms": loss.after.as_ref().map(|(_, before)| millis_of(*before)),
            })
        })
        .collect();
    let (plan, scope) = begun.unzip();
    let steps: Vec<_> = plan
        .iter()
        .flat_map(|plan| &plan.steps)
        .map(|step| json!({ "at_ms": millis_of(step.at), "deed": step.deed.to_string() }))
        .collect();
    json!({
        "seed": outcome.seed,
        "lost": outcome.lost,
        "lost_by_application": outcome.lost_by_application,
        "interrupted": outcome.interrupted,
        "lasted_ms": millis_of(outcome.lasted),
        "requests": outcome.requests,
        "by_protocol": by_protocol,
        "recycles": outcome.deeds.recycles,
        "reloads": outcome.deeds.reloads,
        "kills": outcome.deeds.kills,
        "redis_kills": outcome.deeds.redis_kills,
        "redis_freezes": outcome.deeds.redis_freezes,
        "skipped": outcome.deeds.skipped,
        "latency_us": outcome.latency.map(|latency| json!({
            "p50": micros_of(latency.p50), "p99": micros_of(latency.p99), "max": micros_of(latency.max),
        })),
        "reconnected": outcome.reconnected,
        "killed": outcome.killed,
        "changed": outcome.changed,
        "forced_closes": outcome.forced_closes,
        "panics": outcome.panics,
        "losses": losses,
        "notes": outcome.notes,
        "sites": scope.as_ref().map(|scope| &scope.sites),
        "urls": scope.as_ref().map(|scope| scope.targets),
        "plan": steps,
    })
}

fn millis_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros_of(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
