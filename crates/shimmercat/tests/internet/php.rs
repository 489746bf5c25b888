//! php-fpm behind workers that are confined, renewed and several: programs, complaints in the common log, checks, its end.

use sc_testkit::PhpFpm;

use crate::kit::{SITE, Shop, run};

const PROGRAM: &str = "<?php
if (isset($_GET['fail'])) { error_log('on purpose'); http_response_code(500); die('SECRET of the application'); }
header('Content-Type: text/plain');
echo $_SERVER['REQUEST_METHOD'], ' ', $_SERVER['REMOTE_ADDR'], ' ', $_SERVER['HTTPS'], ' ', strlen(file_get_contents('php://input'));
";

#[test]
fn php_answers_through_renewed_workers_and_strangers_see_none_of_its_faults() {
    let mut php = PhpFpm::start(8);
    let consultant = format!(
        "{{ connect-to: '{}', application-protocol: fastcgi, keep-connection: true, connections: 2, \
         health: {{ path: /ping, interval: 100ms }} }}",
        php.address()
    );
    let shop = Shop::with(&[&format!("{SITE}: {{ root-dir: site, consultant: {consultant} }}")]);
    shop.project.file("site/index.php", PROGRAM);
    shop.project.file("site/style.css", "p {}");
    let master = shop.serve();
    let url = |path: &str| format!("https://{SITE}{path}");
    for round in 0..3 {
        for version in ["--http1.1", "--http2"] {
            let answer = master.curl(&url("/nice/address")).args([version, "-d", "12345"]).run();
            assert_eq!(
                (answer.status, answer.text()),
                (200, "POST 127.0.0.1 on 5".to_owned()),
                "{round}: {answer:?}"
            );
            assert_eq!(master.curl(&url("/style.css")).arg(version).run().text(), "p {}");
        }
        master.recycle();
        master.wait_settled();
    }
    let failed = master.curl(&url("/?fail=1")).run();
    assert_eq!(
        (failed.status, failed.text().contains("SECRET")),
        (500, false),
        "{failed:?}"
    );
    let complaint = master.wait_event("upstream_complaint", 1);
    let message = complaint["message"].as_str().unwrap_or_default();
    assert!(message.contains("on purpose"), "{complaint:#}");
    let metrics = master.ask("GET", "/metrics").text();
    assert!(metrics.contains("shimmercat_upstream_complaints_total 1"), "{metrics}");
    php.stop();
    let gone = master.curl(&url("/")).run();
    assert_eq!((gone.status, gone.text().contains("php")), (502, false), "{gone:?}");
    let file = master.curl(&url("/style.css")).run();
    assert_eq!(
        (file.status, file.text()),
        (200, "p {}".to_owned()),
        "files need no application"
    );
    assert!(run(&shop, ["status"]).status.success());
    master.stop();
}
