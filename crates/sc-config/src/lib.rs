//! The devlove file: found, read, checked as a whole, and turned into plain [`Settings`].
//!
//! This room owns the file's format, its diagnostics, the grammar of addresses and names, and the places where a
//! project keeps what is not committed. It opens no socket, writes no log and reads no environment: the homes of the
//! user are handed in. Start reading at [`load`]; then [`keys`] (the table every key stands in), [`check`] (file to
//! settings), [`settings`] (what comes out), [`diagnostic`] (what a person reads), and [`places`] with [`instance`].
#![forbid(unsafe_code)]

pub mod address;
pub mod diagnostic;
pub mod discover;
pub mod instance;
pub mod names;
pub mod networks;
pub mod places;
pub mod settings;
pub mod source;
pub mod units;

pub use address::{Address, AddressError};
pub use diagnostic::{Diagnostic, Severity, render, render_all};
pub use discover::{Found, discover};
pub use instance::{Instance, InstanceError};
pub use names::{NameError, NamePattern};
pub use networks::{Network, NetworkError};
pub use places::{Homes, Places, PlacesError};
pub use settings::{
    ApplicationProtocol, Audience, Consultant, Domain, Forward, Kind, LogFormat, Redirect, Redis, Secret, Settings,
    Shape, SocksUser, Verify,
};
pub use source::{Place, Source};
