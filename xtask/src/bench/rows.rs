//! The rows of the table: what is measured, against whom, and which ratio is the floor and which the goal.
//!
//! A ratio is the peer's cost divided by ours, so more is better. A row that is behind stays.

use super::load::h2load::Requests;
use super::peers::{Server, Way};
use super::stage::{APP, CLOSE, FILES};

use Server::{Caddy, Dante, H2o, HaProxy, MicroSocks, Nginx, Undisturbed};

/// How a row is measured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    /// HTTP by h2load, from servers started this way.
    Requests(Requests, Way),
    /// Handshakes, full or resumed.
    Handshakes { resume: bool },
    /// SOCKS5 connections.
    SocksConnections,
    /// Bytes through SOCKS5.
    SocksBytes,
    /// Memory of idle connections.
    Idle,
    /// From starting the program to its first answer.
    ColdStart,
    /// From wanting a new worker to its accepting.
    Warm,
    /// Latency while a lane is renewed each second.
    Renewal,
    /// Not at all, and why.
    Missing(&'static str),
}

/// What the numbers of a row count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    /// After the cost.
    pub(super) cost: &'static str,
    /// After the rate; empty when there is none.
    pub(super) rate: &'static str,
}

const REQUEST: Unit = Unit {
    cost: "µs/request",
    rate: "requests/s",
};
const MIB: Unit = Unit {
    cost: "µs/MiB",
    rate: "MiB/s",
};
const HANDSHAKE: Unit = Unit {
    cost: "µs/handshake",
    rate: "handshakes/s",
};
const CONNECTION: Unit = Unit {
    cost: "µs/connection",
    rate: "connections/s",
};
const MEMORY: Unit = Unit {
    cost: "KiB/connection",
    rate: "",
};
const TIME: Unit = Unit { cost: "ms", rate: "" };

/// A ratio to reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar {
    /// The ratio; the cost itself when there is nobody to compare with.
    pub(super) times: f64,
    /// The best of these is compared with.
    pub(super) of: &'static [Server],
    /// In words.
    pub(super) said: &'static str,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) peers: &'static [Server],
    pub(super) measure: Measure,
    pub(super) unit: Unit,
    pub(super) floor: Option<Bar>,
    pub(super) goal: Option<Bar>,
}

const fn bar(times: f64, of: &'static [Server], said: &'static str) -> Option<Bar> {
    Some(Bar { times, of, said })
}

const fn row(
    name: &'static str,
    title: &'static str,
    peers: &'static [Server],
    measure: Measure,
    unit: Unit,
    [floor, goal]: [Option<Bar>; 2],
) -> Row {
    Row {
        name,
        title,
        peers,
        measure,
        unit,
        floor,
        goal,
    }
}

const fn file(http1: bool, connections: u32, streams: u32, path: &'static str) -> Requests {
    Requests {
        http1,
        connections,
        streams,
        host: FILES,
        path,
        gzip: false,
        by_bytes: false,
    }
}

const fn bulk(http1: bool, connections: u32, streams: u32, path: &'static str) -> Requests {
    Requests {
        by_bytes: true,
        ..file(http1, connections, streams, path)
    }
}

const fn app(host: &'static str) -> Requests {
    Requests {
        host,
        ..file(true, 32, 1, "")
    }
}

const fn quiet(requests: Requests) -> Measure {
    Measure::Requests(requests, Way::Quiet)
}

const fn logging(requests: Requests) -> Measure {
    Measure::Requests(requests, Way::Logging)
}

const WEB: &[Server] = &[Nginx, H2o];
const ALL_WEB: &[Server] = &[Nginx, H2o, Caddy];
const PROXIES: &[Server] = &[Nginx, HaProxy, H2o, Caddy];
const SOCKS: &[Server] = &[MicroSocks, Dante];

const NO_BARS: [Option<Bar>; 2] = [None, None];
const BULK: [Option<Bar>; 2] = [bar(1.0, &[Nginx], "1.0 × nginx"), bar(1.4, &[Nginx], "1.4 × nginx")];
const PROXY: [Option<Bar>; 2] = [
    bar(1.0, &[Nginx, HaProxy, H2o], "1.0 × best of nginx, HAProxy, H2O"),
    bar(1.3, &[Nginx, HaProxy, H2o], "1.3 × best of nginx, HAProxy, H2O"),
];
const SHAKE: [Option<Bar>; 2] = [bar(1.5, &[Nginx], "1.5 × nginx"), bar(1.8, &[Nginx], "1.8 × nginx")];
const PROXY_PORT: [Option<Bar>; 2] = [
    bar(1.0, SOCKS, "1.0 × best of microsocks, dante"),
    bar(1.5, SOCKS, "1.5 × best of microsocks, dante"),
];
const H1_SMALL: [Option<Bar>; 2] = [bar(1.2, &[Nginx], "1.2 × nginx"), bar(1.1, &[H2o], "1.1 × H2O")];
const H2_MANY: [Option<Bar>; 2] = [bar(2.3, &[Nginx], "2.3 × nginx"), bar(1.0, &[H2o], "1.0 × H2O")];
const H2_ONE: [Option<Bar>; 2] = [bar(1.2, &[Nginx], "1.2 × nginx"), bar(1.0, &[H2o], "1.0 × H2O")];
const IDLE: [Option<Bar>; 2] = [
    bar(1.0, &[Nginx], "≤ 1.0 × nginx"),
    bar(1.0 / 0.6, &[Nginx], "≤ 0.6 × nginx"),
];
const RENEWAL: [Option<Bar>; 2] = [
    bar(1.0 / 1.5, &[Undisturbed], "≤ 1.5 × undisturbed"),
    bar(1.0 / 1.1, &[Undisturbed], "≤ 1.1 × undisturbed"),
];

const H3: [Option<Bar>; 2] = [
    bar(1.0, &[], "1.0 × best of nginx 1.26, HAProxy 3.0, Caddy"),
    bar(1.5, &[], "1.5 × best of nginx 1.26, HAProxy 3.0, Caddy"),
];

/// Compression of a page. Few connections: h2load does not end when one of its handshakes is still waiting, and compressing
/// keeps them waiting.
const PAGE: Requests = Requests {
    gzip: true,
    ..file(true, 16, 1, "page.html")
};

/// Every row, in the order of the table.
pub(super) const ROWS: &[Row] = &[
    row(
        "h1-1k",
        "HTTP/1.1 keep-alive, 1 KiB file, 32 connections",
        ALL_WEB,
        quiet(file(true, 32, 1, "1k.txt")),
        REQUEST,
        H1_SMALL,
    ),
    row(
        "h2-many-1k",
        "HTTP/2, 1 KiB file, 8 connections of 16 streams",
        ALL_WEB,
        quiet(file(false, 8, 16, "1k.txt")),
        REQUEST,
        H2_MANY,
    ),
    row(
        "h2-one-1k",
        "HTTP/2, 1 KiB file, 32 connections of one stream",
        WEB,
        quiet(file(false, 32, 1, "1k.txt")),
        REQUEST,
        H2_ONE,
    ),
    row(
        "h1-1k-log",
        "as `h1-1k`, everybody writes an access log",
        ALL_WEB,
        logging(file(true, 32, 1, "1k.txt")),
        REQUEST,
        NO_BARS,
    ),
    row(
        "h2-many-1k-log",
        "as `h2-many-1k`, everybody writes an access log",
        WEB,
        logging(file(false, 8, 16, "1k.txt")),
        REQUEST,
        NO_BARS,
    ),
    row(
        "h1-10k",
        "HTTP/1.1 keep-alive, 10 KiB file, 32 connections",
        WEB,
        quiet(file(true, 32, 1, "10k.txt")),
        REQUEST,
        NO_BARS,
    ),
    row(
        "h2-many-10k",
        "HTTP/2, 10 KiB file, 8 connections of 16 streams",
        WEB,
        quiet(file(false, 8, 16, "10k.txt")),
        REQUEST,
        NO_BARS,
    ),
    row(
        "h1-100k",
        "HTTP/1.1 keep-alive, 100 KiB file, 16 connections",
        WEB,
        quiet(file(true, 16, 1, "100k.txt")),
        REQUEST,
        NO_BARS,
    ),
    row(
        "h2-many-100k",
        "HTTP/2, 100 KiB file, 8 connections of 4 streams",
        WEB,
        quiet(file(false, 8, 4, "100k.txt")),
        REQUEST,
        NO_BARS,
    ),
    row(
        "h1-1m",
        "HTTP/1.1, 1 MiB file, 8 connections",
        ALL_WEB,
        quiet(bulk(true, 8, 1, "1m.bin")),
        MIB,
        BULK,
    ),
    row(
        "h2-1m",
        "HTTP/2, 1 MiB file, 8 connections of one stream",
        WEB,
        quiet(bulk(false, 8, 1, "1m.bin")),
        MIB,
        BULK,
    ),
    row(
        "h1-64m",
        "HTTP/1.1, 64 MiB file, 4 connections",
        WEB,
        quiet(bulk(true, 4, 1, "64m.bin")),
        MIB,
        BULK,
    ),
    row(
        "h2-64m",
        "HTTP/2, 64 MiB file, 4 connections of one stream",
        WEB,
        quiet(bulk(false, 4, 1, "64m.bin")),
        MIB,
        BULK,
    ),
    row(
        "app-kept",
        "HTTP/1.1 to an HTTP/1.1 application that keeps connections",
        PROXIES,
        quiet(app(APP)),
        REQUEST,
        PROXY,
    ),
    row(
        "app-closing",
        "HTTP/1.1 to an HTTP/1.1 application that closes each connection",
        PROXIES,
        quiet(app(CLOSE)),
        REQUEST,
        PROXY,
    ),
    row(
        "handshake-full",
        "full TLS 1.3 handshake, one request, end",
        WEB,
        Measure::Handshakes { resume: false },
        HANDSHAKE,
        SHAKE,
    ),
    row(
        "handshake-resumed",
        "TLS 1.3 handshake resumed by ticket, one request, end",
        &[Nginx],
        Measure::Handshakes { resume: true },
        HANDSHAKE,
        SHAKE,
    ),
    row(
        "gzip-100k",
        "HTTP/1.1, a 100 KiB page, compressed by gzip for each request (level 6; ShimmerCat 4)",
        ALL_WEB,
        quiet(PAGE),
        REQUEST,
        NO_BARS,
    ),
    row(
        "socks-connections",
        "SOCKS5: connect, one byte there and back, end",
        SOCKS,
        Measure::SocksConnections,
        CONNECTION,
        PROXY_PORT,
    ),
    row(
        "socks-bytes",
        "SOCKS5: eight downloads without end",
        SOCKS,
        Measure::SocksBytes,
        MIB,
        PROXY_PORT,
    ),
    row(
        "h3-1k",
        "HTTP/3, 1 KiB file",
        &[],
        Measure::Missing("ShimmerCat serves no HTTP/3 yet"),
        REQUEST,
        H3,
    ),
    row(
        "idle",
        "memory of 10,000 idle TLS connections, each after one request",
        WEB,
        Measure::Idle,
        MEMORY,
        IDLE,
    ),
    row(
        "start",
        "from starting the program to its first answer",
        ALL_WEB,
        Measure::ColdStart,
        TIME,
        NO_BARS,
    ),
    row(
        "warm",
        "from wanting a new worker to its accepting, no successor being warm",
        &[],
        Measure::Warm,
        TIME,
        [None, bar(50.0, &[], "≤ 50 ms")],
    ),
    row(
        "renewal",
        "p99 of 2000 requests/s while the only lane is renewed each second",
        &[Undisturbed],
        Measure::Renewal,
        TIME,
        RENEWAL,
    ),
];

/// The rows of these names, or whose names begin so where no row is called exactly that; all when none is wanted.
pub(super) fn wanted(names: &[String]) -> Vec<&'static Row> {
    let is_meant = |row: &Row, name: &String| match ROWS.iter().any(|row| row.name == name) {
        true => row.name == name,
        false => row.name.starts_with(name.as_str()),
    };
    let is_wanted = |row: &&Row| names.is_empty() || names.iter().any(|name| is_meant(row, name));
    ROWS.iter().filter(is_wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own_and_bars_for_peers_they_have() {
        for (at, row) in ROWS.iter().enumerate() {
            assert!(
                ROWS[at + 1..].iter().all(|other| other.name != row.name),
                "{}",
                row.name
            );
            for bar in [row.floor, row.goal].into_iter().flatten() {
                assert!(bar.of.iter().all(|server| row.peers.contains(server)), "{}", row.name);
            }
        }
        assert_eq!(wanted(&["h1-1".to_owned()]).len(), 5);
        assert_eq!(wanted(&["h1-1k".to_owned()]).len(), 1);
        assert_eq!(wanted(&[]).len(), ROWS.len());
    }
}
