//! Programs of a real php-fpm behind the server: a large upload, and sources that nobody gets to see.
//!
//! Which path leads to which program is tried in sc-site; WordPress in `wordpress.rs`.

#![expect(clippy::print_stdout, reason = "memory is a figure to look at")]

use sc_testkit::{PhpFpm, TempProject};

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
