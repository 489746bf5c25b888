//! The bus against a real Redis: killed, frozen, full, slow, secured, and none at all.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod bench;
mod own;
mod reading;
mod roles;
mod secured;
mod shipping;
