//! Sockets: binding, accepting, telling dialects apart, SOCKS, dialling, relaying; tasks and their end.
//!
//! This room is the only one that touches descriptors. It reads no settings and no environment, writes no log
//! and knows nothing of TLS or HTTP: it returns values and errors, and events through callbacks. Everything runs on
//! one thread (tokio's current-thread runtime inside a `LocalSet` or `LocalRuntime`).
//!
//! Start reading at [`accept`], then follow a connection: [`first_byte`], [`socks`], [`dial`] (with [`guard`]),
//! [`relay`], [`udp`]. [`tasks`] is the one place that spawns. Programs of several processes also need [`lanes`], [`channel`],
//! [`document`], [`counters`] and [`child`], and [`confine`] to give up what they do not need; [`folder_watch`] is for those that may have no second thread.
#![deny(unsafe_code)]

pub mod accept;
pub mod addr;
pub mod channel;
pub mod child;
pub mod confine;
pub mod counters;
pub mod dial;
pub mod document;
pub mod first_byte;
pub mod folder_watch;
pub mod guard;
pub mod holder;
pub mod lanes;
pub mod listen;
pub mod memory;
mod readiness;
pub mod relay;
mod scratch;
pub mod shape;
pub mod socks;
mod splice;
pub mod stream;
pub mod target;
pub mod tasks;
pub mod udp;

pub use accept::{AcceptError, AcceptEvent, Gate, Permit};
pub use addr::{ClientAddr, LocalAddr, UpstreamAddr};
pub use dial::{DialError, Dialled, Resolver, dial};
pub use first_byte::{DetectError, Dialect};
pub use guard::{Forbidden, Guard, Network};
pub use listen::{BindError, Listener, Place};
pub use relay::{Relayed, copy_both, relay};
pub use shape::{Shape, Shaper};
pub use stream::{Connection, Rewound, Stream};
pub use target::{Host, NameError, Target};
pub use tasks::{Panicked, Spawner, Tasks};
