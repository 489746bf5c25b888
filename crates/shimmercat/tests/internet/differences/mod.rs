//! The same bytes to us and to nginx: where the two differ is written down with what the RFC says of it, or the test fails.
//!
//! The cases are in `cases.txt` ([`cases`]), with what both servers made of them: the answers, whether the connection was
//! kept, and what reached the application. Behind every case goes one more request, the probe: whether it is answered tells
//! where the server saw the end of what came before. `UPDATE_EXPECT=1` writes what was seen into the file and the page
//! `docs/differences.md` anew; the verdicts are written by people.

mod application;
mod cases;
mod nginx;
mod page;
mod seen;

use std::collections::VecDeque;
use std::fs;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use self::application::Application;
use self::cases::{Case, Outcome};
use self::nginx::Nginx;
use self::seen::{Conversation, GLANCE};
use crate::kit::{Master, Shop, SiteStream};

const FILES: &str = "www.shop.example";
const APPLICATION: &str = "api.shop.example";

/// As many cases at a time, so that those whose server waits for more wait together.
const AT_A_TIME: usize = 12;

/// Both servers, with the same files and an application each.
struct Pair {
    master: Master,
    nginx: Nginx,
    ours: Application,
    theirs: Application,
}

#[test]
fn nginx_and_we_differ_only_where_it_is_written_down() {
    let (ours, theirs) = (Application::start(), Application::start());
    let shop = Shop::with(&[
        &format!("{FILES}: {{ root-dir: site }}"),
        &format!("{APPLICATION}: {{ port: {} }}", ours.port()),
    ]);
    let site = shop.project.path_of("site");
    make_site(&shop, &site);
    let pair = Pair {
        master: shop.serve_with(&["--workers", "1"]),
        nginx: Nginx::start(&site, theirs.port(), FILES, APPLICATION),
        ours,
        theirs,
    };
    let text = fs::read_to_string(cases_file()).expect("the cases");
    let mut cases = cases::read(&text);
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let is_updating = std::env::var_os("UPDATE_EXPECT").is_some();
    let outcomes = all_of(&pair, &cases, is_updating);
    let mut wrong = Vec::new();
    for (case, found) in cases.iter_mut().zip(outcomes) {
        if case.expected.as_ref() != Some(&found) {
            wrong.push(format!(
                "{}\n  listed: {:?}\n  found:  {found:?}",
                case.name, case.expected
            ));
        }
        case.expected = Some(found);
    }
    let page = page::render(&cases, &pair.nginx.version);
    let page_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/differences.md");
    if is_updating {
        fs::write(cases_file(), cases::write(&cases)).expect("the cases can be written");
        fs::write(&page_file, &page).expect("the page can be written");
    } else {
        assert!(
            wrong.is_empty(),
            "{} cases came out otherwise:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        let is_current =
            fs::read_to_string(&page_file).is_ok_and(|text| without_version(&text) == without_version(&page));
        assert!(
            is_current,
            "docs/differences.md is not what the cases say (UPDATE_EXPECT=1 writes it)"
        );
    }
    let silent: Vec<_> = cases
        .iter()
        .filter(|case| case.lacks_verdict())
        .map(|case| &case.name)
        .collect();
    assert!(
        silent.is_empty(),
        "these differ, and no `rfc:` line says who is right: {silent:#?}"
    );
    let idle: Vec<_> = cases
        .iter()
        .filter(|case| case.has_idle_verdict())
        .map(|case| &case.name)
        .collect();
    assert!(
        idle.is_empty(),
        "these have an `rfc:` line and do not differ: {idle:#?}"
    );
    pair.master.stop();
}

fn cases_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/internet/differences/cases.txt")
}

fn make_site(shop: &Shop, site: &Path) {
    for (name, text) in [
        ("index.html", "<h1>index</h1>\n"),
        ("a.txt", "0123456789abcdefghij"),
        ("folder/index.html", "<h1>folder</h1>\n"),
        ("probe.txt", "probe"),
        ("b c.txt", "blank"),
    ] {
        shop.project.file(&format!("site/{name}"), text);
        let file = fs::File::options().write(true).open(site.join(name)).expect("the file");
        // A date of its own, so that conditions can name it.
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        file.set_modified(date).expect("the date can be set");
    }
}

fn all_of(pair: &Pair, cases: &[Case], is_patient: bool) -> Vec<Outcome> {
    let queue: Mutex<VecDeque<(usize, &Case)>> = Mutex::new(cases.iter().enumerate().collect());
    let found = Mutex::new(vec![None; cases.len()]);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("nobody fails holding it").pop_front();
                    let Some((at, case)) = next else { return };
                    let outcome = pair.outcome(at, case, is_patient);
                    found.lock().expect("nobody fails holding it")[at] = Some(outcome);
                }
            });
        }
    });
    let found = found.into_inner().expect("nobody fails holding it");
    found
        .into_iter()
        .map(|outcome| outcome.expect("every case was tried"))
        .collect()
}

impl Pair {
    fn outcome(&self, at: usize, case: &Case, is_patient: bool) -> Outcome {
        let waits = |words: Option<&str>| !is_patient && words.is_some_and(|words| words.contains("waits"));
        let (ours, theirs) = case.expected.as_ref().map_or((None, None), Outcome::both);
        let name = if case.goes_to_files() { FILES } else { APPLICATION };
        let first = format!("GET /a.txt HTTP/1.1\r\nHost: {FILES}\r\nConnection: close\r\n\r\n");
        let tag = |raw: String| seen::field(&raw, "etag").unwrap_or_default().to_owned();
        let ours = {
            let tag = case
                .asks_for_tag()
                .then(|| tag(self.to_us(FILES).say(first.as_bytes(), false)));
            let mut conversation = self.to_us(name);
            let raw = conversation.say(&case.bytes(at, FILES, APPLICATION, tag.as_deref()), waits(ours));
            // However it ended, it is over now.
            let _ = conversation.stream.sock.shutdown(Shutdown::Both);
            seen::tell(&raw, case.is_head(), conversation.has_ended()) + &self.ours.told(at)
        };
        let theirs = {
            let tag = case
                .asks_for_tag()
                .then(|| tag(self.to_nginx().say(first.as_bytes(), false)));
            let mut conversation = self.to_nginx();
            let raw = conversation.say(&case.bytes(at, FILES, APPLICATION, tag.as_deref()), waits(theirs));
            let _ = conversation.stream.shutdown(Shutdown::Both);
            seen::tell(&raw, case.is_head(), conversation.has_ended()) + &self.theirs.told(at)
        };
        Outcome::of(ours, theirs)
    }

    fn to_us(&self, name: &str) -> Conversation<SiteStream> {
        let stream = self.master.tls(name, &["http/1.1"]);
        stream
            .sock
            .set_read_timeout(Some(GLANCE))
            .expect("a time limit can be set");
        Conversation::new(stream)
    }

    fn to_nginx(&self) -> Conversation<UnixStream> {
        let stream = self.nginx.connect();
        stream.set_read_timeout(Some(GLANCE)).expect("a time limit can be set");
        Conversation::new(stream)
    }
}

/// The page without the line that names the version of nginx, which need not be the one of this machine.
fn without_version(page: &str) -> String {
    page.lines()
        .filter(|line| !line.contains("nginx/"))
        .collect::<Vec<_>>()
        .join("\n")
}
