//! Applications for the programs under test to stand in front of: real sockets, one thread per connection.
//!
//! `HttpApp` speaks HTTP/1.1 in the clear, over TLS or over a unix socket; `H2cApp` HTTP/2 by prior knowledge;
//! `EchoServer` and `UdpEcho` send back what they get. All of them end when dropped.

mod echo;
mod h2c;
mod http;
mod routes;

pub use self::echo::{EchoServer, UdpEcho};
pub use self::h2c::H2cApp;
pub use self::http::HttpApp;
