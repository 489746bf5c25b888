//! The drill: loads the person's own configuration on loopback while everything is made to go wrong, and counts what was lost.
//!
//! The story is [`run`]: settings are turned into those of a second instance (`settings.rs`), which is this same program in
//! a temporary folder (`instance.rs`; its own side is `served.rs`). A quiet round learns what every request is answered with
//! (`targets.rs`, `load.rs`), then clients (`client.rs`) go on asking while the steps of a [`Plan`] are carried out
//! (`disturb.rs`). What became of each request is judged in `account.rs`. Nothing of a running instance is touched: its
//! applications get GET and HEAD of `/`, unless they are to be left alone. Nothing is printed here.

mod account;
mod client;
mod control;
mod disturb;
mod instance;
mod load;
mod plan;
mod report;
mod run;
mod served;
mod settings;
mod targets;

pub use account::{Loss, Protocol};
pub use plan::{Deed, Plan, Step};
pub use report::{Deeds, Latency, Report};
pub use run::{Drill, DrillError, Scope, Told, run};
pub use served::{Served, ServedError, serve};
