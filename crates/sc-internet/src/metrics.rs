//! What is counted, as Prometheus reads it: the numbers of all workers that are and were, and how the lanes stand.
//!
//! Every worker counts in memory that the master can read ([`sc_net::counters`]). The master adds a worker's numbers to those
//! of the gone when it is gone, so no counter ever goes back. How each number of the engine is called is said in
//! [`sc_server::metrics`]; the names of the rest are here. The text is OpenMetrics 1.0, which Prometheus understands.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use sc_net::counters::Counters;
use sc_server::metrics::{Metric, Part};

/// What the text is, as `Content-Type` says it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What every name begins with.
const PREFIX: &str = "shimmercat";
/// Cells that count what begins, and those that count its end: with a worker, all of it has ended.
const BEGUN_AND_ENDED: [(Metric, Metric); 4] = [
    (Metric::ConnectionsOpenedTls, Metric::ConnectionsClosedTls),
    (Metric::ConnectionsOpenedProxy, Metric::ConnectionsClosedProxy),
    (Metric::ConnectionsOpenedRedirect, Metric::ConnectionsClosedRedirect),
    (Metric::TunnelsOpened, Metric::TunnelsClosed),
];

/// The numbers of any number of workers, added up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Totals {
    cells: Vec<u64>,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            cells: vec![0; Metric::COUNT],
        }
    }
}

impl Totals {
    /// Adds the numbers of a worker that lives.
    pub fn add(&mut self, block: &Counters) {
        for (cell, total) in self.cells.iter_mut().enumerate() {
            *total = total.wrapping_add(block.get(cell));
        }
    }

    /// Adds the numbers of a worker that is gone, and counts as ended what it can no longer have open.
    pub fn bury(&mut self, block: &Counters) {
        self.add(block);
        for (begun, ended) in BEGUN_AND_ENDED {
            let left = block.get(begun as usize).saturating_sub(block.get(ended as usize));
            self.put(ended, left);
        }
    }

    /// Adds to one number.
    pub fn put(&mut self, metric: Metric, by: u64) {
        if let Some(total) = self.cells.get_mut(metric as usize) {
            *total = total.wrapping_add(by);
        }
    }

    /// One number.
    pub fn get(&self, metric: Metric) -> u64 {
        self.cells.get(metric as usize).copied().unwrap_or_default()
    }

    /// Every number that is not zero, by the name and labels that Prometheus shows: for the snapshot in Redis.
    pub fn named(&self) -> Vec<(String, u64)> {
        let numbers = Metric::ALL.iter().map(|metric| (metric, self.get(*metric)));
        let seen = numbers.filter(|(_, number)| *number > 0);
        seen.map(|(metric, number)| {
            let about = metric.described();
            let labels: Vec<String> = about
                .labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{value}\""))
                .collect();
            let part = match about.part {
                Part::Counter => "_total",
                Part::Bucket => "_bucket",
                Part::SumMicros => "_sum_micros",
            };
            let family = about.family;
            match labels.is_empty() {
                true => (format!("{PREFIX}_{family}{part}"), number),
                false => (format!("{PREFIX}_{family}{part}{{{}}}", labels.join(",")), number),
            }
        })
        .collect()
    }
}

/// How one worker stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkerStanding {
    /// Its lane.
    pub lane: usize,
    /// `starting`, `warm`, `active` or `draining`.
    pub state: &'static str,
    /// How long it has lived.
    pub age: Duration,
}

/// How one lane stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LaneStanding {
    /// Workers that were active on it so far.
    pub generation: u64,
    /// How long until its active worker is due to end; `None` when that is not decided.
    pub next_death: Option<Duration>,
}

/// How the master stands: what is not a sum over workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Version of the program.
    pub version: String,
    /// When the master began, in seconds since 1970.
    pub started: u64,
    /// Workers of all lanes.
    pub workers: Vec<WorkerStanding>,
    /// Lanes, in order.
    pub lanes: Vec<LaneStanding>,
    /// Workers that ended as planned or as told.
    pub retired: u64,
    /// Workers that ended otherwise, were stuck or never ready.
    pub crashed: u64,
    /// Changes of the configuration that apply.
    pub reloads: u64,
    /// Changes that were refused.
    pub reloads_refused: u64,
    /// Whether Redis can be had; `None` when there is none.
    pub redis: Option<bool>,
    /// How often a Redis of our own was started.
    pub redis_starts: u64,
    /// Log lines that never came.
    pub log_lost: u64,
    /// Until when the certificate is valid, in seconds since 1970.
    pub certificate_until: Option<u64>,
    /// Other machines of the instance.
    pub machines: Option<u64>,
}

/// The whole text.
///
/// Shape: ends with the line `# EOF`; sent as [`CONTENT_TYPE`].
pub fn text(totals: &Totals, standing: &Standing) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Everything {
        totals: totals.clone(),
        standing: standing.clone(),
    }));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Everything {
    totals: Totals,
    standing: Standing,
}

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.engine(&mut encoder)?;
        self.open(&mut encoder)?;
        self.lanes(&mut encoder)?;
        self.master(&mut encoder)
    }
}

impl Everything {
    /// What the engine counts, in the order of its catalogue.
    fn engine(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let mut families: Vec<(&str, Vec<Metric>)> = Vec::new();
        for metric in Metric::ALL {
            let family = metric.described().family;
            match families.last_mut() {
                Some((name, metrics)) if *name == family => metrics.push(*metric),
                _ => families.push((family, vec![*metric])),
            }
        }
        for (family, metrics) in families {
            let Some(first) = metrics.first().map(|metric| metric.described()) else {
                continue;
            };
            match first.part {
                Part::Counter => {
                    let mut encoder = encoder.encode_descriptor(family, first.help, None, MetricType::Counter)?;
                    for metric in &metrics {
                        count(&mut encoder, metric.described().labels, self.totals.get(*metric))?;
                    }
                }
                Part::Bucket | Part::SumMicros => {
                    let encoder = encoder.encode_descriptor(family, first.help, None, MetricType::Histogram)?;
                    self.histogram(encoder, &metrics)?;
                }
            }
        }
        Ok(())
    }

    fn histogram(&self, mut encoder: MetricEncoder<'_>, metrics: &[Metric]) -> fmt::Result {
        let mut buckets = Vec::new();
        let (mut observed, mut micros) = (0_u64, 0_u64);
        for metric in metrics {
            let (about, number) = (metric.described(), self.totals.get(*metric));
            match about.part {
                Part::SumMicros => micros = number,
                _ => {
                    let bound = about.labels.first().and_then(|(_, bound)| bound.parse().ok());
                    buckets.push((bound.unwrap_or(f64::INFINITY), number));
                    observed = observed.wrapping_add(number);
                }
            }
        }
        encoder.encode_histogram::<NoLabelSet>(micros as f64 / 1e6, observed, &buckets, None)
    }

    /// What is open at present: all that was begun less all that has ended.
    fn open(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let open = |(begun, ended)| self.totals.get(begun).saturating_sub(self.totals.get(ended));
        let help = "Connections that are open.";
        let mut connections = encoder.encode_descriptor("connections_open", help, None, MetricType::Gauge)?;
        let mut tunnels = 0;
        for pair in BEGUN_AND_ENDED {
            match pair.0 {
                Metric::TunnelsOpened => tunnels = open(pair),
                begun => connections
                    .encode_family(&begun.described().labels)?
                    .encode_gauge(&open(pair))?,
            }
        }
        gauge(encoder, "tunnels_open", "Tunnels that are open.", tunnels)
    }

    fn lanes(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let standing = &self.standing;
        let mut states: BTreeMap<(usize, &str), u64> = BTreeMap::new();
        for lane in 0..standing.lanes.len() {
            for state in ["starting", "warm", "active", "draining"] {
                states.insert((lane, state), 0);
            }
        }
        for worker in &standing.workers {
            *states.entry((worker.lane, worker.state)).or_default() += 1;
        }
        let mut workers = encoder.encode_descriptor("workers", "Workers that live.", None, MetricType::Gauge)?;
        for ((lane, state), number) in states {
            let labels = [("lane", lane.to_string()), ("state", state.to_owned())];
            workers.encode_family(&labels)?.encode_gauge(&number)?;
        }
        let help = "Age of the worker that accepts on the lane.";
        let mut ages = encoder.encode_descriptor("worker_age_seconds", help, None, MetricType::Gauge)?;
        for worker in standing.workers.iter().filter(|worker| worker.state == "active") {
            let labels = [("lane", worker.lane.to_string())];
            ages.encode_family(&labels)?.encode_gauge(&worker.age.as_secs_f64())?;
        }
        let help = "Workers that were active on the lane so far.";
        let mut generations = encoder.encode_descriptor("lane_generation", help, None, MetricType::Gauge)?;
        for (lane, about) in standing.lanes.iter().enumerate() {
            let labels = [("lane", lane.to_string())];
            generations.encode_family(&labels)?.encode_gauge(&about.generation)?;
        }
        let help = "Time until the lane's active worker is due to end.";
        let mut deaths = encoder.encode_descriptor("next_death_seconds", help, None, MetricType::Gauge)?;
        for (lane, about) in standing.lanes.iter().enumerate() {
            if let Some(next) = about.next_death {
                let labels = [("lane", lane.to_string())];
                deaths.encode_family(&labels)?.encode_gauge(&next.as_secs_f64())?;
            }
        }
        Ok(())
    }

    fn master(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let standing = &self.standing;
        let help = "Workers that have ended: `planned` by age or command, `crashed` otherwise.";
        let mut ended = encoder.encode_descriptor("workers_ended", help, None, MetricType::Counter)?;
        count(&mut ended, &[("how", "planned")], standing.retired)?;
        count(&mut ended, &[("how", "crashed")], standing.crashed)?;
        let help = "Changes of the configuration.";
        let mut reloads = encoder.encode_descriptor("reloads", help, None, MetricType::Counter)?;
        count(&mut reloads, &[("result", "applied")], standing.reloads)?;
        count(&mut reloads, &[("result", "refused")], standing.reloads_refused)?;
        let help = "Log lines that were made and never came, whatever became of them.";
        let mut lost = encoder.encode_descriptor("log_lost", help, None, MetricType::Counter)?;
        count(&mut lost, &[], standing.log_lost)?;
        if let Some(is_up) = standing.redis {
            gauge(encoder, "redis_up", "Whether Redis can be had.", u64::from(is_up))?;
            let help = "How often a Redis of our own was started.";
            let mut starts = encoder.encode_descriptor("redis_starts", help, None, MetricType::Counter)?;
            count(&mut starts, &[], standing.redis_starts)?;
        }
        if let Some(machines) = standing.machines {
            gauge(
                encoder,
                "machines",
                "Other machines of the instance that live.",
                machines,
            )?;
        }
        if let Some(until) = standing.certificate_until {
            let help = "Until when the certificate is valid, in seconds since 1970.";
            gauge(encoder, "certificate_not_after_timestamp_seconds", help, until)?;
        }
        let help = "When the master began, in seconds since 1970.";
        gauge(encoder, "start_time_seconds", help, standing.started)?;
        let help = "The program.";
        encoder
            .encode_descriptor("build", help, None, MetricType::Info)?
            .encode_info(&[("version", standing.version.as_str())])
    }
}

fn count(encoder: &mut MetricEncoder<'_>, labels: &[(&str, &str)], number: u64) -> fmt::Result {
    if labels.is_empty() {
        return encoder.encode_counter::<NoLabelSet, _, u64>(&number, None);
    }
    encoder
        .encode_family(&labels)?
        .encode_counter::<NoLabelSet, _, u64>(&number, None)
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, number: u64) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Gauge)?
        .encode_gauge(&number)
}

#[cfg(test)]
mod tests;
