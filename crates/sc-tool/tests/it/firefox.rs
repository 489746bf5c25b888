//! The Firefox profile: the settings that keep it inside, and the database that `certutil` and NSS must understand.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;

use crate::world::{Done, World, data, done};

fn dir(world: &World) -> PathBuf {
    world.places().profiles.join("firefox")
}

fn open(world: &World, args: &[&str]) -> Done {
    world.run(
        ["firefox", "-x", &world.browser().display().to_string()]
            .iter()
            .chain(args),
    )
}

fn certutil(dir: &Path, args: &[&str]) -> Done {
    let program = sc_testkit::find_program("certutil");
    done(
        Command::new(program)
            .arg("-d")
            .arg(format!("sql:{}", dir.display()))
            .args(args)
            .output(),
    )
}

/// Names and trust, as `certutil -L` tells them.
fn listed(dir: &Path) -> Vec<(String, String)> {
    let shown = certutil(dir, &["-L"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let lines = shown
        .stdout
        .lines()
        .skip_while(|line| !line.contains("SSL,S/MIME"))
        .skip(1);
    let pairs = lines
        .filter_map(|line| line.trim().rsplit_once(' '))
        .filter(|(_, trust)| trust.contains(','));
    pairs
        .map(|(name, trust)| (name.trim().to_owned(), trust.to_owned()))
        .collect()
}

/// What stands between the marks of a PEM text.
fn body(pem: &str) -> String {
    let lines = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    lines.take_while(|line| !line.starts_with('-')).map(str::trim).collect()
}

const TRUSTED: (&str, &str) = ("ShimmerCat shop 0a1b2c3d", "C,,");

fn trusted() -> Vec<(String, String)> {
    vec![(TRUSTED.0.to_owned(), TRUSTED.1.to_owned())]
}

#[test]
fn the_settings_keep_it_inside_and_a_persons_own_stay() {
    let (world, proxy) = World::running();
    assert_eq!(open(&world, &[]).code, 0);
    let user = fs::read_to_string(dir(&world).join("user.js")).expect("user.js");
    let port = format!("user_pref(\"network.proxy.socks_port\", {});\n", proxy.address.port());
    for line in [
        port.as_str(),
        "user_pref(\"network.proxy.type\", 1);\n",
        "user_pref(\"network.proxy.socks\", \"127.0.0.1\");\n",
        "user_pref(\"network.proxy.socks_remote_dns\", true);\n",
        "user_pref(\"network.proxy.failover_direct\", false);\n",
    ] {
        assert!(user.contains(line), "{line} in {user}");
    }
    let prefs = fs::read_to_string(dir(&world).join("prefs.js")).expect("prefs.js");
    assert!(prefs.contains("user_pref(\"signon.rememberSignons\", false);\n"));
    let css = fs::read_to_string(dir(&world).join("chrome/userChrome.css")).expect("userChrome.css");
    assert!(css.contains("\"DEV shop\""), "{css}");
    fs::write(dir(&world).join("prefs.js"), "mine").expect("prefs.js");
    fs::write(dir(&world).join("user.js"), "").expect("user.js");
    assert_eq!(open(&world, &[]).code, 0);
    assert_eq!(
        fs::read_to_string(dir(&world).join("prefs.js")).expect("prefs.js"),
        "mine"
    );
    assert_eq!(fs::read_to_string(dir(&world).join("user.js")).expect("user.js"), user);
}

#[test]
fn certutil_reads_the_database_that_we_wrote() {
    let (world, _proxy) = World::running();
    assert_eq!(open(&world, &[]).code, 0);
    assert_eq!(listed(&dir(&world)), trusted());
    let shown = certutil(&dir(&world), &["-L", "-a", "-n", TRUSTED.0]);
    assert_eq!(
        body(&shown.stdout),
        body(&fs::read_to_string(data("ca")).expect("the CA"))
    );
}

#[test]
fn it_is_trusted_for_servers_once_the_password_is_set() {
    let (world, _proxy) = World::running();
    assert_eq!(open(&world, &[]).code, 0);
    let password = world.path("password");
    fs::write(&password, "\n").expect("an empty password");
    let file = password.display().to_string();
    let shown = certutil(&dir(&world), &["-W", "-f", &file, "-@", &file]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let keys = Connection::open(dir(&world).join("key4.db")).expect("the key database");
    let count = |find: &str| keys.query_row(find, [], |row| row.get::<_, i64>(0)).expect("a count");
    assert_eq!(count("SELECT count(*) FROM metaData WHERE id = 'password'"), 1);
    assert!(
        count("SELECT count(*) FROM metaData WHERE id LIKE 'sig_cert_%'") > 0,
        "NSS signs what it found"
    );
    assert_eq!(listed(&dir(&world)), trusted());
    let shown = certutil(&dir(&world), &["-V", "-n", TRUSTED.0, "-u", "L"]);
    assert!(
        shown.stdout.contains("certificate is valid"),
        "{} {}",
        shown.stdout,
        shown.stderr
    );
}

#[test]
fn a_renewed_ca_takes_the_place_of_the_old_one() {
    let (world, _proxy) = World::running();
    world.put_ca("ca-before");
    assert_eq!(open(&world, &[]).code, 0);
    let file = world.path("password");
    fs::write(&file, "\n").expect("an empty password");
    let file = file.display().to_string();
    assert_eq!(certutil(&dir(&world), &["-W", "-f", &file, "-@", &file]).code, 0);
    let other = data("other").display().to_string();
    assert_eq!(
        certutil(&dir(&world), &["-A", "-n", "other", "-t", "C,,", "-i", &other]).code,
        0
    );
    world.put_ca("ca");
    assert_eq!(open(&world, &[]).code, 0);
    let mut found = listed(&dir(&world));
    found.sort();
    assert_eq!(
        found,
        [trusted(), vec![("other".to_owned(), "C,,".to_owned())]].concat()
    );
    let shown = certutil(&dir(&world), &["-L", "-a", "-n", TRUSTED.0]);
    assert_eq!(
        shown.stdout.matches("BEGIN CERTIFICATE").count(),
        1,
        "the old one is gone"
    );
}

#[test]
fn a_profile_with_keys_of_its_person_keeps_them() {
    let (world, _proxy) = World::running();
    world.put_ca("ca-before");
    assert_eq!(open(&world, &[]).code, 0);
    let file = world.path("password");
    fs::write(&file, "\n").expect("an empty password");
    let noise = world.path("noise");
    fs::write(&noise, [7; 64]).expect("noise");
    let (file, noise) = (file.display().to_string(), noise.display().to_string());
    assert_eq!(certutil(&dir(&world), &["-W", "-f", &file, "-@", &file]).code, 0);
    let own = [
        "-S", "-x", "-n", "mine", "-s", "CN=mine", "-t", "u,u,u", "-z", &noise, "-f", &file,
    ];
    let shown = certutil(&dir(&world), &own);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    world.put_ca("ca");
    let mut command = world.command();
    command
        .args(["firefox", "-x"])
        .arg(world.browser())
        .env("PATH", world.path("home"));
    let shown = done(command.output());
    assert_eq!(shown.code, 1, "without certutil");
    assert!(shown.stderr.contains("holds keys of yours"), "{}", shown.stderr);
    assert_eq!(open(&world, &[]).code, 0);
    let found = listed(&dir(&world));
    assert!(found.contains(&("mine".to_owned(), "u,u,u".to_owned())), "{found:?}");
    assert!(found.contains(&trusted()[0]), "{found:?}");
    let shown = certutil(&dir(&world), &["-L", "-a", "-n", TRUSTED.0]);
    assert_eq!(
        body(&shown.stdout),
        body(&fs::read_to_string(data("ca")).expect("the CA"))
    );
}
