//! `sc-tool ca`: nothing outside our profiles is trusted unless somebody says so.
use std::fs;

use crate::world::{World, data};

#[test]
fn export_writes_the_certificate_and_no_key() {
    let (world, _proxy) = World::running();
    let ca = fs::read_to_string(data("ca")).expect("the CA");
    assert_eq!(world.run(["ca", "export"]).stdout, ca);
    assert_eq!(world.run(["ca", "export", "out.pem"]).code, 0);
    assert_eq!(fs::read_to_string(world.project.join("out.pem")).expect("the file"), ca);
    let mixed = format!("{ca}-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
    fs::write(world.places().ca_dir.join("ca.pem"), mixed).expect("a file with a key");
    assert_eq!(world.run(["ca", "export"]).stdout, ca, "a key is never passed on");
    let world = World::new();
    let shown = world.run(["ca", "export"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (1, ""));
    assert!(
        shown.stderr.contains("hint: start it with `shimmercat devlove`"),
        "{}",
        shown.stderr
    );
}

#[test]
fn trust_is_given_only_when_asked_for_and_taken_back() {
    let (world, _proxy) = World::running();
    sc_testkit::find_program("certutil");
    let shown = world.run(["ca", "trust"]);
    assert_eq!(shown.code, 2);
    assert!(
        shown.stderr.contains("warning: whoever reads the key in "),
        "{}",
        shown.stderr
    );
    assert!(
        shown
            .stderr
            .ends_with("hint: say `sc-tool ca trust --yes` if you mean it\n"),
        "{}",
        shown.stderr
    );
    assert!(!world.home.join(".pki").exists());
    fs::copy(data("ca-before"), world.places().ca_dir.join("ca-previous.pem")).expect("the CA before it");
    let doctor = || world.run(["doctor", "--json"]).stdout;
    assert!(
        doctor().contains("only sc-tool's profiles trust the CA"),
        "{}",
        doctor()
    );
    let shown = world.run(["ca", "trust", "--yes"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(
        shown.stderr.contains("next: `sc-tool ca untrust` takes it back"),
        "{}",
        shown.stderr
    );
    assert!(doctor().contains("your NSS database trusts the CA"), "{}", doctor());
    let certutil = |args: &[&str]| {
        let database = format!("sql:{}", world.home.join(".pki/nssdb").display());
        let done = std::process::Command::new("certutil")
            .arg("-d")
            .arg(database)
            .args(args)
            .output();
        crate::world::done(done).stdout
    };
    let before = data("ca-before").display().to_string();
    certutil(&["-A", "-n", "ShimmerCat shop 99887766", "-t", "C,,", "-i", &before]);
    assert_eq!(certutil(&["-L"]).matches("ShimmerCat shop").count(), 2);
    assert_eq!(world.run(["ca", "untrust"]).code, 0);
    assert_eq!(
        certutil(&["-L"]).matches("ShimmerCat shop").count(),
        0,
        "the CA before it goes too"
    );
    assert!(
        doctor().contains("only sc-tool's profiles trust the CA"),
        "{}",
        doctor()
    );
    let shown = world.run(["ca", "untrust"]);
    assert!(shown.stderr.contains("was not trusted"), "{}", shown.stderr);
}

#[test]
fn without_certutil_the_commands_are_shown_and_nothing_changes() {
    let (world, _proxy) = World::running();
    let mut command = world.command();
    command.args(["ca", "trust", "--yes"]).env("PATH", world.path("home"));
    let shown = crate::world::done(command.output());
    assert_eq!(shown.code, 1);
    assert!(shown.stderr.contains("update-ca-certificates"), "{}", shown.stderr);
    assert!(
        shown
            .stderr
            .contains("error: `certutil` is not installed, so nothing was changed"),
        "{}",
        shown.stderr
    );
}
