//! Everything that `shimmercat status` shows, as one JSON object.

use std::collections::BTreeMap;

use sc_config::{Audience, Kind, Settings};
use sc_server::{journal, metrics::Metric};
use serde_json::{Value, json};

use super::count::open_connections;
use super::live::Master;
use super::{notes, words};
use crate::sockets::Role;
use crate::supervisor::{LaneView, Moment, WorkerView};

impl Master {
    /// The whole state.
    pub(super) fn status(&self) -> Value {
        let told = self.told.borrow();
        let totals = self.totals();
        let lanes: Vec<_> = self.supervisor.lanes().iter().map(|lane| self.lane(lane)).collect();
        json!({
            "version": told.version,
            "mode": told.mode,
            "pid": told.pid,
            "started_unix": told.started_unix,
            "folder": told.folder,
            "config": told.config,
            "https": told.https,
            "redirect": self.sockets.addresses(Role::Redirect),
            "proxy": told.socks,
            "control": told.control,
            "instance": self.document.instance.name(),
            "certificate": {
                "file": self.certificate.chain,
                "names": self.certificate.credentials.names(),
                "not_after": self.certificate.credentials.not_after().map(journal::rfc3339),
            },
            "sites": self.sites(),
            "lanes": lanes,
            "draining": self.supervisor.draining(),
            "waits_for": self.supervisor.hindrance().map(notes::hindrance_word),
            "connections": self.open_connections(),
            "exchanges": self.exchanges(),
            "forced_closes": totals.get(Metric::ForcedCloses),
            "panics": totals.get(Metric::Panics),
            "redis": self.redis(),
            "log": { "lost": self.log.lost_so_far(), "dropped": totals.get(Metric::LogDropped) },
        })
    }

    /// The sites, each with the addresses of its application that workers leave out, and which workers do.
    fn sites(&self) -> Vec<Value> {
        let mut left_out: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
        for (worker, process) in &self.lives.processes {
            for outcast in &process.outcasts {
                let key = (outcast.site.as_str(), outcast.address.as_str());
                left_out.entry(key).or_default().push(worker.0);
            }
        }
        let mut sites = sites(&self.document.settings);
        for site in &mut sites {
            let name = site["name"].as_str().unwrap_or_default();
            let of_site = left_out.iter().filter(|((site, _), _)| *site == name);
            let outs: Value = of_site
                .map(|((_, address), workers)| json!({ "address": address, "workers": workers }))
                .collect();
            site["left_out"] = outs;
        }
        sites
    }

    fn lane(&self, lane: &LaneView) -> Value {
        let now = self.now();
        let until = |then: Option<Moment>| then.map(|then| then.saturating_sub(now).as_secs());
        let workers: Vec<_> = lane.workers.iter().map(|worker| self.worker(worker, now)).collect();
        json!({
            "lane": lane.lane,
            "workers": workers,
            "next_renewal_s": until(lane.next_death),
            "backs_off_s": until(lane.backing_off_until),
            "faults": lane.faults,
        })
    }

    fn worker(&self, worker: &WorkerView, now: Moment) -> Value {
        let process = self.lives.processes.get(&worker.worker);
        json!({
            "worker": worker.worker.0,
            "generation": worker.generation,
            "pid": process.map(|process| process.pid),
            "state": notes::state_word(worker.state),
            "age_s": now.saturating_sub(worker.started).as_secs(),
            "active_s": worker.active.map(|since| now.saturating_sub(since).as_secs()),
            "connections": process.map(|process| open_connections(|metric| process.counters.get(metric as usize))),
            "stuck": worker.is_stuck,
            "confined": process.map(|process| &process.confined),
        })
    }

    fn redis(&self) -> Value {
        let (state, why, pid) = self.bus.health();
        let machines = self.bus.machines();
        json!({ "state": state, "why": why, "what": words::redis(self), "pid": pid, "other_machines": machines })
    }
}

/// Everything about the sites but what workers know.
fn sites(settings: &Settings) -> Vec<Value> {
    let site = |domain: &sc_config::Domain| {
        let root = match &domain.kind {
            Kind::Electric { root_dir, .. } => root_dir.as_ref(),
            Kind::Api { .. } | Kind::Network { .. } => None,
        };
        let to = domain
            .consultant()
            .map(|c| c.connect_to.iter().map(ToString::to_string).collect::<Vec<_>>());
        let audience = match domain.audience {
            Audience::Public => "public",
            Audience::Network => "network",
        };
        json!({ "name": domain.name.to_string(), "url": format!("https://{}/", domain.name), "root_dir": root,
                "connect_to": to.unwrap_or_default(), "audience": audience })
    };
    settings
        .domains
        .iter()
        .filter(|domain| domain.is_site())
        .map(site)
        .collect()
}
