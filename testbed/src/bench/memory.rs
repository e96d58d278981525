//! How much memory a `bootd` takes that has its catalog and nothing to do.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, proc};
use crate::cluster::wait_for;

/// Starts `bootd` with a catalog of `nodes` nodes and prints its memory as a Markdown table.
///
/// # Errors
/// `bootd` does not start.
#[expect(clippy::print_stdout, reason = "its result")]
pub fn run(nodes: u16) -> Result<()> {
    let bench = Bench::start(nodes, "info")?;
    // The counters are written for the first time after a second: then all has been touched.
    wait_for("bootd is idle", Duration::from_secs(10), || {
        Ok((bench.master.counter("uptime_seconds")? >= 2).then_some(()))
    })?;
    let memory = proc::memory(bench.pid()?)?;
    println!("| bootd, idle, {nodes} nodes | MB |\n|---|---:|");
    for (what, kib) in [
        ("resident (VmRSS)", memory.rss),
        ("largest so far (VmHWM)", memory.peak),
        ("proportional (Pss)", memory.pss),
        ("heap and stacks (Anonymous)", memory.anonymous),
    ] {
        println!("| {what} | {} |", megabytes(kib));
    }
    bench.stop()
}

/// KiB as MB (1,000,000 bytes) with one digit.
pub(super) fn megabytes(kib: u64) -> String {
    let tenths = (kib * 1024 + 50_000) / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}
