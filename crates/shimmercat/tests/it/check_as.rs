//! `shimmercat check --as`: what a mode would say to a file that has no mistakes, and the exit code.

use std::process::Command;

use sc_testkit::{TempProject, find_program};

use crate::server::run;

fn project(more: &str) -> TempProject {
    let project = TempProject::with_yaml(&format!(
        "shimmercat-devlove:\n\
         \x20 domains:\n\
         \x20   www.shop.example: {{ root-dir: site }}\n\
         \x20   shop.example: {{ port: 8000 }}\n{more}"
    ));
    project.file("site/index.html", "shop");
    project
}

const READY: &str =
    "  listen: [0.0.0.0:443, '[::]:443']\n  redirect: [0.0.0.0:80, '[::]:80']\n  cert: cert.pem\n  key: key.pem\n";

fn certify(project: &TempProject, names: &str) {
    let command = "req -x509 -nodes -days 30 -subj /CN=x -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
                   -keyout key.pem -out cert.pem -addext";
    let output = Command::new(find_program("openssl"))
        .args(command.split_whitespace())
        .arg(format!("subjectAltName={names}"))
        .current_dir(project.path())
        .output()
        .expect("openssl can be started");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_project_that_is_ready_is_told_so() {
    let project = project(READY);
    certify(&project, "DNS:shop.example,DNS:*.shop.example");
    for (mode, words) in [
        (None, "devlove.yaml: 2 domains, no mistakes"),
        (
            Some("devlove"),
            "devlove.yaml: 2 domains, no mistakes, ready for `devlove`",
        ),
        (
            Some("internet"),
            "devlove.yaml: 2 domains, no mistakes, ready for `internet`",
        ),
    ] {
        let checked = run(&project, ["check"].into_iter().chain(mode.map(|_| "--as")).chain(mode));
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        assert_eq!(checked.stdout.trim_end(), words);
        assert!(checked.stderr.is_empty(), "{checked:?}");
    }
}

#[test]
fn what_is_found_ends_with_4_and_points_into_the_file() {
    let project = project(READY);
    certify(&project, "DNS:www.shop.example");
    let checked = run(&project, ["check", "--as", "internet"]);
    assert_eq!(checked.status.code(), Some(4), "{checked:?}");
    assert!(checked.stdout.is_empty(), "{checked:?}");
    for words in [
        "error: the certificate does not cover `shop.example`",
        "--> devlove.yaml:4:5",
        "^^^^^^^^^^^^ not in the certificate",
        "why:  `cert.pem` names www.shop.example",
    ] {
        assert!(
            checked.stderr.contains(words),
            "`{words}` is missing in\n{}",
            checked.stderr
        );
    }
    // The same file has no mistakes, and nothing to hear for whoever builds it.
    for arguments in [&["check"][..], &["check", "--as", "devlove"]] {
        let checked = run(&project, arguments.iter().copied());
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    }
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    let checked = run(&project(""), ["check", "--as", "internet"]);
    assert_eq!(checked.status.code(), Some(4), "{checked:?}");
    for words in ["error: `listen` is not given", "error: there is no certificate"] {
        assert!(checked.stderr.contains(words), "{}", checked.stderr);
    }
}

#[test]
fn mistakes_of_the_file_stay_mistakes() {
    let project = project("  worker-life: 1m\n");
    let checked = run(&project, ["check", "--as", "internet"]);
    assert_eq!(checked.status.code(), Some(3), "{checked:?}");
    assert!(
        checked
            .stderr
            .contains("`worker-life` must be a time of at least 15 minutes"),
        "{}",
        checked.stderr
    );
}

#[test]
fn a_warning_is_a_finding_when_a_mode_is_asked_for() {
    let project = project("  socks-users: { ada: hunter2 }\n");
    let plain = run(&project, ["check"]);
    assert_eq!(plain.status.code(), Some(0), "{plain:?}");
    let checked = run(&project, ["check", "--as", "devlove"]);
    assert_eq!(checked.status.code(), Some(4), "{checked:?}");
    for told in [&plain.stderr, &checked.stderr] {
        assert!(
            told.contains("passwords stand in a file that is meant to be committed"),
            "{told}"
        );
    }
}

#[test]
fn other_modes_are_refused() {
    let checked = run(&project(""), ["check", "--as", "production"]);
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
}
