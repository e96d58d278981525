//! The end-to-end tests: real firmware, real software, real packets.

mod bench;
mod clients;
mod firmware;
mod full_disk;
mod main_path;
mod orders;
mod power_cuts;
mod processors;
mod refusals;
mod tracks;
mod u_boot;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::inputs::{self, Packages};
use crate::lab::Lab;
use crate::qemu::Accel;
use bench::Bench;
pub use tracks::{Track, run};

/// One test: where it runs, its name and what it does.
type Test = (Track, &'static str, fn(&mut Lab, &mut Bench) -> Result<()>);

const TESTS: [Test; 8] = [
    (Track::Path, "main path on BIOS and UEFI", main_path::run),
    (
        Track::Path,
        "many nodes prepared at once; tests in RAM",
        orders::run,
    ),
    (
        Track::Path,
        "power cuts during installation and update",
        power_cuts::run,
    ),
    (
        Track::Breadth,
        "DHCP with clients and relays of others",
        clients::run,
    ),
    (
        Track::Breadth,
        "every way that firmware loads by",
        firmware::run,
    ),
    (
        Track::Breadth,
        "TFTP and HTTP with clients of others",
        clients::downloads,
    ),
    (
        Track::Breadth,
        "what is refused, and what is said",
        refusals::run,
    ),
    (
        Track::Breadth,
        "two classes with two processor types",
        processors::run,
    ),
];

/// The tests of `track` with their numbers, from number `from` on.
fn chosen(track: Track, from: usize) -> impl Iterator<Item = (usize, &'static Test)> {
    let numbered = (1..).zip(&TESTS);
    numbered.filter(move |(number, test)| test.0 == track && *number >= from)
}

/// Brings the packages that the tests need, while the network is in reach; gives back those that
/// releases are made of.
///
/// # Errors
/// apt does not know a package or cannot fetch it.
pub fn fetch(work: &Path) -> Result<Packages> {
    clients::fetch(work)?;
    processors::fetch(work)?;
    u_boot::fetch(work)?;
    Ok(inputs::fetch(&work.join("debs"))?)
}

/// Runs the tests of one track, from number `from` on, with what [`run`] has prepared below `work`.
///
/// # Errors
/// The first test that fails.
#[expect(clippy::print_stdout, reason = "a test says how it goes")]
pub fn run_track(
    lab: &mut Lab,
    track: Track,
    accel: Accel,
    from: usize,
    work: &Path,
) -> Result<()> {
    let mut bench = Bench::new(lab, track, accel, work)?;
    for (number, (_, name, test)) in chosen(track, from) {
        let begun = Instant::now();
        println!("\n{number} of {}: {name}", TESTS.len());
        test(lab, &mut bench)
            .with_context(|| format!("{name} (logs in {})", bench.logs.display()))?;
        println!("  passed in {:.1} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}
