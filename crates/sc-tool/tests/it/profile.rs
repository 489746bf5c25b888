//! The Chromium profile: what is in it before the first start, and what is never touched.
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::Value;

use crate::world::{SPKI, World, data};

fn dir(world: &World) -> PathBuf {
    world.places().profiles.join("chrome")
}

fn json(world: &World, file: &str) -> Value {
    let text = fs::read_to_string(dir(world).join(file)).expect("the settings are there");
    serde_json::from_str(&text).expect("the settings are JSON")
}

fn database(world: &World) -> Connection {
    Connection::open(dir(world).join("Default/ServerCertificate")).expect("the database opens")
}

/// Base64 of each certificate, with its trust in hexadecimal.
fn rows(database: &Connection) -> Vec<(Vec<u8>, String)> {
    let mut find = database
        .prepare("SELECT der_cert, lower(hex(trust_settings)) FROM certificates")
        .expect("a query");
    let rows = find
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a query");
    rows.collect::<Result<_, _>>().expect("rows")
}

fn der(name: &str) -> Vec<u8> {
    let text = fs::read(data(name)).expect("a certificate");
    x509_parser::pem::parse_x509_pem(&text).expect("PEM").1.contents
}

#[test]
fn the_ca_is_in_the_database_before_the_first_start() {
    let (world, _proxy) = World::running();
    assert_eq!(world.chrome(&[]).code, 0);
    let database = database(&world);
    assert_eq!(rows(&database), [(der("ca"), "0a020803".to_owned())]);
    let meta = |key: &str| {
        database
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                row.get::<_, String>(0)
            })
            .expect("a line of meta")
    };
    assert_eq!(
        [meta("version"), meta("last_compatible_version"), meta("mmap_status")],
        ["1", "1", "-1"]
    );
    let hash: String = database
        .query_row("SELECT sha256hash_hex FROM certificates", [], |row| row.get(0))
        .expect("a hash");
    assert!(hash.len() == 64 && hash == hash.to_lowercase());
    assert!(
        !world.told("args").contains("certificate"),
        "no flag about certificates: {}",
        world.told("args")
    );
    let mode = |path: PathBuf| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(dir(&world)), 0o700);
    assert_eq!(mode(dir(&world).join("Default")), 0o700);
    assert_eq!(mode(dir(&world).join("Default/ServerCertificate")), 0o600);
}

#[test]
fn a_renewed_ca_takes_the_place_of_the_old_one_and_other_roots_stay() {
    let (world, _proxy) = World::running();
    world.put_ca("ca-before");
    assert_eq!(world.chrome(&[]).code, 0);
    let insert = "INSERT INTO certificates VALUES('x', ?1, x'0a020803')";
    database(&world)
        .execute(insert, [der("other")])
        .expect("a root of the person's own");
    world.put_ca("ca");
    assert_eq!(world.chrome(&[]).code, 0);
    let mut found: Vec<_> = rows(&database(&world)).into_iter().map(|(der, _)| der).collect();
    let mut expected = vec![der("ca"), der("other")];
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_database_of_the_future_is_left_alone_and_the_flag_is_announced() {
    let (world, _proxy) = World::running();
    assert_eq!(world.chrome(&[]).code, 0);
    database(&world)
        .execute_batch("UPDATE meta SET value = '2'; DELETE FROM certificates")
        .expect("another version");
    let shown = world.chrome(&[]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stderr.contains("has the unknown version 2"), "{}", shown.stderr);
    assert!(
        shown
            .stderr
            .contains("warning: using `--ignore-certificate-errors-spki-list`"),
        "{}",
        shown.stderr
    );
    assert!(
        world
            .told("args")
            .contains(&format!("--ignore-certificate-errors-spki-list={SPKI}\n"))
    );
    assert!(rows(&database(&world)).is_empty());
}

#[test]
fn settings_are_defaults_and_a_persons_own_stay() {
    let (world, _proxy) = World::running();
    assert_eq!(world.chrome(&[]).code, 0);
    let settings = json(&world, "Default/Preferences");
    assert_eq!(settings["credentials_enable_service"], false);
    assert_eq!(settings["signin"]["allowed"], false);
    assert_eq!(settings["profile"]["name"], "shop");
    assert!(settings["browser"]["theme"]["user_color2"].is_i64());
    assert_eq!(
        json(&world, "Local State")["profile"]["info_cache"]["Default"]["name"],
        "shop"
    );
    let own = r#"{"credentials_enable_service":true,"mine":[1]}"#;
    fs::write(dir(&world).join("Default/Preferences"), own).expect("settings");
    assert_eq!(world.chrome(&[]).code, 0);
    let settings = json(&world, "Default/Preferences");
    assert_eq!(
        (&settings["credentials_enable_service"], &settings["mine"][0]),
        (&true.into(), &1.into())
    );
    assert_eq!(settings["signin"]["allowed"], false);
    fs::write(dir(&world).join("Default/Preferences"), "{broken").expect("settings");
    assert_eq!(world.chrome(&[]).code, 0);
    let text = fs::read_to_string(dir(&world).join("Default/Preferences")).expect("settings");
    assert_eq!(text, "{broken", "the browser repairs its own files");
}

#[test]
fn a_profile_that_is_open_is_not_written() {
    let (world, _proxy) = World::running();
    assert_eq!(world.chrome(&[]).code, 0);
    let before = rows(&database(&world));
    symlink(
        format!("host-{}", std::process::id()),
        dir(&world).join("SingletonLock"),
    )
    .expect("a lock");
    world.put_ca("ca-before");
    let shown = world.chrome(&[]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(
        shown
            .stderr
            .contains("warning: the open browser does not trust the present CA"),
        "{}",
        shown.stderr
    );
    assert_eq!(rows(&database(&world)), before);
    let shown = world.chrome(&["--fresh"]);
    assert_eq!(shown.code, 1);
    assert!(
        shown.stderr.contains("open\nhint: close its windows"),
        "{}",
        shown.stderr
    );
}

#[test]
fn a_symlink_is_no_profile() {
    let (world, _proxy) = World::running();
    let elsewhere = world.path("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    symlink(&elsewhere, dir(&world)).expect("a link");
    for args in [&[][..], &["--fresh"]] {
        let shown = world.chrome(args);
        assert_eq!(shown.code, 1, "{args:?}");
        assert!(shown.stderr.contains("is a symlink\n"), "{}", shown.stderr);
    }
    assert_eq!(fs::read_dir(&elsewhere).expect("the folder").count(), 0);
    fs::remove_file(dir(&world)).expect("the link");
    assert_eq!(world.chrome(&[]).code, 0);
    let database = dir(&world).join("Default/ServerCertificate");
    fs::remove_file(&database).expect("the database");
    symlink(elsewhere.join("db"), &database).expect("a link");
    let shown = world.chrome(&[]);
    assert!(
        shown.stderr.contains("it is not a plain file of this user"),
        "{}",
        shown.stderr
    );
    assert!(!elsewhere.join("db").exists());
    fs::remove_file(dir(&world).join("Default/Preferences")).expect("the settings");
    symlink(elsewhere.join("settings"), dir(&world).join("Default/Preferences")).expect("a link");
    assert_eq!(world.chrome(&[]).code, 1);
    assert!(!elsewhere.join("settings").exists());
}

#[test]
fn only_a_profile_of_ours_is_used_or_thrown_away() {
    let (world, _proxy) = World::running();
    let theirs = world.path("theirs");
    fs::create_dir(&theirs).expect("a folder");
    fs::write(theirs.join("Bookmarks"), "dear").expect("a file");
    let theirs_text = theirs.display().to_string();
    let shown = world.chrome(&["-d", &theirs_text]);
    assert_eq!(shown.code, 2);
    assert!(
        shown.stderr.contains("is not a profile that sc-tool made\nhint: "),
        "{}",
        shown.stderr
    );
    let shown = world.chrome(&["-d", &theirs_text, "--fresh"]);
    assert_eq!(shown.code, 2);
    assert!(
        shown.stderr.contains("so `--fresh` leaves it alone"),
        "{}",
        shown.stderr
    );
    assert_eq!(fs::read_to_string(theirs.join("Bookmarks")).expect("the file"), "dear");
    assert_eq!(fs::read_dir(&theirs).expect("the folder").count(), 1);
    let ours = world.path("ours/profile").display().to_string();
    assert_eq!(world.chrome(&["-d", &ours]).code, 0);
    fs::write(world.path("ours/profile/History"), "old").expect("a file");
    assert_eq!(world.chrome(&["-d", &ours]).code, 0);
    assert!(world.path("ours/profile/History").exists());
    assert_eq!(world.chrome(&["-d", &ours, "--fresh"]).code, 0);
    assert!(!world.path("ours/profile/History").exists());
    assert!(world.path("ours/profile/Default/ServerCertificate").exists());
    let shown = world.run(["firefox", "-x", &world.browser().display().to_string(), "-d", &ours]);
    assert_eq!(shown.code, 2, "a profile belongs to one family: {}", shown.stderr);
}

#[test]
fn somebody_elses_folder_is_no_profile() {
    let (world, _proxy) = World::running();
    let (theirs, owner, me) = match rustix::process::geteuid().as_raw() {
        0 => (dir(&world), 65534, 0),
        me => (PathBuf::from("/etc"), 0, me),
    };
    if me == 0 {
        fs::create_dir(&theirs).expect("a folder");
        std::os::unix::fs::chown(&theirs, Some(owner), Some(owner)).expect("root gives folders away");
    }
    let shown = world.chrome(&["-d", &theirs.display().to_string()]);
    assert_eq!(shown.code, 1);
    let expected = format!("belongs to user {owner}, and this runs as user {me}\n");
    assert!(shown.stderr.contains(&expected), "{}", shown.stderr);
}
