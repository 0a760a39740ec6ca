//! Every reader of what comes from outside, fed with mutations of real inputs: none panics, and what
//! each promises of any input holds.
//!
//! Each runs for a moment; `FUZZ_SECONDS=60` is what continuous integration gives each, and
//! whatever number a person has time for. An input that fails is printed as a Rust byte string: put
//! it into the corpus of its target, so that it is tried first from then on.

mod corpus;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// Without a number of its own.
const SECONDS: u64 = 2;

/// Longest input, in bytes: what is longer is refused elsewhere, before it is read.
const MAX_BYTES: usize = 8 * 1024;

/// Tries the corpus, and then mutations of it until the time is over. Prints how many.
fn fuzz(corpus: &[&[u8]], mut target: impl FnMut(&[u8])) {
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |text| text.parse().expect("FUZZ_SECONDS"));
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut tries = 0;
    let mut attempt = |input: &[u8]| {
        let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
        if let Err(panic) = outcome {
            println!("this input fails: b\"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
        tries += 1;
    };
    for input in corpus {
        attempt(input);
    }
    // Another sequence each time, which the input that fails makes known.
    let mut dice = Dice::new();
    while Instant::now() < deadline {
        let mut input = dice.pick(corpus).to_vec();
        for _ in 0..=dice.below(6) {
            dice.mutate(&mut input, corpus);
        }
        input.truncate(MAX_BYTES);
        attempt(&input);
    }
    crate::support::figure(&format!("{tries} inputs"));
}

/// Random numbers, xorshift64.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(now.map_or(1, |now| now.as_nanos() as u64) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }

    /// One change: of a byte, of a run of bytes, or with a piece of another input or of what is
    /// known to be awkward.
    fn mutate(&mut self, input: &mut Vec<u8>, corpus: &[&[u8]]) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(32) + 1);
        match self.below(7) {
            0 => _ = input.drain(at..end),
            1 => input.insert(at, self.below(256) as u8),
            2 if at < input.len() => input[at] ^= 1 << self.below(8),
            3 => {
                let run = input[at..end].to_vec();
                let times = 1 + self.below(64);
                let many: Vec<u8> = run.repeat(times);
                input.splice(at..at, many);
            }
            4 => {
                let other = self.pick(corpus);
                let from = self.below(other.len() + 1);
                let to = from + self.below((other.len() - from).min(64) + 1);
                input.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                let awkward = self.pick(corpus::AWKWARD);
                input.splice(at..end, awkward.iter().copied());
            }
        }
    }
}
