//! What the kernel counts of a process: proc(5).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// `USER_HZ`, the unit of times in proc(5), is 100 on all of our architectures.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of the calling thread so far, in user and kernel mode.
pub(super) fn own_cpu_time() -> Result<Duration> {
    cpu_time(Path::new("/proc/thread-self"))
}

/// CPU time of each thread of a process so far, by thread name.
pub(super) fn cpu_times(pid: u32) -> Result<BTreeMap<String, Duration>> {
    let mut times = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let dir = thread?.path();
        let name = fs::read_to_string(dir.join("comm"))?.trim_end().to_owned();
        *times.entry(name).or_default() += cpu_time(&dir)?;
    }
    Ok(times)
}

fn cpu_time(dir: &Path) -> Result<Duration> {
    let text = fs::read_to_string(dir.join("stat"))?;
    // The second field, the name, may hold anything, so count from its closing parenthesis.
    let (_, rest) = text.rsplit_once(')').context("stat has a name")?;
    let mut ticks = 0;
    // Fields 14 and 15, utime and stime; the first of the rest is field 3.
    for field in rest.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u32>()?;
    }
    Ok(TICK * ticks)
}

/// A process's memory, in KiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Resident: all of its pages that are in memory.
    pub(super) rss: u64,
    /// The largest `rss` so far.
    pub(super) peak: u64,
    /// Proportional: shared pages divided by those who share them.
    pub(super) pss: u64,
    /// Pages of no file: heap, stacks.
    pub(super) anonymous: u64,
}

/// The memory of a process now.
pub(super) fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Memory {
        rss: kib(&status, "VmRSS:")?,
        peak: kib(&status, "VmHWM:")?,
        pss: kib(&rollup, "Pss:")?,
        anonymous: kib(&rollup, "Anonymous:")?,
    })
}

fn kib(text: &str, key: &str) -> Result<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"))
        .with_context(|| format!("proc says {key}"))?;
    Ok(value.parse()?)
}

/// One CPU for the master, another for the load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpus {
    pub(super) master: usize,
    pub(super) load: usize,
}

impl Cpus {
    /// The first two this program may use; `None` if there is only one.
    pub(super) fn choose() -> Result<Option<Self>> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true));
        Ok(cpus
            .next()
            .zip(cpus.next())
            .map(|(load, master)| Cpus { master, load }))
    }
}

/// Binds the calling thread, and all that it starts from now on, to a CPU.
pub(super) fn pin(cpu: Option<usize>) -> Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("bind to CPU {cpu}"))
}
