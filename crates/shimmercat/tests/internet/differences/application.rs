//! The application behind a server: it takes requests by the letter of RFC 9112 and notes what it was sent.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::cases::path_of;

type Notes = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// A running application; its threads end with the process.
pub(super) struct Application {
    port: u16,
    notes: Notes,
}

impl Application {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let notes = Notes::default();
        let shared = notes.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let notes = shared.clone();
                std::thread::spawn(move || while_there_are_requests(stream, &notes));
            }
        });
        Application { port, notes }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What reached it of a case, the probe left out: ` → GET /x`.
    pub(super) fn told(&self, at: usize) -> String {
        let notes = self.notes.lock().expect("nobody fails holding it");
        let seen = notes.get(&path_of(at)).into_iter().flatten();
        let seen: Vec<&str> = seen
            .map(String::as_str)
            .filter(|words| !words.starts_with("GET /probe"))
            .collect();
        if seen.is_empty() {
            String::new()
        } else {
            format!(" → {}", seen.join("; "))
        }
    }
}

/// Serves one connection to its end.
fn while_there_are_requests(stream: TcpStream, notes: &Notes) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some(path) = request(&mut reader, notes) {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads one request and notes it, unless its body breaks off; gives back its path.
fn request(reader: &mut BufReader<TcpStream>, notes: &Notes) -> Option<String> {
    let line = line(reader)?;
    let mut parts = line.split(' ');
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let (mut length, mut is_chunked, mut told) = (0, false, String::new());
    while let Some(field) = self::line(reader).filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(':')?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        match name.as_str() {
            "content-length" => length = value.parse().ok()?,
            "transfer-encoding" => is_chunked = true,
            "x-told" | "x_told" | "expect" | "upgrade" | "te" => told += &format!(" {name}={value}"),
            _ => {}
        }
    }
    let (case, path) = match target.get(1..).and_then(|rest| rest.find('/')) {
        Some(slash) => (target[..=slash].to_owned(), target[slash + 1..].to_owned()),
        None => (target.clone(), String::new()),
    };
    let body = if is_chunked {
        chunks(reader)
    } else {
        exactly(reader, length)
    };
    let body = body?;
    let shown = if body.is_empty() {
        String::new()
    } else {
        format!(" {body:?}").replace(&case, "{p}")
    };
    let words = format!("{method} {path}{told}{shown}")
        .replace("  ", " ")
        .trim_end()
        .to_owned();
    notes
        .lock()
        .expect("nobody fails holding it")
        .entry(case)
        .or_default()
        .push(words);
    Some(target)
}

fn line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes).ok()?;
    let line = bytes.strip_suffix(b"\r\n")?;
    Some(line.iter().map(|byte| char::from(*byte)).collect())
}

fn exactly(reader: &mut BufReader<TcpStream>, length: u64) -> Option<String> {
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).ok()?;
    (body.len() as u64 == length).then(|| String::from_utf8_lossy(&body).into_owned())
}

fn chunks(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut body = String::new();
    loop {
        let size = u64::from_str_radix(&line(reader)?, 16).ok()?;
        if size == 0 {
            while !line(reader)?.is_empty() {}
            return Some(body);
        }
        body += &exactly(reader, size)?;
        line(reader)?;
    }
}
