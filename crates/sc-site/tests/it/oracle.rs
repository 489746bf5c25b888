//! The same requests to us and to nginx over the same file: conditions and ranges must come out alike.
//!
//! Where we differ on purpose, the table says so and why.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::Method;

use crate::kit::{Ask, Served, files, folder, run, settle};

struct Nginx {
    child: Child,
    place: tempfile::TempDir,
}

impl Nginx {
    fn start(root: &Path) -> Nginx {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().display();
        let paths =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {at}/{kind};"));
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; events {{}}
             http {{ access_log off; {} types {{ text/plain txt; }} default_type application/octet-stream;
             if_modified_since before; max_ranges 16;
             server {{ listen unix:{at}/socket; root {}; index index.html; }} }}",
            paths.join(" "),
            root.display()
        );
        std::fs::write(place.path().join("nginx.conf"), config).unwrap();
        let conf = place.path().join("nginx.conf");
        let mut command = Command::new("/usr/sbin/nginx");
        command
            .arg("-p")
            .arg(place.path())
            .arg("-e")
            .arg(place.path().join("error.log"))
            .arg("-c")
            .arg(conf);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        Nginx { child, place }
    }

    fn connect(&self) -> UnixStream {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match UnixStream::connect(self.place.path().join("socket")) {
                Ok(stream) => return stream,
                Err(error) if Instant::now() > until => panic!("nginx does not listen: {error}"),
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    fn ask(&self, method: &Method, target: &str, fields: &[(&str, String)]) -> Seen {
        let mut stream = self.connect();
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        for (name, value) in fields {
            request += &format!("{name}: {value}\r\n");
        }
        stream.write_all((request + "\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let field = |name: &str| {
            let line = head
                .lines()
                .find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        seen(status, field, answer[end + 4..].to_vec())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What must be alike.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    content_range: Option<String>,
    content_length: Option<String>,
    location: Option<String>,
    etag: Option<String>,
    last_modified: Option<String>,
    body: Vec<u8>,
}

fn seen(status: u16, field: impl Fn(&str) -> Option<String>, body: Vec<u8>) -> Seen {
    let is_shown = status == 200 || status == 206;
    Seen {
        status,
        content_range: field("content-range"),
        content_length: field("content-length").filter(|_| is_shown),
        location: field("location"),
        etag: field("etag").filter(|_| status != 412 && status != 416),
        last_modified: field("last-modified").filter(|_| status != 412 && status != 416),
        body: if is_shown { body } else { Vec::new() },
    }
}

async fn ours(site: &Served, method: &Method, target: &str, fields: &[(&str, String)]) -> Seen {
    let mut ask = Ask::new(method.clone(), target);
    for (name, value) in fields {
        ask = ask.field(name, value);
    }
    let told = ask.of(site).await;
    let field = |name: &str| told.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let body = if *method == Method::HEAD {
        Vec::new()
    } else {
        told.body.clone()
    };
    seen(told.status.as_u16(), field, body)
}

/// Puts a server's own validators into a field.
fn fill(value: &str, known: &Seen) -> String {
    value
        .replace("ETAG", known.etag.as_deref().unwrap())
        .replace("DATE", known.last_modified.as_deref().unwrap())
}

const OLD: &str = "Mon, 01 Jan 2001 00:00:00 GMT";
const FUTURE: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

#[test]
fn conditions_and_ranges_are_as_nginx_has_them() {
    let cases: &[&[(&str, &str)]] = &[
        &[],
        &[("if-none-match", "ETAG")],
        &[("if-none-match", "W/ETAG")],
        &[("if-none-match", "\"x\"")],
        &[("if-none-match", "\"x\", ETAG")],
        &[("if-none-match", "*")],
        &[("if-modified-since", "DATE")],
        &[("if-modified-since", OLD)],
        &[("if-modified-since", FUTURE)],
        &[("if-modified-since", "junk")],
        &[("if-unmodified-since", "DATE")],
        &[("if-unmodified-since", OLD)],
        &[("if-unmodified-since", FUTURE)],
        &[("if-match", "ETAG")],
        &[("if-match", "\"x\"")],
        &[("if-match", "*")],
        &[("if-match", "W/ETAG")],
        &[("if-match", "\"x\", ETAG")],
        &[("range", "bytes=0-0")],
        &[("range", "bytes=0-99")],
        &[("range", "bytes=10-")],
        &[("range", "bytes=-10")],
        &[("range", "bytes=-100000")],
        &[("range", "bytes=99-99")],
        &[("range", "bytes=100-")],
        &[("range", "bytes=100-200")],
        &[("range", "bytes=0-100000")],
        &[("range", "lines=0-1")],
        &[("range", "bytes=")],
        &[("range", "bytes=0-1"), ("if-range", "ETAG")],
        &[("range", "bytes=0-1"), ("if-range", "\"x\"")],
        &[("range", "bytes=0-1"), ("if-range", "DATE")],
        &[("range", "bytes=0-1"), ("if-range", OLD)],
        &[("range", "bytes=0-1"), ("if-none-match", "ETAG")],
        &[("range", "bytes=0-1"), ("if-none-match", "\"x\"")],
        &[("range", "bytes=500-"), ("if-match", "ETAG")],
        &[("if-none-match", "ETAG"), ("if-modified-since", "DATE")],
    ];
    // Ours differ here, on purpose: (field, value, ours, nginx's).
    let apart: &[(&str, &str, u16, u16)] = &[
        // RFC 9110 §14.2 allows ignoring a malformed Range; nginx answers 416.
        ("range", "bytes=5-2", 200, 416),
        ("range", "bytes=a-b", 200, 416),
        // Any number of digits is a position (RFC 9110 §14.1.1); nginx overflows.
        ("range", "bytes=0-99999999999999999999", 206, 416),
    ];
    run(async {
        let content: Vec<u8> = (0..100).map(|n| b'!' + (n % 90)).collect();
        let folder = folder(&[("a.txt", &content), ("docs/index.html", b"docs")]);
        settle(folder.path(), "a.txt");
        let (site, nginx) = (files(folder.path()), Nginx::start(folder.path()));
        let known = (
            ours(&site, &Method::GET, "/a.txt", &[]).await,
            nginx.ask(&Method::GET, "/a.txt", &[]),
        );
        for method in [Method::GET, Method::HEAD] {
            for case in cases {
                // RFC 9110 §14.2 defines Range for GET alone; nginx takes it for HEAD too.
                if method == Method::HEAD && case.iter().any(|(name, _)| *name == "range") {
                    continue;
                }
                let with =
                    |known: &Seen| -> Vec<_> { case.iter().map(|(name, value)| (*name, fill(value, known))).collect() };
                let mut mine = ours(&site, &method, "/a.txt", &with(&known.0)).await;
                let theirs = nginx.ask(&method, "/a.txt", &with(&known.1));
                assert_eq!(mine.etag.is_some(), theirs.etag.is_some(), "{case:?}");
                mine.etag.clone_from(&theirs.etag);
                assert_eq!(mine, theirs, "{method} {case:?}");
            }
        }
        for (name, value, mine, theirs) in apart {
            let field = |known: &Seen| [(*name, fill(value, known))];
            let told = ours(&site, &Method::GET, "/a.txt", &field(&known.0)).await;
            let nginx = nginx.ask(&Method::GET, "/a.txt", &field(&known.1));
            assert_eq!((told.status, nginx.status), (*mine, *theirs), "{name}: {value}");
        }
        for target in ["/missing", "/docs/", "/%61.txt", "/docs/../a.txt%00", "/a.txt/"] {
            let (mine, theirs) = (
                ours(&site, &Method::GET, target, &[]).await,
                nginx.ask(&Method::GET, target, &[]),
            );
            let is_refused = |status: u16| status == 404 || status == 400;
            assert!(
                mine.status == theirs.status || is_refused(mine.status) && is_refused(theirs.status),
                "{target}"
            );
        }
    });
}
