//! The devlove file: found, read, checked as a whole, and turned into plain [`Settings`].
//!
//! This room owns the file's format, its diagnostics, the grammar of addresses and names, and the places where a
//! project keeps what is not committed. It opens no socket, writes no log and reads no environment: the homes of the
//! user are handed in. Start reading at [`load()`]; then `keys` (the table every key stands in), `check` (file to
//! settings), [`settings`] (what comes out), [`diagnostic`] (what a person reads), and [`places`] with [`instance`].
#![forbid(unsafe_code)]

pub mod address;
mod balance;
pub mod changes;
mod check;
pub mod diagnostic;
pub mod discover;
mod fastcgi;
pub mod guess;
pub mod instance;
mod internet;
mod keys;
mod limits;
mod load;
mod lock;
mod merge;
pub mod names;
pub mod networks;
pub mod pac;
pub mod places;
pub mod reference;
pub mod schema;
pub mod settings;
pub mod source;
mod syntax;
pub mod template;
mod tree;
pub mod units;
mod wire;

pub use address::{Address, AddressError};
pub use balance::{Ejection, HealthChecks, Statuses, StatusesError};
pub use changes::changes;
pub use diagnostic::{Diagnostic, Severity, render, render_all};
pub use discover::{Found, discover};
pub use fastcgi::FastCgi;
pub use guess::{Application, Guess, guess};
pub use instance::{Instance, InstanceError};
pub use internet::{exposed_files, internet_checks, internet_warnings};
pub use limits::Limits;
pub use load::{Loaded, fuzz_config, load};
pub use lock::{LockError, lock};
pub use names::{NameError, NamePattern, nearest};
pub use networks::{Network, NetworkError};
pub use places::{Homes, Places, PlacesError};
pub use reference::reference;
pub use schema::schema;
pub use settings::{
    ApplicationProtocol, Audience, Consultant, Domain, Forward, Kind, LogFormat, Redirect, Redis, RedisError, Secret,
    Settings, Shape, SocksUser, Verify,
};
pub use source::{Place, Source};
pub use template::init_template;
