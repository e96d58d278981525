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

/// CPU time that a process's threads have had so far, also those that have ended; `None` if it is
/// gone.
pub(super) fn run_time(pid: u32) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let dir = thread.path();
        // In nanoseconds, where the kernel counts that (sched-stats.rst in its documentation).
        let exact = fs::read_to_string(dir.join("schedstat")).ok();
        let exact = exact.and_then(|it| it.split(' ').next()?.parse().ok());
        sum += match exact.map(Duration::from_nanos) {
            Some(time) => time,
            None => cpu_time(&dir).unwrap_or_default(),
        };
    }
    // In ticks, but with the threads that have ended.
    let all = cpu_time(Path::new(&format!("/proc/{pid}"))).unwrap_or_default();
    Some(if all > sum + TICK { all } else { sum })
}

/// Resident memory of a process, KiB; `None` if it is gone.
pub(super) fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kib(&status, "VmRSS:").ok()
}

/// The parent of each process.
pub(super) fn parents() -> BTreeMap<u32, u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse().ok()
    };
    let all = pids().into_iter();
    all.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

/// CPU time of all processes that can be seen: in the lab, those of the lab.
pub(super) fn visible_time() -> Duration {
    pids().into_iter().filter_map(run_time).sum()
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|it| it.file_name().into_string().ok());
    names.filter_map(|it| it.parse().ok()).collect()
}

/// CPU time of the whole machine so far, whoever had it.
pub(super) fn machine_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat has a line")?;
    let ticks = line.split_whitespace().skip(1);
    // user nice system (idle iowait) irq softirq steal
    let busy = ticks
        .enumerate()
        .filter(|(at, _)| *at < 8 && ![3, 4].contains(at));
    let mut sum = Duration::ZERO;
    for (_, field) in busy {
        sum += TICK * field.parse::<u32>()?;
    }
    Ok(sum)
}
