//! `sc-tool doctor`: each fault is named, and the code says whether one was found.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::world::{World, silent};

/// `check` to `status`, of the first finding of each check.
fn found(world: &World, check: &str) -> (String, Value) {
    let shown = world.run(["doctor", "--json"]);
    let lines = shown
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a JSON object a line"));
    let line = lines
        .into_iter()
        .find(|line| line["check"] == check)
        .unwrap_or_else(|| panic!("no {check}"));
    (
        line["verdict"].as_str().unwrap_or_default().to_owned(),
        line["next"].clone(),
    )
}

#[test]
fn a_healthy_project_ends_with_0() {
    let (world, proxy) = World::running();
    let yaml = "shimmercat-devlove:\n  domains:\n    www.example.com: { root-dir: . }\n";
    fs::write(world.project.join("devlove.yaml"), yaml).expect("the project's file");
    assert_eq!(world.chrome(&[]).code, 0);
    let shown = world.run(["doctor"]);
    assert_eq!(shown.code, 0, "{}{}", shown.stdout, shown.stderr);
    for line in [
        format!("ok   proxy: {} answers SOCKS5\n", proxy.address),
        "ok   name: www.example.com:443 is reached through it\n".to_owned(),
        format!("ok   pac: http://{}/proxy.pac\n", proxy.address),
        format!(
            "ok   profile: {}/chrome trusts the CA\n",
            world.places().profiles.display()
        ),
        "ok   trust: only sc-tool's profiles trust the CA\n".to_owned(),
    ] {
        assert!(shown.stdout.contains(&line), "{line} in {}", shown.stdout);
    }
}

#[test]
fn what_is_broken_ends_with_4_and_the_next_command() {
    let world = World::new();
    assert_eq!(world.run(["doctor"]).code, 4);
    assert_eq!(
        found(&world, "server"),
        ("fail".to_owned(), "start it with `shimmercat devlove`".into())
    );
    assert_eq!(
        found(&world, "project"),
        ("warn".to_owned(), "run `shimmercat init`".into())
    );
    assert_eq!(found(&world, "ca").0, "fail");

    let world = World::with_instance(silent());
    assert_eq!(found(&world, "proxy").0, "fail");
    assert_eq!(world.run(["doctor"]).code, 4);
    let mut instance = world.instance(silent());
    instance.pid_started = Some(1);
    world.write_instance(&instance);
    assert_eq!(found(&world, "server").0, "fail");
}

#[test]
fn an_expired_ca_and_an_open_key_are_found() {
    let (world, _proxy) = World::running();
    world.put_ca("expired");
    assert_eq!(
        found(&world, "ca"),
        ("fail".to_owned(), "restart `shimmercat devlove`".into())
    );
    world.put_ca("ca");
    assert_eq!(found(&world, "ca").0, "ok");
    assert_eq!(found(&world, "ca files").0, "ok");
    let key = world.places().ca_dir.join("ca-private.pem");
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\n").expect("a key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("open to others");
    let (verdict, next) = found(&world, "ca files");
    assert_eq!(
        (verdict.as_str(), next),
        ("fail", format!("run `chmod go= {}`", key.display()).into())
    );
    assert_eq!(world.run(["doctor"]).code, 4);
}

#[test]
fn a_profile_with_an_old_ca_is_found() {
    let (world, _proxy) = World::running();
    world.put_ca("ca-before");
    assert_eq!(world.chrome(&[]).code, 0);
    world.put_ca("ca");
    assert_eq!(
        found(&world, "profile"),
        ("warn".to_owned(), "close the browser and run `sc-tool chrome`".into())
    );
}
