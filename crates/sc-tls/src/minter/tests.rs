//! Which leaf a name gets, and when a new one, with an invented clock.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use tempfile::TempDir;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;
use crate::files::{names_of, not_after};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;
/// Some day in 2027.
const TODAY: u64 = 1_800_000_000;

struct Workshop {
    minter: Minter,
    seconds: Arc<AtomicU64>,
    folder: TempDir,
}

impl Workshop {
    fn new(covers: impl Fn(&str) -> bool + Send + Sync + 'static, uncovered: Uncovered) -> Workshop {
        let folder = TempDir::new().unwrap();
        let seconds = Arc::new(AtomicU64::new(TODAY));
        let clock = seconds.clone();
        let now = move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst));
        let minter = Minter::with_clock(ca_of(&folder, TODAY), covers, uncovered, now).unwrap();
        Workshop {
            minter,
            seconds,
            folder,
        }
    }

    fn at(&self, seconds: u64) -> &Minter {
        self.seconds.store(seconds, Ordering::SeqCst);
        &self.minter
    }
}

fn ca_of(folder: &TempDir, seconds: u64) -> Arc<Ca> {
    let now = UNIX_EPOCH + Duration::from_secs(seconds);
    Arc::new(Ca::open_or_create(&folder.path().join("ca"), "shop", now).unwrap().0)
}

fn leaf(minter: &Minter, name: &str) -> Arc<CertifiedKey> {
    minter.certified_key(Some(name)).unwrap().unwrap()
}

fn names(key: &CertifiedKey) -> Vec<String> {
    names_of(key.end_entity_cert().unwrap())
}

#[test]
fn a_covered_name_gets_a_leaf_of_its_own_and_keeps_it() {
    let workshop = Workshop::new(|name| name.ends_with(".example"), Uncovered::Refuse);
    let first = leaf(&workshop.minter, "www.shop.example");
    assert_eq!(names(&first), ["www.shop.example"]);
    assert_eq!(first.cert.len(), 2, "the CA is in the chain");
    assert!(Arc::ptr_eq(&first, &leaf(&workshop.minter, "WWW.Shop.Example.")));
    assert_eq!(names(&leaf(&workshop.minter, "api.shop.example")), ["api.shop.example"]);
    assert_eq!(workshop.minter.cached(), 2);
}

#[test]
fn a_leaf_is_good_for_servers_only_and_lives_a_week() {
    let workshop = Workshop::new(|_| true, Uncovered::Refuse);
    let key = leaf(&workshop.minter, "phpmyadmin");
    let (_, leaf) = X509Certificate::from_der(key.end_entity_cert().unwrap()).unwrap();
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any && usage.other.is_empty());
    assert!(!leaf.is_ca() && leaf.key_usage().unwrap().unwrap().value.digital_signature());
    let today = i64::try_from(TODAY).unwrap();
    let (from, until) = (
        leaf.validity().not_before.timestamp(),
        leaf.validity().not_after.timestamp(),
    );
    assert_eq!((today - from, until - today), (3600, 7 * 24 * 3600));
}

#[test]
fn a_leaf_is_replaced_before_it_ends_and_when_the_clock_was_set_back() {
    let workshop = Workshop::new(|_| true, Uncovered::Refuse);
    let first = leaf(&workshop.minter, "a");
    assert!(Arc::ptr_eq(&first, &leaf(workshop.at(TODAY + 5 * DAY - 1), "a")));
    let second = leaf(workshop.at(TODAY + 5 * DAY), "a");
    assert!(!Arc::ptr_eq(&first, &second));
    let third = leaf(workshop.at(TODAY - 2 * HOUR), "a");
    assert!(!Arc::ptr_eq(&second, &third));
    assert_eq!(workshop.minter.cached(), 1);
}

#[test]
fn no_leaf_outlives_its_ca_and_none_is_made_outside_its_life() {
    let workshop = Workshop::new(|_| true, Uncovered::Refuse);
    let end = TODAY + 89 * DAY;
    let last = leaf(workshop.at(end - DAY), "a");
    assert_eq!(
        not_after(last.end_entity_cert().unwrap()),
        Some(UNIX_EPOCH + Duration::from_secs(end))
    );
    assert!(
        Arc::ptr_eq(&last, &leaf(workshop.at(end - DAY + HOUR - 1), "a")),
        "not minted at each handshake"
    );
    for outside in [end, TODAY - 2 * DAY] {
        let error = workshop.at(outside).certified_key(Some("b")).unwrap_err();
        assert!(matches!(error, MintError::CaNotValid), "{error}");
    }
}

#[test]
fn names_that_are_not_covered_get_the_fallback_or_nothing() {
    let fallback = Workshop::new(|name| name == "a.example", Uncovered::Fallback);
    let key = leaf(&fallback.minter, "b.example");
    assert_eq!(names(&key), ["localhost", "127.0.0.1", "::1"]);
    assert!(
        Arc::ptr_eq(&key, &leaf(&fallback.minter, "c.example")),
        "strangers' names take no room"
    );
    let refusing = Workshop::new(|name| name == "a.example", Uncovered::Refuse);
    assert!(refusing.minter.certified_key(Some("b.example")).unwrap().is_none());
    let without_sni = refusing.minter.certified_key(None).unwrap().unwrap();
    assert_eq!(names(&without_sni), ["localhost", "127.0.0.1", "::1"]);
}

#[test]
fn what_is_covered_can_change_while_it_runs() {
    let workshop = Workshop::new(|name| name == "old.example", Uncovered::Refuse);
    leaf(&workshop.minter, "old.example");
    workshop.minter.set_covers(|name| name == "new.example");
    assert!(workshop.minter.covers("NEW.example.") && !workshop.minter.covers("old.example"));
    assert!(workshop.minter.certified_key(Some("old.example")).unwrap().is_none());
    leaf(&workshop.minter, "new.example");
}

#[test]
fn a_renewed_ca_signs_everything_anew() {
    let workshop = Workshop::new(|_| true, Uncovered::Refuse);
    let old = leaf(workshop.at(TODAY + 61 * DAY), "a");
    let renewed = ca_of(&workshop.folder, TODAY + 61 * DAY);
    workshop.minter.set_ca(renewed.clone());
    let new = leaf(&workshop.minter, "a");
    assert_ne!(old.cert.last(), new.cert.last());
    assert_eq!(new.cert.last(), Some(renewed.der()));
}

#[test]
fn the_cache_is_bounded_and_forgets_what_was_asked_for_longest_ago() {
    let workshop = Workshop::new(|_| true, Uncovered::Refuse);
    let kept = leaf(&workshop.minter, "kept.example");
    let forgotten = leaf(&workshop.minter, "n0.example");
    for number in 1..=CACHE_ENTRIES {
        leaf(&workshop.minter, &format!("n{number}.example"));
        leaf(&workshop.minter, "kept.example");
    }
    assert_eq!(workshop.minter.cached(), CACHE_ENTRIES);
    assert!(Arc::ptr_eq(&kept, &leaf(&workshop.minter, "kept.example")));
    assert!(!Arc::ptr_eq(&forgotten, &leaf(&workshop.minter, "n0.example")));
}

#[test]
fn odd_names_are_errors_not_panics() {
    let workshop = Workshop::new(|_| true, Uncovered::Refuse);
    assert!(matches!(
        workshop.minter.certified_key(Some("ä.example")),
        Err(MintError::Name(_))
    ));
    let long = format!("{}.example", "a".repeat(200));
    assert_eq!(names(&leaf(&workshop.minter, &long)), [long]);
    assert_eq!(format!("{:?}", workshop.minter), "Minter { cached: 1, .. }");
}
