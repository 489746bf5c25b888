//! The kinds of requests that are counted. A mode's name stands in `benches/instructions.txt` and is not changed lightly.

/// The site with the files.
pub(crate) const FILES: &str = "www.shop.example";
/// The site with the application.
pub(crate) const APP: &str = "app.shop.example";

/// What the application answers only to close its connection.
pub(crate) const CLOSING: &str = "/closing";

/// One kind of requests.
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// How the client speaks.
    pub(crate) client: Client,
    pub(crate) host: &'static str,
    pub(crate) path: &'static str,
    /// Length of the file, or of the application's answer.
    pub(crate) body_bytes: usize,
    /// Whether log lines are made of the records.
    pub(crate) is_logged: bool,
}

/// How a client speaks.
#[derive(Clone, Copy)]
pub(crate) enum Client {
    /// One connection, one request after the other.
    Http1,
    /// A connection for each request, with a full handshake.
    Http1Connecting,
    /// One connection, so many requests at a time, and all of them answered before the next.
    Http2 {
        streams: u64,
        /// Fields as a browser sends them, beside the few of a load generator.
        is_browser: bool,
    },
}

const fn file(name: &'static str, about: &'static str, client: Client) -> Mode {
    Mode {
        name,
        about,
        client,
        host: FILES,
        path: "/1k.txt",
        body_bytes: 1 << 10,
        is_logged: false,
    }
}

const fn http2(streams: u64, is_browser: bool) -> Client {
    Client::Http2 { streams, is_browser }
}

/// All of them.
pub(crate) const MODES: &[Mode] = &[
    file("h1-file", "HTTP/1.1, a file of 1 KiB", Client::Http1),
    Mode {
        is_logged: true,
        ..file(
            "h1-file-logged",
            "HTTP/1.1, a file of 1 KiB, with its log line",
            Client::Http1,
        )
    },
    Mode {
        path: "/1m.bin",
        body_bytes: 1 << 20,
        ..file("h1-file-1m", "HTTP/1.1, a file of 1 MiB", Client::Http1)
    },
    Mode {
        host: APP,
        ..file("h1-proxy", "HTTP/1.1 to an HTTP/1.1 application, 1 KiB", Client::Http1)
    },
    Mode {
        host: APP,
        path: CLOSING,
        ..file(
            "h1-proxy-closing",
            "HTTP/1.1 to an application that closes each connection, 1 KiB",
            Client::Http1,
        )
    },
    file(
        "h1-connect",
        "a full handshake, HTTP/1.1, a file of 1 KiB",
        Client::Http1Connecting,
    ),
    file("h2-file-one", "HTTP/2, a file of 1 KiB", http2(1, false)),
    file(
        "h2-file-many",
        "HTTP/2, a file of 1 KiB, 16 at a time",
        http2(16, false),
    ),
    Mode {
        path: "/1k.png",
        ..file(
            "h2-browser",
            "HTTP/2, a file of 1 KiB, a browser's fields, 6 at a time",
            http2(6, true),
        )
    },
    Mode {
        path: "/1m.bin",
        body_bytes: 1 << 20,
        ..file("h2-file-1m", "HTTP/2, a file of 1 MiB", http2(1, false))
    },
    Mode {
        host: APP,
        ..file(
            "h2-proxy",
            "HTTP/2 to an HTTP/1.1 application, 1 KiB, 16 at a time",
            http2(16, false),
        )
    },
];

/// The mode of this name.
pub(crate) fn find(name: &str) -> &'static Mode {
    let found = MODES.iter().find(|mode| mode.name == name);
    found.unwrap_or_else(|| panic!("no mode `{name}`"))
}
