//! What all servers are given: one certificate, the same files, free ports. A folder below the target folder, made anew
//! for each run.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// The name that files are served under.
pub(super) const FILES: &str = "www.bench.example";
/// The name that leads to the application over kept connections.
pub(super) const APP: &str = "app.bench.example";
/// The name that leads to the application that closes after each answer.
pub(super) const CLOSE: &str = "close.bench.example";

/// Files, and how many bytes each has.
const CONTENT: &[(&str, usize)] = &[
    ("1k.txt", 1 << 10),
    ("10k.txt", 10 << 10),
    ("100k.txt", 100 << 10),
    ("1m.bin", 1 << 20),
    ("64m.bin", 64 << 20),
];
/// The page that is compressed.
const PAGE: (&str, usize) = ("page.html", 100 << 10);

/// The folder and what is in it.
pub(super) struct Stage {
    /// Where everything is.
    pub(super) folder: PathBuf,
}

impl Stage {
    /// Makes it.
    pub(super) fn make() -> Result<Self> {
        let folder = shell::target_dir()?.join("bench").join("stage");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        let www = folder.join("www");
        fs::create_dir_all(&www).with_context(|| format!("cannot make {}", www.display()))?;
        for (name, bytes) in CONTENT {
            fs::write(www.join(name), letters(*bytes))?;
        }
        fs::write(www.join(PAGE.0), page(PAGE.1))?;
        // Keys are refused a place that git would take up.
        fs::write(folder.join(".gitignore"), "*\n")?;
        let stage = Stage { folder };
        stage.certify()?;
        Ok(stage)
    }

    /// The certificate, ECDSA on P-256, signed by itself.
    pub(super) fn cert(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// Its key.
    pub(super) fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// Both in one file.
    pub(super) fn both(&self) -> PathBuf {
        self.folder.join("both.pem")
    }

    /// A file that is served.
    pub(super) fn content(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.folder.join("www").join(name);
        fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    fn certify(&self) -> Result<()> {
        let kind = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        let names = [
            "-days",
            "30",
            "-subj",
            "/CN=bench.example",
            "-addext",
            "subjectAltName=DNS:*.bench.example",
        ];
        let made = Command::new("openssl")
            .args(kind)
            .args(names)
            .args([Path::new("-keyout"), &self.key(), Path::new("-out"), &self.cert()])
            .stderr(Stdio::null())
            .status()
            .context("openssl does not start")?;
        if !made.success() {
            bail!("openssl made no certificate");
        }
        let both = [fs::read(self.cert())?, fs::read(self.key())?].concat();
        fs::write(self.both(), both)?;
        Ok(())
    }
}

/// A port that nobody has, below those that the kernel gives to outgoing connections.
pub(super) fn free_port(after: u16) -> Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (after..32_000).find(is_free).context("no port is free")
}

/// Letters without a pattern, always the same ones.
fn letters(count: usize) -> Vec<u8> {
    let mut random = Random(0x5eed);
    (0..count).map(|_| b'a' + (random.next() % 26) as u8).collect()
}

/// A page such as people write: markup around words that come back.
fn page(count: usize) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "harbour",
        "lantern",
        "the",
        "of",
        "and",
        "winter",
        "copper",
        "a",
        "gardens",
        "quietly",
        "river",
        "in",
        "stone",
        "letters",
        "bright",
        "wandering",
        "to",
        "orchard",
        "violet",
        "machines",
        "thread",
        "with",
        "morning",
        "paper",
        "signal",
        "under",
        "glass",
        "mountain",
        "answer",
        "between",
        "northern",
        "kitchen",
        "music",
        "for",
        "station",
    ];
    let mut random = Random(0xbeef);
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><title>A page</title></head><body>\n");
    while page.len() < count {
        let number = random.next() % 1000;
        page += &format!("<article id=\"n{number}\"><h2><a href=\"/notes/{number}\">Note {number}</a></h2>\n<p>");
        for _ in 0..40 + random.next() % 40 {
            page += WORDS[(random.next() % WORDS.len() as u64) as usize];
            page.push(' ');
        }
        page += "</p></article>\n";
    }
    page.truncate(count);
    page.into_bytes()
}

/// Xorshift, so that everybody serves the same bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}
