//! Helpers for tests: programs under test, applications behind them, clients in front of them.
//!
//! Shares no code with what it tests: every protocol here is written a second time, plainly and blocking, over real
//! sockets and threads, so that a mistake in a room cannot hide behind the same mistake in its test. Everything fails by
//! panicking with what was seen last. Not a framework: functions and small types, one file per concern.
//!
//! Start with `program` (spawn a binary, wait for what it says), `project` (a folder for it), `app` (what it serves) and
//! `client` (who asks). `egress` watches what leaves the machine.

#![forbid(unsafe_code)]

pub mod app;
pub mod certificate;
pub mod client;
pub mod descriptors;
pub mod egress;
pub mod find;
pub mod layout;
pub mod packages;
pub mod patience;
pub mod php;
pub mod ports;
pub mod program;
pub mod project;

pub use app::{EchoServer, H2cApp, HttpApp, UdpEcho};
pub use certificate::{CertificateFiles, TestCa, first_certificate, replace};
pub use client::curl::{Curl, CurlAnswer};
pub use client::http1::{Http1, Request, Response};
pub use client::http2::{Http2, Http2Response, Tunnel};
pub use client::socks::{http_connect, socks4a, socks5, socks5_with_password, udp_associate};
pub use client::tls::{TlsClient, TlsStream, is_resumed, tls_over};
pub use client::websocket;
pub use descriptors::allow_descriptors;
pub use egress::Destination;
pub use find::find_program;
pub use layout::assert_test_files_are_listed;
pub use packages::{node_modules, python};
pub use patience::{eventually, pause};
pub use php::PhpFpm;
pub use ports::{free_port, free_ports};
pub use program::{Launch, Line, Memory, Program, Signal, Stream, binary};
pub use project::TempProject;
