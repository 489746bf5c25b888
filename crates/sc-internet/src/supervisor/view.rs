//! What a person may see of the policy's mind: lanes, workers, and what comes next.

use super::event::{Hindrance, Moment, State, Worker};
use super::policy::Supervisor;
use super::rules::Rules;

/// A lane as it is now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LaneView {
    /// Its number, from 0.
    pub lane: usize,
    /// Its workers, oldest first.
    pub workers: Vec<WorkerView>,
    /// When the life of its active worker ends, if nothing postpones that. Lies in the past while something does.
    pub next_death: Option<Moment>,
    /// It starts no worker before.
    pub backing_off_until: Option<Moment>,
    /// Faults in a row.
    pub faults: u32,
    /// Whether a successor starts or takes over.
    pub is_changing: bool,
}

/// A worker as it is now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkerView {
    /// Which one.
    pub worker: Worker,
    /// How many workers the lane had had when it was started, itself included.
    pub generation: u64,
    /// Where it stands in its life.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// When its process was started.
    pub started: Moment,
    /// Since when it accepts or when it began to, if it ever did.
    pub active: Option<Moment>,
    /// Whether its event loop stands still.
    pub is_stuck: bool,
    /// Whether it was killed, and only its exit is awaited.
    pub is_killed: bool,
}

impl Supervisor {
    /// The numbers that it follows.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// All lanes, in order.
    pub fn lanes(&self) -> Vec<LaneView> {
        (0..self.lanes.len()).map(|lane| self.view(lane)).collect()
    }

    /// How many lanes have a worker that accepts and answers.
    pub fn serving(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.serving().is_some()).count()
    }

    /// How many old workers finish what is open.
    pub fn draining(&self) -> usize {
        self.draining_members().count()
    }

    /// The lane and state of a worker; `None` when it is gone.
    pub fn state(&self, worker: Worker) -> Option<(usize, State)> {
        let (lane, at) = self.find(worker)?;
        Some((lane, self.lanes[lane].members[at].state))
    }

    /// What would keep a planned death from happening now.
    pub fn hindrance(&self) -> Option<Hindrance> {
        self.hindrance_to_age()
    }

    fn view(&self, number: usize) -> LaneView {
        let lane = &self.lanes[number];
        let workers = lane.members.iter().map(|member| WorkerView {
            worker: member.worker,
            generation: member.generation,
            state: member.state,
            since: member.since,
            started: member.started,
            active: member.active,
            is_stuck: member.stuck,
            is_killed: member.over,
        });
        LaneView {
            lane: number,
            workers: workers.collect(),
            next_death: lane.serving().map(|at| lane.members[at].due),
            backing_off_until: lane.spawn_at.filter(|at| *at > self.now),
            faults: lane.faults,
            is_changing: lane.is_changing(),
        }
    }
}
