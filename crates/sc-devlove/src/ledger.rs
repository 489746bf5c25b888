//! The ledger: every host that was refused, once, with its count.
//!
//! What a page asked for stands apart from what the browser asks for by itself (updates, settings, safe browsing), so that
//! a person sees at a glance which third parties their page wants.

use std::collections::BTreeMap;

use sc_net::Target;
use sc_server::Refusal;

/// Hosts that are remembered; further ones are only counted.
pub const HOSTS: usize = 1000;

/// Hosts that browsers ask for on their own account; a leading dot stands for every name below.
const CHATTER: &[&str] = &[
    ".gvt1.com",
    ".gvt2.com",
    ".pki.goog",
    ".services.mozilla.com",
    ".telemetry.mozilla.org",
    "accounts.google.com",
    "addons.mozilla.org",
    "ads.mozilla.org",
    "android.clients.google.com",
    "aus5.mozilla.org",
    "clients1.google.com",
    "clients2.google.com",
    "clients2.googleusercontent.com",
    "clients4.google.com",
    "clientservices.googleapis.com",
    "connectivitycheck.gstatic.com",
    "content-autofill.googleapis.com",
    "content-signature-2.cdn.mozilla.net",
    "detectportal.firefox.com",
    "firefox-settings-attachments.cdn.mozilla.net",
    "mitmdetection.services.mozilla.com",
    "mtalk.google.com",
    "optimizationguide-pa.googleapis.com",
    "passwordsleakcheck-pa.googleapis.com",
    "safebrowsing.googleapis.com",
    "safebrowsing.google.com",
    "shavar.services.mozilla.com",
    "t-ring.msedge.net",
    "tracking-protection.cdn.mozilla.net",
    "update.googleapis.com",
    "versioncheck-bg.addons.mozilla.org",
    "versioncheck.addons.mozilla.org",
];

/// One refused host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// The host, as it was asked for.
    pub host: String,
    /// How often.
    pub count: u64,
    /// Why, the last time.
    pub reason: String,
    /// Whether it is the browser's own traffic.
    pub is_chatter: bool,
}

/// All refused hosts of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    lines: BTreeMap<String, Line>,
    beyond: u64,
}

impl Ledger {
    /// Notes one refusal.
    pub fn note(&mut self, target: &Target, refusal: &Refusal) {
        let host = target.host.to_string();
        let key = match refusal {
            Refusal::NoSuchPort => target.to_string(),
            _ => host,
        };
        if !self.lines.contains_key(&key) && self.lines.len() >= HOSTS {
            self.beyond += 1;
            return;
        }
        let line = self.lines.entry(key.clone()).or_insert_with(|| Line {
            is_chatter: is_chatter(&key),
            host: key,
            count: 0,
            reason: String::new(),
        });
        line.count += 1;
        line.reason = refusal.to_string();
    }

    /// What pages asked for, most often asked first.
    pub fn by_pages(&self) -> Vec<&Line> {
        self.sorted(false)
    }

    /// What the browser asked for by itself, most often asked first.
    pub fn by_browser(&self) -> Vec<&Line> {
        self.sorted(true)
    }

    /// Refusals of hosts beyond the ones that are remembered.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    fn sorted(&self, is_chatter: bool) -> Vec<&Line> {
        let mut lines: Vec<_> = self
            .lines
            .values()
            .filter(|line| line.is_chatter == is_chatter)
            .collect();
        lines.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.host.cmp(&b.host)));
        lines
    }

    /// The ledger in words, for the end of a run; nothing when nothing was refused.
    pub fn words(&self) -> Vec<String> {
        let pages = self.by_pages();
        let browser = self.by_browser();
        let mut words = Vec::new();
        if !pages.is_empty() {
            words.push(format!("refused {}:", plural(pages.len() as u64, "host")));
            words.extend(
                pages
                    .iter()
                    .map(|line| format!("  {:>5}x  {}  ({})", line.count, line.host, line.reason)),
            );
            let forwardable: Vec<_> = pages.iter().filter(|line| line.reason.contains("-w")).collect();
            if let Some(first) = forwardable.first() {
                words.push(format!(
                    "hint: let a host through with `-w {}`, everything with `-w`",
                    first.host
                ));
            }
        }
        if !browser.is_empty() {
            let times = browser.iter().map(|line| line.count).sum();
            let hosts = plural(browser.len() as u64, "host");
            words.push(format!(
                "also refused: the browser's own calls to {hosts}, {}",
                plural(times, "time")
            ));
        }
        if self.beyond > 0 {
            words.push(format!("and {} of further hosts", plural(self.beyond, "refusal")));
        }
        words
    }
}

/// `1 host`, `2 hosts`.
pub fn plural(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

fn is_chatter(host: &str) -> bool {
    CHATTER.iter().any(|known| match known.strip_prefix('.') {
        Some(_) => host.ends_with(known),
        None => host == *known,
    })
}

#[cfg(test)]
mod tests {
    use sc_net::Host;

    use super::*;

    fn target(name: &str, port: u16) -> Target {
        Target {
            host: Host::Name(name.to_owned()),
            port,
        }
    }

    #[test]
    fn a_host_is_listed_once_with_its_count() {
        let mut ledger = Ledger::default();
        for _ in 0..3 {
            ledger.note(&target("stats.example.net", 443), &Refusal::NotForwarded);
        }
        ledger.note(&target("fonts.example.net", 443), &Refusal::NotForwarded);
        ledger.note(&target("update.googleapis.com", 443), &Refusal::NotForwarded);
        ledger.note(
            &target("firefox.settings.services.mozilla.com", 443),
            &Refusal::NotForwarded,
        );
        let pages: Vec<_> = ledger
            .by_pages()
            .iter()
            .map(|line| (line.host.as_str(), line.count))
            .collect();
        assert_eq!(pages, [("stats.example.net", 3), ("fonts.example.net", 1)]);
        assert_eq!(ledger.by_browser().len(), 2);
        assert!(ledger.words().join("\n").contains("`-w stats.example.net`"));
    }

    #[test]
    fn it_is_bounded() {
        let mut ledger = Ledger::default();
        for number in 0..HOSTS + 7 {
            ledger.note(&target(&format!("h{number}.example"), 443), &Refusal::NotForwarded);
        }
        assert_eq!(ledger.by_pages().len(), HOSTS);
        assert_eq!(ledger.beyond(), 7);
    }

    #[test]
    fn an_empty_ledger_says_nothing() {
        assert!(Ledger::default().words().is_empty());
    }
}
