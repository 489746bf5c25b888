//! The whole reader, from bytes to rendered diagnostics, on files that were damaged.
//!
//! Every case is replayed as it is, then cut and changed by a seeded generator. Nothing may panic, and nothing that is
//! printed may reach a terminal as a control sequence of the file's.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;

use sc_config::fuzz_config;

use crate::cases;

fn corpus() -> Vec<Vec<u8>> {
    let files = fs::read_dir(cases::folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A small generator (xorshift64*), so that a failure can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % limit.max(1)
    }
}

fn look(bytes: &[u8]) {
    let shown = fuzz_config(bytes);
    // Only our own colours begin with an escape.
    let foreign = shown
        .replace("\x1b[0m", "")
        .replace("\x1b[1;31m", "")
        .replace("\x1b[1;33m", "");
    let foreign = foreign.replace("\x1b[34m", "").replace("\x1b[1;36m", "");
    assert!(!foreign.contains('\x1b'), "{bytes:?}");
}

#[test]
fn cases_as_they_are() {
    corpus().iter().for_each(|bytes| look(bytes));
}

#[test]
fn cases_cut_short() {
    for bytes in corpus() {
        (0..bytes.len())
            .step_by(7)
            .for_each(|end| look(bytes.get(..end).unwrap()));
    }
}

#[test]
fn cases_changed() {
    const PIECES: [&[u8]; 18] = [
        b"\t",
        b"\n",
        b": ",
        b"- ",
        b"*a ",
        b"&a ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"'",
        b"\xff",
        b"\x1b[31m",
        b"? ",
        b"!!str ",
        b"| \n",
        "é\u{202e}".as_bytes(),
    ];
    let corpus = corpus();
    let mut dice = Dice(0x5eed_0000_c0ff_ee01);
    for _ in 0..1500 {
        let mut bytes = corpus.get(dice.below(corpus.len())).unwrap().clone();
        for _ in 0..=dice.below(4) {
            let at = dice.below(bytes.len());
            match dice.below(4) {
                0 => drop(bytes.drain(at..(at + 1 + dice.below(6)).min(bytes.len()))),
                1 => drop(bytes.splice(at..at, PIECES.get(dice.below(PIECES.len())).unwrap().iter().copied())),
                2 => {
                    let other = corpus.get(dice.below(corpus.len())).unwrap();
                    let from = dice.below(other.len());
                    let piece = other
                        .get(from..(from + dice.below(40)).min(other.len()))
                        .unwrap()
                        .to_vec();
                    drop(bytes.splice(at..at, piece));
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << dice.below(8);
                    }
                }
            }
        }
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let result = std::panic::catch_unwind(|| look(&bytes));
        assert!(result.is_ok(), "this file made the reader panic:\n{shown}");
    }
}

#[test]
fn hostile_files_end_soon() {
    let bomb = {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
        }
        text
    };
    assert!(fuzz_config(bomb.as_bytes()).contains("once its aliases are followed"));
    let within_itself = "shimmercat-devlove: &a\n  domains: *a\n";
    assert!(fuzz_config(within_itself.as_bytes()).contains("the alias stands inside what it stands for"));
    let block: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(fuzz_config(block.as_bytes()).contains("nested more than"));
    for deep in [
        "[".repeat(100_000),
        "{a: ".repeat(50_000),
        "- ".repeat(50_000),
        "? ".repeat(50_000),
        "a: &b ".repeat(9000),
    ] {
        fuzz_config(deep.as_bytes());
    }
    let large = vec![b'#'; (4 << 20) + 1];
    assert!(fuzz_config(&large).contains("is larger than 4 MiB"));
}

#[test]
fn large_files_with_many_mistakes_are_reported_whole() {
    let good: String = (0..3_000)
        .map(|n| format!("    s{n}.example: {{ port: 8000 }}\n"))
        .collect();
    let shown = fuzz_config(format!("shimmercat-devlove:\n  domains:\n{good}").as_bytes());
    assert!(shown.contains("s2999.example"));
    let bad: String = (0..2_000)
        .map(|n| format!("    s{n}.example: {{ prt: {n} }}\n"))
        .collect();
    let shown = fuzz_config(format!("shimmercat-devlove:\n  domains:\n{bad}").as_bytes());
    assert_eq!(shown.matches("did you mean `port`?").count(), 2_000);
}
