//! Who lives and who dies: the supervisor's policy, without processes, sockets, clocks or a thread.
//!
//! A [`Supervisor`] is told what happened and when, and answers with what is to be done. Each lane has one worker that
//! accepts and, with [`Rules::standby`], a warm one beside it. A worker is replaced by a hand-over: the successor is
//! started, says that it is ready, is told to accept, says that it does, and only then the old one is told to drain. So a
//! hand-over that fails at any step has disturbed nobody.
//!
//! Read [`Event`] and [`Action`] first, they are the whole contract with the master; then `policy.rs` for what an event
//! does, `renewal.rs` for planned ends, `faults.rs` for unplanned ones. `tests/simulation.rs` lives through many years.

mod event;
mod faults;
mod lane;
mod policy;
pub(crate) mod random;
mod renewal;
mod rules;
mod view;

#[cfg(test)]
mod tests;

pub use event::{Action, Cause, Event, Fault, Hindrance, Moment, Note, Outcome, State, Worker};
pub use policy::Supervisor;
pub use rules::{LEAST_LIFE, Rules};
pub use view::{LaneView, WorkerView};
