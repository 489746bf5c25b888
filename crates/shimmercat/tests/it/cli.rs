//! The command line: help texts as they are printed at 80 columns, exit codes, and the mistakes of newcomers.

use std::path::Path;
use std::process::{Command, Output};

fn shimmercat(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shimmercat"))
        .args(args)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("COLUMNS", "80")
        .output()
        .expect("the program can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the program prints UTF-8")
}

#[track_caller]
fn check_snapshot(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
        std::fs::write(&path, found).expect("the snapshot can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found,
        expected,
        "{} differs; run with UPDATE_EXPECT=1 and look at the change",
        path.display()
    );
}

#[test]
fn help_of_every_command() {
    for command in [
        "",
        "devlove",
        "internet",
        "check",
        "init",
        "status",
        "reload",
        "recycle",
        "logs",
        "drill",
        "schema",
        "completions",
        "man",
    ] {
        for flag in ["-h", "--help"] {
            let args: Vec<_> = [command, flag].into_iter().filter(|arg| !arg.is_empty()).collect();
            let output = shimmercat(&args);
            assert!(output.status.success(), "{args:?}");
            let help = text(&output.stdout);
            assert!(
                help.lines().all(|line| line.chars().count() <= 80),
                "{args:?} is wider than 80 columns\n{help}"
            );
            if flag == "-h" {
                assert!(
                    help.lines().count() <= 48,
                    "`{command} -h` does not fit a screen\n{help}"
                );
            }
            let name = if command.is_empty() { "shimmercat" } else { command };
            check_snapshot(&format!("{name}{flag}.txt"), &help);
        }
    }
}

#[test]
fn a_mistyped_command_line_is_exit_code_2() {
    for args in [
        vec!["devlov"],
        vec!["devlove", "--lissten", "1"],
        vec!["devlove", "--listen", "nowhere"],
        vec!["devlove", "--sim-latency", "10 parsecs"],
        vec!["devlove", "-5", "*:2006"],
        vec!["devlove", "--log-codes", "al"],
        vec!["devlove", "--listen", "socket-name://https"],
        vec!["internet", "-t", "nowhere"],
        vec!["internet", "--cert", "cert.pem"],
        vec!["internet", "--workers", "0"],
        vec!["internet", "--redis", "https://x"],
        vec!["internet", "--sim-latency", "1s"],
        vec!["check", "--as", "production"],
        vec!["recycle", "--lane", "first"],
        vec![],
    ] {
        let output = shimmercat(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?} printed on stdout");
        assert!(!output.stderr.is_empty(), "{args:?} said nothing");
    }
}

#[test]
fn the_mode_may_be_misspelt_as_in_the_old_manual() {
    assert!(shimmercat(&["delove", "--help"]).status.success());
}

#[test]
fn nobody_to_talk_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path in UTF-8");
    let output = shimmercat(&["status", "-C", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("hint: start one with `shimmercat devlove`"));
}
