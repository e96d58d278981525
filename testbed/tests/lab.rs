//! A lab leaves nothing behind, in whatever way it ends. Needs root; left out otherwise.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "this is a test, helpers and all"
)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("not root: left out");
    }
    root
}

fn in_lab(script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.args(["run", "--", "sh", "-c", script]);
    command
}

fn network_of(process: &Path) -> Option<u64> {
    Some(process.join("ns/net").metadata().ok()?.ino())
}

/// All processes in a network namespace.
fn processes_in(network: u64) -> Vec<PathBuf> {
    let all = std::fs::read_dir("/proc").unwrap();
    let paths = all.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| network_of(path) == Some(network))
        .collect()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_lab_has_its_own_network_processes_and_files() {
    if !is_root() {
        return;
    }
    let script = "echo $$; ip -brief -4 address | awk '{print $1, $3}'; ls /run; exit 7";
    let output = in_lab(script).output().unwrap();
    let expected = "1\nlo 127.0.0.1/8\nbr0 10.77.0.1/24\ntestbed\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert_eq!(output.status.code(), Some(7));
    assert!(!Path::new("/run/testbed").exists());
}

/// A lab in which processes run that would not end by themselves.
fn busy_lab() -> (Child, u64) {
    let script = "(sleep 1000 & sleep 1000 & setsid sleep 1000 &); echo ready; sleep 1000";
    let mut child = in_lab(script).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let network = network_of(Path::new(&format!("/proc/{}", child.id()))).unwrap();
    assert_ne!(Some(network), network_of(Path::new("/proc/self")));
    wait_until("all of them run", || processes_in(network).len() == 6);
    (child, network)
}

#[test]
fn whatever_ends_the_lab_ends_all_that_runs_in_it() {
    if !is_root() {
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let (mut child, network) = busy_lab();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, signal).unwrap();
        child.wait().unwrap();
        wait_until(&format!("nothing is left after {signal}"), || {
            processes_in(network).is_empty()
        });
    }
}
