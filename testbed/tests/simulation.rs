//! Thousands of simulated worlds. A world that fails prints its seed and what happened in it;
//! `SIM_SEED=… cargo test -p testbed --test simulation` runs that one alone.

use testbed::sim::world::{Tally, World};

const WORLDS: u64 = 2_000;

/// Runs the worlds of `seeds`; what they did in all.
fn run(seeds: impl Iterator<Item = u64>) -> Tally {
    let mut all = Tally::default();
    for seed in seeds {
        let tally = World::new(seed).run().unwrap_or_else(|log| panic!("{log}"));
        all.cuts += tally.cuts;
        all.edits += tally.edits;
        all.restarts += tally.restarts;
        all.tests += tally.tests;
        all.preparations += tally.preparations;
        all.prepared += tally.prepared;
    }
    all
}

#[test]
fn every_world_comes_to_rest() {
    if let Some(seed) = std::env::var("SIM_SEED")
        .ok()
        .and_then(|it| it.parse().ok())
    {
        run(std::iter::once(seed));
        return;
    }
    let workers = std::thread::available_parallelism().map_or(2, |it| it.get() as u64);
    let threads: Vec<_> = (0..workers)
        .map(|worker| {
            std::thread::spawn(move || run((0..WORLDS).filter(|it| it % workers == worker)))
        })
        .collect();
    let tallies: Vec<Tally> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    let cuts: u32 = tallies.iter().map(|it| it.cuts).sum();
    let edits: u32 = tallies.iter().map(|it| it.edits).sum();
    let restarts: u32 = tallies.iter().map(|it| it.restarts).sum();
    let preparations: u32 = tallies.iter().map(|it| it.preparations).sum();
    let prepared: u32 = tallies.iter().map(|it| it.prepared).sum();
    let tests: u32 = tallies.iter().map(|it| it.tests).sum();
    println!(
        "{WORLDS} worlds, {cuts} power cuts, {edits} edits, {restarts} restarts of the master, \
         {preparations} preparations, {prepared} warm boots after them, {tests} tests"
    );
    assert!(
        cuts > 1_000
            && edits > 1_000
            && restarts > 300
            && preparations > 1_000
            && prepared > 1_000
            && tests > 300,
        "the harm has to bite"
    );
}
