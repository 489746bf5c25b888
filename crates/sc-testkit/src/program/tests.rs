//! The parts of `program` that are easily wrong, tried on the shell.

use std::net::{Ipv4Addr, TcpListener};

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Launch {
    Launch::new(find_program("sh")).args(["-c", script])
}

#[test]
fn knows_errors_from_other_lines() {
    for line in [
        r#"{"level":"ERROR","event":"x"}"#,
        r#"{"severity":"error","event":"internal"}"#,
        r#"{"level":"error"}"#,
        "error: no such file",
        "12:00 ERROR gone",
    ] {
        assert!(is_error(line), "{line}");
    }
    for line in [
        r#"{"level":"INFO","message":"ERROR"}"#,
        "{ not json ERROR",
        "hint: errors",
        "ERRORS: 0",
        "",
    ] {
        assert!(!is_error(line), "{line}");
    }
}

#[test]
fn a_program_runs_in_a_clean_environment_and_is_heard_line_by_line() {
    let mut program = shell("echo one; echo two >&2; env; read x; kill -TERM $$; sleep 60")
        .env("A", "b")
        .start();
    assert_eq!(program.wait_for_text("two", SOON).stream, Stream::Stderr);
    let status = program.wait_exit(SOON);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    let output = program.stdout();
    let mut names: Vec<_> = output
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    names.retain(|name| !["_", "PWD", "OLDPWD", "SHLVL"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["A", "COLUMNS", "HOME", "LANG", "PATH", "TMPDIR", "TZ"]);
}

#[test]
fn signals_memory_and_descriptors() {
    let mut program = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done").start();
    program.wait_for_text("ready", SOON);
    assert!(program.memory().resident_kib > 0 && program.descriptors() >= 3 && program.threads() == 1);
    assert_eq!(program.stop().code(), Some(7));
}

#[test]
#[should_panic(expected = "did not announce")]
fn an_error_that_was_not_announced_fails_the_test() {
    let mut program = shell("echo '{\"level\":\"ERROR\"}'").start();
    program.wait_exit(SOON);
}

#[test]
#[should_panic(expected = "it wrote:\n  out| almost")]
fn a_wait_that_fails_shows_what_was_written() {
    let mut program = shell("echo almost").start();
    program.wait_for_text("never", SOON);
}

#[test]
fn a_watched_program_is_seen_connecting() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let bash = Launch::new(find_program("bash")).arg("-c");
    // 192.0.2.1 is for documentation (RFC 5737) and the socket is UDP: nothing is sent.
    let script = format!(
        "echo > /dev/tcp/127.0.0.1/{}; exec 5<> /dev/udp/192.0.2.1/53; exit 3",
        address.port()
    );
    let mut program = bash.arg(script).watched().start();
    assert_eq!(program.wait_exit(SOON).code(), Some(3));
    let found = program.destinations();
    assert!(
        found.iter().any(|to| to.address == address && !to.is_outside()),
        "{found:?}"
    );
    let outside: Vec<_> = found
        .iter()
        .filter(|to| to.is_outside())
        .map(|to| to.address.to_string())
        .collect();
    assert_eq!(outside, ["192.0.2.1:53"]);
}
