//! Clients of a proxy: SOCKS5 (RFC 1928, 1929), SOCKS4a, HTTP CONNECT, UDP ASSOCIATE.
//!
//! Refusals are answers here, not errors: a test looks at the code. Hosts that parse as an address are sent as one.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use super::{SOCKET_PATIENCE, tcp};

/// What a SOCKS5 server answered.
#[derive(Debug)]
pub struct Socks5Answer {
    /// RFC 1928 §6: 0 for success.
    pub reply: u8,
    /// The bound address; `None` when it was a name or the reply was cut off.
    pub bound: Option<SocketAddr>,
    /// The connection: the tunnel after success.
    pub stream: TcpStream,
}

/// What a SOCKS4 server answered.
#[derive(Debug)]
pub struct Socks4Answer {
    /// 90 for success.
    pub code: u8,
    /// The connection: the tunnel after success.
    pub stream: TcpStream,
}

/// What an HTTP proxy answered to CONNECT.
#[derive(Debug)]
pub struct ConnectAnswer {
    /// 200 for success.
    pub status: u16,
    /// The head of the answer, as text.
    pub head: String,
    /// The connection: the tunnel after success.
    pub stream: TcpStream,
}

/// Asks for a connection, without authentication.
pub fn socks5(proxy: SocketAddr, host: &str, port: u16) -> Socks5Answer {
    let mut stream = tcp(proxy);
    stream.write_all(&[5, 1, 0]).expect("the greeting is taken");
    assert_eq!(read_array(&mut stream), [5, 0], "the method `none` is chosen");
    socks5_request(stream, 1, host, port)
}

/// Asks for a connection with user name and password (RFC 1929).
///
/// Shape: `Err` with the status when they are refused.
pub fn socks5_with_password(
    proxy: SocketAddr,
    (user, password): (&str, &str),
    host: &str,
    port: u16,
) -> Result<Socks5Answer, u8> {
    let mut stream = tcp(proxy);
    stream.write_all(&[5, 1, 2]).expect("the greeting is taken");
    let [_, method] = read_array(&mut stream);
    if method != 2 {
        return Err(method);
    }
    let mut message = vec![1];
    for text in [user, password] {
        message.push(u8::try_from(text.len()).expect("at most 255 bytes"));
        message.extend(text.bytes());
    }
    stream.write_all(&message).expect("the credentials are taken");
    match read_array(&mut stream) {
        [_, 0] => Ok(socks5_request(stream, 1, host, port)),
        [_, status] => Err(status),
    }
}

/// Asks for a UDP relay (RFC 1928 §7): the control connection, which must stay open, and where to send datagrams.
///
/// Shape: `Err` with the reply when it is refused.
pub fn udp_associate(proxy: SocketAddr) -> Result<UdpRelay, u8> {
    let mut stream = tcp(proxy);
    stream.write_all(&[5, 1, 0]).expect("the greeting is taken");
    assert_eq!(read_array(&mut stream), [5, 0], "the method `none` is chosen");
    let answer = socks5_request(stream, 3, "0.0.0.0", 0);
    if answer.reply != 0 {
        return Err(answer.reply);
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    socket
        .set_read_timeout(Some(SOCKET_PATIENCE))
        .expect("a time limit can be set");
    Ok(UdpRelay {
        control: answer.stream,
        socket,
        relay: answer.bound.expect("the reply names the relay"),
    })
}

/// An association with a UDP relay; it ends with the control connection.
#[derive(Debug)]
pub struct UdpRelay {
    /// The TCP connection that keeps it alive.
    pub control: TcpStream,
    /// Our socket.
    pub socket: UdpSocket,
    /// Where the proxy takes datagrams.
    pub relay: SocketAddr,
}

impl UdpRelay {
    /// Sends a datagram to `host`, through the relay.
    pub fn send(&self, host: &str, port: u16, data: &[u8]) {
        let mut message = vec![0, 0, 0];
        message.extend(socks5_target(host, port));
        message.extend(data);
        self.socket
            .send_to(&message, self.relay)
            .expect("a datagram can be sent");
    }

    /// Waits for a datagram and gives what it carries, whoever it is from; `None` when none came within the socket's time.
    ///
    /// Shape: the relay may name the sender by address or by the name it was asked for (RFC 1928 §7 allows both).
    pub fn receive_data(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 64 * 1024];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        let mut rest = &buffer[..length];
        assert_eq!(
            read_array(&mut rest),
            [0, 0, 0],
            "reserved bytes and fragment number are zero"
        );
        read_bound(&mut rest);
        Some(rest.to_vec())
    }

    /// Waits for a datagram: from whom, as the relay says, and what. `None` when none came within the socket's time, or when
    /// the relay gives no address but a name.
    pub fn receive(&self) -> Option<(SocketAddr, Vec<u8>)> {
        let mut buffer = vec![0; 64 * 1024];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        let mut rest = &buffer[..length];
        assert_eq!(
            read_array(&mut rest),
            [0, 0, 0],
            "reserved bytes and fragment number are zero"
        );
        let from = read_bound(&mut rest)?;
        Some((from, rest.to_vec()))
    }
}

/// Asks for a connection by SOCKS4a, or SOCKS4 when `host` is an IPv4 address.
pub fn socks4a(proxy: SocketAddr, host: &str, port: u16) -> Socks4Answer {
    let mut stream = tcp(proxy);
    let mut message = vec![4, 1];
    message.extend(port.to_be_bytes());
    match host.parse::<Ipv4Addr>() {
        Ok(address) => message.extend([&address.octets()[..], b"me\0"].concat()),
        Err(_) => message.extend([b"\0\0\0\x01me\0", host.as_bytes(), b"\0"].concat()),
    }
    stream.write_all(&message).expect("the request is taken");
    let [_, code, ..] = read_array::<8>(&mut stream);
    Socks4Answer { code, stream }
}

/// Asks for a tunnel by HTTP CONNECT.
pub fn http_connect(proxy: SocketAddr, authority: &str) -> ConnectAnswer {
    let mut stream = tcp(proxy);
    write!(stream, "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").expect("the request is taken");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let [byte] = read_array(&mut stream);
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    ConnectAnswer {
        status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
        head,
        stream,
    }
}

/// Sends a request over a connection whose method is agreed on, and reads the reply.
pub fn socks5_request(mut stream: TcpStream, command: u8, host: &str, port: u16) -> Socks5Answer {
    let mut message = vec![5, command, 0];
    message.extend(socks5_target(host, port));
    stream.write_all(&message).expect("the request is taken");
    let [version, reply, reserved] = read_array(&mut stream);
    assert_eq!((version, reserved), (5, 0), "a reply of RFC 1928 §6");
    let bound = read_bound(&mut stream);
    Socks5Answer { reply, bound, stream }
}

fn socks5_target(host: &str, port: u16) -> Vec<u8> {
    let mut bytes = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => [&[1][..], &address.octets()].concat(),
        Ok(IpAddr::V6(address)) => [&[4][..], &address.octets()].concat(),
        Err(_) => [
            &[3, u8::try_from(host.len()).expect("at most 255 bytes")],
            host.as_bytes(),
        ]
        .concat(),
    };
    bytes.extend(port.to_be_bytes());
    bytes
}

fn read_bound(from: &mut impl Read) -> Option<SocketAddr> {
    let ip: Option<IpAddr> = match read_array(from) {
        [1] => Some(Ipv4Addr::from(read_array::<4>(from)).into()),
        [4] => Some(Ipv6Addr::from(read_array::<16>(from)).into()),
        [3] => {
            let [length] = read_array(from);
            from.read_exact(&mut vec![0; length.into()]).expect("the whole name");
            None
        }
        [other] => panic!("address type {other} is not one of RFC 1928 §5"),
    };
    let port = u16::from_be_bytes(read_array(from));
    ip.map(|ip| SocketAddr::new(ip, port))
}

fn read_array<const N: usize>(from: &mut impl Read) -> [u8; N] {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)
        .unwrap_or_else(|error| panic!("the proxy's answer was cut off: {error}"));
    bytes
}
