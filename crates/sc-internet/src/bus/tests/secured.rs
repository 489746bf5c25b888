//! `rediss`: with a private authority that the environment names, and without.

use std::path::Path;
use std::process::Command;

use sc_config::Secret;

use super::super::link::Link;
use super::super::*;
use super::bench::*;

fn place(url: &str) -> Place {
    Place::Url(Secret::new(url))
}

/// A port that speaks TLS, with a certificate for `localhost` and 127.0.0.1 of an authority that nobody knows.
async fn secured(folder: &Path) -> (Outside, u16) {
    let mut ca = authority(folder);
    let [port, plain] = sc_testkit::free_ports();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (port_text, plain_text) = (port.to_string(), plain.to_string());
    ca.extend(["--tls-port".to_owned(), port_text, "--port".to_owned(), plain_text]);
    ca.extend([
        "--tls-cert-file".to_owned(),
        path("leaf.pem"),
        "--tls-key-file".to_owned(),
        path("leaf.key"),
    ]);
    ca.extend([
        "--tls-auth-clients".to_owned(),
        "no".to_owned(),
        "--bind".to_owned(),
        "127.0.0.1".to_owned(),
    ]);
    ca.extend(["--requirepass".to_owned(), "hunter2".to_owned()]);
    let arguments: Vec<&str> = ca.iter().map(String::as_str).collect();
    let plain = place(&format!("redis://:hunter2@127.0.0.1:{plain}"));
    (Outside::start(&arguments, &plain).await, port)
}

/// Makes an authority and a leaf with the `openssl` program; gives the argument that names the authority.
fn authority(folder: &Path) -> Vec<String> {
    let openssl = sc_testkit::find_program("openssl");
    let run = |words: &[&str]| {
        let made = Command::new(&openssl).args(words).current_dir(folder).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ];
    let mut root = vec![
        "req",
        "-x509",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=Test authority",
    ];
    root.extend(key);
    run(&root);
    let mut leaf = vec![
        "req", "-x509", "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "leaf.key", "-out", "leaf.pem",
    ];
    leaf.extend([
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]);
    leaf.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
    leaf.extend(key);
    run(&leaf);
    vec![
        "--tls-ca-cert-file".to_owned(),
        folder.join("ca.pem").to_str().unwrap().to_owned(),
    ]
}

async fn failure(url: &str) -> String {
    let target = Target::of(&place(url)).unwrap().unwrap();
    match Link::open(&target).await {
        Ok(_) => panic!("it was accepted"),
        Err(error) => sc_server::chain(&error),
    }
}

/// The other half of the test below, which runs it in an environment that names the authority; alone it has nothing to do.
#[test]
fn with_the_authority_in_the_environment() {
    let Ok(url) = std::env::var("SHIMMERCAT_TEST_URL") else {
        return;
    };
    run(async {
        let bench = Bench::new();
        let ear = bench.ear(&place(&url), &instance());
        ear.is_up().await;
        let worker = bench.worker(&place(&url), &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        worker.is_up().await;
        worker.work(500).await;
        assert_eq!(ear.reckon(&worker).await, 0);
        assert_eq!(worker.shipper.shipped().stream, 500);

        let wrong = url.replace("hunter2", "hunter3");
        let said = failure(&wrong).await;
        assert!(
            !said.contains("hunter3") && said.contains("authentication failed"),
            "{said}"
        );
    });
}

#[test]
fn a_private_authority_can_be_trusted() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let (_outside, port) = secured(folder.path()).await;
        for host in ["127.0.0.1", "localhost"] {
            let child = tokio::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "bus::tests::secured::with_the_authority_in_the_environment"])
                .env("SSL_CERT_FILE", folder.path().join("ca.pem"))
                .env("SHIMMERCAT_TEST_URL", format!("rediss://:hunter2@{host}:{port}"))
                .output()
                .await
                .unwrap();
            let text = String::from_utf8_lossy(&child.stdout);
            assert!(child.status.success() && text.contains("1 passed"), "{host}: {child:?}");
        }
    });
}

#[test]
fn an_unknown_authority_is_refused_and_lines_go_the_other_way() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let (_outside, port) = secured(folder.path()).await;
        let url = format!("rediss://:hunter2@127.0.0.1:{port}");
        let said = failure(&url).await;
        assert!(said.contains("nobody trusted has signed it"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");

        let bench = Bench::new();
        let ear = bench.ear(&place(&url), &instance());
        let worker = bench.worker(&place(&url), &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        worker.work(200).await;
        worker.is_down().await;
        assert_eq!(worker.shipper.flush(std::time::Duration::from_secs(20)).await, 0);
        assert_eq!(ear.numbers(worker.ring.worker()).len(), 200);
    });
}

#[test]
fn a_port_that_does_not_speak_tls_is_told_apart() {
    run(async {
        let [port] = sc_testkit::free_ports::<1>();
        let plain = place(&format!("redis://127.0.0.1:{port}"));
        let text = port.to_string();
        let _outside = Outside::start(&["--port", &text, "--bind", "127.0.0.1"], &plain).await;
        let said = failure(&format!("rediss://127.0.0.1:{port}")).await;
        assert!(said.contains("the TLS handshake took too long"), "{said}");
    });
}
