//! The process of a contestant: on the server's core, in a network namespace, its CPU time and
//! memory counted with all of its children.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::Netns;
use super::proc;

/// How long one may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// A running server.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it; what it says goes to `log`.
    pub(crate) fn spawn(
        command: &mut Command,
        netns: &Netns,
        cpu: Option<usize>,
        log: &Path,
    ) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("make {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let program = command.get_program().to_owned();
        let child = netns.inside(cpu, || {
            let child = command.spawn();
            child.with_context(|| format!("start {}", program.display()))
        })?;
        Ok(Process { child })
    }

    /// How it ended, once it has.
    pub(crate) fn status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU time so far, of all of its processes that are there now.
    pub(super) fn cpu(&self) -> Duration {
        let all = self.family();
        all.into_iter().filter_map(proc::run_time).sum()
    }

    /// Resident memory of all of its processes, KiB; shared pages count in each.
    pub(super) fn resident(&self) -> u64 {
        let all = self.family();
        all.into_iter().filter_map(proc::resident).sum()
    }

    /// Its process ids: the first, and those that descend from it.
    fn family(&self) -> BTreeSet<u32> {
        let mut family = BTreeSet::from([self.child.id()]);
        let parents = proc::parents();
        loop {
            let children = parents.iter().filter(|(_, it)| family.contains(it));
            let before = family.len();
            let found: BTreeMap<_, _> = children.collect();
            family.extend(found.into_keys());
            if family.len() == before {
                return family;
            }
        }
    }

    /// Sends a signal to all of its processes.
    pub(crate) fn tell(&self, signal: Signal) {
        for pid in self.family() {
            if let Ok(pid) = i32::try_from(pid) {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.tell(Signal::SIGTERM);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && !self.has_ended() {
            thread::sleep(POLL);
        }
        self.tell(Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies a directory with all that is in it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    anyhow::ensure!(status.success(), "cp {} fails", from.display());
    Ok(())
}
