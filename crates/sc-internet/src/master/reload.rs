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

/// Reloads, past and present.
#[derive(Default)]
pub(super) struct Reloads {
    attempt: u64,
    round: Option<Round>,
    /// Those who asked while one was under way; another follows for them.
    waiting: Vec<Option<Asker>>,
    /// What ran before the last change, for when that proves fatal.
    former: Option<Document>,
    /// When the certificate is looked at again, and what was last said about it.
    look_again: Option<Moment>,
    refused: Option<String>,
}

/// Why a reload changes nothing.
enum Refused {
    /// Mistakes, rendered.
    Settings(Vec<String>),
    /// What is the matter with the certificate; said in the log where it is found.
    Certificate(String),
}

/// One round of telling all workers.
struct Round {
    attempt: u64,
    waiting: BTreeSet<Worker>,
    refused: Option<String>,
    until: Moment,
    changes: Vec<String>,
    former: Document,
    askers: Vec<Asker>,
}

impl Reloads {
    pub(super) fn wake_at(&self) -> Option<Moment> {
        let round = self.round.as_ref().map(|round| round.until);
        [round, self.look_again].into_iter().flatten().min()
    }
}

impl Master {
    /// Reads the file and the certificate again; a good change is given to the workers, a bad one changes nothing.
    pub(super) fn reload(&mut self, asker: Option<Asker>) {
        if self.reloads.round.is_some() {
            return self.reloads.waiting.push(asker);
        }
        self.tell_reloading();
        match self.read_again() {
            Ok((settings, certificate)) => self.apply(settings, certificate, asker),
            Err(refused) => {
                let mistakes = match refused {
                    Refused::Settings(mistakes) => {
                        self.lives.tallies.reloads_refused += 1;
                        self.log.event(&Event::ReloadRefused {
                            mistakes: mistakes.clone(),
                        });
                        self.certify_what_runs();
                        mistakes
                    }
                    Refused::Certificate(text) => vec![text],
                };
                answer(asker, Err(mistakes));
                self.tell_reloaded();
            }
        }
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
        let certificate = self.read_certificate(&settings).map_err(Refused::Certificate)?;
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
    fn read_certificate(&mut self, settings: &Settings) -> Result<Certificate, String> {
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
        Err(text)
    }

    fn apply(&mut self, wanted: Settings, certificate: Certificate, asker: Option<Asker>) {
        let (settings, after_restart) = kept(&self.document.settings, wanted);
        let mut changes = sc_config::changes(&self.document.settings, &settings);
        for setting in after_restart {
            self.log.event(&Event::RestartNeeded {
                setting: setting.to_owned(),
            });
            changes.push(format!("~ {setting} applies after a restart"));
        }
        let is_certified = !certificate.is_same(&self.certificate);
        let is_changed = settings != self.document.settings;
        if !is_certified && !is_changed {
            answer(asker, Ok(changes));
            return self.tell_reloaded();
        }
        if is_certified && !self.certify(certificate, &mut changes) {
            answer(
                asker,
                Err(vec![
                    "error: the certificate cannot be given to the workers\n".to_owned(),
                ]),
            );
            return self.tell_reloaded();
        }
        let former = self.document.clone();
        self.document.settings = settings;
        match live::write_settings(&self.document) {
            Ok(written) => {
                self.documents.document = written;
                self.begin_round(former, changes, asker);
            }
            Err(error) => {
                self.document = former;
                answer(asker, Err(vec![format!("error: {error}\n")]));
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

    fn begin_round(&mut self, former: Document, changes: Vec<String>, asker: Option<Asker>) {
        self.reloads.attempt += 1;
        let attempt = self.reloads.attempt;
        self.reloads.round = Some(Round {
            attempt,
            waiting: BTreeSet::new(),
            refused: None,
            until: self.now() + ROUND_TIME,
            changes,
            former,
            askers: asker.into_iter().collect(),
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
            self.reload(None);
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
        for asker in round.askers {
            // Whoever asked may have gone.
            let _ = asker.send(verdict.clone());
        }
        for asker in std::mem::take(&mut self.reloads.waiting) {
            self.reload(asker);
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
            self.restore(former);
            self.settings_changed();
        }
    }

    fn restore(&mut self, former: Document) {
        self.document = former;
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

fn answer(asker: Option<Asker>, verdict: Verdict) {
    if let Some(asker) = asker {
        // Whoever asked may have gone.
        let _ = asker.send(verdict);
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
