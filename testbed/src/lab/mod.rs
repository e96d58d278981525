//! A world of its own for the machines of a test: private network, processes and files.
//!
//! The program starts itself a second time in new namespaces. The outer process only
//! waits; the inner one is PID 1 of a process namespace, so that with its end the kernel
//! ends everything it started, and it ends with the outer one. Nothing here has a name or a
//! place outside: the bridge, the taps, the private `/run` and the mounts go when the last
//! process goes, on success, panic, Ctrl-C or `kill -9` alike. There is nothing to clean up.

mod network;
mod router;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};

pub(crate) use network::{BRIDGE, ip};
pub use network::{GATEWAY, NetworkError, PREFIX_LENGTH, Tap};

/// Set for the inner process: the outer one's process id, as seen outside.
const OUTER: &str = "BOOTD_TESTBED_OUTER";

/// Where the lab's own files lie: sockets, firmware variables. Short, because the path of
/// a unix socket has at most 107 bytes; in memory, because it must not stay.
const RUN: &str = "/run/testbed";

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Namespaces and taps are root's.
    #[error("the test bed needs root for its private network: run it with sudo")]
    NotRoot,
    /// The kernel refused a step.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The process that should wait outside is gone already.
    #[error("the process that started this one is gone")]
    Orphan,
    /// The network could not be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// Which of the two processes this one is, once [`enter`] returns.
#[derive(Debug)]
pub enum Side {
    /// The outer one: the inner one has ended, with this code.
    Outside(ExitCode),
    /// The inner one, in the lab.
    Inside(Lab),
}

/// The private world that this process is in.
#[derive(Debug)]
pub struct Lab {
    outer: u32,
    taps: usize,
}

/// Whether this process is the inner one: the network of this machine is out of its reach.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(OUTER).is_some()
}

/// Starts this program again in a lab, with the same arguments and environment. Call it
/// early, before there are threads.
///
/// # Errors
/// Not root, or the kernel refuses the namespaces.
pub fn enter() -> Result<Side, LabError> {
    if let Some(outer) = std::env::var(OUTER).ok().and_then(|pid| pid.parse().ok()) {
        return Lab::settle(outer).map(Side::Inside);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let namespaces = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    unshare(namespaces).map_err(|errno| failed("make private namespaces", errno.into()))?;
    let signals: SigSet = [
        Signal::SIGCHLD,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
    ]
    .into_iter()
    .collect();
    signals
        .thread_block()
        .map_err(|errno| failed("hold back signals", errno.into()))?;
    let status = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .env(OUTER, std::process::id().to_string())
        .spawn()
        .and_then(|inner| outlive(inner, &signals))
        .map_err(|error| failed("start this program again", error))?;
    Ok(Side::Outside(exit_code(status)))
}

/// Waits for the inner process. Told to end, this one ends the inner one first, and then goes on:
/// its caller may have something to put away.
fn outlive(mut inner: Child, signals: &SigSet) -> io::Result<ExitStatus> {
    loop {
        if signals.wait()? != Signal::SIGCHLD {
            inner.kill()?;
            return inner.wait();
        }
        if let Some(status) = inner.try_wait()? {
            return Ok(status);
        }
    }
}

/// As a shell gives it: 128 and the signal's number for one that was killed.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn failed(what: &'static str, source: io::Error) -> LabError {
    LabError::System { what, source }
}

impl Lab {
    /// Makes the inner process at home: tied to the outer one, own mounts, network up.
    fn settle(outer: u32) -> Result<Self, LabError> {
        // The outer one's mask came along.
        SigSet::all()
            .thread_unblock()
            .map_err(|errno| failed("take signals", errno.into()))?;
        prctl::set_pdeathsig(Signal::SIGKILL)
            .map_err(|errno| failed("be tied to the outer process", errno.into()))?;
        // It may have died before that. This is still the outer world's /proc.
        if !Path::new(&format!("/proc/{outer}")).exists() {
            return Err(LabError::Orphan);
        }
        mount_private()
            .map_err(|errno| failed("mount private /proc, /sys and /run", errno.into()))?;
        std::fs::create_dir(RUN).map_err(|error| failed("make the run directory", error))?;
        network::build()?;
        router::start(network::BRIDGE).map_err(|error| failed("answer as a router", error))?;
        Ok(Lab { outer, taps: 0 })
    }

    /// The process id of the outer process, as seen outside.
    #[must_use]
    pub fn outer(&self) -> u32 {
        self.outer
    }

    /// A directory for sockets and passing files: private, in memory, gone with the lab.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        PathBuf::from(RUN)
    }

    /// Adds a port to the lab's network, for one machine.
    ///
    /// # Errors
    /// `ip` is missing or refuses.
    pub fn add_tap(&mut self) -> Result<Tap, LabError> {
        let tap = Tap::add(self.taps)?;
        self.taps += 1;
        Ok(tap)
    }

    /// The command, for a person outside, that runs another command in the lab's network
    /// and mounts.
    #[must_use]
    pub fn way_in(&self) -> String {
        format!("nsenter --target {} --net --mount", self.outer)
    }
}

fn mount_private() -> nix::Result<()> {
    let none = None::<&str>;
    let plain = MsFlags::empty();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("proc"), "/proc", Some("proc"), plain, none)?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), plain, none)?;
    mount(
        Some("testbed"),
        "/run",
        Some("tmpfs"),
        plain,
        Some("mode=0755"),
    )
}
