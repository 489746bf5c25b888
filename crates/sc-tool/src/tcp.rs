//! `sc-tool tcp`: a local port that leads to a name of the little network, for programs that know no proxy.
//!
//! One thread for each direction of each connection; bounded, since this serves a person at a desk, not a site.
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use sc_config::{Address, NamePattern};

use crate::args::Tcp;
use crate::report::{Exit, Report, chain};
use crate::screen::Screen;
use crate::socks;
use crate::surroundings::Surroundings;
use crate::target::{Proxy, Target};

/// Connections at a time; more are closed at once.
const CONNECTIONS: usize = 256;

/// Bytes moved at a time.
const CHUNK_BYTES: usize = 32 * 1024;

/// Where every connection goes.
#[derive(Clone, Debug)]
struct Way {
    proxy: Proxy,
    name: String,
    port: u16,
}

/// Listens, prints the address, and relays until it is ended.
///
/// Errors: no instance, a name without a port, an address that is taken.
pub(crate) fn serve(args: &Tcp, around: &Surroundings, screen: Screen) -> Result<ExitCode, Report> {
    let (target, silence) = Target::find_answering(&args.place, around)?;
    if let Some(silence) = silence {
        screen.warning(&silence);
    }
    let (name, port) = destination(&args.name, &target)?;
    let address = listen_address(&args.listen)?;
    if !address.ip().is_loopback() {
        screen.warning(&format!(
            "everybody who reaches {address} reaches `{name}:{port}`, without a password"
        ));
    }
    let listener = TcpListener::bind(address).map_err(|error| cannot_listen(address, &error))?;
    let local = listener.local_addr().map_err(|error| cannot_listen(address, &error))?;
    screen.data(&format!("{local}\n"));
    screen.say(&format!(
        "{local} leads to {name}:{port} through {}; Ctrl-C ends it",
        target.proxy
    ));
    let way = Way {
        proxy: target.proxy,
        name,
        port,
    };
    relay_all(&listener, &way, screen)
}

/// The name and port as typed; without a port, the only one that the project's file gives the name.
fn destination(typed: &str, target: &Target) -> Result<(String, u16), Report> {
    if let Some((name, port)) = typed.rsplit_once(':') {
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| Report::usage(format!("`{typed}` does not end in a port")))?;
        return Ok((host(name)?, port));
    }
    let name = host(typed)?;
    let ports = crate::ports::of(&target.home, &name)?;
    match ports.as_slice() {
        [port] => Ok((name, *port)),
        [] => Err(Report::usage(format!("`{name}` has no port of its own")).hint(format!("say which: `{name}:443`"))),
        several => {
            let ports: Vec<_> = several.iter().map(u16::to_string).collect();
            Err(
                Report::usage(format!("`{name}` has the ports {}", ports.join(", "))).hint(format!(
                    "say which: `{name}:{}`",
                    ports.first().map_or("443", String::as_str)
                )),
            )
        }
    }
}

fn host(name: &str) -> Result<String, Report> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.parse::<NamePattern>() {
        Ok(_) if !name.contains('*') => Ok(name),
        _ => Err(Report::usage(format!("`{name}` is not a name"))),
    }
}

fn listen_address(typed: &str) -> Result<SocketAddr, Report> {
    match typed.parse::<Address>() {
        Ok(Address::Tcp(address)) => Ok(address),
        Ok(_) => Err(Report::usage(format!("`{typed}` is not an address to listen on")).hint("e.g. `127.0.0.1:3306`")),
        Err(error) => Err(Report::of(&error).with_exit(Exit::Usage).hint("e.g. `127.0.0.1:3306`")),
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Report {
    let report = Report::because(format!("cannot listen on {address}"), error);
    match error.kind() {
        io::ErrorKind::AddrInUse => report.with_exit(Exit::Taken).hint("choose another one with `--listen`"),
        _ => report,
    }
}

fn relay_all(listener: &TcpListener, way: &Way, screen: Screen) -> Result<ExitCode, Report> {
    let open = Arc::new(());
    loop {
        let (client, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(Report::because("cannot accept connections any more", &error)),
        };
        if Arc::strong_count(&open) > CONNECTIONS {
            screen.warning(&format!("more than {CONNECTIONS} connections; one was closed"));
            continue;
        }
        let (way, permit) = (way.clone(), Arc::clone(&open));
        thread::spawn(move || {
            let _permit = permit;
            match socks::connect(&way.proxy, &way.name, way.port) {
                Ok(upstream) => relay(client, upstream),
                Err(error) => screen.warning(&format!("{}:{}: {}", way.name, way.port, chain(&error))),
            }
        });
    }
}

/// Moves bytes both ways; the end of one direction is passed on and leaves the other open.
fn relay(client: TcpStream, upstream: TcpStream) {
    let (Ok(client_again), Ok(upstream_again)) = (client.try_clone(), upstream.try_clone()) else {
        return;
    };
    let back = thread::spawn(move || pump(upstream_again, client_again));
    pump(client, upstream);
    drop(back.join());
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let whole = loop {
        match from.read(&mut chunk) {
            Ok(0) => break true,
            Ok(length) => {
                if chunk.get(..length).is_none_or(|bytes| to.write_all(bytes).is_err()) {
                    break false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break false,
        }
    };
    drop(to.shutdown(if whole { Shutdown::Write } else { Shutdown::Both }));
    if !whole {
        drop(from.shutdown(Shutdown::Both));
    }
}
