//! `catalog install`, killed (SIGKILL) at every sort of moment: the catalog is the old one or the
//! new one, a second installation succeeds, and nothing is left of the first.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rusqlite::Connection;
use rusqlite::types::Value;

/// Kills, spread over an installation.
const POINTS: usize = 10;
/// As many more among its last system calls, where the rows are committed.
const END: usize = 160;

fn release(version: &str) -> String {
    format!(
        r#"name = "demo"
version = "{version}"

[[boot_image]]
name = "debian"
version = "{version}"
arch = "x86_64"
uki = "uki-{version}"
loader = {{ efi = "efi" }}

[[package]]
name = "site"
version = "{version}"
directory = "site-{version}"
prefix = "/srv"

[[class]]
name = "web"
packages = ["site"]
images = ["debian"]
comment = "version {version}"

[[network]]
name = "lan"
subnet = "10.0.0.0/24"
"#
    )
}

fn catalog(dir: &Path, state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catalog"));
    command
        .current_dir(dir)
        .env("BOOTD_DIR", state)
        .args(arguments);
    command
}

fn good(mut command: Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command:?}: {told} {error}");
    told
}

/// A directory with two composites, and a state directory with the first one installed.
fn workshop() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (at, state) = (dir.path(), dir.path().join("state"));
    fs::write(at.join("efi"), "loader").unwrap();
    for version in ["1", "2"] {
        fs::write(at.join(format!("uki-{version}")), version.repeat(300_000)).unwrap();
        let site = at.join(format!("site-{version}"));
        fs::create_dir(&site).unwrap();
        for file in 0..40 {
            fs::write(site.join(format!("{file}")), format!("{version} {file}")).unwrap();
        }
        fs::write(site.join("same"), "in both").unwrap();
        fs::write(at.join(format!("{version}.toml")), release(version)).unwrap();
    }
    good(catalog(at, &state, &["init"]));
    good(catalog(at, &state, &["keygen", "release"]));
    good(catalog(at, &state, &["trust", "me", "release.pub"]));
    for version in ["1", "2"] {
        let (toml, output) = (format!("{version}.toml"), format!("{version}.composite"));
        let arguments = ["compose", &toml, "-o", &output, "-k", "release.key"];
        good(catalog(at, &state, &arguments));
    }
    good(catalog(at, &state, &["install", "1.composite"]));
    (dir, state)
}

/// Starts the installation of the second composite, held before its first instruction.
fn held(dir: &Path, state: &Path) -> Child {
    let program = env!("CARGO_BIN_EXE_catalog");
    let child = Command::new("/bin/sh")
        .current_dir(dir)
        .env("BOOTD_DIR", state)
        .args(["-c", r#"kill -STOP $$; exec "$0" install 2.composite"#])
        .arg(program)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = pid(&child);
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    child
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Lets it go on until `limit` entries to and exits from system calls, then kills it; how many
/// there were. It may come to its end before.
fn kill_after(mut child: Child, limit: usize) -> usize {
    let pid = pid(&child);
    let mut calls = 0;
    loop {
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceSyscall(_) => calls += 1,
            WaitStatus::Exited(_, code) => {
                assert_eq!(code, 0, "the installation fails by itself");
                return calls;
            }
            WaitStatus::Signaled(_, signal, _) => panic!("ended by {signal}"),
            WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => {}
        }
        if calls >= limit {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert_eq!(status.signal(), Some(9));
            return calls;
        }
        ptrace::syscall(pid, None).unwrap();
    }
}

/// Every row of every table but the count of edits.
fn dump(database: &Path) -> String {
    let db = Connection::open(database).unwrap();
    let list = "SELECT name FROM sqlite_schema
                WHERE type = 'table' AND name NOT IN ('generation', 'sqlite_sequence') ORDER BY 1";
    let mut tables = db.prepare(list).unwrap();
    let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut out = String::new();
    for name in names.map(Result::unwrap) {
        let mut table = db
            .prepare(&format!("SELECT * FROM {name} ORDER BY 1, 2"))
            .unwrap();
        let columns = table.column_count();
        let mut rows = table.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<Value> = (0..columns).map(|it| row.get(it).unwrap()).collect();
            out.push_str(&format!("{name}: {values:?}\n"));
        }
    }
    out
}

/// Every file below `dir`, by its path in it.
fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().display().to_string());
            }
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    good({
        let mut command = Command::new("cp");
        command.arg("-a").arg(from).arg(to);
        command
    });
}

#[test]
fn a_killed_installation_leaves_the_old_catalog_or_the_new() {
    let (dir, state) = workshop();
    let at = dir.path();
    let old = dump(&state.join("catalog.db"));
    let whole = at.join("whole");
    copy(&state, &whole);
    let calls = kill_after(held(at, &whole), usize::MAX);
    let new = dump(&whole.join("catalog.db"));
    let left = files(&whole);
    assert_ne!(old, new);

    let spread = (1..=POINTS).map(|point| calls * point / (POINTS + 1));
    let end = (1..=POINTS).map(|point| calls - END * point / POINTS);
    let mut seen = [0, 0];
    for point in spread.chain(end) {
        let killed = at.join("killed");
        copy(&state, &killed);
        kill_after(held(at, &killed), point);
        let after = dump(&killed.join("catalog.db"));
        assert!(
            after == old || after == new,
            "killed at system call {point} of {calls}: {after}"
        );
        seen[usize::from(after == new)] += 1;
        good(catalog(at, &killed, &["check", "--deep"]));

        good(catalog(at, &killed, &["install", "2.composite"]));
        assert_eq!(dump(&killed.join("catalog.db")), new, "killed at {point}");
        assert_eq!(files(&killed), left, "killed at {point}");
        fs::remove_dir_all(&killed).unwrap();
    }
    assert!(seen.iter().all(|it| *it > 0), "old and new: {seen:?}");
}
