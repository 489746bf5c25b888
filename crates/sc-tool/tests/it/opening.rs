//! `sc-tool chrome` and `firefox`: which instance, which command line, waiting or not, and failing closed.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::{World, silent};

#[test]
fn chrome_is_told_the_profile_the_proxy_and_the_pages() {
    let (world, proxy) = World::running();
    let shown = world.run([
        "chrome",
        "--dry-run",
        "--strict-dns",
        "-x",
        "/bin/sh",
        "a.example",
        "http://b.example/",
    ]);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
    let port = proxy.address.port().to_string();
    let expected = "/bin/sh --user-data-dir=STATE/profiles/chrome --proxy-server=socks5://127.0.0.1:PORT --no-first-run \
        --no-default-browser-check --disable-background-networking --disable-component-update --disable-default-apps \
        --disable-domain-reliability --disable-sync --password-store=basic \
        --webrtc-ip-handling-policy=disable_non_proxied_udp '--window-name=DEV shop' \
        '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1' https://a.example http://b.example/\n";
    assert_eq!(world.plain(&shown.stdout).replace(&port, "PORT"), expected);
    assert!(
        !world.places().profiles.join("chrome").exists(),
        "a dry run makes nothing"
    );
    assert!(!shown.stdout.contains("certificate") && !shown.stdout.contains("direct://"));
}

#[test]
fn firefox_is_told_the_profile_and_the_first_site() {
    let (world, _proxy) = World::running();
    let shown = world.run(["firefox", "--dry-run", "-x", "/bin/sh", "--", "--headless"]);
    let expected = "/bin/sh --profile STATE/profiles/firefox --headless https://www.example.com/\n";
    assert_eq!((shown.code, world.plain(&shown.stdout).as_str()), (0, expected));
}

#[test]
fn nothing_is_opened_when_no_instance_runs() {
    let world = World::new();
    for args in [["chrome"], ["firefox"], ["env"], ["pac"]] {
        let shown = world.run(args);
        let expected = "error: no shimmercat runs for `ROOT/shop`\nhint: start it with `shimmercat devlove`\n";
        assert_eq!(
            (shown.code, world.plain(&shown.stderr).as_str()),
            (1, expected),
            "{args:?}"
        );
        assert_eq!(shown.stdout, "");
    }
}

#[test]
fn nothing_is_opened_when_the_instance_does_not_answer() {
    let world = World::with_instance(silent());
    let shown = world.chrome(&[]);
    assert_eq!(shown.code, 1);
    assert!(
        shown.stderr.starts_with("error: no SOCKS5 proxy answers at 127.0.0.1:"),
        "{}",
        shown.stderr
    );
    assert!(
        shown.stderr.ends_with("hint: start it with `shimmercat devlove`\n"),
        "{}",
        shown.stderr
    );
    assert_eq!(world.told("args"), "");
}

#[test]
fn nothing_is_opened_on_what_a_dead_instance_left() {
    let (world, proxy) = World::running();
    let mut instance = world.instance(proxy.address);
    instance.pid_started = Some(1);
    world.write_instance(&instance);
    assert_eq!(world.chrome(&[]).code, 1);
    assert_eq!(world.told("args"), "");
}

#[test]
fn a_typed_port_is_used_even_if_nothing_answers() {
    let world = World::new();
    let port = silent().port().to_string();
    let shown = world.chrome(&["-5", &port, "x.example"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(
        shown.stderr.contains("warning: no SOCKS5 proxy answers"),
        "{}",
        shown.stderr
    );
    assert!(
        shown.stderr.contains("pages will show certificate errors"),
        "{}",
        shown.stderr
    );
    assert!(
        world
            .told("args")
            .contains(&format!("--proxy-server=socks5://127.0.0.1:{port}\n"))
    );
    let shown = world.run(["chrome", "--dry-run", "-x", "/bin/sh", "-m", "::1"]);
    assert!(
        shown.stdout.contains("'--proxy-server=socks5://[::1]:2006'"),
        "{}",
        shown.stdout
    );
}

#[test]
fn the_instance_is_found_from_a_folder_below_and_with_c() {
    let (world, _proxy) = World::running();
    fs::create_dir_all(world.project.join(".git")).expect("a folder");
    fs::create_dir_all(world.project.join("deep/er")).expect("a folder");
    let project = world.project.join("deep/er").display().to_string();
    let shown = world.run(["chrome", "--dry-run", "-x", "/bin/sh", "-C", &project]);
    assert!(
        world.plain(&shown.stdout).contains("STATE/profiles/chrome"),
        "{}",
        shown.stderr
    );
    assert_eq!(world.run(["chrome", "-C", "/not/there"]).code, 2);
}

#[test]
fn a_browser_that_is_missing_is_said() {
    let (world, _proxy) = World::running();
    let shown = world.run(["chrome", "-x", "no-such-browser"]);
    assert_eq!(
        shown.stderr,
        "error: `no-such-browser` is not a program that can be started\n"
    );
    assert_eq!(shown.code, 2);
    let mut command = world.command();
    let shown = crate::world::done(command.args(["chrome"]).env("PATH", world.path("home")).output());
    assert_eq!(shown.code, 1);
    assert!(
        shown
            .stderr
            .starts_with("error: no browser of the Chromium family was found\nhint: "),
        "{}",
        shown.stderr
    );
}

#[test]
fn the_browser_is_left_alone_in_a_session_of_its_own() {
    let (world, _proxy) = World::running();
    let shown = world.chrome(&[]);
    assert_eq!((shown.code, shown.stdout.as_str()), (0, ""), "{}", shown.stderr);
    let mine = fs::read_to_string("/proc/self/stat").expect("the state of this process");
    let mine = mine
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(3))
        .expect("a session");
    let session = world.told("session");
    assert!(!session.is_empty() && session.trim() != mine, "{session} and {mine}");
    let log = world.places().profiles.join("chrome/sc-tool.log");
    assert_eq!(fs::read_to_string(&log).expect("the log"), "said by the browser\n");
    assert_eq!(fs::metadata(&log).expect("the log").permissions().mode() & 0o777, 0o600);
    assert!(
        world.told("args").ends_with("https://www.example.com/\n"),
        "{}",
        world.told("args")
    );
}

#[test]
fn a_browser_that_fails_at_once_is_quoted() {
    let (world, _proxy) = World::running();
    let mut command = world.command();
    command
        .args(["chrome", "-x"])
        .arg(world.browser())
        .env("BROWSER_EXIT", "3");
    let shown = crate::world::done(command.output());
    assert_eq!(shown.code, 1);
    assert!(
        shown
            .stderr
            .contains("ended at once and said:\n  said by the browser\n"),
        "{}",
        shown.stderr
    );
    assert!(shown.stderr.contains("hint: there is no display"), "{}", shown.stderr);
}

#[test]
fn waiting_returns_the_browsers_code_and_output() {
    let (world, _proxy) = World::running();
    for flags in [
        &["--wait"][..],
        &["--", "--headless", "--dump-dom"],
        &["--", "--headless", "--screenshot=x.png"],
    ] {
        let mut command = world.command();
        command
            .args(["chrome", "-x"])
            .arg(world.browser())
            .args(flags)
            .env("BROWSER_EXIT", "7");
        let shown = crate::world::done(command.output());
        assert_eq!(
            (shown.code, shown.stdout.as_str()),
            (7, "said by the browser\n"),
            "{flags:?} {}",
            shown.stderr
        );
    }
}

#[test]
fn the_key_log_is_closed_to_others_and_announced() {
    let (world, _proxy) = World::running();
    let shown = world.chrome(&["-s", "keys.log", "-V"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let keylog = world.project.join("keys.log");
    assert_eq!(world.told("keylog").trim(), keylog.display().to_string());
    assert_eq!(
        fs::metadata(&keylog).expect("the key log").permissions().mode() & 0o777,
        0o600
    );
    assert!(
        shown.stderr.contains("warning: `ROOT/shop/keys.log`") || shown.stderr.contains("keys of every connection")
    );
    assert!(
        shown.stderr.contains("--user-data-dir="),
        "-V shows the command line: {}",
        shown.stderr
    );
    std::os::unix::fs::symlink(world.path("home/elsewhere"), world.project.join("link.log")).expect("a link");
    assert_eq!(world.chrome(&["-s", "link.log"]).code, 1);
    assert!(!world.path("home/elsewhere").exists());
}
