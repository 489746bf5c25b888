//! The certificate of an instance: read, handed to another process, compared with names, swapped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sc_testkit::find_program;
use sc_tls::{
    ClientTrust, Credentials, CredentialsError, FilesError, HTTP11_ONLY, One, Root, Tickets, TicketsError,
    client_config, production_config,
};
use tempfile::TempDir;

use crate::support::shake;

/// A self-signed certificate for some names.
pub(crate) struct Made {
    folder: TempDir,
}

impl Made {
    pub(crate) fn new(names: &[&str]) -> Made {
        let made = Made {
            folder: TempDir::new().expect("a temporary folder"),
        };
        let key = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out key.pem";
        made.openssl(&key.split(' ').collect::<Vec<_>>());
        made.certify(names);
        made
    }

    /// Makes another certificate for the same key.
    pub(crate) fn certify(&self, names: &[&str]) {
        let names: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let names = format!("subjectAltName={}", names.join(","));
        let command =
            "req -x509 -days 30 -subj /CN=x -key key.pem -out chain.pem -addext basicConstraints=CA:FALSE -addext";
        let arguments: Vec<_> = command.split(' ').chain([names.as_str()]).collect();
        self.openssl(&arguments);
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new(find_program("openssl"))
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("openssl can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self) -> Credentials {
        Credentials::read(&self.path("chain.pem"), &self.path("key.pem")).expect("credentials")
    }

    pub(crate) fn trust(&self) -> ClientTrust {
        ClientTrust::Pem(self.path("chain.pem"))
    }
}

#[test]
fn names_and_times_are_told() {
    let credentials = Made::new(&["shop.example", "*.shop.example"]).read();
    assert_eq!(credentials.names(), ["shop.example", "*.shop.example"]);
    assert_eq!(
        credentials.uncovered(&[
            "shop.example",
            "a.shop.example",
            "a.b.shop.example",
            "*.shop.example",
            "other"
        ]),
        ["a.b.shop.example", "other"]
    );
    assert!(credentials.uncovered::<String>(&[]).is_empty());
    let (from, until) = (
        credentials.not_before().expect("a start"),
        credentials.not_after().expect("an end"),
    );
    assert_eq!(
        until.duration_since(from).ok(),
        Some(Duration::from_secs(30 * 24 * 60 * 60))
    );
    assert!(from <= SystemTime::now());
    assert_eq!(credentials.fingerprint().len(), 64);
    assert_ne!(
        credentials.fingerprint(),
        Made::new(&["shop.example"]).read().fingerprint()
    );
}

#[test]
fn a_document_is_read_as_it_was_written_and_nothing_else_is() {
    let credentials = Made::new(&["shop.example"]).read();
    let document = credentials.to_document();
    let read = Credentials::from_document(&document).expect("the same credentials");
    assert_eq!(read.fingerprint(), credentials.fingerprint());
    assert_eq!(read.to_document(), document);
    for end in [0, 7, 8, 11, 12, 100, document.len() - 200] {
        assert!(Credentials::from_document(&document[..end]).is_err(), "cut at {end}");
    }
    let mut other = document.to_vec();
    other[0] ^= 1;
    assert!(matches!(
        Credentials::from_document(&other),
        Err(CredentialsError::Document)
    ));
    let length = 1_000_000_u32.to_be_bytes();
    other.clone_from(&document);
    other[8..12].copy_from_slice(&length);
    assert!(matches!(
        Credentials::from_document(&other),
        Err(CredentialsError::Document)
    ));
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let (one, other) = (Made::new(&["a.example"]), Made::new(&["a.example"]));
    let error = Credentials::read(&one.path("chain.pem"), &other.path("key.pem")).err();
    assert!(matches!(error, Some(FilesError::Mismatch { .. })));
    let huge = one.path("huge.pem");
    fs::write(&huge, vec![b'x'; sc_tls::files::FILE_LIMIT_BYTES + 1]).expect("a file can be written");
    let error = Credentials::read(&huge, &one.path("key.pem")).err().expect("too large");
    assert!(error.to_string().ends_with("is larger than a certificate file can be"));
    assert!(Credentials::read(Path::new("/dev/zero"), &one.path("key.pem")).is_err());
}

#[tokio::test]
async fn a_swap_is_seen_by_the_next_handshake_and_by_no_earlier_one() {
    let (old, new) = (Made::new(&["shop.example"]), Made::new(&["shop.example"]));
    let one = One::new(old.read());
    let root = Root::random(SystemTime::now()).expect("randomness");
    let tickets = Arc::new(Tickets::new(root, b"shop", SystemTime::now()));
    let server = production_config(one.clone(), tickets).expect("a configuration");
    let client = |made: &Made| client_config(&made.trust(), HTTP11_ONLY).expect("a configuration");
    let (accepted, connected) = shake(&server, &client(&old), "shop.example").await;
    let (_accepted, connected) = (accepted.expect("a handshake"), connected.expect("a handshake"));
    one.swap(new.read());
    assert_eq!(one.current().fingerprint(), new.read().fingerprint());
    assert!(connected.stream.get_ref().1.peer_certificates().is_some());
    let (accepted, connected) = shake(&server, &client(&new), "shop.example").await;
    accepted.expect("a handshake");
    connected.expect("the new certificate");
    let (_, connected) = shake(&server, &client(&old), "shop.example").await;
    assert!(connected.is_err(), "the old certificate is gone");
}

#[test]
fn a_root_is_sealed_for_who_has_the_private_key() {
    let (mine, other) = (Made::new(&["a.example"]), Made::new(&["a.example"]));
    let root = Root::random(SystemTime::now()).expect("randomness");
    let sealed = root.seal(&mine.read()).expect("a sealed root");
    assert!(
        !sealed
            .windows(16)
            .any(|part| root.to_document().windows(16).any(|secret| secret == part))
    );
    // A renewed certificate for the same key opens it as well.
    mine.certify(&["a.example", "b.example"]);
    let opened = Root::open(&sealed, &mine.read()).expect("the root");
    assert_eq!(opened.to_document(), root.to_document());
    assert!(matches!(Root::open(&sealed, &other.read()), Err(TicketsError::Sealed)));
    for index in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[index] ^= 1;
        assert!(Root::open(&changed, &mine.read()).is_err(), "byte {index}");
    }
}
