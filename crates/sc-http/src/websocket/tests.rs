//! The tracker against frames written by a plain encoder, cut in every way.

use proptest::prelude::*;

use super::*;

/// One frame, as RFC 6455 §5.2 draws it.
fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(mask | short as u8),
        middle @ 126..65_536 => {
            out.push(mask | 126);
            out.extend((middle as u16).to_be_bytes());
        }
        long => {
            out.push(mask | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend(key.iter().flatten());
    let key = key.unwrap_or_default();
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let length = prop_oneof![0..4usize, 120..130usize, 65_530..65_540usize];
    let one = (0..=10u8, any::<bool>(), length, any::<Option<[u8; 4]>>());
    let one = one.prop_map(|(opcode, is_last, length, key)| {
        let opcode = if opcode == CLOSE { 2 } else { opcode };
        frame(opcode | if is_last { 0x80 } else { 0 }, &vec![CLOSE; length], key)
    });
    prop::collection::vec(one, 0..6)
}

proptest! {
    #[test]
    fn ends_of_frames_are_found_at_any_cut(frames in frames(), size in 1..70_000usize, cut in any::<prop::sample::Index>()) {
        let whole = frames.concat();
        let mut tracker = Tracker::new();
        for piece in whole.chunks(size) {
            tracker.follow(piece);
        }
        prop_assert!(tracker.is_between_frames() && !tracker.has_close() && !tracker.is_lost());

        let mut ends = vec![0];
        for frame in &frames {
            ends.push(ends.last().copied().unwrap_or(0) + frame.len());
        }
        let cut = cut.index(whole.len() + 1);
        let mut tracker = Tracker::new();
        tracker.follow(&whole[..cut]);
        prop_assert_eq!(tracker.is_between_frames(), ends.contains(&cut));
        let next = ends.iter().find(|end| **end >= cut).copied().unwrap_or(cut);
        prop_assert_eq!(tracker.finish_frame(&whole[cut..]), next - cut);
        prop_assert!(tracker.is_between_frames());
    }

    #[test]
    fn a_close_is_seen_when_it_has_passed_whole(frames in frames(), code in 1000..5000u16, is_masked: bool) {
        let towards = if is_masked { Towards::Server } else { Towards::Client };
        let close = close_frame(code, towards);
        let mut tracker = Tracker::new();
        tracker.follow(&frames.concat());
        for byte in &close {
            prop_assert!(!tracker.has_close());
            tracker.follow(&[*byte]);
        }
        prop_assert!(tracker.has_close() && tracker.is_between_frames());
        let key = is_masked.then(|| [close[2], close[3], close[4], close[5]]);
        prop_assert_eq!(close, frame(0x88, &code.to_be_bytes(), key));
    }

    #[test]
    fn anything_is_survived(input in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_websocket(&input);
    }
}

#[test]
fn a_length_that_cannot_be_is_not_followed() {
    let mut tracker = Tracker::new();
    tracker.follow(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 5, 5]);
    assert!(tracker.is_lost() && !tracker.is_between_frames());
    assert_eq!(tracker.finish_frame(b"abc"), 3);
}
