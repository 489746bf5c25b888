//! Lanes do not fall into step, and those that did drift apart.
//!
//! The measure is the index of dispersion: how many deaths fall into each five minutes, variance divided by mean. Deaths that know
//! nothing of each other have about 1, deaths that come together have about as much as come together.

use std::time::Duration;

use super::super::super::{Event, Moment, Rules};
use super::super::stage::seconds;
use super::DAY;
use super::weather::Weather;
use super::world::World;

const WINDOW: Duration = Duration::from_secs(300);

/// No outside events at all.
fn still() -> Weather {
    Weather {
        between: seconds(100_000 * DAY),
        ..Weather::calm()
    }
}

fn dispersion(deaths: &[Moment], from: Moment, to: Moment) -> f64 {
    let count = (to - from).as_secs() / WINDOW.as_secs();
    let mut windows = vec![0_u32; usize::try_from(count).expect("small")];
    for death in deaths.iter().filter(|death| **death >= from && **death < to) {
        let at = (*death - from).as_secs() / WINDOW.as_secs();
        if let Some(window) = windows.get_mut(usize::try_from(at).expect("small")) {
            *window += 1;
        }
    }
    let mean = windows.iter().map(|deaths| f64::from(*deaths)).sum::<f64>() / windows.len() as f64;
    let variance = windows
        .iter()
        .map(|deaths| (f64::from(*deaths) - mean).powi(2))
        .sum::<f64>()
        / windows.len() as f64;
    variance / mean
}

/// The mean of a few services, each alike but for its seed.
fn mean(seeds: u64, run: impl Fn(u64) -> f64) -> f64 {
    (1..=seeds).map(run).sum::<f64>() / seeds as f64
}

#[test]
fn deaths_of_lanes_do_not_come_together() {
    for lanes in [2, 3, 4, 8, 16, 32, 64] {
        // The first lives are dealt out, so the first two hours are no matter of chance.
        let (from, to) = (seconds(2 * 3600), seconds((2 + 480 / lanes as u64) * 3600));
        let index = mean(4, |seed| {
            let rules = Rules {
                standby: seed % 2 == 0,
                ..Rules::new(lanes)
            };
            let mut world = World::new(seed, rules, still());
            world.run_until(to);
            dispersion(&world.judge.deaths, from, to)
        });
        assert!(index < 1.0, "{lanes} lanes: {index}");
    }
}

#[test]
fn lanes_that_fell_into_step_drift_apart() {
    for lanes in [4, 16, 48] {
        let (release, from, to) = (seconds(2 * 3600), seconds(6 * 3600), seconds(12 * 3600));
        let index = mean(3, |seed| {
            let mut world = World::new(seed, Rules::new(lanes), still());
            world.run_until(seconds(60));
            world.tell(Event::Hold);
            world.run_until(release);
            assert!(world.judge.deaths.is_empty(), "all are overdue");
            world.tell(Event::Release);
            world.run_until(to);
            dispersion(&world.judge.deaths, from, to)
        });
        assert!(index < 1.0, "{lanes} lanes: {index}");
    }
}

/// The measure itself: lanes that die together are seen.
#[test]
fn deaths_that_come_together_are_noticed() {
    let together: Vec<Moment> = (0..100).flat_map(|life| [seconds(life * 1350); 8]).collect();
    assert!(dispersion(&together, Moment::ZERO, seconds(100 * 1350)) > 5.0);
}
