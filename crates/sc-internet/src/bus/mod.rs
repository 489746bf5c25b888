//! The bus: a Redis between the processes. No request ever waits for it, and it is never the only copy of anything.
//!
//! - [`Place`] says which Redis; [`Own`] starts and watches one of ours; [`Target`] is what is connected to.
//! - A worker puts its log lines into a [`Ring`], which never waits; its [`Shipper`] takes them to the stream, or to the
//!   fallback while the stream cannot be had.
//! - The master's [`Reader`] puts the lines of both ways in order again and says exactly which are lost; [`Roles`] tells
//!   other machines that it lives.
//!
//! Names of keys are in [`Instance`], and for people in `docs/redis.md`. Everything here is bounded: lines in the ring,
//! bytes of a batch, gaps and workers that are remembered, the stream itself.

mod backoff;
mod filter;
mod find;
mod instance;
mod lines;
mod link;
mod own;
mod place;
mod read;
mod ring;
mod roles;
mod ship;

#[cfg(test)]
mod tests;

pub use find::find_server;
pub use instance::Instance;
pub use lines::Line;
pub use own::{Health, Own, Owning};
pub use place::{Place, PlaceError, Target};
pub use read::{Heard, Reader, Reading};
pub use ring::{NoTally, Ring, Tally};
pub use roles::{Offered, Playing, Roles, SharedRoot, Snapshot, Told};
pub use ship::{Beat, BusState, Fallback, Shipped, Shipper, Shipping};
