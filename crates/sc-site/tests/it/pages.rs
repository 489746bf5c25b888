//! Our own pages, word for word: `tests/pages/` holds them, `UPDATE_EXPECT=1` writes them anew.

use std::path::Path;

use http::Method;
use sc_http::{Answer, Payload};
use sc_net::UpstreamAddr;
use sc_site::{Audience, Disclosure, NamePattern, SiteSpec, UpstreamSpec};

use crate::app::App;
use crate::kit::{Ask, NAME, Served, Told, files, folder, proxy, read, run, serve, spec};

/// Compares with the page that is kept; `changing` is what differs from run to run.
fn check(name: &str, told: &Told, changing: &[(&str, &str)]) {
    let mut text = told.text();
    for (from, to) in changing {
        text = text.replace(from, to);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == kept, "{name} is now:\n{text}\n(UPDATE_EXPECT=1 keeps it)");
}

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

async fn both(name: &str, ask: impl Fn() -> Ask, served: &Served, changing: &[(&str, &str)]) {
    check(&format!("{name}.txt"), &ask().of(served).await, changing);
    let told = ask().field("accept", BROWSER).of(served).await;
    assert!(told.field("content-security-policy").contains("default-src 'none'"));
    assert_eq!(told.field("cache-control"), "no-store");
    check(&format!("{name}.html"), &told, changing);
}

async fn dead() -> (UpstreamSpec, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    (UpstreamSpec::new(UpstreamAddr::Tcp(at)), at.port().to_string())
}

#[test]
fn application_down() {
    run(async {
        let (upstream, port) = dead().await;
        let site = proxy(upstream);
        both(
            "application-down",
            || Ask::get("/cart?x=<b>"),
            &site,
            &[(&port, "PORT")],
        )
        .await;
        let told = Ask::post("/cart", "x").field("accept", BROWSER).of(&site).await;
        assert!(
            !told.text().contains("<script"),
            "a form must not be sent again by a page"
        );
        let (upstream, _) = dead().await;
        let public = serve(vec![spec(None, Some(upstream))], Disclosure::Public);
        both("application-down-public", || Ask::get("/cart"), &public, &[]).await;
        assert!(
            !Ask::get("/cart").of(&public).await.has("retry-after"),
            "nobody knows when"
        );
    });
}

#[test]
fn application_silent() {
    run(async {
        let app = App::start(|mut conn| async move { conn.closed().await }).await;
        let mut upstream = app.spec();
        upstream.timeouts.first_byte = std::time::Duration::from_millis(30);
        let UpstreamAddr::Tcp(at) = app.at else { panic!() };
        let told = Ask::get("/slow").of(&proxy(upstream)).await;
        check("application-silent.txt", &told, &[(&at.port().to_string(), "PORT")]);
    });
}

#[test]
fn application_loop() {
    run(async {
        let (upstream, _) = dead().await;
        let site = proxy(upstream);
        both(
            "loop",
            || Ask::get("/round").field("shimmercat-loop", "test-instance"),
            &site,
            &[],
        )
        .await;
    });
}

#[test]
fn nothing_here() {
    run(async {
        let folder = folder(&[("index.html", b"")]);
        let path = folder.path().display().to_string();
        both(
            "not-found",
            || Ask::get("/missing/<i>"),
            &files(folder.path()),
            &[(&path, "FOLDER")],
        )
        .await;
        let public = serve(vec![spec(Some(folder.path()), None)], Disclosure::Public);
        both("not-found-public", || Ask::get("/missing"), &public, &[]).await;
        check(
            "method.txt",
            &Ask::new(Method::DELETE, "/").of(&files(folder.path())).await,
            &[],
        );
    });
}

async fn unknown(served: &Served, host: &str, accept: &str, is_inside: bool) -> Told {
    let ask = Ask::get("/").host(host).field("accept", accept);
    let Answer {
        head,
        payload: Payload::Body(body),
        ..
    } = served.sites.unknown_name(&ask.exchange, is_inside)
    else {
        panic!("no body")
    };
    let (body, trailers, fault) = read(body).await;
    Told {
        status: head.status,
        headers: head.headers,
        body,
        trailers,
        fault,
        notes: Default::default(),
    }
}

#[test]
fn unknown_name() {
    run(async {
        let mut specs: Vec<_> = [NAME, "api.shop.example", "*.tenants.shop.example", "phpmyadmin"]
            .map(|name| SiteSpec::new(NamePattern::parse(name).unwrap()))
            .into();
        specs[3].audience = Audience::Network;
        let site = serve(specs.clone(), Disclosure::Developer);
        let told = unknown(&site, "ww.shop.example", "*/*", true).await;
        assert_eq!(
            (told.status.as_u16(), told.field("shimmercat-page")),
            (421, "unknown-name")
        );
        check("unknown-name.txt", &told, &[]);
        check(
            "unknown-name.html",
            &unknown(&site, "ww.shop.example", BROWSER, true).await,
            &[],
        );
        let by_address = unknown(&site, "127.0.0.1:4043", "*/*", true).await.text();
        assert!(
            by_address.contains("https://www.shop.example:4043/") && !by_address.contains("To add it"),
            "{by_address}"
        );
        let outside = unknown(&site, "phpmyadmi", "*/*", false).await.text();
        assert!(!outside.contains("phpmyadmin"), "{outside}");
        let public = serve(specs, Disclosure::Public);
        check(
            "unknown-name-public.txt",
            &unknown(&public, "ww.shop.example", "*/*", false).await,
            &[],
        );
    });
}

#[test]
fn nothing_configured() {
    run(async {
        let site = serve(vec![], Disclosure::Developer);
        check(
            "nothing-configured.txt",
            &unknown(&site, "www.shop.example", "*/*", true).await,
            &[],
        );
    });
}
