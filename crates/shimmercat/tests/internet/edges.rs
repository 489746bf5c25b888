//! The edges towards the Internet: certificate, sessions, redirect, the little network, what strangers see.

use std::time::Duration;

use sc_testkit::certificate::replace;
use sc_testkit::{
    Curl, EchoServer, Http1, HttpApp, Request, TlsClient, client, eventually, is_resumed, socks5, tls_over,
};

use crate::kit::{Master, PATIENCE, SITE, Shop, address, run};

/// The certificate that a new connection is shown.
fn shown(master: &Master) -> Vec<u8> {
    let stream = master.tls(SITE, &["http/1.1"]);
    stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
}

#[test]
fn a_certificate_replaced_on_the_disk_is_shown_without_a_restart() {
    let shop = Shop::new();
    let master = shop.serve();
    let pids: Vec<_> = master.workers("active");
    let mut kept = master.http1(SITE);
    let get = Request::get(SITE, "/");
    assert_eq!(kept.request(&get).status, 200);
    for round in 0..2 {
        let files = shop.authority.write(&shop.project.path_of("tls2"), &["*.shop.example"]);
        let new = sc_testkit::first_certificate(&files.chain).to_vec();
        // As people do it: one after the other, in place.
        std::fs::copy(&files.chain, &shop.certificate.chain).expect("a copy");
        std::fs::copy(&files.key, &shop.certificate.key).expect("a copy");
        // The CA is the same one, so clients go on trusting.
        eventually(&format!("certificate {round} is shown"), PATIENCE, || {
            if shown(&master) == new {
                Ok(())
            } else {
                Err(master.program.stdout())
            }
        });
    }
    assert_eq!(kept.request(&get).status, 200, "an open connection does not notice");
    assert_eq!(master.workers("active"), pids, "nobody was recycled");
    assert_eq!(
        master.events_named("certificate_refused").len(),
        0,
        "half a replacement is no fault yet"
    );
    master.stop();
}

#[test]
fn a_broken_replacement_is_refused_and_told_and_its_repair_applies() {
    let shop = Shop::new();
    let master = shop.serve();
    let before = shown(&master);
    let good = std::fs::read_to_string(&shop.certificate.chain).expect("the chain");
    replace(&shop.certificate.chain, "-----BEGIN CERTIFICATE-----\nbroken\n");
    let told = master.wait_event("certificate_refused", 1);
    assert!(
        told["why"].as_str().is_some_and(|why| why.contains("cert.pem")),
        "{told}"
    );
    assert_eq!(shown(&master), before, "the former certificate is still shown");
    let reload = run(&shop, ["reload"]);
    assert_eq!(reload.status.code(), Some(3), "{}", reload.stderr);
    assert!(reload.stderr.contains("cert.pem"), "{}", reload.stderr);

    let files = shop.authority.write(&shop.project.path_of("tls2"), &["other.example"]);
    let foreign = std::fs::read_to_string(&files.chain).expect("a chain");
    replace(
        &shop.certificate.key,
        &std::fs::read_to_string(&files.key).expect("a key"),
    );
    replace(&shop.certificate.chain, &foreign);
    eventually("a certificate for other names is refused", PATIENCE, || {
        let told = master.events_named("certificate_refused");
        told.iter()
            .any(|told| told["why"].as_str().is_some_and(|why| why.contains(SITE)))
            .then_some(())
            .ok_or(told)
    });
    assert_eq!(shown(&master), before);

    let key = shop.authority.write(&shop.project.path_of("tls"), &["*.shop.example"]);
    eventually("the repaired pair is shown", PATIENCE, || {
        let new = sc_testkit::first_certificate(&key.chain).to_vec();
        if shown(&master) == new {
            Ok(())
        } else {
            Err(master.program.stdout())
        }
    });
    assert_ne!(
        std::fs::read_to_string(&shop.certificate.chain).expect("the chain"),
        good
    );
    master.stop();
}

#[test]
fn a_replacement_that_has_ended_is_refused() {
    let shop = Shop::new();
    let master = shop.serve();
    let before = shown(&master);
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(24 * 3600);
    shop.authority
        .write_valid(&shop.project.path_of("tls"), &["*.shop.example"], yesterday);
    let told = master.wait_event("certificate_refused", 1);
    assert_eq!(shown(&master), before, "{told}");
    master.stop();
}

#[test]
fn a_chain_that_is_completed_later_is_shown_as_a_whole() {
    let shop = Shop::new();
    let whole = std::fs::read_to_string(&shop.certificate.chain).expect("the chain");
    let end = "-----END CERTIFICATE-----\n";
    let (leaf, _) = whole.split_at(whole.find(end).expect("a certificate") + end.len());
    replace(&shop.certificate.chain, leaf);
    let master = shop.serve();
    let length = |master: &Master| master.tls(SITE, &[]).conn.peer_certificates().map_or(0, <[_]>::len);
    assert_eq!(length(&master), 1);
    replace(&shop.certificate.chain, &whole);
    eventually("the whole chain is shown", PATIENCE, || match length(&master) {
        2 => Ok(()),
        other => Err(other),
    });
    master.stop();
}

#[test]
fn the_certificate_must_cover_every_public_name_at_the_start_and_at_a_reload() {
    let site = |name: &str| format!("{name}: {{ root-dir: site }}");
    let shop = Shop::with(&[
        &site(SITE),
        &site("www.other.example"),
        "phpmyadmin: { root-dir: site, audience: network }",
    ]);
    shop.project.file("site/index.html", "hello");
    let refused = shop.internet(&[]).run(PATIENCE);
    assert_eq!(refused.status.code(), Some(3), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("error: the certificate does not cover `www.other.example`"),
        "{}",
        refused.stderr
    );
    assert!(
        !refused.stderr.contains("phpmyadmin"),
        "names of the network need no certificate: {}",
        refused.stderr
    );

    shop.rewrite(&[], &[&site(SITE)]);
    let master = shop.serve();
    shop.rewrite(&[], &[&site(SITE), &site("a.b.shop.example")]);
    let reload = run(&shop, ["reload"]);
    assert_eq!(reload.status.code(), Some(3), "{}", reload.stderr);
    assert!(
        reload.stderr.contains("a.b.shop.example"),
        "a wildcard covers one label: {}",
        reload.stderr
    );
    assert_eq!(
        master.curl(&format!("https://{SITE}/")).run().status,
        200,
        "what runs is untouched"
    );
    shop.rewrite(&[], &[&site(SITE), &site("api.shop.example")]);
    let reload = run(&shop, ["reload"]);
    assert_eq!(reload.status.code(), Some(0), "{}", reload.stderr);
    assert_eq!(master.curl("https://api.shop.example/").run().status, 200);
    master.stop();
}

#[test]
fn sessions_are_taken_up_by_every_lane_and_after_recycling() {
    let shop = Shop::new();
    let master = shop.serve_with(&["--workers", "4"]);
    let browser = TlsClient::new(&master.ca, &["http/1.1"]);
    let visit = || {
        let stream = browser.over(client::tcp(master.https), SITE).expect("a handshake");
        let is_resumed = is_resumed(&stream);
        // Tickets come with the first bytes of the answer.
        assert_eq!(
            Http1::new(stream)
                .request(&Request::get(SITE, "/").header("Connection", "close"))
                .status,
            200
        );
        is_resumed
    };
    assert!(!visit(), "the first handshake is a full one");
    let visits: Vec<bool> = (0..16).map(|_| visit()).collect();
    assert!(visits.iter().all(|resumed| *resumed), "{visits:?}");
    let workers: std::collections::BTreeSet<_> = eventually("16 lines of the log", PATIENCE, || {
        let records = master.events_named("exchange");
        if records.len() == 17 {
            Ok(records)
        } else {
            Err(records.len())
        }
    })
    .iter()
    .map(|record| record["worker"].as_u64())
    .collect();
    assert!(workers.len() > 1, "several workers took part: {workers:?}");
    master.recycle();
    let visits: Vec<bool> = (0..8).map(|_| visit()).collect();
    assert!(visits.iter().all(|resumed| *resumed), "{visits:?}");
    let reload = run(&shop, ["reload"]);
    assert_eq!(reload.status.code(), Some(0), "{}", reload.stderr);
    master.stop();
}

/// A shop with an application behind its site, and a house network.
fn house(app: &HttpApp, database: &EchoServer, settings: &[&str]) -> Shop {
    let shop = Shop::with_settings(
        settings,
        &[
            &format!(
                "{SITE}: {{ root-dir: site, consultant: {{ connect-to: {} }} }}",
                app.address()
            ),
            &format!("phpmyadmin: {{ audience: network, port: {} }}", app.port()),
            &format!("mysql: {{ tcp: {{ 3306: {} }} }}", database.address()),
        ],
    );
    shop.project.file("site/index.html", "hello");
    shop
}

#[test]
fn names_of_the_house_are_for_the_little_network_only() {
    let (app, database) = (HttpApp::start(), EchoServer::start());
    let users = ["socks-users: { ada: lovelace }"];
    let shop = house(&app, &database, &users);
    let master = shop.serve_with(&["--workers", "2", "--enable-socks-5", "-5", "127.0.0.1:0"]);
    let proxy = address(&master.instance["socks"]);

    let with = |user: &str, url: &str| {
        Curl::new(url)
            .args(["-k", "--socks5-hostname", &proxy.to_string(), "--proxy-user", user])
            .run()
    };
    let inside = with("ada:lovelace", "https://phpmyadmin/hello");
    assert_eq!(inside.status, 200, "{}", inside.stderr);
    assert_eq!(
        with("ada:wrong", "https://phpmyadmin/hello").exit,
        97,
        "curl's code for a refusal by the proxy"
    );
    assert_eq!(
        Curl::new("https://phpmyadmin/")
            .args(["-k", "--socks5-hostname", &proxy.to_string()])
            .run()
            .exit,
        97
    );
    let answer = sc_testkit::socks5_with_password(proxy, ("ada", "lovelace"), "mysql", 3306).expect("they are right");
    assert_eq!(answer.reply, 0, "mysql:3306 is relayed");
    let elsewhere = sc_testkit::socks5_with_password(proxy, ("ada", "lovelace"), "www.example.com", 443);
    assert_eq!(
        elsewhere.expect("they are right").reply,
        2,
        "nothing is forwarded without -w"
    );

    let outside = master.curl("https://phpmyadmin/hello").arg("-k").run();
    assert_eq!((outside.status, app.requests()), (421, 1), "not on the HTTPS port");
    assert!(!outside.text().contains("phpmyadmin"), "{}", outside.text());
    master.stop();
}

#[test]
fn the_little_network_is_off_unless_asked_for_and_never_open_to_everybody() {
    let shop = Shop::new();
    let master = shop.serve();
    assert!(master.instance["socks"].is_null(), "{}", master.instance);
    master.stop();
    let everywhere = ["--enable-socks-5", "-5", "0.0.0.0:0"];
    let refused = shop.internet(&everywhere).run(PATIENCE);
    assert_eq!(refused.status.code(), Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("open to everybody"), "{}", refused.stderr);
    shop.rewrite(
        &["socks-allow: 10.0.0.0/8"],
        &[&format!("{SITE}: {{ root-dir: site }}")],
    );
    let relay = [&everywhere[..], &["-w"]].concat();
    let refused = shop.internet(&relay).run(PATIENCE);
    assert_eq!(refused.status.code(), Some(3), "{}", refused.stderr);
    let master = shop.serve_with(&everywhere);
    let proxy = address(&master.instance["socks"]);
    let answer = socks5((std::net::Ipv4Addr::LOCALHOST, proxy.port()).into(), SITE, 443);
    assert_eq!(answer.reply, 0, "loopback is always allowed");
    master.stop();
}

#[test]
fn strangers_see_bare_pages() {
    let app = HttpApp::start();
    let database = EchoServer::start();
    let shop = house(&app, &database, &[]);
    let master = shop.serve();
    let words = |path: &str| {
        let answer = master
            .curl(&format!("https://{SITE}{path}"))
            .arg("-HAccept: text/html")
            .run();
        (answer.status, answer.text(), answer.heads)
    };
    // An application's own account of its failure is replaced; an ordinary refusal of it is not.
    let (status, page, heads) = words("/status?code=500");
    assert_eq!(status, 500);
    assert!(
        !page.contains("status 500"),
        "the application's page is replaced: {page}"
    );
    assert!(!heads.to_lowercase().contains("shimmercat"), "{heads}");
    assert!(
        words("/status?code=404").1.contains("status 404"),
        "a 404 of the application is its own"
    );
    let (status, page, _) = words("/reset");
    assert_eq!(status, 502);
    for secret in [
        "127.0.0.1",
        &app.port().to_string(),
        "shimmercat",
        "ShimmerCat",
        "reset",
        "phpmyadmin",
    ] {
        assert!(!page.contains(secret), "{secret} in {page}");
    }
    let unknown = master.curl("https://nobody.shop.example/").arg("-k").run();
    assert_eq!(unknown.status, 421);
    assert!(!unknown.text().contains(SITE), "{}", unknown.text());
    drop(app);
    let (status, page, _) = words("/api");
    assert_eq!(status, 502);
    assert!(!page.contains("127.0.0.1"), "{page}");
    master.stop();

    let shop = house(&HttpApp::start(), &database, &["disclose-errors: true"]);
    shop.project.file("site/index.html", "hello");
    let master = shop.serve();
    let answer = master.curl(&format!("https://{SITE}/status?code=500")).run();
    assert!(
        answer.text().contains("status 500") || answer.status == 502,
        "{}",
        answer.text()
    );
    master.stop();
}

#[test]
fn the_redirect_port_redirects_and_nothing_else() {
    let shop = Shop::with(&[
        &format!("{SITE}: {{ root-dir: site }}"),
        "phpmyadmin: { root-dir: site, audience: network }",
    ]);
    shop.project.file("site/index.html", "hello");
    let master = shop.serve_with(&["--workers", "2", "-t", "127.0.0.1:0,[::1]:0"]);
    let places = master.status()["redirect"].as_array().expect("a list").clone();
    assert_eq!(places.len(), 2, "several addresses: {places:?}");
    for place in &places {
        let place = address(place);
        let ask = |method: &str, host: &str| {
            Http1::new(client::tcp(place)).request(&Request::new(method, "/a/b?c=%20d").header("Host", host))
        };
        let answer = ask("GET", SITE);
        let to = format!("https://{SITE}:{}/a/b?c=%20d", master.https.port());
        assert_eq!((answer.status, answer.header("location")), (301, Some(to.as_str())));
        assert_eq!(ask("POST", SITE).status, 308);
        assert_eq!(ask("GET", "nobody.example").status, 421);
        assert_eq!(
            ask("GET", "phpmyadmin").status,
            421,
            "a name of the house does not exist here"
        );
    }
    master.stop();
}

#[test]
fn tls_by_name_needs_no_more_than_the_name() {
    let shop = Shop::new();
    let master = shop.serve_with(&["--workers", "1", "--enable-socks-5", "-5", "127.0.0.1:0"]);
    let proxy = address(&master.instance["socks"]);
    let stream = tls_over(client::tcp(proxy), SITE, &master.ca, &["http/1.1"]).expect("TLS by name");
    assert_eq!(Http1::new(stream).request(&Request::get(SITE, "/")).status, 200);
    let silence = client::tcp(proxy);
    silence
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a time limit can be set");
    assert!(Http1::new(silence).is_closed(), "who says nothing is not waited for");
    master.stop();
}
