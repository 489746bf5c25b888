//! The user's two pages, sentence by sentence: what each sentence states is tried, under a name taken from it.
//!
//! The first is the page on internet mode, the second the one on the little network (SOCKS5). Where a sentence has a whole
//! file of tests of its own, the test here is the shortest form of it.

use std::io::Read;
use std::time::{Duration, Instant};

use sc_testkit::program::Launch;
use sc_testkit::{Curl, EchoServer, Http1, HttpApp, Request, TempProject, client, eventually, find_program, socks5};

use crate::kit::{PATIENCE, SITE, Shop, address, run};

mod internet_mode {
    use super::*;

    #[test]
    fn the_mode_is_a_mandatory_argument() {
        let shop = Shop::new();
        let without = run(&shop, []);
        assert_eq!(without.status.code(), Some(2));
        for mode in ["devlove", "internet"] {
            assert!(without.stderr.contains(mode), "{}", without.stderr);
        }
    }

    #[test]
    fn its_help_says_a_master_mode_for_monitoring_workers_and_running_in_the_internet() {
        let help = run(&Shop::new(), ["internet", "-h"]);
        let first = help.stdout.lines().next().unwrap_or_default();
        assert_eq!(
            first,
            "A master mode for monitoring workers and running in the Internet"
        );
    }

    #[test]
    fn pages_with_status_404_and_500_are_not_for_public_eyes() {
        let app = HttpApp::start();
        let shop = Shop::with(&[&format!("{SITE}: {{ port: {} }}", app.port())]);
        let master = shop.serve();
        let answer = master.curl(&format!("https://{SITE}/status?code=500")).run();
        assert_eq!((answer.status, answer.text().contains("status 500")), (500, false));
        let unknown = master.curl("https://other.shop.example/").run();
        assert!(
            !unknown.text().contains(SITE),
            "a page of a stranger's name lists nothing: {}",
            unknown.text()
        );
        master.stop();
    }

    #[test]
    fn the_first_process_creates_a_few_worker_children_and_an_instance_of_redis_bound_to_a_unix_socket() {
        let shop = Shop::new();
        let master = shop.serve();
        let status = master.wait_settled();
        let redis = u32::try_from(status["redis"]["pid"].as_u64().expect("a Redis")).expect("a process id");
        let workers = master.workers("active");
        assert!(workers.len() >= 2, "{workers:?}");
        for pid in workers.iter().map(|worker| worker.pid).chain([redis]) {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
            let parent = stat
                .lines()
                .find_map(|line| line.strip_prefix("PPid:"))
                .expect("a parent")
                .trim()
                .to_owned();
            assert_eq!(parent, master.program.pid().to_string());
        }
        let ports = run_redis(&master, &["config", "get", "port"]);
        assert_eq!(ports, "port\n0\n", "no TCP port");
        let socket = redis_socket(&master);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).expect("a socket").permissions());
        assert_eq!(mode & 0o777, 0o600, "for its owner only");
        master.stop();
        assert!(!std::path::Path::new(&socket).exists(), "nothing is left behind");
    }

    fn redis_socket(master: &crate::kit::Master) -> String {
        let status = master.status();
        let what = status["redis"]["what"].as_str().expect("words").to_owned();
        what.rsplit(' ').next().expect("a path").to_owned()
    }

    fn run_redis(master: &crate::kit::Master, arguments: &[&str]) -> String {
        let done = Launch::new(find_program("redis-cli"))
            .args(["-s", &redis_socket(master)])
            .args(arguments)
            .run(PATIENCE);
        done.stdout
    }

    #[test]
    fn children_use_the_redis_to_send_log_messages_to_the_parent_or_any_other_agent() {
        let shop = Shop::new();
        let master = shop.serve();
        let key = format!("sc:{}:log", master.status()["instance"].as_str().expect("a name"));
        // Until a worker has found Redis, its first lines go to the master directly.
        eventually("a worker's records go through Redis", PATIENCE, || {
            assert_eq!(master.curl(&format!("https://{SITE}/")).run().status, 200);
            let read = run_redis(&master, &["xrange", &key, "-", "+"]);
            if read.contains("M30201") { Ok(()) } else { Err(read) }
        });
        let told = master.wait_event("exchange", 1);
        run_redis(&master, &["xgroup", "create", &key, "agents", "0"]);
        let read = run_redis(
            &master,
            &[
                "xreadgroup",
                "group",
                "agents",
                "one",
                "count",
                "1000",
                "streams",
                &key,
                ">",
            ],
        );
        assert!(
            read.contains(told["url"].as_str().expect("a URL")) && read.contains("M30201"),
            "{read}"
        );
        master.stop();
    }

    #[test]
    fn apoptosis_is_random_and_always_after_more_than_15_minutes() {
        let shop = Shop::new();
        let master = shop.serve_with(&["--workers", "4"]);
        let lanes = master.status()["lanes"].as_array().expect("lanes").clone();
        let ends: Vec<_> = lanes
            .iter()
            .map(|lane| lane["next_renewal_s"].as_u64().expect("a time"))
            .collect();
        assert!(ends.iter().all(|end| (15 * 60 - 5..=30 * 60).contains(end)), "{ends:?}");
        assert!(
            ends.windows(2).any(|pair| pair[0].abs_diff(pair[1]) > 30),
            "not together: {ends:?}"
        );
        master.stop();
        let shorter = Shop::with_settings(&["worker-life: 10 min"], &[&format!("{SITE}: {{ root-dir: site }}")]);
        shorter.project.file("site/index.html", "hello");
        let refused = shorter.internet(&[]).run(PATIENCE);
        assert_eq!(
            refused.status.code(),
            Some(3),
            "no setting makes it shorter: {}",
            refused.stderr
        );
    }

    #[test]
    fn each_worker_can_handle_many_concurrent_sessions() {
        let shop = Shop::new();
        let master = shop.serve_with(&["--workers", "1"]);
        let mut open: Vec<_> = (0..200).map(|_| master.http1(SITE)).collect();
        for one in &mut open {
            assert_eq!(one.request(&Request::get(SITE, "/")).status, 200);
        }
        assert_eq!(master.status()["connections"], 200);
        drop(open);
        master.stop();
    }

    #[test]
    fn it_does_not_become_a_daemon_and_does_not_drop_privileges() {
        let shop = Shop::new();
        let master = shop.serve();
        let ids = |pid: u32| -> Vec<String> {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
            let wanted = ["Uid:", "Gid:"];
            status
                .lines()
                .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
                .map(str::to_owned)
                .collect()
        };
        let ours = ids(std::process::id());
        for pid in master
            .workers("active")
            .iter()
            .map(|worker| worker.pid)
            .chain([master.program.pid()])
        {
            assert_eq!(ids(pid), ours);
        }
        // The process that was started is the master itself, and it still runs.
        assert_eq!(master.instance["pid"], master.program.pid());
        master.stop();
    }

    #[test]
    fn if_stdout_is_not_a_tty_there_are_no_ansi_escape_sequences() {
        let shop = Shop::new();
        let master = shop.serve_with(&["--workers", "1", "--log-format", "pretty"]);
        assert_eq!(master.curl(&format!("https://{SITE}/no")).run().status, 404);
        let control = master.instance["control"].clone();
        sc_testkit::eventually("a line of the log", PATIENCE, || {
            let out = master.program.stdout();
            if out.contains("404 GET") {
                Ok(())
            } else {
                Err((out, control.clone()))
            }
        });
        assert!(!master.program.stdout().contains('\x1b') && !master.program.stderr().contains('\x1b'));
    }

    #[test]
    fn the_t_option_redirects_plain_http_to_https() {
        let shop = Shop::new();
        let master = shop.serve_with(&["--workers", "1", "-t", "0.0.0.0:0"]);
        let place = address(&master.status()["redirect"][0]);
        let place = (std::net::Ipv4Addr::LOCALHOST, place.port()).into();
        let answer = Http1::new(client::tcp(place)).request(&Request::get(SITE, "/x"));
        let to = answer.header("location").expect("a place").to_owned();
        assert!(to.starts_with("https://www.shop.example"), "{to}");
        let served = Http1::new(client::tcp(place)).request(&Request::get(SITE, "/"));
        assert!(!served.text().contains("hello"), "sites are not served over plain HTTP");
        master.stop();
    }

    #[test]
    fn connections_there_are_shut_down_as_soon_as_the_response_is_sent_or_after_three_seconds() {
        let shop = Shop::new();
        let master = shop.serve_with(&["--workers", "1", "-t", "127.0.0.1:0"]);
        let place = address(&master.status()["redirect"][0]);
        let mut quick = Http1::new(client::tcp(place));
        let began = Instant::now();
        assert_eq!(quick.request(&Request::get(SITE, "/")).status, 301);
        assert!(
            quick.is_closed() && began.elapsed() < Duration::from_millis(1500),
            "{:?}",
            began.elapsed()
        );
        let mut silent = client::tcp(place);
        let began = Instant::now();
        let read = silent.read_to_end(&mut Vec::new());
        let took = began.elapsed();
        assert!(
            read.is_ok() && (2500..4500).contains(&took.as_millis()),
            "{read:?} after {took:?}"
        );
        master.stop();
    }

    #[test]
    fn different_virtual_domains_run_simultaneously_with_a_common_certificate() {
        let shop = Shop::with(&[
            &format!("{SITE}: {{ root-dir: site }}"),
            "blog.shop.example: { root-dir: blog }",
        ]);
        shop.project.file("site/index.html", "shop");
        shop.project.file("blog/index.html", "blog");
        let master = shop.serve();
        for (name, words) in [(SITE, "shop"), ("blog.shop.example", "blog")] {
            assert_eq!(master.curl(&format!("https://{name}/")).run().text(), words);
        }
        let certificate = |name| master.tls(name, &[]).conn.peer_certificates().expect("one")[0].to_vec();
        assert_eq!(certificate(SITE), certificate("blog.shop.example"));
        master.stop();
    }
}

mod easy_net_with_socks5 {
    use super::*;

    fn devlove(
        project: &TempProject,
        options: &[&str],
    ) -> (sc_testkit::Program, std::net::SocketAddr, std::path::PathBuf) {
        let mut program = Launch::new(env!("CARGO_BIN_EXE_shimmercat"))
            .current_dir(project.path())
            .args(["devlove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0"])
            .args(options)
            .start();
        program.wait_for_text("next: sc-tool chrome", PATIENCE);
        let file = project.path_of(".shimmercat.loves.devs/instance.json");
        let text = std::fs::read_to_string(file).expect("the instance's file");
        let instance: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let ca = instance["ca_pem"].as_str().expect("a path").into();
        (program, address(&instance["socks"]), ca)
    }

    fn project() -> TempProject {
        let project =
            TempProject::with_yaml("shimmercat-devlove:\n  domains:\n    www.shop.example: { root-dir: site }\n");
        project.file("site/index.html", "<h1>hello</h1>\n");
        project
    }

    #[test]
    fn a_little_network_right_inside_the_development_server_needs_no_etc_hosts() {
        let project = project();
        let (_program, proxy, ca) = devlove(&project, &[]);
        let answer = Curl::new("https://www.shop.example/")
            .arg("--cacert")
            .arg(&ca)
            .args(["--socks5-hostname", &proxy.to_string()])
            .run();
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "<h1>hello</h1>\n"),
            "{}",
            answer.stderr
        );
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        assert!(!hosts.contains("www.shop.example"));
    }

    #[test]
    fn without_w_the_server_does_not_forward_names_that_it_does_not_know() {
        let project = project();
        let (_program, proxy, _) = devlove(&project, &[]);
        assert_eq!(socks5(proxy, "www.google-analytics.com", 443).reply, 2);
    }

    #[test]
    fn with_w_names_that_do_not_exist_in_the_file_are_forwarded_and_delove_is_a_spelling_too() {
        // The Internet of this test is a listener on loopback, which the file allows by `allow-private`.
        let elsewhere = EchoServer::start();
        let project = TempProject::with_yaml(
            "shimmercat-devlove:\n  allow-private: [127.0.0.0/8]\n  domains:\n    www.shop.example: { root-dir: site }\n",
        );
        project.file("site/index.html", "hello");
        let mut program = Launch::new(env!("CARGO_BIN_EXE_shimmercat"))
            .current_dir(project.path())
            .args(["delove", "--listen", "127.0.0.1:0", "-5", "127.0.0.1:0", "-w"])
            .start();
        program.wait_for_text("next: sc-tool chrome", PATIENCE);
        let text = std::fs::read_to_string(project.path_of(".shimmercat.loves.devs/instance.json")).expect("a file");
        let instance: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let proxy = address(&instance["socks"]);
        let reply = socks5(proxy, "localhost", elsewhere.address().port()).reply;
        assert_eq!(reply, 0, "{}", program.stdout());
        sc_testkit::eventually("the connection arrives", PATIENCE, || match elsewhere.connections() {
            1 => Ok(()),
            other => Err(other),
        });
    }

    #[test]
    fn socks5_is_active_by_default_only_in_devlove_mode() {
        let shop = Shop::new();
        let master = shop.serve_with(&["--workers", "1"]);
        assert!(master.instance["socks"].is_null());
        master.stop();
        let project = project();
        let (_program, proxy, _) = devlove(&project, &[]);
        assert_eq!(socks5(proxy, "www.shop.example", 443).reply, 0);
    }

    #[test]
    fn phpmyadmin_and_kibana_are_made_accessible_by_predetermined_names_via_enable_socks_5() {
        let app = HttpApp::start();
        let shop = Shop::with(&[
            &format!("{SITE}: {{ root-dir: site }}"),
            &format!("phpmyadmin: {{ audience: network, port: {} }}", app.port()),
            &format!("kibana: {{ audience: network, port: {} }}", app.port()),
        ]);
        shop.project.file("site/index.html", "hello");
        let master = shop.serve_with(&["--workers", "1", "--enable-socks-5", "-5", "127.0.0.1:0"]);
        let proxy = address(&master.instance["socks"]).to_string();
        for name in ["phpmyadmin", "kibana"] {
            let answer = Curl::new(&format!("https://{name}/"))
                .args(["-k", "--socks5-hostname", &proxy])
                .run();
            assert_eq!(answer.status, 200, "{name}: {}", answer.stderr);
        }
        master.stop();
    }
}
