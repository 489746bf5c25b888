//! Several instances on one machine, of one user: a site, and a separate one for monitoring behind its own SOCKS5 port.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sc_testkit::client::socks::socks5;
use sc_testkit::program::{Launch, Signal};
use sc_testkit::{Http1, Request, TempProject, free_port, tls_over};
use serde_json::Value;

use crate::kit::{Master, PATIENCE, SITE, Shop, address};

/// The name of the monitoring's page, which is for its network only.
const KIBANA: &str = "kibana";

/// A project for monitoring: one public name, which every instance has, and one that is for its network only.
fn monitoring() -> Shop {
    let domains = [
        "status.shop.example: { root-dir: site }",
        "kibana: { root-dir: charts, audience: network }",
    ];
    let shop = Shop::with(&domains);
    shop.project.file("site/index.html", "<h1>all is well</h1>\n");
    shop.project.file("charts/index.html", "<h1>charts</h1>\n");
    shop
}

/// One user's home for all instances of a test.
fn at_home(home: &TempProject, launch: Launch) -> Launch {
    launch.env("HOME", home.path())
}

/// What a process and its children listen on, as the kernel numbers it.
fn sockets(master: &Master) -> BTreeSet<u64> {
    let pid = master.program.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("a running process");
    let own = pid.to_string();
    let listening = listening();
    children
        .split_whitespace()
        .chain([own.as_str()])
        .flat_map(|pid| {
            fs::read_dir(format!("/proc/{pid}/fd"))
                .expect("a running process")
                .flatten()
        })
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .filter(|inode| listening.contains(inode))
        .collect()
}

/// All listening sockets of the machine: TCP in state 0A, unix sockets with the flag of listeners. Source: proc_net(5).
fn listening() -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, _, _, "0A", ..] = fields.as_slice()
                && let Some(inode) = fields.get(9).and_then(|inode| inode.parse().ok())
            {
                found.insert(inode);
            }
        }
    }
    for line in fs::read_to_string("/proc/net/unix").unwrap_or_default().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, "00010000", _, _, inode, ..] = fields.as_slice()
            && let Ok(inode) = inode.parse()
        {
            found.insert(inode);
        }
    }
    found
}

fn redis_of(status: &Value) -> String {
    let what = status["redis"]["what"].as_str().expect("a Redis");
    what.strip_prefix("own, at ")
        .unwrap_or_else(|| panic!("an own Redis: {what}"))
        .to_owned()
}

/// The keys in a Redis.
fn keys(socket: &str) -> Vec<String> {
    let cli = Launch::new(sc_testkit::find_program("redis-cli"));
    let done = cli.args(["-s", socket, "--scan", "--pattern", "*"]).run(PATIENCE);
    done.stdout.lines().map(str::to_owned).collect()
}

fn page_over(stream: std::net::TcpStream, name: &str, ca: &Path) -> Result<(u16, String), String> {
    let mut client = Http1::new(tls_over(stream, name, ca, &["http/1.1"])?);
    let answer = client.request(&Request::get(name, "/").header("Connection", "close"));
    Ok((answer.status, answer.text()))
}

#[test]
fn a_site_and_its_monitoring_never_meet() {
    let (home, shop, monitoring) = (TempProject::new(), Shop::new(), monitoring());
    let site = shop.launch(at_home(&home, shop.internet(&["--workers", "2"])));
    let options = ["--workers", "1", "--enable-socks-5", "--socks-5", "127.0.0.1:0"];
    let watch = monitoring.launch(at_home(&home, monitoring.internet(&options)));
    let (of_site, of_watch) = (site.wait_settled(), watch.wait_settled());

    // Sockets, control, Redis, state: nothing is common.
    let (ours, theirs) = (sockets(&site), sockets(&watch));
    assert!(
        !ours.is_empty() && !theirs.is_empty() && ours.is_disjoint(&theirs),
        "{ours:?} {theirs:?}"
    );
    for name in ["control", "instance", "folder", "config", "pid"] {
        assert_ne!(of_site[name], of_watch[name], "{name}");
    }
    let (bus, other) = (redis_of(&of_site), redis_of(&of_watch));
    assert_ne!(bus, other);
    for (socket, status) in [(&bus, &of_site), (&other, &of_watch)] {
        let own = format!("sc:{}:", status["instance"].as_str().expect("a name"));
        let keys = keys(socket);
        assert!(
            !keys.is_empty() && keys.iter().all(|key| key.starts_with(&own)),
            "{own}: {keys:?}"
        );
    }
    assert!(of_site["proxy"].is_null(), "the site has no SOCKS5 port");

    // Each is asked from its own folder.
    for (project, status) in [(&shop, &of_site), (&monitoring, &of_watch)] {
        let done = at_home(&home, project.shimmercat(["status", "--json"])).run(PATIENCE);
        let told: Value = serde_json::from_str(&done.stdout).expect("JSON");
        assert_eq!(told["pid"], status["pid"], "{}", done.stderr);
    }

    // A name leads to a page only in the instance that has it.
    let network = address(&of_watch["proxy"]);
    let through = socks5(network, KIBANA, 443);
    assert_eq!(through.reply, 0, "its own network leads to it");
    let served = sc_testkit::Curl::new("https://kibana/")
        .arg("--cacert")
        .arg(&monitoring.certificate.ca)
        .args(["-k", "--socks5-hostname", &network.to_string()])
        .run();
    assert_eq!(
        (served.status, served.text().as_str()),
        (200, "<h1>charts</h1>\n"),
        "{}",
        served.stderr
    );
    assert_ne!(
        socks5(network, SITE, 443).reply,
        0,
        "the site is no name of this network, and -w is not given"
    );
    for (master, host) in [
        (&site, KIBANA),
        (&watch, KIBANA),
        (&site, "status.shop.example"),
        (&watch, SITE),
    ] {
        let stream = sc_testkit::client::tcp(master.https);
        let name = if host == KIBANA { "www.shop.example" } else { host };
        let mut client = match tls_over(stream, name, &master.ca, &["http/1.1"]) {
            Ok(stream) => Http1::new(stream),
            Err(_) => continue,
        };
        let answer = client.request(&Request::get(host, "/").header("Connection", "close"));
        assert_eq!(answer.status, 421, "{host}: {}", answer.text());
    }

    // What is done to one is not done to the other.
    let before = site.workers("active");
    let done = at_home(&home, monitoring.shimmercat(["recycle"])).run(PATIENCE);
    assert_eq!(done.stdout, "renewed\n", "{}", done.stderr);
    assert_eq!(site.workers("active"), before);
    monitoring.project.file(
        "devlove.yaml",
        "shimmercat-devlove:\n  domains:\n    status.shop.example: { root-dir: charts }\n",
    );
    let done = at_home(&home, monitoring.shimmercat(["reload"])).run(PATIENCE);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert_eq!(site.events_named("reloaded").len(), 0);
    watch.stop();
    assert_eq!(site.status()["redis"]["state"], "up", "its Redis is its own");
    let stream = sc_testkit::client::tcp(site.https);
    assert_eq!(
        page_over(stream, SITE, &site.ca),
        Ok((200, "<h1>hello</h1>\n".to_owned()))
    );
    site.stop();
}

#[test]
fn a_second_instance_in_the_same_folder_is_refused_with_the_holder_s_name() {
    let home = TempProject::new();
    let shop = Shop::new();
    let devlove = ["devlove", "--listen", "127.0.0.1:0", "--socks-5", "127.0.0.1:0"];
    let refused = |launch: Launch, pid: u32, mode: &str| {
        let done = at_home(&home, launch).run(PATIENCE);
        assert_eq!(done.status.code(), Some(5), "{mode}: {}", done.stderr);
        let first = done.stderr.lines().next().unwrap_or_default().to_owned();
        assert!(
            first.starts_with("error: another instance of this project is running: ")
                && first.contains(&pid.to_string()),
            "{mode}: {first}"
        );
        assert!(done.stderr.contains("hint: "), "{mode}: {}", done.stderr);
        println!("{first}");
    };
    let master = shop.launch(at_home(&home, shop.internet(&["--workers", "1"])));
    let pid = master.program.pid();
    refused(shop.internet(&[]), pid, "internet");
    refused(shop.shimmercat(devlove), pid, "devlove");
    assert_eq!(
        master.curl(&format!("https://{SITE}/")).run().status,
        200,
        "the first does not notice"
    );

    // Another scratch folder is another instance.
    let mut second = at_home(
        &home,
        shop.internet(&["--workers", "1", "--scratch-dir-name", ".second"]),
    )
    .start();
    second.wait_for_text("next: shimmercat status", PATIENCE);
    assert_eq!(second.stop().code(), Some(0));
    master.stop();

    let mut developer = at_home(&home, shop.shimmercat(devlove)).start();
    developer.wait_for_text("next: sc-tool", PATIENCE);
    refused(shop.internet(&[]), developer.pid(), "internet beside devlove");
    assert_eq!(developer.stop().code(), Some(0));
}

#[test]
fn a_second_instance_at_the_same_address_is_refused_with_the_holder_s_name() {
    let home = TempProject::new();
    let (first, other) = (Shop::new(), monitoring());
    let [https, plain, socks, metrics] = [(); 4].map(|()| format!("127.0.0.1:{}", free_port()));
    first.rewrite(
        &[&format!("metrics: {metrics}")],
        &[&format!("{SITE}: {{ root-dir: site }}")],
    );
    let options = [
        "--workers",
        "1",
        "--listen",
        &https,
        "-t",
        &plain,
        "--enable-socks-5",
        "--socks-5",
        &socks,
    ];
    let internet = |shop: &Shop, options: &[&str]| {
        at_home(&home, shop.shimmercat(["internet", "--workers", "1"]))
            .arg("--cert")
            .arg(&shop.certificate.chain)
            .arg("--key")
            .arg(&shop.certificate.key)
            .args(options)
    };
    let refused = |launch: Launch, at: &str, pid: u32| {
        let done = launch.run(PATIENCE);
        assert_eq!(done.status.code(), Some(5), "{at}: {}", done.stderr);
        let holder = format!("{at} is taken by pid {pid} (shimmercat)");
        assert!(done.stderr.contains(&holder), "{holder} in {}", done.stderr);
        print!("{}", done.stderr);
    };

    let master = first.launch(internet(&first, &options[2..]));
    let pid = master.program.pid();
    let any = "127.0.0.1:0";
    for (at, options) in [
        (&https, vec!["--listen", &https]),
        (&plain, vec!["--listen", any, "-t", &plain]),
        (&https, vec!["--listen", any, "-t", &https]),
        (&socks, vec!["--listen", any, "--enable-socks-5", "--socks-5", &socks]),
        (&plain, vec!["--listen", &plain]),
        (&metrics, vec!["--listen", &metrics]),
    ] {
        refused(internet(&other, &options), at, pid);
    }
    for (at, options) in [
        (&https, ["devlove", "--socks-5", any, "--listen", &https]),
        (&socks, ["devlove", "--listen", any, "--socks-5", &socks]),
    ] {
        refused(at_home(&home, other.shimmercat(options)), at, pid);
    }
    assert_eq!(
        master.curl(&format!("https://{SITE}/")).run().status,
        200,
        "the first does not notice"
    );
    master.stop();

    let mut developer = at_home(
        &home,
        first.shimmercat(["devlove", "--listen", &https, "--socks-5", &socks]),
    )
    .start();
    developer.wait_for_text("next: sc-tool", PATIENCE);
    refused(internet(&other, &["--listen", &https]), &https, developer.pid());
    refused(
        internet(&other, &["--listen", any, "-t", &socks]),
        &socks,
        developer.pid(),
    );
    developer.signal(Signal::INT);
    assert_eq!(developer.wait_exit(PATIENCE).code(), Some(0));
}
