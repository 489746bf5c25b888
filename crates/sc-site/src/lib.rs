//! Answers: from an authority and a path to files, to an application, to a redirect or to a page of our own.
//!
//! The room takes plain [`spec`] values and compiles them into [`Sites`], one immutable snapshot that is swapped as a
//! whole when the configuration changes. It knows no configuration file, opens no listener, writes no log: what
//! happened to an exchange is left in [`Notes`]. Start reading at [`site`]: it is the route of every request. Then
//! `files` and `proxy`, the two handlers, and [`pages`] for everything that is said in our own words.
#![forbid(unsafe_code)]

mod files;
pub mod name;
pub mod notes;
pub mod pages;
mod proxy;
mod random;
mod redirects;
pub mod site;
pub mod sites;
pub mod spec;
pub mod upstreams;

pub use files::{fuzz_path, fuzz_scripts};
pub use name::{NamePattern, NotAName};
pub use notes::{Handler, Notes};
pub use site::{Around, Site};
pub use sites::{Environment, SiteError, Sites, Spawn};
pub use spec::{
    Audience, BalanceSpec, Disclosure, FastCgiSpec, FilesSpec, HealthSpec, PoolSpec, RedirectSpec, RetrySpec, SiteSpec,
    Timeouts, UpstreamProtocol, UpstreamSpec,
};
pub use upstreams::{EndpointStanding, Told, UpstreamEvent};
