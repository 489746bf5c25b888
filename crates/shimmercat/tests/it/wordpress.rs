//! WordPress from Debian behind a real php-fpm, in a real Chromium: installed by its own form, then used.
//!
//! Its database is a MariaDB of the test's own. Nothing of it reaches the Internet: requests of its own are switched off.

use std::process::Command;
use std::time::Duration;

use sc_testkit::{Launch, PhpFpm, Program, Signal, TempProject, eventually, find_program};
use serde_json::{Value, json};

use crate::browser::Person;
use crate::server::domains;

/// Where Debian puts it.
const WORDPRESS: &str = "/usr/share/wordpress";

/// A database starts slowly on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(120);

const SITE: &str = "https://blog.example.com";

/// A running MariaDB that lets everybody in; it ends with the test.
struct MariaDb {
    program: Program,
    folder: tempfile::TempDir,
}

impl MariaDb {
    fn start() -> MariaDb {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let data = format!("--datadir={}", at("data"));
        let user = Command::new("id").arg("-un").output().expect("id runs").stdout;
        let user = format!("--user={}", String::from_utf8_lossy(&user).trim());
        let made = Launch::new(find_program("mariadb-install-db"))
            .args([
                "--no-defaults",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
                &data,
                &user,
            ])
            .run(START);
        assert!(made.status.success(), "{made:?}");
        let program = Launch::new(find_program("setpriv"))
            .args(["--pdeathsig", "TERM", "--"])
            .arg(find_program("mariadbd"))
            .args([
                "--no-defaults",
                "--skip-networking",
                "--skip-grant-tables",
                "--innodb-flush-log-at-trx-commit=0",
                &data,
                &user,
            ])
            .arg(format!("--socket={}", at("socket")))
            .arg(format!("--pid-file={}", at("pid")))
            .expect_errors()
            .start();
        let database = MariaDb { program, folder };
        eventually("the database takes statements", START, || {
            database.run("CREATE DATABASE wordpress")
        });
        database
    }

    fn socket(&self) -> String {
        self.folder.path().join("socket").display().to_string()
    }

    fn run(&self, statement: &str) -> Result<(), String> {
        let socket = format!("--socket={}", self.socket());
        let mut client = Command::new(find_program("mariadb"));
        let done = client
            .args(["--no-defaults", &socket, "-e", statement])
            .output()
            .map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(()) } else { Err(said) }
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if !self.program.has_ended() {
            self.program.signal(Signal::TERM);
            self.program.wait_exit(START);
        }
    }
}

/// A project whose site is a copy of WordPress, with the configuration that a person writes by hand.
fn project(php: &PhpFpm, database: &MariaDb) -> TempProject {
    let consultant = format!(
        "  consultant: {{ connect-to: '{}', application-protocol: fastcgi }}",
        php.address()
    );
    let project = domains(&["blog.example.com:", "  root-dir: site", &consultant]);
    // Debian's files are links in parts, which lead out of any folder that could be served.
    let copied = Command::new("cp")
        .args(["-rL", WORDPRESS])
        .arg(project.path_of("site"))
        .output()
        .expect("cp runs");
    assert!(
        project.path_of("site/wp-admin/install.php").exists(),
        "apt-get install wordpress: {copied:?}"
    );
    let _ = std::fs::remove_file(project.path_of("site/wp-config.php"));
    project.file(
        "site/wp-config.php",
        format!(
            "<?php\ndefine('DB_NAME', 'wordpress');\ndefine('DB_USER', 'nobody');\ndefine('DB_PASSWORD', '');\n\
             define('DB_HOST', 'localhost:{}');\ndefine('DB_CHARSET', 'utf8mb4');\n$table_prefix = 'wp_';\n\
             define('WP_HTTP_BLOCK_EXTERNAL', true);\ndefine('DISABLE_WP_CRON', true);\ndefine('WP_AUTO_UPDATE_CORE', false);\n\
             define('FS_METHOD', 'direct');\n\
             if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');\nrequire_once ABSPATH . 'wp-settings.php';\n",
            database.socket()
        ),
    );
    project.file(
        "site/wp-content/mu-plugins/permalinks.php",
        "<?php add_filter('pre_option_permalink_structure', function () { return '/%postname%/'; });\n",
    );
    project
}

#[test]
fn wordpress_is_installed_and_used_in_chromium() {
    let database = MariaDb::start();
    let php = PhpFpm::start(4);
    let project = project(&php, &database);
    let person = Person::new();
    let server = person.server(&project, &[]);
    let install = format!("{SITE}/wp-admin/install.php");
    let mut browser = person.open(&project, &install, &[]);
    browser.wait_for(
        "document.querySelector('#setup input[name=weblog_title]') !== null",
        &true.into(),
    );
    assert_eq!(browser.protocol(), "h2");
    // Style sheets and scripts are files: they came, and applied.
    browser.wait_for(
        "document.styleSheets.length > 0 && [...document.styleSheets].every((s) => s.cssRules.length > 0)",
        &true.into(),
    );
    let fill = |fields: &[(&str, &str)]| {
        let fields: Vec<Value> = fields.iter().map(|(name, value)| json!([name, value])).collect();
        format!(
            "for (const [name, value] of {}) {{ const field = document.querySelector(`[name=${{name}}]`);
               if (field.type === 'checkbox') field.checked = true; else field.value = value; }}",
            Value::from(fields)
        )
    };
    let fields = [
        ("weblog_title", "Schön behind shimmercat"),
        ("user_name", "ada"),
        ("admin_password", "correct horse battery"),
        ("admin_password2", "correct horse battery"),
        ("pw_weak", ""),
        ("admin_email", "ada@example.com"),
    ];
    let submit = "HTMLFormElement.prototype.submit.call(document.querySelector('form'))";
    browser
        .evaluate(&format!("{} {submit}", fill(&fields)))
        .expect("the form is filled");
    eventually("WordPress is installed", START, || {
        match browser.evaluate("document.querySelector('h1')?.textContent + ' ' + location + document.body.innerText") {
            Ok(Value::String(seen)) if seen.starts_with(&format!("Success! {install}?step=2")) => Ok(()),
            seen => Err(seen),
        }
    });
    browser
        .evaluate(&format!("location.assign('{SITE}/wp-login.php')"))
        .expect("a page can be left");
    browser.wait_for("document.querySelector('#loginform [name=pwd]') !== null", &true.into());
    let fields = [("log", "ada"), ("pwd", "correct horse battery")];
    browser
        .evaluate(&format!("{} {submit}", fill(&fields)))
        .expect("the form is filled");
    eventually("the dashboard is shown", START, || {
        match browser.evaluate("document.querySelector('.wrap h1')?.textContent + location.href") {
            Ok(Value::String(seen)) if seen == format!("Dashboard{SITE}/wp-admin/") => Ok(()),
            seen => Err(seen),
        }
    });
    // A nice address is no file: the front controller answers for it, under the site's own name.
    browser
        .evaluate(&format!("location.assign('{SITE}/hello-world/')"))
        .expect("a page can be left");
    browser.wait_for(
        "document.querySelector('h1.wp-block-post-title')?.textContent",
        &"Hello world!".into(),
    );
    browser.wait_for("document.title.includes('Schön behind shimmercat')", &true.into());
    browser.close();
    for (path, status) in [
        ("/no/such/page/", 404),
        ("/wp-config.php.bak", 404),
        ("/wp-json/", 200),
        ("/wp-admin", 302),
    ] {
        let answer = server.curl(&format!("{SITE}{path}")).run();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(!answer.text().contains("DB_NAME"), "{path}");
    }
    let own = server.curl(&format!("{SITE}/wp-config.php")).run();
    assert_eq!((own.status, own.text()), (200, String::new()), "executed, not sent");
    server.stop();
}
