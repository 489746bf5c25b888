//! What is made of the measurements: a line for each row as it is done, the tables, and `docs/benchmarks.md`.
//!
//! A ratio is taken within a round, between neighbours in time; a run's ratio is the median of its rounds, and with several
//! runs the median of theirs. The cost (processor time per unit of work) decides about floors and goals; the rate is shown
//! beside it, and where the load's core was the one that was full, the rate is no property of the server and says so.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::peers::Server;
use super::results::{Measured, Run, Turn};
use super::rows::{self, Bar, Measure, Row};
use crate::shell;

/// A server's core counts as full from here.
const FULL: f64 = 0.9;

/// The page's words around the tables.
const PAGE: &str = include_str!("page.txt");

/// A number with the least and the most of its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    middle: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        Some(Spread {
            middle: median(&values)?,
            least,
            most,
        })
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    match sorted.len() % 2 {
        1 => Some(upper),
        _ => Some(f64::midpoint(*sorted.get(half - 1)?, upper)),
    }
}

/// Which number of a turn.
type Number = fn(&Turn) -> f64;

const COST: Number = |turn| turn.cost;
const RATE: Number = |turn| turn.rate;

impl Measured {
    fn of(&self, server: Server) -> impl Iterator<Item = &Turn> {
        self.turns.iter().filter(move |turn| turn.server == server)
    }

    fn absolute(&self, server: Server, number: Number) -> Option<Spread> {
        Spread::of(self.of(server).map(number).collect())
    }

    /// A peer's cost to ours, or our rate to a peer's: more is better. Round by round.
    fn ratio(&self, peer: Server, number: Number) -> Option<Spread> {
        let is_rate = number(&Turn {
            cost: 1.0,
            ..Turn::figure(peer, 0, 1.0)
        }) == 0.0;
        let ratios = self.of(Server::ShimmerCat).filter_map(|ours| {
            let theirs = self.of(peer).find(|theirs| theirs.round == ours.round)?;
            let (ours, theirs) = (number(ours), number(theirs));
            Some(if is_rate { ours / theirs } else { theirs / ours })
        });
        Spread::of(ratios.collect())
    }
}

/// The runs' views of one row, put together.
struct View<'a> {
    row: &'a Row,
    runs: Vec<&'a Measured>,
}

impl View<'_> {
    /// Median over the runs of what each says; the ends are those of the runs, or of the rounds when there is one run.
    fn over(&self, say: impl Fn(&Measured) -> Option<Spread>) -> Option<Spread> {
        let said: Vec<Spread> = self.runs.iter().filter_map(|run| say(run)).collect();
        match said.as_slice() {
            [one] => Some(*one),
            many => Spread::of(many.iter().map(|spread| spread.middle).collect()),
        }
    }

    fn ratio(&self, peer: Server, number: Number) -> Option<Spread> {
        self.over(|run| run.ratio(peer, number))
    }

    fn absolute(&self, server: Server, number: Number) -> Option<Spread> {
        self.over(|run| run.absolute(server, number))
    }

    /// The value that is held against a bar, whom it is about, and whether it is enough.
    fn judged(&self, bar: &Bar) -> Option<(Option<Server>, Spread, bool)> {
        if bar.of.is_empty() {
            let cost = self.absolute(Server::ShimmerCat, COST)?;
            return Some((None, cost, cost.middle <= bar.times));
        }
        let ratios = bar.of.iter().filter_map(|peer| Some((*peer, self.ratio(*peer, COST)?)));
        let (peer, ratio) = ratios.min_by(|(_, one), (_, other)| one.middle.total_cmp(&other.middle))?;
        Some((Some(peer), ratio, ratio.middle >= bar.times))
    }

    /// Whether the load could not keep a server's core full, so that its rate is the load's.
    fn is_short(&self, server: Server) -> bool {
        let busy = self.absolute(server, |turn| turn.busy);
        !self.row.unit.rate.is_empty() && busy.is_some_and(|busy| busy.middle < FULL)
    }

    fn verdict(&self, bar: Option<&Bar>) -> String {
        let Some(bar) = bar else {
            return "–".to_owned();
        };
        match self.judged(bar) {
            None => format!("{}: not measured", bar.said),
            Some((None, cost, met)) => format!("{}: {} {}", bar.said, number(cost.middle), word(met)),
            Some((Some(peer), ratio, met)) => {
                // Where less is wanted of something, as memory, the words speak of its part.
                let value = if bar.said.starts_with('≤') {
                    1.0 / ratio.middle
                } else {
                    ratio.middle
                };
                let whom = if bar.of.len() > 1 {
                    format!(" ({})", peer.name())
                } else {
                    String::new()
                };
                format!("{}: {value:.2}{whom} {}", bar.said, word(met))
            }
        }
    }
}

fn word(met: bool) -> &'static str {
    if met { "**met**" } else { "not met" }
}

fn view<'a>(row: &'a Row, runs: &'a [Run]) -> View<'a> {
    let find = |run: &'a Run| run.rows.iter().find(|measured| measured.row == row.name);
    View {
        row,
        runs: runs.iter().filter_map(find).collect(),
    }
}

/// One row as it is done, for the terminal.
pub(super) fn line(row: &Row, measured: &Measured) -> String {
    let view = View {
        row,
        runs: vec![measured],
    };
    let mut said = Vec::new();
    for server in row.peers.iter().chain([&Server::ShimmerCat]) {
        if let Some(cost) = view.absolute(*server, COST) {
            said.push(format!("{} {}", server.name(), number(cost.middle)));
        }
    }
    let disturbed = measured.turns.iter().filter(|turn| !turn.quiet).count();
    let strange = if disturbed > 0 {
        format!("  ({disturbed} disturbed)")
    } else {
        String::new()
    };
    match said.is_empty() {
        true => measured.notes.join("; "),
        false => format!("{} {}{strange}", said.join(", "), row.unit.cost),
    }
}

/// All tables, as Markdown.
pub(super) fn tables(runs: &[Run]) -> String {
    let views: Vec<View<'_>> = rows::ROWS
        .iter()
        .map(|row| view(row, runs))
        .filter(|view| !view.runs.is_empty())
        .collect();
    let mut text = String::from("| row | work | ShimmerCat | floor | goal |\n|---|---|---|---|---|\n");
    for view in &views {
        let row = view.row;
        let floor = view.verdict(row.floor.as_ref());
        let goal = view.verdict(row.goal.as_ref());
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {floor} | {goal} |",
            row.name,
            row.title,
            ours(view)
        );
    }
    text.push_str(
        "\n| row | server | cost | rate | cost, × (spread) | rate, × (spread) | server's core | load's core |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for view in &views {
        for server in view.row.peers.iter().chain([&Server::ShimmerCat]) {
            text.push_str(&detail(view, *server));
        }
    }
    let notes: Vec<String> = views.iter().flat_map(notes).collect();
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes.join(""));
    }
    text
}

fn ours(view: &View<'_>) -> String {
    if let Measure::Missing(why) = view.row.measure {
        return why.to_owned();
    }
    let unit = view.row.unit;
    let cost = view
        .absolute(Server::ShimmerCat, COST)
        .map(|cost| format!("{} {}", number(cost.middle), unit.cost));
    let rate = view
        .absolute(Server::ShimmerCat, RATE)
        .filter(|_| !unit.rate.is_empty());
    let rate = rate.map(|rate| format!("{} {}", number(rate.middle), unit.rate));
    cost.into_iter().chain(rate).collect::<Vec<_>>().join(", ")
}

/// One server's line in the second table; nothing when it was not measured.
fn detail(view: &View<'_>, server: Server) -> String {
    let (row, unit) = (view.row, view.row.unit);
    let Some(cost) = view.absolute(server, COST) else {
        return String::new();
    };
    let has_rate = !unit.rate.is_empty();
    let rate = view.absolute(server, RATE).filter(|_| has_rate);
    let rate = rate.map_or("–".to_owned(), |rate| {
        format!("{} {}", number(rate.middle), unit.rate)
    });
    let is_peer = server != Server::ShimmerCat;
    let ratio = |number: Number| {
        let spread = view.ratio(server, number).filter(|_| is_peer)?;
        Some(format!("{:.2} ({:.2}–{:.2})", spread.middle, spread.least, spread.most))
    };
    let costs = ratio(COST).unwrap_or("–".to_owned());
    let mut rates = ratio(RATE).filter(|_| has_rate).unwrap_or("–".to_owned());
    if is_peer && has_rate && (view.is_short(server) || view.is_short(Server::ShimmerCat)) {
        rates.push_str(" °");
    }
    let share = |number: Number| {
        let spread = view.absolute(server, number).filter(|_| has_rate);
        spread.map_or("–".to_owned(), |spread| format!("{:.0} %", spread.middle * 100.0))
    };
    let (busy, load) = (share(|turn| turn.busy), share(|turn| turn.load));
    format!(
        "| `{}` | {} | {} {} | {rate} | {costs} | {rates} | {busy} | {load} |\n",
        row.name,
        server.name(),
        number(cost.middle),
        unit.cost,
    )
}

/// What else was seen of a row.
fn notes(view: &View<'_>) -> Vec<String> {
    let seen = view.runs.last().map(|run| run.notes.clone()).unwrap_or_default();
    let mut notes: Vec<String> = match view.row.measure {
        Measure::Missing(_) => Vec::new(),
        _ => seen
            .iter()
            .map(|note| format!("- `{}`: {note}\n", view.row.name))
            .collect(),
    };
    let failures = view.runs.iter().flat_map(|run| &run.failures);
    notes.extend(failures.map(|failure| format!("- `{}`: failed: {failure}\n", view.row.name)));
    let discarded: u64 = view.runs.iter().map(|run| run.discarded).sum();
    let disturbed = view
        .runs
        .iter()
        .flat_map(|run| &run.turns)
        .filter(|turn| !turn.quiet)
        .count();
    let all: usize = view.runs.iter().map(|run| run.turns.len()).sum();
    if discarded > 0 {
        notes.push(format!(
            "- `{}`: {discarded} disturbed samples were taken again\n",
            view.row.name
        ));
    }
    if disturbed > 0 {
        notes.push(format!(
            "- `{}`: {disturbed} of its {all} samples stayed disturbed by strangers\n",
            view.row.name
        ));
    }
    notes
}

/// Three digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 10_000.0 => format!("{:.1} k", value / 1000.0),
        some if some >= 100.0 => format!("{value:.0}"),
        few if few >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Writes `docs/benchmarks.md`.
pub(super) fn write(runs: &[Run]) -> Result<()> {
    let file = shell::root().join("docs/benchmarks.md");
    fs::write(&file, page(runs)).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("written: {}", file.display());
    Ok(())
}

fn page(runs: &[Run]) -> String {
    let mut facts = String::from("| | |\n|---|---|\n");
    let last = runs.last();
    for (name, value) in last.map(|run| run.facts.as_slice()).unwrap_or_default() {
        let _ = writeln!(facts, "| {name} | {value} |");
    }
    if let Some(run) = last {
        let _ = writeln!(
            facts,
            "| turns | {} of {} s for each server and row |",
            run.rounds, run.seconds
        );
    }
    let took: Vec<String> = runs.iter().map(|run| format!("{:.0} s", run.took)).collect();
    let _ = writeln!(facts, "| runs | {}, which took {} |", runs.len(), took.join(", "));
    let each = if runs.len() > 1 { each_run(runs) } else { String::new() };
    PAGE.replace("@FACTS@", &facts)
        .replace("@TABLES@", &tables(runs))
        .replace("@RUNS@", &each)
}

/// The ratios that decide, of each run by itself.
fn each_run(runs: &[Run]) -> String {
    let mut text = format!(
        "## Each run\n\nThe ratio of cost of each run by itself, which is the median of its rounds.\n\n| row | against |{}\n",
        " |".repeat(runs.len())
    );
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(runs.len()));
    for row in rows::ROWS {
        for peer in row.peers {
            let ratio = |run| view(row, std::slice::from_ref(run)).ratio(*peer, COST);
            let ratios: Vec<_> = runs.iter().map(ratio).collect();
            if ratios.iter().all(Option::is_none) {
                continue;
            }
            let said = ratios
                .iter()
                .map(|ratio| ratio.map_or("–".to_owned(), |ratio| format!("{:.2}", ratio.middle)));
            let _ = writeln!(
                text,
                "| `{}` | {} | {} |",
                row.name,
                peer.name(),
                said.collect::<Vec<_>>().join(" | ")
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::meter::Sample;

    fn run(ours: [f64; 3], theirs: [f64; 3]) -> Run {
        let turn = |server, round: u64, cpu| {
            Turn::of(
                server,
                round,
                &Sample {
                    work: 1e6,
                    seconds: 1.0,
                    cpu,
                    load: 0.5,
                    ..Sample::default()
                },
            )
        };
        let of = |server, costs: [f64; 3]| (0_u64..).zip(costs).map(move |(round, cost)| turn(server, round, cost));
        let turns = of(Server::ShimmerCat, ours).chain(of(Server::Nginx, theirs)).collect();
        let measured = Measured {
            row: "h1-1k".to_owned(),
            turns,
            discarded: 0,
            notes: Vec::new(),
            failures: Vec::new(),
        };
        Run {
            facts: Vec::new(),
            rounds: 3,
            seconds: 1.0,
            took: 1.0,
            rows: vec![measured],
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was slower in the second round, for both.
        let runs = [run([10.0, 20.0, 10.0], [15.0, 30.0, 16.0])];
        let row = &rows::ROWS[0];
        let ratio = view(row, &runs).ratio(Server::Nginx, COST);
        assert_eq!(
            ratio,
            Some(Spread {
                middle: 1.5,
                least: 1.5,
                most: 1.6
            })
        );
        assert_eq!(
            view(row, &runs).verdict(row.floor.as_ref()),
            "1.2 × nginx: 1.50 **met**"
        );
        assert_eq!(view(row, &runs).verdict(row.goal.as_ref()), "1.1 × H2O: not measured");
    }

    #[test]
    fn several_runs_count_as_their_median() {
        let runs = [
            run([10.0; 3], [11.0; 3]),
            run([10.0; 3], [13.0; 3]),
            run([10.0; 3], [10.0; 3]),
        ];
        let row = &rows::ROWS[0];
        let ratio = view(row, &runs).ratio(Server::Nginx, COST);
        assert_eq!(
            ratio,
            Some(Spread {
                middle: 1.1,
                least: 1.0,
                most: 1.3
            })
        );
        assert!(view(row, &runs).verdict(row.floor.as_ref()).contains("not met"));
        assert!(page(&runs).contains("| `h1-1k` | nginx | 1.10 | 1.30 | 1.00 |"));
    }
}
