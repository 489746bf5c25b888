//! Loopback ports that nobody listens on.
//!
//! For programs whose port must be known beforehand. Between the choice and the use another process may take the port;
//! a program that can be given port 0 and says what it got is the better test.

use std::net::{Ipv4Addr, TcpListener};

/// A TCP port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// Several such ports, all different.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port"));
    std::array::from_fn(|index| held[index].local_addr().expect("a bound socket has an address").port())
}
