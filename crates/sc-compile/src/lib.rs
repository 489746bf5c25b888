//! From settings, which speak of the file, to what the rooms below want. Shared by both modes.
//!
//! [`sites`] makes what `sc-site` serves, [`names`] decides where a name of the little network leads, [`access`] says who
//! may use it and what it may reach, [`limits`] what no client gets more of. It binds nothing, watches nothing and serves
//! nothing; the modes do.
#![forbid(unsafe_code)]

pub mod access;
pub mod limits;
pub mod names;
pub mod sites;

pub use access::{OpenProxy, auth, check_proxy, guard, networks, shape};
pub use limits::{bounds, this_machine};
pub use names::{Names, Transport};
pub use sites::{public_names, sites, upstream};
