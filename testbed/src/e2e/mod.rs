//! The end-to-end tests: real firmware, real software, real packets.

mod bench;
mod clients;
mod firmware;
mod full_disk;
mod main_path;
mod power_cuts;
mod processors;
mod refusals;
mod u_boot;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::inputs;
use crate::lab::Lab;
use crate::qemu::Accel;
use bench::Bench;

/// One test: its name and what it does.
type Test = (&'static str, fn(&mut Lab, &mut Bench) -> Result<()>);

/// In this order: each one begins with the catalog as the one before it left it.
const TESTS: [Test; 7] = [
    ("main path on BIOS and UEFI", main_path::run),
    ("what is refused, and what is said", refusals::run),
    ("power cuts during installation and update", power_cuts::run),
    ("DHCP with clients and relays of others", clients::run),
    ("every way that firmware loads by", firmware::run),
    ("TFTP and HTTP with clients of others", clients::downloads),
    ("a class with two processor types", processors::run),
];

/// Brings the packages that the tests need, while the network is in reach.
///
/// # Errors
/// apt does not know a package or cannot fetch it.
pub fn fetch(work: &Path) -> Result<()> {
    inputs::fetch(&work.join("debs"))?;
    clients::fetch(work)?;
    processors::fetch(work)?;
    u_boot::fetch(work).map(drop)
}

/// Runs the end-to-end tests, all or those from number `from` on; logs go below `work`.
///
/// # Errors
/// The first test that fails.
#[expect(clippy::print_stdout, reason = "a test says how it goes")]
pub fn run(lab: &mut Lab, accel: Accel, from: usize, work: &Path) -> Result<()> {
    let mut bench = Bench::new(lab, accel, work)?;
    let chosen = TESTS.iter().enumerate().skip(from.saturating_sub(1));
    let count = chosen.len();
    for (index, (name, test)) in chosen {
        let begun = Instant::now();
        println!("\n{} of {}: {name}", index + 1, TESTS.len());
        test(lab, &mut bench)
            .with_context(|| format!("{name} (logs in {})", bench.logs.display()))?;
        println!("  passed in {:.1} s", begun.elapsed().as_secs_f64());
    }
    println!("\n{count} passed, 0 failed");
    Ok(())
}
