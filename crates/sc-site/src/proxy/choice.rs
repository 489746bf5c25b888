//! Which address of an application is asked: the less busy of two random ones among those that are fit.
//!
//! Two choices by load spread requests almost as evenly as looking at all, and do not send a herd to whichever address looks
//! best (Mitzenmacher, 1996). What is fit is told by [`super::health`]. Decided on plain numbers, so that the tests need
//! no sockets.

use super::health::{Standing, WHOLE_SHARE};
use crate::random::Random;

/// One address in a choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) standing: Standing,
    /// Whether this very request has failed there already.
    pub(crate) was_tried: bool,
    /// Whether a request would not have to wait.
    pub(crate) has_room: bool,
    /// Exchanges under way, and those that wait.
    pub(crate) load: usize,
    /// How much of its share it gets, in a thousand.
    pub(crate) share: u32,
}

/// What is known of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// When fewer than this many of a hundred addresses are fit, others are used too.
    pub(crate) panic_percent: u8,
    /// Whether it is sent again, and should not be risked once more.
    pub(crate) is_again: bool,
    /// Whether it could be sent again if it failed.
    pub(crate) is_repeatable: bool,
}

/// Chooses an address; none when all were tried.
pub(crate) fn choose(candidates: &[Candidate], wish: Wish, random: &Random) -> Option<usize> {
    let those = |fits: &dyn Fn(&Candidate) -> bool| -> Vec<usize> {
        let fitting = candidates.iter().enumerate().filter(|(_, c)| !c.was_tried && fits(c));
        fitting.map(|(at, _)| at).collect()
    };
    if !wish.is_again {
        let is_trial = |c: &Candidate| match c.standing {
            Standing::Trial { by_any } => by_any || wish.is_repeatable,
            Standing::In | Standing::Out | Standing::Unreachable => false,
        };
        if let Some(at) = those(&is_trial).first() {
            return Some(*at);
        }
    }
    let fit = those(&|c| c.standing == Standing::In);
    let reachable = || those(&|c| c.standing != Standing::Unreachable);
    let of_all = candidates.iter().filter(|c| c.standing == Standing::In).count() * 100;
    // Where most are said to be unfit, who says so may be wrong, and the few that are left would be crushed. What cannot
    // even be connected to is of no help.
    let is_panic = of_all < usize::from(wish.panic_percent) * candidates.len();
    let mut usable = if is_panic && !wish.is_again { reachable() } else { fit };
    if usable.is_empty() {
        usable = reachable();
    }
    if usable.is_empty() {
        usable = those(&|_| true);
    }
    let candidate = |at: usize| candidates.get(at);
    if usable.iter().any(|at| candidate(*at).is_some_and(|c| c.has_room)) {
        usable.retain(|at| candidate(*at).is_some_and(|c| c.has_room));
    }
    if usable.len() < 2 {
        return usable.first().copied();
    }
    let one = usable.swap_remove(random.below(usable.len()));
    let other = usable.swap_remove(random.below(usable.len()));
    Some(of_two((one, candidate(one)?), (other, candidate(other)?), random))
}

/// The less busy one; one that starts slowly steps back as often as its share is small.
fn of_two(one: (usize, &Candidate), other: (usize, &Candidate), random: &Random) -> usize {
    let steps_back = |c: &Candidate| c.share < WHOLE_SHARE && random.below(WHOLE_SHARE as usize) >= c.share as usize;
    match (steps_back(one.1), steps_back(other.1)) {
        (true, false) => other.0,
        (false, true) => one.0,
        _ if other.1.load < one.1.load => other.0,
        _ => one.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Wish = Wish {
        panic_percent: 50,
        is_again: false,
        is_repeatable: true,
    };
    const AGAIN: Wish = Wish { is_again: true, ..WISH };

    fn at(load: usize) -> Candidate {
        Candidate {
            standing: Standing::In,
            was_tried: false,
            has_room: true,
            load,
            share: WHOLE_SHARE,
        }
    }

    fn standing(standing: Standing) -> Candidate {
        Candidate { standing, ..at(0) }
    }

    /// How often each of up to four was chosen in 4,000 times.
    fn picks(candidates: &[Candidate], wish: Wish) -> [usize; 4] {
        let random = Random::new(7);
        let mut picks = [0; 4];
        for _ in 0..4000 {
            if let Some(pick) = choose(candidates, wish, &random).and_then(|at| picks.get_mut(at)) {
                *pick += 1;
            }
        }
        picks
    }

    #[test]
    fn the_less_busy_of_two_is_chosen() {
        assert_eq!(picks(&[at(9), at(1)], WISH), [0, 4000, 0, 0]);
        let three = picks(&[at(9), at(1), at(5)], WISH);
        assert!(three[0] == 0 && three[1] > three[2] && three[2] > 1000, "{three:?}");
        let equal = picks(&[at(0), at(0), at(0), at(0)], WISH);
        assert!(equal.iter().all(|times| (900..1100).contains(times)), "{equal:?}");
        assert_eq!(picks(&[], WISH), [0; 4]);
    }

    #[test]
    fn those_that_are_out_are_not_chosen_while_enough_are_in() {
        let (out, gone) = (standing(Standing::Out), standing(Standing::Unreachable));
        assert_eq!(picks(&[out, at(99)], WISH), [0, 4000, 0, 0]);
        assert_eq!(picks(&[gone, at(99), at(99), out], WISH)[0], 0);
        let tried = Candidate {
            was_tried: true,
            ..at(0)
        };
        assert_eq!(picks(&[out, tried], AGAIN), [4000, 0, 0, 0]);
        assert_eq!(picks(&[gone, tried], AGAIN), [4000, 0, 0, 0], "the last resort");
        assert_eq!(picks(&[tried, tried], AGAIN), [0; 4]);
    }

    #[test]
    fn when_most_are_out_all_that_can_be_reached_are_used() {
        let (out, gone) = (standing(Standing::Out), standing(Standing::Unreachable));
        let all = picks(&[out, out, at(0)], WISH);
        assert!(all[..3].iter().all(|times| *times > 1000), "{all:?}");
        assert_eq!(picks(&[gone, out, gone, gone], WISH), [0, 4000, 0, 0]);
        let all = picks(&[gone, gone], WISH);
        assert!(all[..2].iter().all(|times| *times > 1000), "{all:?}");
        // What is sent again goes to a good one, and with another setting everything does.
        assert_eq!(picks(&[out, out, at(0)], AGAIN), [0, 0, 4000, 0]);
        let never = Wish {
            panic_percent: 0,
            ..WISH
        };
        assert_eq!(picks(&[out, out, at(0)], never), [0, 0, 4000, 0]);
        assert_eq!(picks(&[gone, gone, at(0)], WISH), [0, 0, 4000, 0]);
    }

    #[test]
    fn one_request_that_can_be_repeated_tries() {
        let trial = standing(Standing::Trial { by_any: false });
        assert_eq!(picks(&[at(0), trial], WISH), [0, 4000, 0, 0]);
        assert_eq!(picks(&[at(0), trial], AGAIN), [4000, 0, 0, 0]);
        let other = Wish {
            is_repeatable: false,
            ..WISH
        };
        assert_eq!(picks(&[at(0), trial], other), [4000, 0, 0, 0]);
        let overdue = standing(Standing::Trial { by_any: true });
        assert_eq!(picks(&[at(0), overdue], other), [0, 4000, 0, 0]);
    }

    #[test]
    fn nobody_waits_where_another_has_room() {
        let full = Candidate {
            has_room: false,
            ..at(1)
        };
        assert_eq!(picks(&[full, full, at(50)], WISH), [0, 0, 4000, 0]);
        assert_eq!(picks(&[full, full], WISH).iter().sum::<usize>(), 4000);
    }

    #[test]
    fn one_that_starts_slowly_gets_its_share() {
        let slow = |share| Candidate { share, ..at(0) };
        let tenth = picks(&[slow(100), at(0)], WISH)[0];
        assert!((150..260).contains(&tenth), "{tenth}");
        let half = picks(&[slow(500), at(0)], WISH)[0];
        assert!((900..1100).contains(&half), "{half}");
        let busy = picks(&[slow(500), at(9)], WISH)[0];
        assert!((1800..2200).contains(&busy), "{busy}");
    }
}
