//! The delays that connections of a draining server get.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use http::StatusCode;
use sc_http::{Answer, Body, Exchange, Head};
use sc_net::Target;
use sc_site::{Disclosure, Environment};
use sc_tls::{Ca, Minter, Uncovered};

use super::*;
use crate::network::{LocalFuture, Refusal, Route};
use crate::record::{Around, Record};

struct Silent;

impl Journal for Silent {
    fn event(&self, _: Event) {}
    fn record(&self, _: Record) {}
}

impl Network for Silent {
    fn route(&self, _: &Target) -> Route {
        Route::Refuse(Refusal::NotForwarded)
    }

    fn udp_route(&self, _: &Target) -> Route {
        Route::Refuse(Refusal::NotForwarded)
    }

    fn refused(&self, _: &Target, _: &Refusal) {}

    fn page<'a>(&'a self, _: Box<Exchange>, _: &'a Around) -> LocalFuture<'a, Answer> {
        Box::pin(async { Answer::new(Head::new(StatusCode::NOT_FOUND), Body::empty()) })
    }

    fn refusal_page(&self, _: &Exchange, _: &Refusal) -> Answer {
        Answer::new(Head::new(StatusCode::NOT_FOUND), Body::empty())
    }
}

fn server(seed: u64) -> Server {
    let place = tempfile::tempdir().unwrap();
    let (ca, _) = Ca::open_or_create(&place.path().join("ca"), "test", SystemTime::now()).unwrap();
    let minter = Minter::new(Arc::new(ca), |_| true, Uncovered::Refuse).unwrap();
    let tls = sc_tls::server_config(Arc::new(minter), sc_tls::H2_AND_HTTP11).unwrap();
    let environment = Environment {
        disclosure: Disclosure::Public,
        marker: "test".into(),
        spawn: Rc::new(|_, _| {}),
        told: Rc::new(|_| {}),
    };
    let sites = Sites::compile(Vec::new(), environment).unwrap();
    let mut policy = Policy::new(SystemTime::now);
    policy.seed = seed;
    Server::new(policy, Rc::new(Silent), Rc::new(Silent), sites, tls)
}

#[test]
fn each_connection_has_delays_of_its_own_that_its_seed_repeats() {
    let (server, again, other) = (server(1), server(1), server(2));
    let delays = |server: &Server, serial| {
        let drain = server.0.drain(serial);
        (drain.idle_after, drain.goaway_after, drain.tunnel_after)
    };
    let seconds = |from, to| Duration::from_secs(from)..=Duration::from_secs(to);
    let mut sums = [Duration::ZERO; 3];
    for serial in 0..1000 {
        let (idle, goaway, tunnel) = delays(&server, serial);
        assert!(seconds(10, 20).contains(&idle), "{idle:?}");
        assert!(seconds(0, 10).contains(&goaway), "{goaway:?}");
        assert!(seconds(900, 960).contains(&tunnel), "{tunnel:?}");
        assert_eq!((idle, goaway, tunnel), delays(&again, serial));
        assert_ne!((idle, goaway, tunnel), delays(&other, serial));
        assert_ne!((idle, goaway, tunnel), delays(&server, serial + 1));
        for (sum, delay) in sums.iter_mut().zip([idle, goaway, tunnel - Duration::from_secs(900)]) {
            *sum += delay;
        }
    }
    // Evenly spread: the mean of a thousand is within a twentieth of the middle.
    for (sum, middle) in sums.into_iter().zip([15.0, 5.0, 30.0]) {
        let mean = sum.as_secs_f64() / 1000.0;
        assert!((mean - middle).abs() < middle / 20.0, "{mean} and {middle}");
    }
}

#[test]
fn all_delays_fit_into_the_time_that_there_is() {
    let default = DrainPolicy::default();
    let quarter = default.within(Duration::from_secs(15 * 60));
    assert_eq!(
        quarter.tunnel_time + quarter.tunnel_spread + ENDING_TIME,
        Duration::from_secs(15 * 60)
    );
    assert_eq!(
        (quarter.idle_spread, quarter.goaway_spread),
        (default.idle_spread, default.goaway_spread)
    );
    for seconds in [0, 1, 7, 20, 60, 3600] {
        let time = Duration::from_secs(seconds);
        let policy = default.within(time);
        assert!(policy.idle_spread <= time && policy.goaway_spread <= time);
        assert!(policy.tunnel_time + policy.tunnel_spread <= time, "{policy:?}");
    }
}
