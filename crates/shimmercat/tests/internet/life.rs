//! A master's life: it starts, serves, renews its workers when asked, reloads, and stops.

use sc_testkit::Request;

use crate::kit::{SITE, Shop, run};

#[test]
fn a_site_is_served_by_workers_and_the_start_says_what_and_where() {
    let shop = Shop::new();
    let master = shop.serve();
    let answer = master.curl(&format!("https://{SITE}/")).run();
    assert_eq!(
        (answer.status, answer.version.as_str(), answer.text()),
        (200, "2", "<h1>hello</h1>\n".to_owned())
    );
    let record = master.wait_event("exchange", 1);
    assert_eq!(
        (&record["url"], record["worker"].is_u64()),
        (&format!("https://{SITE}/").into(), true),
        "{record}"
    );

    assert_eq!(master.program.threads(), 1, "the master has one thread");
    let block = master.program.stderr();
    for part in [
        "https://www.shop.example",
        "2 lanes",
        "renewed every 15 to 30 minutes",
        "next: shimmercat status",
    ] {
        assert!(block.contains(part), "{part} in\n{block}");
    }
    let stopped = master.stop();
    assert!(stopped.contains("stopped after 1 exchanges"), "{stopped}");
}

#[test]
fn recycle_renews_every_worker_and_keeps_the_master() {
    let shop = Shop::new();
    let master = shop.serve();
    master.wait_settled();
    let before = master.workers("active");
    let mut kept = master.http1(SITE);
    let get = Request::get(SITE, "/");
    assert_eq!(kept.request(&get).status, 200);

    let done = run(&shop, ["recycle"]);
    assert_eq!(done.stdout, "renewed\n", "{}", done.stderr);
    let after = master.workers("active");
    assert_eq!(after.len(), 2);
    assert!(
        after.iter().all(|new| before.iter().all(|old| old.pid != new.pid)),
        "{before:?} {after:?}"
    );

    let last = kept.request(&get);
    assert_eq!(
        (last.status, last.header("connection")),
        (200, Some("close")),
        "an idle connection is served once more"
    );
    assert!(kept.is_closed());
    let one = run(&shop, ["recycle", "--lane", "1"]);
    assert_eq!(one.stdout, "renewed\n", "{}", one.stderr);
    let lanes: Vec<_> = master
        .workers("active")
        .iter()
        .map(|seen| after.contains(seen))
        .collect();
    assert_eq!(lanes, [true, false], "only lane 1 was renewed");
    let none = run(&shop, ["recycle", "--lane", "7"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(none.stderr.contains("there is no lane 7"), "{}", none.stderr);
    master.stop();
}
