//! Programs of a real php-fpm behind the server: a large upload, complaints in the log, a socket that is closed to us.
//!
//! Which path leads to which program is tried in sc-site; WordPress in `wordpress.rs`.

#![expect(clippy::print_stdout, reason = "memory is a figure to look at")]

use std::os::unix::fs::PermissionsExt as _;

use sc_testkit::{PhpFpm, TempProject};

use crate::browser::Person;
use crate::server::{Server, domains};

/// What is uploaded: 64 MiB.
const UPLOAD_BYTES: usize = 64 << 20;

/// What a server may grow by while something large passes through it.
const GROWTH_MAX_KIB: u64 = 32 * 1024;

/// For 64 MiB there and back through an unoptimised build on a machine that is busy with other tests.
const UPLOAD_SECONDS: &str = "200";

const UPLOAD: &str = "<?php
$file = $_FILES['f'];
header('X-Sha256: ' . hash_file('sha256', $file['tmp_name']));
header('X-Words: ' . $_POST['words']);
header('Content-Type: application/octet-stream');
while (ob_get_level()) ob_end_clean();
readfile($file['tmp_name']);
";

fn site(php: &PhpFpm, options: &str) -> TempProject {
    let consultant = format!(
        "  consultant: {{ connect-to: '{}', application-protocol: fastcgi{options} }}",
        php.address()
    );
    domains(&["www.example.com:", "  root-dir: site", &consultant])
}

#[test]
fn an_upload_of_64_mib_goes_through_a_php_page_and_comes_back_as_it_was() {
    let php = PhpFpm::start(2);
    let project = site(&php, "");
    project.file("site/upload.php", UPLOAD);
    // Numbers, so that a piece in the wrong place shows.
    let content: Vec<u8> = (0..UPLOAD_BYTES as u32 / 4).flat_map(u32::to_be_bytes).collect();
    project.file("content.bin", &content);
    let server = Server::start(&project);
    for version in ["--http1.1", "--http2"] {
        let idle = server.program.memory().resident_kib;
        let answer = server
            .curl("https://www.example.com/upload.php")
            .args([version, "--max-time", UPLOAD_SECONDS, "-F", "words=schön", "-F"])
            .arg(format!("f=@{}", project.path_of("content.bin").display()))
            .run();
        assert_eq!(answer.status, 200, "{version}: {} {}", answer.heads, answer.stderr);
        assert_eq!(answer.header("x-words"), Some("schön"));
        assert!(
            answer.body == content,
            "{version}: {} bytes came back, and not the same",
            answer.body.len()
        );
        let peak = server.program.memory().peak_kib;
        println!("64 MiB and back, {version}: resident {idle} KiB idle, {peak} KiB at its peak");
        assert!(
            peak.saturating_sub(idle) < GROWTH_MAX_KIB,
            "from {idle} KiB to {peak} KiB"
        );
    }
    server.stop();
}

#[test]
fn what_programs_complain_of_stands_in_the_log_with_its_exchange() {
    let php = PhpFpm::start(1);
    let project = site(&php, "");
    project.file(
        "site/index.php",
        "<?php echo $nothing; error_log(\"two\\nlines \\e[31m\"); echo 'fine';",
    );
    project.file(
        "site/flood.php",
        "<?php for ($i = 0; $i < 500; $i++) error_log(str_repeat('x', 5000)); echo 'fine';",
    );
    let server = Server::start(&project);
    let answer = server.curl("https://www.example.com/").run();
    assert_eq!(answer.text(), "fine");
    let record = server.wait_event("exchange", 1);
    let complaint = server.wait_event("upstream_complaint", 1);
    for field in ["connection", "stream", "site"] {
        assert_eq!(complaint[field], record[field], "{complaint:#}");
    }
    assert_eq!(
        (&complaint["code"], &complaint["address"]),
        (&"M40502".into(), &php.address().into())
    );
    let words = || -> Vec<String> {
        let events = server.events_named("upstream_complaint");
        events
            .iter()
            .map(|event| event["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let all = words().join("; ");
    for expected in ["Undefined variable $nothing", "two", "lines \\u{1b}[31m"] {
        assert!(all.contains(expected), "{expected:?} in {all}");
    }
    let flooded = server.curl("https://www.example.com/flood.php").run();
    assert_eq!(flooded.text(), "fine");
    server.wait_event("exchange", 2);
    let all = words();
    assert!(all.len() < 80, "{} lines", all.len());
    assert!(all.iter().all(|line| line.len() < 2100));
    server.stop();
}

#[test]
fn a_socket_that_may_not_be_opened_is_told_with_what_helps() {
    let php = PhpFpm::start(1);
    let project = site(&php, "");
    project.file("site/index.php", "<?php echo 'fine';");
    std::fs::set_permissions(php.socket(), std::fs::Permissions::from_mode(0o000)).expect("the socket is ours");
    let person = Person::new();
    let server = person.server(&project, &[]);
    let refused = server.curl("https://www.example.com/").run();
    assert_eq!(refused.status, 502, "{refused:?}");
    for words in ["may not be opened", "Permission denied", "listen.mode"] {
        assert!(refused.text().contains(words), "{words} in {}", refused.text());
    }
    std::fs::set_permissions(php.socket(), std::fs::Permissions::from_mode(0o666)).expect("the socket is ours");
    let answer = server.curl("https://www.example.com/").run();
    assert_eq!((answer.status, answer.text()), (200, "fine".to_owned()));
    server.stop();
}
