//! A project that is ready, and what is said when one thing about it is changed.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use sc_config::{Found, Homes, Loaded, load, render_all};
use tempfile::TempDir;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A folder with a devlove file, a site and a certificate for 30 days.
struct Ready {
    folder: TempDir,
}

impl Ready {
    fn new(more: &str) -> Ready {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("site")).unwrap();
        let ready = Ready { folder };
        ready.write(
            "devlove.yaml",
            &format!(
                "shimmercat-devlove:\n\
                 \x20 domains:\n\
                 \x20   www.shop.example: {{ root-dir: site }}\n\
                 \x20   shop.example: {{ port: 8000 }}\n\
                 \x20   '*.tenants.shop.example': {{ port: 8001 }}\n\
                 \x20 listen: [0.0.0.0:443, '[::]:443']\n\
                 \x20 cert: cert.pem\n\
                 \x20 key: key.pem\n{more}"
            ),
        );
        ready.certify("DNS:shop.example,DNS:www.shop.example,DNS:*.tenants.shop.example");
        ready
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn certify(&self, names: &str) {
        let command = "req -x509 -nodes -days 30 -subj /CN=x -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
                       -keyout key.pem -out cert.pem -addext";
        let output = Command::new(sc_testkit::find_program("openssl"))
            .args(command.split_whitespace())
            .arg(format!("subjectAltName={names}"))
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn chmod(&self, mode: u32) {
        fs::set_permissions(self.folder.path().join("key.pem"), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self) -> Loaded {
        let found = Found {
            shown: "devlove.yaml".into(),
            ..Found::file(&self.folder.path().join("devlove.yaml"))
        };
        load(&found).unwrap_or_else(|mistakes| panic!("{}", render_all(&mistakes, false)))
    }

    fn places(&self) -> Places {
        let homes = Homes {
            home: self.folder.path().to_owned(),
            xdg_state_home: None,
            xdg_runtime_dir: None,
        };
        Places::of(self.folder.path(), ".scratch", &homes).unwrap()
    }

    /// What is found at a time, as it is printed.
    fn told_at(&self, now: SystemTime) -> String {
        let loaded = self.load();
        let found = findings(&Project {
            settings: &loaded.settings,
            places: &self.places(),
            sources: &loaded.sources,
            domain_places: &loaded.domain_places,
            now,
        });
        let folder = self.folder.path().canonicalize().unwrap();
        let text = render_all(&found, false);
        [folder.as_path(), self.folder.path()]
            .iter()
            .fold(text, |text, folder| text.replace(folder.to_str().unwrap(), "<folder>"))
    }

    fn told(&self) -> String {
        self.told_at(SystemTime::now())
    }
}

#[track_caller]
fn says(told: &str, words: &[&str]) {
    for words in words {
        assert!(told.contains(words), "`{words}` is missing in\n{told}");
    }
}

#[test]
fn a_project_that_is_ready_has_no_findings() {
    assert_eq!(Ready::new("").told(), "");
}

#[test]
fn what_a_start_would_refuse_is_found() {
    let ready = Ready::new("  redirect: 127.0.0.1:443\n  redis: rediss://h/0#insecure\n");
    says(
        &ready.told(),
        &[
            "error: `redirect` and `listen` cannot both have `127.0.0.1:443`",
            "error: the Redis of `redis` cannot be used\nwhy:  the URL of Redis asks not to check its certificate",
        ],
    );
    let ready = Ready::new("  socks-5: socket-fd://9\n  enable-socks-5: true\n");
    says(
        &ready.told(),
        &["error: the proxy at socket-fd://9 would be open to everybody who can reach it\nhint: set socks-users"],
    );
    let ready = Ready::new("");
    ready.write("ca.pem", "nothing");
    ready.write(
        "devlove.yaml",
        "shimmercat-devlove:\n  domains:\n    shop.example:\n      consultant: { connect-to: 8443, \
         application-protocol: https, verify: ca.pem }\n  listen: 0.0.0.0:443\n  cert: cert.pem\n  key: key.pem\n",
    );
    says(
        &ready.told(),
        &["error: a site cannot be served as it is configured\nwhy:  "],
    );
}

#[test]
fn names_that_the_certificate_lacks_are_shown_in_the_file() {
    let ready = Ready::new("");
    ready.certify("DNS:www.shop.example,DNS:*.shop.example");
    assert_eq!(
        ready.told(),
        "error: the certificate does not cover 2 public names\n\
         \x20 --> devlove.yaml:4:5\n\
         4 |     shop.example: { port: 8000 }\n\
         \x20 |     ^^^^^^^^^^^^ not in the certificate\n\
         \x20 --> devlove.yaml:5:5\n\
         5 |     '*.tenants.shop.example': { port: 8001 }\n\
         \x20 |     ^^^^^^^^^^^^^^^^^^^^^^^^ nor this one\n\
         why:  `cert.pem` names www.shop.example, *.shop.example\n\
         hint: have it issued with every public name, or write `audience: network`\n"
    );
    ready.certify("DNS:www.shop.example,DNS:*.tenants.shop.example");
    says(
        &ready.told(),
        &["error: the certificate does not cover `shop.example`\n"],
    );
}

#[test]
fn a_certificate_that_cannot_be_used_is_found() {
    let ready = Ready::new("");
    fs::remove_file(ready.folder.path().join("cert.pem")).unwrap();
    says(
        &ready.told(),
        &["error: there is no certificate\nwhy:  looked at `<folder>/cert.pem`\nhint: name it"],
    );
    ready.write("cert.pem", "nothing");
    says(
        &ready.told(),
        &["error: the certificate cannot be used\nwhy:  `<folder>/cert.pem` holds no certificate"],
    );
}

#[test]
fn without_a_word_the_certificate_is_looked_for_in_the_scratch_folder() {
    let ready = Ready::new("");
    ready.write(
        "devlove.yaml",
        "shimmercat-devlove:\n  domains:\n    shop.example: { port: 8000 }\n  listen: 0.0.0.0:443\n",
    );
    says(&ready.told(), &["why:  looked at `<folder>/.scratch/cert.pem`"]);
    fs::create_dir(ready.folder.path().join(".scratch")).unwrap();
    for (from, to) in [("cert.pem", ".scratch/cert.pem"), ("key.pem", ".scratch/privkey.pem")] {
        fs::rename(ready.folder.path().join(from), ready.folder.path().join(to)).unwrap();
    }
    assert_eq!(ready.told(), "");
}

#[test]
fn the_times_of_the_certificate_are_looked_at() {
    let ready = Ready::new("");
    let now = SystemTime::now();
    says(
        &ready.told_at(now - 2 * DAY),
        &[
            "error: the certificate is not valid yet\n",
            "hint: look at the clock of this machine",
        ],
    );
    assert_eq!(ready.told_at(now + 15 * DAY), "");
    says(
        &ready.told_at(now + 20 * DAY),
        &["warning: the certificate ends in 9 days\n"],
    );
    says(&ready.told_at(now + 31 * DAY), &["error: the certificate has ended\n"]);
}

#[test]
fn a_key_that_others_can_read_is_found() {
    let ready = Ready::new("");
    ready.chmod(0o640);
    assert_eq!(ready.told(), "");
    ready.chmod(0o644);
    says(
        &ready.told(),
        &["warning: every user of this machine can read the private key\nwhy:  `<folder>/key.pem` has the mode 644\n"],
    );
}

#[test]
fn what_a_site_would_hand_out_is_found() {
    let ready = Ready::new("");
    let yaml = fs::read_to_string(ready.folder.path().join("devlove.yaml")).unwrap();
    ready.write("devlove.yaml", &yaml.replace("root-dir: site", "root-dir: ."));
    says(
        &ready.told(),
        &[
            "error: `www.shop.example` hands the private key to everybody\n",
            "warning: `www.shop.example` hands its settings to everybody\n",
        ],
    );
}

#[test]
fn errors_come_before_warnings() {
    let ready = Ready::new("  sim-latency: 100ms\n");
    ready.certify("DNS:www.shop.example");
    let told = ready.told();
    assert!(told.starts_with("error: "), "{told}");
    assert!(
        told.contains("\nwarning: `sim-bandwidth` and `sim-latency` mean nothing"),
        "{told}"
    );
}
