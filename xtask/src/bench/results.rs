//! What was measured, as it is kept in a file below the target folder: raw, so that the document can be made of it again.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::meter::Sample;
use super::peers::Server;
use crate::shell;

/// One turn of one server.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) server: Server,
    pub(super) round: u64,
    /// Processor per unit of work, or memory, or time.
    pub(super) cost: f64,
    /// Units per second; 0 where there is no such thing.
    pub(super) rate: f64,
    /// Cores that the server used.
    pub(super) busy: f64,
    /// Cores that the load used.
    pub(super) load: f64,
    /// Cores that strangers used.
    pub(super) strangers: f64,
    /// Whether strangers kept out, in this try or an earlier one.
    pub(super) quiet: bool,
}

impl Turn {
    /// Of a sample.
    pub(super) fn of(server: Server, round: u64, sample: &Sample) -> Self {
        Turn {
            server,
            round,
            cost: sample.cost(),
            rate: sample.rate(),
            busy: sample.busy(),
            load: sample.load,
            strangers: sample.strangers,
            quiet: sample.is_quiet(),
        }
    }

    /// Of a number that is no cost of work.
    pub(super) fn figure(server: Server, round: u64, cost: f64) -> Self {
        Turn {
            server,
            round,
            cost,
            rate: 0.0,
            busy: 0.0,
            load: 0.0,
            strangers: 0.0,
            quiet: true,
        }
    }
}

/// One row of one run.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) row: String,
    pub(super) turns: Vec<Turn>,
    /// Samples that were thrown away.
    pub(super) discarded: u64,
    /// What else was seen.
    pub(super) notes: Vec<String>,
    /// What could not be measured, and why.
    pub(super) failures: Vec<String>,
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) facts: Vec<(String, String)>,
    pub(super) rounds: u64,
    pub(super) seconds: f64,
    pub(super) took: f64,
    pub(super) rows: Vec<Measured>,
}

fn file(whole: bool) -> Result<PathBuf> {
    let name = if whole {
        "results.json"
    } else {
        "results-of-some-rows.json"
    };
    Ok(shell::target_dir()?.join("bench").join(name))
}

/// Keeps runs, instead of those that were kept; runs of some rows apart from those of all.
pub(super) fn keep(runs: &[Run], whole: bool) -> Result<PathBuf> {
    let file = file(whole)?;
    let text = serde_json::to_string_pretty(&runs.iter().map(Run::json).collect::<Vec<_>>())?;
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// The whole runs that were kept.
pub(super) fn kept() -> Result<Vec<Run>> {
    let file = file(true)?;
    let text = fs::read_to_string(&file).with_context(|| format!("no results at {}", file.display()))?;
    let value: Value = serde_json::from_str(&text)?;
    let runs: Option<Vec<Run>> = value.as_array().map(|runs| runs.iter().filter_map(Run::read).collect());
    runs.context("the results are of another shape")
}

impl Run {
    fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Measured::json).collect();
        json!({
            "facts": self.facts,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "took_s": self.took,
            "rows": rows,
        })
    }

    fn read(value: &Value) -> Option<Self> {
        let fact = |fact: &Value| Some((fact[0].as_str()?.to_owned(), fact[1].as_str()?.to_owned()));
        Some(Run {
            facts: value["facts"].as_array()?.iter().map(fact).collect::<Option<_>>()?,
            rounds: value["rounds"].as_u64()?,
            seconds: value["seconds"].as_f64()?,
            took: value["took_s"].as_f64()?,
            rows: value["rows"]
                .as_array()?
                .iter()
                .map(Measured::read)
                .collect::<Option<_>>()?,
        })
    }
}

impl Measured {
    fn json(&self) -> Value {
        let turn = |turn: &Turn| {
            json!({
                "server": turn.server.name(),
                "round": turn.round,
                "cost": turn.cost,
                "rate": turn.rate,
                "busy": turn.busy,
                "load": turn.load,
                "strangers": turn.strangers,
                "quiet": turn.quiet,
            })
        };
        let turns: Vec<Value> = self.turns.iter().map(turn).collect();
        json!({
            "row": self.row,
            "discarded": self.discarded,
            "notes": self.notes,
            "failures": self.failures,
            "turns": turns,
        })
    }

    fn read(value: &Value) -> Option<Self> {
        let turn = |turn: &Value| {
            Some(Turn {
                server: Server::named(turn["server"].as_str()?)?,
                round: turn["round"].as_u64()?,
                cost: turn["cost"].as_f64()?,
                rate: turn["rate"].as_f64()?,
                busy: turn["busy"].as_f64()?,
                load: turn["load"].as_f64()?,
                strangers: turn["strangers"].as_f64()?,
                quiet: turn["quiet"].as_bool()?,
            })
        };
        let texts = |name: &str| {
            let texts = value[name].as_array()?.iter().filter_map(Value::as_str);
            Some(texts.map(str::to_owned).collect())
        };
        Some(Measured {
            row: value["row"].as_str()?.to_owned(),
            discarded: value["discarded"].as_u64()?,
            notes: texts("notes")?,
            failures: texts("failures")?,
            turns: value["turns"].as_array()?.iter().map(turn).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_can_be_read() {
        let sample = Sample {
            work: 10.0,
            seconds: 1.0,
            cpu: 0.5,
            load: 0.25,
            ..Sample::default()
        };
        let measured = Measured {
            row: "h1-1k".to_owned(),
            turns: vec![
                Turn::of(Server::H2o, 3, &sample),
                Turn::figure(Server::ShimmerCat, 0, 2.5),
            ],
            discarded: 1,
            notes: vec!["seen".to_owned()],
            failures: vec!["H2O: gone".to_owned()],
        };
        let facts = vec![("kernel".to_owned(), "6".to_owned())];
        let run = Run {
            facts,
            rounds: 5,
            seconds: 1.0,
            took: 9.5,
            rows: vec![measured],
        };
        let again = Run::read(&run.json()).map(|run| format!("{run:?}"));
        assert_eq!(again, Some(format!("{run:?}")));
    }
}
