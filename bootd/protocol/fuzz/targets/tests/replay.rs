//! Every seed, and thousands of its neighbours: the same in every run.
//!
//! `FUZZ_REPLAY=name` tries this target alone.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop where its ground is not firm"
)]

use std::path::{Path, PathBuf};
use std::{env, fs};

use fastrand::Rng;
use fuzz_targets::{TARGETS, Target};

/// Neighbours of all seeds of a target together.
const NEIGHBOURS: usize = 400;

/// Bytes of all seeds together: they are kept small.
const MOST_SEEDS: u64 = 300 << 10;

/// Longest input that is made.
const LONGEST: usize = 64 << 10;

fn seeds_of(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../seeds")
        .join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    paths.into_iter().map(read).collect()
}

/// One test for all, since a target measures the memory of the whole process.
#[test]
fn no_seed_and_no_neighbour_breaks_a_promise() {
    let only = env::var("FUZZ_REPLAY").ok();
    let mut bytes = 0;
    for target in TARGETS {
        let seeds = seeds_of(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        bytes += seeds.iter().map(|(_, it)| it.len() as u64).sum::<u64>();
        if only.as_deref().is_none_or(|it| it == target.name) {
            replay(target, &seeds);
        }
    }
    assert!(bytes <= MOST_SEEDS, "{bytes} bytes of seeds");
}

fn replay(target: &Target, seeds: &[(PathBuf, Vec<u8>)]) {
    for (path, seed) in seeds {
        let what = || format!("seed {}", path.display());
        run(target, seed, &what);
    }
    let mut random = Rng::with_seed(1);
    for round in 0..NEIGHBOURS {
        let (path, seed) = random.choice(seeds).unwrap();
        let (_, other) = random.choice(seeds).unwrap();
        let input = neighbour(seed, other, &mut random);
        let what = || format!("neighbour {round} of {}", path.display());
        run(target, &input, &what);
    }
}

/// A failing input is kept: it is what `cargo fuzz run TARGET INPUT` wants.
fn run(target: &Target, input: &[u8], what: &dyn Fn() -> String) {
    if std::panic::catch_unwind(|| target.check(input)).is_err() {
        let kept = env::temp_dir().join(format!("fuzz-{}-failure", target.name));
        fs::write(&kept, input).unwrap();
        panic!("{}: {} fails, see {}", target.name, what(), kept.display());
    }
}

fn neighbour(seed: &[u8], other: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut input = seed.to_vec();
    for _ in 0..=random.usize(..4) {
        change(&mut input, other, random);
    }
    input.truncate(LONGEST);
    input
}

/// One change of the kinds that fuzzers make.
fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    let at = random.usize(..=input.len());
    let end = at + random.usize(..=(input.len() - at).min(32));
    match random.u8(..8) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..end)),
        2 => input.insert(at, random.u8(..)),
        3 => drop(input.splice(at..at, input[at..end].to_vec())),
        4 => {
            let from = random.usize(..=other.len());
            drop(input.splice(at.., other[from..].iter().copied()));
        }
        kind => {
            let Some(byte) = input.get_mut(at) else {
                return;
            };
            match kind {
                5 => *byte ^= 1 << random.u8(..8),
                6 => *byte = *random.choice([0, 1, 127, 128, 254, 255].iter()).unwrap(),
                _ => *byte = random.u8(..),
            }
        }
    }
}
