//! Machines that see each other, and a root of ticket keys that they share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::*;
use super::bench::*;

/// A root as it is shared: `lineage epoch`, sealed for `certificate`.
struct Root {
    certificate: &'static str,
    lineage: RefCell<String>,
    epoch: Cell<u64>,
    offers: RefCell<Vec<Offered>>,
}

impl Root {
    fn new(certificate: &'static str, lineage: &str, epoch: u64) -> Rc<Self> {
        Rc::new(Root {
            certificate,
            lineage: RefCell::new(lineage.to_owned()),
            epoch: Cell::new(epoch),
            offers: RefCell::default(),
        })
    }

    fn judge(&self, sealed: &[u8]) -> Offered {
        let text = String::from_utf8(sealed.to_vec()).unwrap();
        let [certificate, lineage, epoch] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Offered::Unreadable;
        };
        let epoch: u64 = epoch.parse().unwrap();
        if certificate != self.certificate {
            Offered::Unreadable
        } else if lineage != *self.lineage.borrow() {
            *self.lineage.borrow_mut() = lineage.to_owned();
            self.epoch.set(epoch);
            Offered::Adopted
        } else if epoch < self.epoch.get() {
            Offered::Older
        } else {
            Offered::Same
        }
    }
}

impl SharedRoot for Root {
    fn sealed(&self) -> Option<Vec<u8>> {
        let text = format!("{} {} {}", self.certificate, self.lineage.borrow(), self.epoch.get());
        Some(text.into_bytes())
    }

    fn offer(&self, sealed: &[u8]) -> Offered {
        let offered = self.judge(sealed);
        self.offers.borrow_mut().push(offered);
        offered
    }
}

fn play(bench: &Bench, place: &Place, nonce: u64, root: Option<Rc<Root>>) -> (Roles, Rc<RefCell<Vec<Told>>>) {
    let told = Rc::new(RefCell::new(Vec::new()));
    let sink = told.clone();
    let playing = Playing {
        target: Target::of(place).unwrap().unwrap(),
        instance: Instance::new("test", "host", nonce),
        snapshot: Rc::new(|| Snapshot {
            about: vec![("version", "1.2.3".to_owned())],
            metrics: vec![("shimmercat_sent_bytes_total".to_owned(), 12)],
        }),
        root: root.map(|root| root as Rc<dyn SharedRoot>),
        told: Rc::new(move |one| sink.borrow_mut().push(one)),
        seed: nonce,
    };
    (Roles::start(&bench.tasks.spawner(), playing), told)
}

#[test]
fn machines_see_each_other_come_and_go() {
    run(async {
        let bench = Bench::new();
        let (_outside, place) = Outside::on_socket(&bench.socket(), &[]).await;
        let (first, told) = play(&bench, &place, 1, None);
        until("it is up", || told.borrow().contains(&Told::Up)).await;
        assert_eq!(first.machines(), Vec::<String>::new());

        let instance = Instance::new("test", "host", 1);
        for (key, name, value) in [
            (instance.machine_key(instance.machine()), "version", "1.2.3"),
            (
                instance.metrics_key(instance.machine()),
                "shimmercat_sent_bytes_total",
                "12",
            ),
        ] {
            let fields: BTreeMap<String, String> = ask(&place, &["HGETALL", &key]).await;
            assert_eq!(fields.get(name).map(String::as_str), Some(value));
            let life: i64 = ask(&place, &["TTL", &key]).await;
            assert!((1..=15).contains(&life), "{key} lives {life} s");
        }

        let other = Bench::new();
        let (second, _) = play(&other, &place, 2, None);
        let names = [1, 2].map(|nonce| Instance::new("test", "host", nonce).machine().to_owned());
        until("the second sees the first", || second.machines() == [names[0].clone()]).await;
        until("the first sees the second", || first.machines() == [names[1].clone()]).await;
        drop(other);
        until("the first is alone", || first.machines().is_empty()).await;
        let machines: Vec<_> = told
            .borrow()
            .iter()
            .filter(|one| matches!(one, Told::Machines(_)))
            .cloned()
            .collect();
        assert_eq!(
            machines,
            [Told::Machines(vec![names[1].clone()]), Told::Machines(Vec::new())]
        );
    });
}

#[test]
fn the_first_root_is_everybodys() {
    run(async {
        let bench = Bench::new();
        let (_outside, place) = Outside::on_socket(&bench.socket(), &[]).await;
        let roots = ["a", "b", "c"].map(|lineage| Root::new("cert", lineage, 5));
        let mut told = Vec::new();
        for (nonce, root) in (1..).zip(&roots) {
            let (_, heard) = play(&bench, &place, nonce, Some(root.clone()));
            until("its root is settled", || {
                heard.borrow().iter().any(|one| matches!(one, Told::Root(_)))
            })
            .await;
            told.push(heard);
        }
        for root in &roots {
            assert_eq!(*root.lineage.borrow(), "a");
        }
        assert!(told[0].borrow().contains(&Told::Root(Offered::Same)));
        assert!(told[1].borrow().contains(&Told::Root(Offered::Adopted)));
        let life: i64 = ask(&place, &["TTL", "sc:test:tickets"]).await;
        assert!(life > 11 * 60 * 60, "{life}");
    });
}

#[test]
fn an_older_epoch_makes_room_for_ours() {
    run(async {
        let bench = Bench::new();
        let (_outside, place) = Outside::on_socket(&bench.socket(), &[]).await;
        ask::<redis::Value>(&place, &["SET", "sc:test:tickets", "cert a 5"]).await;
        let root = Root::new("cert", "a", 7);
        let (_, told) = play(&bench, &place, 1, Some(root));
        until("its root is settled", || {
            told.borrow().contains(&Told::Root(Offered::Older))
        })
        .await;
        assert_eq!(ask::<String>(&place, &["GET", "sc:test:tickets"]).await, "cert a 7");
    });
}

#[test]
fn a_root_of_another_certificate_is_left_alone() {
    run(async {
        let bench = Bench::new();
        let (_outside, place) = Outside::on_socket(&bench.socket(), &[]).await;
        ask::<redis::Value>(&place, &["SET", "sc:test:tickets", "other a 5"]).await;
        let root = Root::new("cert", "b", 7);
        let (_, told) = play(&bench, &place, 1, Some(root.clone()));
        until("its root is settled", || {
            told.borrow().contains(&Told::Root(Offered::Unreadable))
        })
        .await;
        assert_eq!(ask::<String>(&place, &["GET", "sc:test:tickets"]).await, "other a 5");
        assert_eq!(
            ask::<i64>(&place, &["TTL", "sc:test:tickets"]).await,
            -1,
            "nor is its life prolonged"
        );
        assert_eq!(*root.lineage.borrow(), "b");
    });
}

#[test]
fn what_is_changed_is_looked_at_with_the_next_sign_of_life() {
    run(async {
        let bench = Bench::new();
        let (_outside, place) = Outside::on_socket(&bench.socket(), &[]).await;
        let root = Root::new("cert", "a", 5);
        let (roles, _) = play(&bench, &place, 1, Some(root.clone()));
        until("its root is settled", || root.offers.borrow().len() == 1).await;
        root.epoch.set(6);
        roles.root_changed();
        until("it is looked at again", || root.offers.borrow().len() == 2).await;
        until("ours has taken its place", || {
            *root.offers.borrow() == [Offered::Same, Offered::Older]
        })
        .await;
    });
}

/// The list of `docs/redis.md`.
const RIGHTS: &str = "+xadd +xread +xrevrange +hset +expire +zadd +zremrangebyscore +zrevrange +set +getrange +time";

#[test]
fn a_user_with_the_documented_rights_can_do_everything() {
    run(async {
        let bench = Bench::new();
        let (_outside, place) = Outside::on_socket(&bench.socket(), &[]).await;
        let mut words = vec!["ACL", "SETUSER", "sc", "reset", "on", ">hunter2", "~sc:test:*"];
        words.extend(RIGHTS.split(' '));
        ask::<String>(&place, &words).await;
        ask::<redis::Value>(&place, &["SET", "sc:test:tickets", "cert a 5"]).await;
        let url = format!("unix://{}?user=sc&pass=hunter2", bench.socket().display());
        let place = Place::Url(sc_config::Secret::new(url));
        let (_, told) = play(&bench, &place, 1, Some(Root::new("cert", "a", 7)));
        until("the roles are played", || {
            told.borrow().contains(&Told::Root(Offered::Older))
        })
        .await;
        let ear = bench.ear(&place, &instance());
        ear.is_up().await;
        let worker = bench.worker(&place, &instance(), 1, ear.fallback());
        ear.reader.expect(worker.ring.worker());
        worker.is_up().await;
        worker.work(500).await;
        assert_eq!(ear.reckon(&worker).await, 0);
        assert_eq!(worker.shipper.shipped().stream, 500);
        let page = include_str!("../../../../../docs/redis.md");
        assert!(page.replace('\n', " ").contains(RIGHTS), "the page has the same list");
    });
}

#[test]
fn without_redis_it_is_said_once_and_nothing_waits() {
    run(async {
        let bench = Bench::new();
        let place = Place::Own { socket: bench.socket() };
        let pulse = Pulse::start(&bench);
        let (roles, told) = play(&bench, &place, 1, Some(Root::new("cert", "a", 1)));
        until("it is said", || !told.borrow().is_empty()).await;
        let own = bench.own("64mb").await;
        until("it is up", || told.borrow().contains(&Told::Up)).await;
        pulse.check();
        assert_eq!(roles.machines(), Vec::<String>::new());
        let downs = told
            .borrow()
            .iter()
            .filter(|one| matches!(one, Told::Down { .. }))
            .count();
        assert_eq!(downs, 1, "{:?}", told.borrow());
        own.stop().await;
    });
}
