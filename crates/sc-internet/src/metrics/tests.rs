//! Numbers of workers in, text out.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;

use super::*;

fn block(numbers: &[(Metric, u64)]) -> Counters {
    let (counters, _descriptor) = Counters::create(Metric::COUNT).unwrap();
    for (metric, number) in numbers {
        counters.add(*metric as usize, *number);
    }
    counters
}

fn standing() -> Standing {
    Standing {
        version: "1.2.3".to_owned(),
        started: 1_700_000_000,
        workers: [
            (0, "active", 90),
            (0, "warm", 1),
            (1, "active", 5),
            (1, "draining", 900),
        ]
        .map(|(lane, state, age)| WorkerStanding {
            lane,
            state,
            age: Duration::from_secs(age),
        })
        .to_vec(),
        lanes: vec![
            LaneStanding {
                generation: 1,
                next_death: Some(Duration::from_secs(1000)),
            },
            LaneStanding {
                generation: 2,
                next_death: None,
            },
        ],
        redis: Some(true),
        log_lost: 7,
        ..Standing::default()
    }
}

#[track_caller]
fn says(text: &str, line: &str) {
    assert!(text.lines().any(|seen| seen == line), "no line `{line}` in\n{text}");
}

#[test]
fn numbers_of_all_workers_are_added_up_and_shown_by_name() {
    let mut totals = Totals::default();
    totals.add(&block(&[(Metric::ExchangesHttp2Status2, 3), (Metric::SentBytes, 10)]));
    totals.add(&block(&[(Metric::ExchangesHttp2Status2, 4), (Metric::ForcedCloses, 1)]));
    let text = text(&totals, &standing());
    for line in [
        "# HELP shimmercat_sent_bytes Bytes of bodies and tunnels to clients.",
        "# TYPE shimmercat_sent_bytes counter",
        "shimmercat_exchanges_total{protocol=\"HTTP/2\",status=\"2xx\"} 7",
        "shimmercat_exchanges_total{protocol=\"HTTP/1.0\",status=\"none\"} 0",
        "shimmercat_sent_bytes_total 10",
        "shimmercat_forced_closes_total 1",
        "shimmercat_workers{lane=\"0\",state=\"active\"} 1",
        "shimmercat_workers{lane=\"0\",state=\"warm\"} 1",
        "shimmercat_workers{lane=\"0\",state=\"draining\"} 0",
        "shimmercat_workers{lane=\"1\",state=\"draining\"} 1",
        "shimmercat_worker_age_seconds{lane=\"0\"} 90.0",
        "shimmercat_lane_generation{lane=\"1\"} 2",
        "shimmercat_next_death_seconds{lane=\"0\"} 1000.0",
        "shimmercat_log_lost_total 7",
        "shimmercat_redis_up 1",
        "shimmercat_start_time_seconds 1700000000",
        "shimmercat_build_info{version=\"1.2.3\"} 1",
    ] {
        says(&text, line);
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn every_family_is_told_once_and_whole() {
    let text = text(&Totals::default(), &standing());
    let mut families = BTreeSet::new();
    let mut present = "";
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            present = rest.split(' ').next().unwrap_or_default();
            assert!(families.insert(present), "{present} twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(present), "{line} outside {present}");
        }
    }
    for metric in Metric::ALL {
        let family = format!("shimmercat_{}", metric.described().family);
        assert!(families.contains(family.as_str()), "{family}");
    }
}

#[test]
fn durations_are_a_histogram_whose_buckets_hold_all_below() {
    let mut totals = Totals::default();
    totals.put(Metric::Duration1ms, 2);
    totals.put(Metric::Duration5ms, 3);
    totals.put(Metric::DurationLonger, 1);
    totals.put(Metric::DurationSum, 12_500_000);
    let text = text(&totals, &Standing::default());
    for line in [
        "# TYPE shimmercat_exchange_duration_seconds histogram",
        "shimmercat_exchange_duration_seconds_sum 12.5",
        "shimmercat_exchange_duration_seconds_count 6",
        "shimmercat_exchange_duration_seconds_bucket{le=\"0.001\"} 2",
        "shimmercat_exchange_duration_seconds_bucket{le=\"0.0025\"} 2",
        "shimmercat_exchange_duration_seconds_bucket{le=\"0.005\"} 5",
        "shimmercat_exchange_duration_seconds_bucket{le=\"10.0\"} 5",
        "shimmercat_exchange_duration_seconds_bucket{le=\"+Inf\"} 6",
    ] {
        says(&text, line);
    }
}

#[test]
fn no_number_goes_back_when_a_worker_goes() {
    let dead = block(&[
        (Metric::ConnectionsOpenedTls, 10),
        (Metric::ConnectionsClosedTls, 8),
        (Metric::TunnelsOpened, 1),
        (Metric::SentBytes, 99),
    ]);
    let mut while_it_lived = Totals::default();
    while_it_lived.add(&dead);
    says(
        &text(&while_it_lived, &Standing::default()),
        "shimmercat_connections_open{listener=\"tls\"} 2",
    );
    says(
        &text(&while_it_lived, &Standing::default()),
        "shimmercat_tunnels_open 1",
    );

    let mut gone = Totals::default();
    gone.bury(&dead);
    for metric in Metric::ALL {
        assert!(gone.get(*metric) >= while_it_lived.get(*metric), "{metric:?}");
    }
    let text = text(&gone, &Standing::default());
    says(&text, "shimmercat_connections_open{listener=\"tls\"} 0");
    says(&text, "shimmercat_connections_closed_total{listener=\"tls\"} 10");
    says(&text, "shimmercat_tunnels_open 0");
}

#[test]
fn the_snapshot_has_the_names_of_the_text() {
    let mut totals = Totals::default();
    totals.put(Metric::SentBytes, 5);
    totals.put(Metric::HandshakesResumed, 2);
    let text = text(&totals, &Standing::default());
    let named = totals.named();
    assert_eq!(named.len(), 2);
    for (name, number) in named {
        says(&text, &format!("{name} {number}"));
    }
}

#[test]
fn without_a_redis_nothing_is_said_of_it() {
    let text = text(&Totals::default(), &Standing::default());
    assert!(!text.contains("redis"), "{text}");
}
