//! A change of the configuration or the certificate: checked here, given to every worker, answered when all have it.
//!
//! Nobody is recycled and no connection notices. What cannot be served changes nothing. What belongs to a socket or to the
//! master itself applies after a restart, and is said.

use std::collections::BTreeSet;
use std::time::Duration;

use sc_config::Settings;
use sc_server::{Event, chain};
use tokio::sync::oneshot;

use super::certificate::{self, Certificate};
use super::error::RunError;
use super::live::{self, Master};
use super::{load, run, words};
use crate::messages::{Document, ToWorker};
use crate::supervisor::{self, Moment, State, Worker};
use crate::systemd::Service;

/// What a reload came to: what changed, or the mistakes, each as text of one or more lines.
pub(super) type Verdict = Result<Vec<String>, Vec<String>>;

/// Whoever wants to know.
pub(super) type Asker = oneshot::Sender<Verdict>;

/// How long the workers may take. One that takes longer is renewed, and its successor begins with the new settings.
const ROUND_TIME: Duration = Duration::from_secs(10);

/// How long a certificate and its key may be of two minds, because somebody is replacing one after the other.
const PAIR_TIME: Duration = Duration::from_secs(1);

/// What is said of settings that cost too many workers before.
const ROLLED_BACK: &str = "error: these settings were rolled back, because workers were lost with them\n\
                           hint: repair what they lead to, then have them tried again with `shimmercat reload`\n";

/// Reloads, past and present.
#[derive(Default)]
pub(super) struct Reloads {
    attempt: u64,
    round: Option<Round>,
    /// Who asked while one was under way; one more follows for all of them.
    next: Option<Wish>,
    /// What ran before the last change, for when that proves fatal.
    former: Option<Former>,
    /// Settings that were rolled back: only a person has them tried again.
    rolled_back: Option<Settings>,
    /// When the certificate is looked at again, and what was last said about it.
    look_again: Option<Moment>,
    refused: Option<String>,
}

/// Why a reload is begun.
#[derive(Default)]
pub(super) struct Wish {
    /// Somebody asked for it; otherwise a change was seen.
    by_person: bool,
    askers: Vec<Asker>,
}

impl Wish {
    /// A file has changed.
    pub(super) fn seen() -> Self {
        Wish::default()
    }

    /// A person asks, by a signal.
    pub(super) fn signal() -> Self {
        Wish {
            by_person: true,
            ..Wish::default()
        }
    }

    /// A person asks, and waits for the verdict.
    pub(super) fn command(asker: Asker) -> Self {
        Wish {
            by_person: true,
            askers: vec![asker],
        }
    }

    fn join(&mut self, other: Wish) {
        self.by_person |= other.by_person;
        self.askers.extend(other.askers);
    }

    fn answer(self, verdict: &Verdict) {
        for asker in self.askers {
            // Whoever asked may have gone.
            let _ = asker.send(verdict.clone());
        }
    }
}

/// What ran before a change.
#[derive(Clone)]
struct Former {
    document: Document,
    /// When the certificate was changed as well.
    certificate: Option<Certificate>,
}

/// Why a reload changes nothing.
enum Refused {
    /// Mistakes, rendered.
    Settings(Vec<String>),
    /// What is the matter with the certificate; said in the log where it is found.
    Certificate(String),
    /// It does not cover what is new; it may cover what runs.
    Uncovered(String),
}

/// One round of telling all workers.
struct Round {
    attempt: u64,
    waiting: BTreeSet<Worker>,
    refused: Option<String>,
    until: Moment,
    changes: Vec<String>,
    former: Former,
    wish: Wish,
}

impl Reloads {
    pub(super) fn wake_at(&self) -> Option<Moment> {
        let round = self.round.as_ref().map(|round| round.until);
        [round, self.look_again].into_iter().flatten().min()
    }
}

impl Master {
    /// Reads the file and the certificate again; a good change is given to the workers, a bad one changes nothing.
    pub(super) fn reload(&mut self, wish: Wish) {
        if self.reloads.round.is_some() {
            return self.reloads.next.get_or_insert_default().join(wish);
        }
        self.tell_reloading();
        match self.read_again() {
            Ok((settings, certificate)) => self.apply(settings, certificate, wish),
            Err(refused) => {
                let mistakes = match refused {
                    Refused::Settings(mistakes) => {
                        self.refuse(&mistakes);
                        mistakes
                    }
                    Refused::Uncovered(text) => {
                        self.certify_what_runs();
                        vec![text]
                    }
                    Refused::Certificate(text) => vec![text],
                };
                wish.answer(&Err(mistakes));
                self.tell_reloaded();
            }
        }
    }

    /// Says that the file is not applied; a new certificate is all the same.
    fn refuse(&mut self, mistakes: &[String]) {
        self.lives.tallies.reloads_refused += 1;
        self.log.event(&Event::ReloadRefused {
            mistakes: mistakes.to_vec(),
        });
        self.certify_what_runs();
    }

    fn read_again(&mut self) -> Result<(Settings, Certificate), Refused> {
        let render = |mistakes: Vec<sc_config::Diagnostic>| {
            let rendered = mistakes.iter().map(|mistake| sc_config::render(mistake, false));
            Refused::Settings(rendered.collect())
        };
        let settings = (self.start.reread)().map_err(render)?;
        load::check(&settings).map_err(render)?;
        // What takes a restart goes on as it is: a proxy that others reach must not be let out by what is new around it.
        load::check(&kept(&self.document.settings, settings.clone()).0).map_err(render)?;
        load::try_sites(&settings).map_err(|error| Refused::Settings(vec![format!("error: {}\n", chain(&error))]))?;
        let certificate = self.read_certificate(&settings)?;
        Ok((settings, certificate))
    }

    /// Mistakes in the file must not keep a certificate in use until it ends: what runs gets the new one all the same.
    fn certify_what_runs(&mut self) {
        let running = self.document.settings.clone();
        if let Ok(certificate) = self.read_certificate(&running)
            && !certificate.is_same(&self.certificate)
        {
            // The log says what comes of it; the verdict is on the file.
            self.certify(certificate, &mut Vec::new());
        }
    }

    /// A certificate that was not yet replaced as a whole is looked at once more before anything is said. One that no
    /// browser takes today does not replace one that they do.
    fn read_certificate(&mut self, settings: &Settings) -> Result<Certificate, Refused> {
        let now = (self.start.clock)();
        let was_timely = self.certificate.untimely(now).is_none();
        let read = certificate::read(settings, &self.start.places);
        let read = read.and_then(|certificate| match certificate.untimely(now) {
            Some(when) if was_timely => {
                let chain = certificate.chain;
                Err(RunError::NotValid { chain, when })
            }
            _ => Ok(certificate),
        });
        let error = match read {
            Ok(certificate) => {
                self.reloads.refused = None;
                self.reloads.look_again = None;
                return Ok(certificate);
            }
            Err(error) => error,
        };
        let why = chain(&error);
        let is_whole = matches!(error, RunError::Uncovered { .. } | RunError::NotValid { .. });
        if !is_whole && self.reloads.look_again.is_none() && self.reloads.refused.as_ref() != Some(&why) {
            self.reloads.look_again = Some(self.now() + PAIR_TIME);
        } else {
            self.reloads.look_again = None;
            if self.reloads.refused.as_ref() != Some(&why) {
                self.log.event(&Event::CertificateRefused { why: why.clone() });
            }
            self.reloads.refused = Some(why.clone());
        }
        let mut text = format!("error: {why}\n");
        if let Some(hint) = error.hint() {
            text.push_str(&format!("hint: {hint}\n"));
        }
        Err(match error {
            RunError::Uncovered { .. } => Refused::Uncovered(text),
            _ => Refused::Certificate(text),
        })
    }

    fn apply(&mut self, wanted: Settings, certificate: Certificate, wish: Wish) {
        let (settings, after_restart) = kept(&self.document.settings, wanted);
        if !wish.by_person && self.reloads.rolled_back.as_ref() == Some(&settings) {
            let mistakes = vec![ROLLED_BACK.to_owned()];
            self.refuse(&mistakes);
            wish.answer(&Err(mistakes));
            return self.tell_reloaded();
        }
        let mut changes = sc_config::changes(&self.document.settings, &settings);
        for setting in after_restart {
            self.log.event(&Event::RestartNeeded {
                setting: setting.to_owned(),
            });
            changes.push(format!("~ {setting} applies after a restart"));
        }
        let is_certified = !certificate.is_same(&self.certificate);
        if !is_certified && settings == self.document.settings {
            wish.answer(&Ok(changes));
            return self.tell_reloaded();
        }
        let former = Former {
            document: self.document.clone(),
            certificate: is_certified.then(|| self.certificate.clone()),
        };
        if is_certified && !self.certify(certificate, &mut changes) {
            let mistakes = vec!["error: the certificate cannot be given to the workers\n".to_owned()];
            wish.answer(&Err(mistakes));
            return self.tell_reloaded();
        }
        self.document.settings = settings;
        match live::write_settings(&self.document) {
            Ok(written) => {
                self.documents.document = written;
                self.begin_round(former, changes, wish);
            }
            Err(error) => {
                self.document = former.document;
                wish.answer(&Err(vec![format!("error: {error}\n")]));
                self.tell_reloaded();
            }
        }
    }

    /// A service manager waits for the end of a reload, so whatever comes of it is followed by [`Master::tell_reloaded`].
    fn tell_reloading(&self) {
        if self.is_settled() {
            self.manager(Service::reloading);
        }
    }

    fn tell_reloaded(&self) {
        if self.is_settled() {
            self.manager(|service| service.ready(&words::summary(self)));
        }
    }

    /// Before every lane serves, and once it stops, a master is not ready whatever came of a reload.
    fn is_settled(&self) -> bool {
        self.lives.is_ready && self.lives.stops == 0
    }

    fn certify(&mut self, certificate: Certificate, changes: &mut Vec<String>) -> bool {
        let Ok(written) = live::write_credentials(&certificate) else {
            return false;
        };
        self.documents.credentials = written;
        self.tell_all(&ToWorker::Certify, &self.documents.credentials);
        let not_after = words::day(certificate.credentials.not_after());
        self.log.event(&Event::CertificateReplaced {
            names: certificate.credentials.names().to_vec(),
            not_after: not_after.clone(),
        });
        changes.push(format!("~ certificate, until {not_after}"));
        let has_moved = (&certificate.chain, &certificate.key) != (&self.certificate.chain, &self.certificate.key);
        self.certificate = certificate;
        self.tickets.certify(self.certificate.credentials.clone());
        self.bus.root_changed();
        if has_moved {
            self.watch = run::watch(&self.start, &self.certificate, &self.log);
        }
        true
    }

    fn begin_round(&mut self, former: Former, changes: Vec<String>, wish: Wish) {
        self.reloads.attempt += 1;
        let attempt = self.reloads.attempt;
        self.reloads.round = Some(Round {
            attempt,
            waiting: BTreeSet::new(),
            refused: None,
            until: self.now() + ROUND_TIME,
            changes,
            former,
            wish,
        });
        self.happened(supervisor::Event::ReloadBegan);
        let waiting = self.tell_all(&ToWorker::Configure { attempt }, &self.documents.document);
        if let Some(round) = &mut self.reloads.round {
            round.waiting = waiting;
        }
        self.end_round_if_over();
    }

    /// A worker has answered, or is gone (`None`) and need not.
    pub(super) fn configured(&mut self, worker: Worker, said: Option<(u64, Option<String>)>) {
        let Some(round) = &mut self.reloads.round else { return };
        if said.as_ref().is_some_and(|(attempt, _)| *attempt != round.attempt) {
            return;
        }
        round.waiting.remove(&worker);
        if let Some((_, Some(why))) = said {
            round.refused.get_or_insert(why);
        }
        self.end_round_if_over();
    }

    pub(super) fn reload_time_passed(&mut self) {
        let now = self.now();
        if self.reloads.look_again.is_some_and(|then| then <= now) {
            self.reload(Wish::seen());
        }
        self.end_round_if_over();
    }

    fn end_round_if_over(&mut self) {
        let now = self.now();
        let is_over = |round: &Round| round.waiting.is_empty() || round.until <= now;
        if !self.reloads.round.as_ref().is_some_and(is_over) {
            return;
        }
        let Some(round) = self.reloads.round.take() else { return };
        let is_deaf = |worker: &Worker| match self.supervisor.state(*worker) {
            Some((lane, State::Active)) => Some(lane),
            _ => None,
        };
        let deaf: BTreeSet<usize> = round.waiting.iter().filter_map(is_deaf).collect();
        let verdict = match round.refused {
            None => {
                self.reloads.former = Some(round.former);
                self.reloads.rolled_back = None;
                self.lives.tallies.reloads += 1;
                self.log.event(&Event::Reloaded {
                    changes: round.changes.clone(),
                });
                Ok(round.changes)
            }
            Some(why) => {
                self.restore(round.former);
                self.lives.tallies.reloads_refused += 1;
                let mistakes = vec![format!("error: a worker cannot serve this: {why}\n")];
                self.log.event(&Event::ReloadRefused {
                    mistakes: mistakes.clone(),
                });
                Err(mistakes)
            }
        };
        self.happened(supervisor::Event::ReloadEnded {
            changed: verdict.is_ok(),
        });
        self.settings_changed();
        for lane in deaf {
            // It may have lost the message, for want of descriptors; its successor begins with what holds now. Nobody asked.
            self.recycle(vec![lane], oneshot::channel().0);
        }
        round.wish.answer(&verdict);
        if let Some(wish) = self.reloads.next.take() {
            self.reload(wish);
        }
    }

    /// Serves what was served before the last change: it cost too many workers.
    pub(super) fn roll_back(&mut self) {
        if let Some(former) = self.reloads.former.take() {
            if let Some(round) = &mut self.reloads.round {
                // What is being tried just now does not apply either, and its asker has to know.
                let why = "too many workers were lost after the change before, which is rolled back";
                round.refused.get_or_insert_with(|| why.to_owned());
                round.former = former.clone();
            }
            self.reloads.rolled_back = Some(self.document.settings.clone());
            self.restore(former);
            self.settings_changed();
        }
    }

    fn restore(&mut self, former: Former) {
        if let Some(certificate) = former.certificate {
            // The log says so; when it cannot be, the new one stays, which is no worse.
            self.certify(certificate, &mut Vec::new());
        }
        self.document = former.document;
        match live::write_settings(&self.document) {
            Ok(written) => {
                self.documents.document = written;
                self.reloads.attempt += 1;
                let attempt = self.reloads.attempt;
                self.tell_all(&ToWorker::Configure { attempt }, &self.documents.document);
            }
            Err(error) => self.log.event(&Event::Internal {
                place: "reload",
                fault: error.to_string(),
            }),
        }
    }

    fn settings_changed(&mut self) {
        let settings = &self.document.settings;
        if let Ok(codes) = settings
            .log_codes
            .as_deref()
            .map_or_else(|| Ok(Default::default()), sc_server::log_codes::LogCodes::parse)
        {
            self.log.set_codes(codes);
        }
        self.told.borrow_mut().names = words::names(settings);
        if let Err(error) = self.tell_others() {
            self.log.event(&Event::Internal {
                place: "instance",
                fault: chain(&error),
            });
        }
        self.tell_reloaded();
    }
}

/// The wanted settings with what takes a restart as it is now, and the names of what that was.
fn kept(now: &Settings, mut wanted: Settings) -> (Settings, Vec<&'static str>) {
    let mut names = Vec::new();
    macro_rules! keep {
        ($($field:ident = $name:literal),+ $(,)?) => {
            $( if wanted.$field != now.$field {
                names.push($name);
                wanted.$field = now.$field.clone();
            } )+
        };
    }
    keep!(
        listen = "listen",
        redirect = "redirect",
        socks5 = "socks-5",
        enable_socks5 = "enable-socks-5",
        socks_users = "socks-users",
        socks_allow = "socks-allow",
        workers = "workers",
        standby = "standby",
        worker_life = "worker-life",
        drain_time = "drain-time",
        stop_time = "stop-time",
        redis = "redis",
        instance = "instance",
        metrics = "metrics",
        log_format = "log-format",
    );
    (wanted, names)
}
