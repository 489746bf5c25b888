//! Many simulated years of the policy: an invented clock, invented processes with all their faults, and a judge who looks
//! after every step.
//!
//! `world.rs` plays the master and the processes, `weather.rs` says how badly they behave, `judge.rs` knows what must always
//! be true and has its own books. A failure prints its seed; `World::new(seed, …)` with the same numbers repeats it exactly.

mod judge;
mod spread;
mod weather;
mod world;

use super::super::random::Random;
use super::super::{LEAST_LIFE, Rules};
use super::stage::seconds;
use weather::Weather;
use world::World;

const DAY: u64 = 24 * 60 * 60;

/// How many days the tests below live through together.
const DAYS: u64 = ONE_OR_TWO + FEW + SOME + MANY + PATIENT;
const ONE_OR_TWO: u64 = 1_500;
const FEW: u64 = 200;
const SOME: u64 = 30;
const MANY: u64 = 8;
const PATIENT: u64 = 98_500;
const _: () = assert!(DAYS >= 100_000);

#[test]
fn one_or_two_lanes_for_years() {
    live(1, 1..=2, ONE_OR_TWO, 30, 1);
}

#[test]
fn a_few_lanes_for_a_year() {
    live(2, 3..=8, FEW, 10, 1);
}

#[test]
fn many_lanes_for_weeks() {
    live(3, 9..=24, SOME, 2, 1);
}

#[test]
fn very_many_lanes_for_days() {
    live(4, 25..=64, MANY, 1, 1);
}

/// With longer lives less happens in a day, and more days pass.
#[test]
fn long_lives_for_centuries() {
    live(5, 1..=8, PATIENT, 500, 400);
}

/// Services of random size, rules and weather, one after another, until so many days have passed.
///
/// Shape: a life is set to at least a quarter of `longest` times the least life. With longer lives the world is slower too.
fn live(base: u64, lanes: std::ops::RangeInclusive<usize>, days: u64, days_each: u64, longest: u64) {
    let mut lived = 0;
    let mut seed = base << 32;
    while lived < days {
        seed += 1;
        let mut random = Random::new(seed);
        let span = (lanes.end() - lanes.start()) as u64 + 1;
        let count = lanes.start() + usize::try_from(random.below(span)).expect("small");
        let factor = u32::try_from(longest.div_ceil(4) + random.below(longest)).expect("small");
        let rules = Rules {
            life: LEAST_LIFE * factor,
            spread: LEAST_LIFE * factor,
            standby: random.below(2) == 0,
            most_draining: count * (1 + usize::try_from(random.below(4)).expect("small")),
            ..Rules::new(count)
        };
        let weather = match random.below(8) {
            0..=4 => Weather::calm(),
            5 | 6 => Weather::rough(),
            _ => Weather::storm(),
        };
        let weather = weather.every(longest.div_ceil(10));
        World::new(seed, rules, weather).live(seconds(days_each * DAY));
        lived += days_each;
    }
}
