//! Content codings of files: precompressed siblings, compression on the way, what is remembered.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::kit::{Ask, Served, Told, files, folder, run, settle, write};

/// Decodes with the ordinary program for a coding.
fn decode(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let program = match coding {
        "br" => "brotli",
        other => other,
    };
    let mut child = Command::new(program)
        .args(["-d", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect(program);
    let (mut stdin, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program} cannot decode this");
    output.stdout
}

fn text(bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    let mut n: u32 = 1;
    while text.len() < bytes {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(&format!("<p class=\"line\">number {} of many words</p>\n", n >> 12));
    }
    text.truncate(bytes);
    text.into_bytes()
}

async fn get(site: &Served, path: &str, accept: &str) -> Told {
    Ask::get(path).field("accept-encoding", accept).of(site).await
}

#[test]
fn text_is_compressed_in_every_coding_at_every_size() {
    run(async {
        for size in [1024, 5000, 65_536, 65_537, 300_000] {
            let content = text(size);
            let folder = folder(&[("page.html", &content)]);
            settle(folder.path(), "page.html");
            let site = files(folder.path());
            let plain = Ask::get("/page.html").of(&site).await;
            assert!(plain.body == content && !plain.has("content-encoding"));
            assert_eq!(plain.field("vary"), "accept-encoding");
            for coding in ["br", "zstd", "gzip"] {
                for _ in 0..2 {
                    let told = get(&site, "/page.html", coding).await;
                    assert_eq!((told.status.as_u16(), told.field("content-encoding")), (200, coding));
                    assert_eq!((told.field("vary"), told.fault.as_deref()), ("accept-encoding", None));
                    assert!(told.body.len() < size / 2, "{coding} {size}: {}", told.body.len());
                    assert!(decode(coding, &told.body) == content, "{coding} {size}");
                    let tag = plain.field("etag").trim_end_matches('"').to_owned() + "-" + coding + "\"";
                    assert_eq!(told.field("etag"), tag);
                    let known = Ask::get("/page.html")
                        .field("accept-encoding", coding)
                        .field("if-none-match", &tag);
                    assert_eq!(known.of(&site).await.status.as_u16(), 304);
                }
            }
        }
    });
}

#[test]
fn what_gains_nothing_is_sent_as_it_is() {
    run(async {
        let folder = folder(&[
            ("tiny.html", &text(1023)),
            ("photo.jpg", &text(5000)),
            ("page.html", &text(5000)),
            ("e.html", b""),
        ]);
        let site = files(folder.path());
        for (path, accept) in [
            ("/tiny.html", "br"),
            ("/e.html", "br"),
            ("/photo.jpg", "br, gzip"),
            ("/page.html", ""),
            ("/page.html", "deflate"),
            ("/page.html", "br;q=0"),
            ("/page.html", "identity, gzip;q=0.5"),
        ] {
            let told = get(&site, path, accept).await;
            assert_eq!(
                (told.status.as_u16(), told.has("content-encoding")),
                (200, false),
                "{path} {accept}"
            );
        }
        assert!(!get(&site, "/photo.jpg", "br").await.has("vary"));
        let ranged = Ask::get("/page.html")
            .field("accept-encoding", "br")
            .field("range", "bytes=0-9")
            .of(&site)
            .await;
        assert_eq!(
            (
                ranged.status.as_u16(),
                ranged.has("content-encoding"),
                ranged.body.len()
            ),
            (206, false, 10)
        );
    });
}

#[test]
fn precompressed_siblings_win_while_they_are_new() {
    run(async {
        let folder = folder(&[
            ("app.js", &text(3000)),
            ("app.js.br", b"BROTLI"),
            ("app.js.gz", b"GZIP"),
            ("logo.png", b"x"),
            ("logo.png.gz", b"y"),
        ]);
        settle(folder.path(), "app.js");
        let site = files(folder.path());
        let told = get(&site, "/app.js", "gzip, br, zstd").await;
        assert_eq!((told.text().as_str(), told.field("content-encoding")), ("BROTLI", "br"));
        assert_eq!(told.field("content-type"), "text/javascript; charset=utf-8");
        assert!(told.field("etag").ends_with("-br\""));
        // A sibling beats compressing on the way, even in a coding that would come first.
        assert_eq!(get(&site, "/app.js", "zstd, gzip").await.text(), "GZIP");
        assert_eq!(get(&site, "/app.js", "zstd").await.field("content-encoding"), "zstd");
        assert_eq!(get(&site, "/app.js", "br;q=0.1, gzip;q=0.9").await.text(), "GZIP");
        let ranged = Ask::get("/app.js")
            .field("accept-encoding", "br")
            .field("range", "bytes=1-2")
            .of(&site)
            .await;
        assert_eq!(
            (
                ranged.status.as_u16(),
                ranged.text().as_str(),
                ranged.field("content-range")
            ),
            (206, "RO", "bytes 1-2/6")
        );
        assert_eq!(get(&site, "/logo.png", "gzip").await.text(), "x");
        // An older sibling is of an older file.
        write(folder.path(), "app.js", &text(3100));
        settle(folder.path(), "app.js.br");
        settle(folder.path(), "app.js.gz");
        let told = get(&site, "/app.js", "br").await;
        assert!(decode("br", &told.body) == text(3100));
        std::fs::remove_file(folder.path().join("app.js.gz")).unwrap();
        assert!(decode("gzip", &get(&site, "/app.js", "gzip").await.body) == text(3100));
    });
}

#[test]
fn a_compressed_file_that_was_edited_is_compressed_anew() {
    run(async {
        let folder = folder(&[("page.html", &text(4000))]);
        settle(folder.path(), "page.html");
        let site = files(folder.path());
        let before = get(&site, "/page.html", "gzip").await;
        write(folder.path(), "page.html", &text(4500));
        let after = get(&site, "/page.html", "gzip").await;
        assert_ne!(before.field("etag"), after.field("etag"));
        assert!(decode("gzip", &after.body) == text(4500));
    });
}

#[test]
fn a_compressed_file_that_shrinks_is_a_fault() {
    run(async {
        let folder = folder(&[("page.html", &text(3 << 20))]);
        let site = files(folder.path());
        let (answer, _) = Ask::get("/page.html").field("accept-encoding", "gzip").raw(&site).await;
        let sc_http::Payload::Body(mut body) = answer.payload else {
            panic!()
        };
        assert_eq!(body.exact_bytes(), None);
        assert!(body.frame().await.unwrap().is_ok());
        write(folder.path(), "page.html", b"short");
        let (_, _, fault) = crate::kit::read(body).await;
        assert!(fault.unwrap().contains("became shorter"));
    });
}
