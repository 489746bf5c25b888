//! Values in, values out: two processes with invented clocks.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;

const HOUR: u64 = 3600;

fn at(hours: u64) -> SystemTime {
    // A whole number of epochs after 1970, so that hours can be read as they are.
    UNIX_EPOCH + Duration::from_secs(80_000 * u64::from(EPOCH_SECONDS) + hours * HOUR)
}

fn root() -> Root {
    Root::random(at(0)).unwrap()
}

fn tickets(root: &Root, hours: u64) -> Tickets {
    Tickets::new(root.clone(), b"shop", at(hours))
}

#[test]
fn two_processes_agree_at_any_time_however_often_they_look() {
    let root = root();
    let (mut often, mut seldom) = (Ratchet::new(root.clone(), at(0)), Ratchet::new(root.clone(), at(0)));
    for hour in 1..2000 {
        often.advance(at(hour));
        if hour % 97 == 0 {
            seldom.advance(at(hour));
            let late = Ratchet::new(root.clone(), at(hour));
            let from_worker = Ratchet::new(Root::from_document(&often.root().to_document()).unwrap(), at(hour));
            for other in [&seldom, &late, &from_worker] {
                for (one, two) in often.keys().iter().zip(other.keys()) {
                    assert_eq!((one.epoch, one.name, &one.secret), (two.epoch, two.name, &two.secret));
                }
            }
        }
    }
}

#[test]
fn a_ticket_opens_for_at_least_its_lifetime_and_at_most_two_epochs() {
    let root = root();
    for made in 0..12 {
        let ticket = tickets(&root, made).encrypt(b"session").unwrap();
        for hour in 0..30 {
            let opened = tickets(&root, made.max(hour)).decrypt(&ticket);
            let epochs = made.max(hour) / 6 - made / 6;
            assert_eq!(opened.is_some(), epochs <= 1, "made at {made}, opened at {hour}");
        }
        let last = tickets(&root, made + u64::from(EPOCH_SECONDS) / HOUR);
        assert_eq!(last.decrypt(&ticket).as_deref(), Some(b"session".as_slice()));
    }
}

#[test]
fn clocks_may_differ_by_an_epoch() {
    let root = root();
    let (early, late) = (tickets(&root, 6), tickets(&root, 0));
    assert!(late.decrypt(&early.encrypt(b"x").unwrap()).is_some());
    assert!(early.decrypt(&late.encrypt(b"x").unwrap()).is_some());
}

#[test]
fn old_keys_are_gone_from_the_root_that_is_handed_on() {
    let root = root();
    let ticket = tickets(&root, 0).encrypt(b"x").unwrap();
    let later = tickets(&root, 12);
    assert_eq!(later.root().epoch(), root.epoch() + 2);
    assert!(Tickets::new(later.root(), b"shop", at(0)).decrypt(&ticket).is_none());
}

#[test]
fn a_clock_that_jumps_is_survived() {
    let tickets = tickets(&root(), 0);
    let before = tickets.root().epoch();
    tickets.advance(UNIX_EPOCH);
    tickets.advance(UNIX_EPOCH - Duration::from_secs(1));
    tickets.advance(UNIX_EPOCH + Duration::from_secs(1 << 60));
    assert_eq!(tickets.root().epoch(), before);
    tickets.advance(at(24 * 365));
    assert_eq!(tickets.root().epoch(), before + 4 * 365);
}

#[test]
fn the_time_until_the_next_epoch_is_told() {
    let tickets = tickets(&root(), 0);
    for (hours, wait) in [(0, 6), (5, 1), (6, 6), (7, 5)] {
        assert_eq!(
            tickets.advance(at(hours)),
            Duration::from_secs(wait * HOUR),
            "at {hours}"
        );
    }
    let just_before = at(6) - Duration::from_millis(1);
    assert_eq!(tickets.advance(just_before), Duration::from_millis(1));
}

#[test]
fn what_was_changed_does_not_open() {
    let tickets = tickets(&root(), 0);
    let ticket = tickets.encrypt(b"session").unwrap();
    for index in 0..ticket.len() {
        let mut changed = ticket.clone();
        changed[index] ^= 1;
        assert!(tickets.decrypt(&changed).is_none(), "byte {index}");
        assert!(tickets.decrypt(&ticket[..index]).is_none(), "cut at {index}");
    }
    assert!(tickets.decrypt(&[]).is_none());
}

#[test]
fn a_ticket_opens_only_under_its_binding() {
    let root = root();
    let ticket = tickets(&root, 0).encrypt(b"x").unwrap();
    assert!(Tickets::new(root, b"other", at(0)).decrypt(&ticket).is_none());
}

#[test]
fn no_two_tickets_are_alike() {
    let tickets = tickets(&root(), 0);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let ticket = tickets.encrypt(b"x").unwrap();
        assert!(seen.insert(ticket[NAME_BYTES..].to_vec()));
    }
}

#[test]
fn after_another_root_was_adopted_old_tickets_open_until_their_time_is_over() {
    let (old, new) = (root(), root());
    let tickets = tickets(&old, 0);
    let ticket = tickets.encrypt(b"old").unwrap();
    tickets.adopt(new.clone(), at(1));
    let fresh = tickets.encrypt(b"new").unwrap();
    assert_eq!(
        self::tickets(&new, 1).decrypt(&fresh).as_deref(),
        Some(b"new".as_slice())
    );
    for hours in [1, 6, 11] {
        tickets.advance(at(hours));
        assert_eq!(
            tickets.decrypt(&ticket).as_deref(),
            Some(b"old".as_slice()),
            "at {hours}"
        );
    }
    tickets.advance(at(12));
    assert!(tickets.decrypt(&ticket).is_none());
    assert!(tickets.state.read().unwrap().retired.is_none());
}

#[test]
fn a_document_is_read_as_it_was_written_and_nothing_else_is() {
    let root = root();
    let document = root.to_document();
    let read = Root::from_document(&document).unwrap();
    assert_eq!((read.epoch, &read.chain), (root.epoch, &root.chain));
    for end in 0..document.len() {
        assert!(matches!(
            Root::from_document(&document[..end]),
            Err(TicketsError::Document)
        ));
    }
    let longer = [document.as_slice(), &[0]].concat();
    assert!(Root::from_document(&longer).is_err());
}
