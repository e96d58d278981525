//! The end-to-end tests run in tracks, side by side: a machine under emulation keeps one processor
//! busy, and much of a test is waiting. Each track is a process with a lab of its own.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::bench;
use super::{chosen, fetch};

/// Tests that share a lab and a master, in the order of their numbers: each one begins with the
/// catalog as the one before it left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Track {
    /// From a blank disk to the software that the catalog says, whatever comes in between.
    Path,
    /// Everybody else who asks the master, and what is refused.
    Breadth,
}

impl Track {
    const ALL: [Track; 2] = [Track::Path, Track::Breadth];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Track::Path => "path",
            Track::Breadth => "breadth",
        }
    }
}

/// Runs the end-to-end tests, all or those from number `from` on, of all tracks or one: each track is
/// this program again, with the same arguments and `--track`. Logs go below `work`.
///
/// # Errors
/// What the tests need is not there, or a test fails: its track has said so.
#[expect(clippy::print_stdout, reason = "a test says how it goes")]
pub fn run(from: usize, only: Option<Track>, work: &Path) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "{}",
        crate::lab::LabError::NotRoot
    );
    let wanted = Track::ALL.map(|track| (track, chosen(track, from).count()));
    let wanted: Vec<_> = wanted
        .into_iter()
        .filter(|(track, tests)| *tests > 0 && only.is_none_or(|only| only == *track))
        .collect();
    ensure!(
        !wanted.is_empty(),
        "no test has a number from {from} on there"
    );
    let packages = fetch(work)?;
    let begun = Instant::now();
    println!("composes releases, and installs them in a catalog");
    bench::prepare(work, packages)?;
    // All of them first: none waits for another.
    let started: Vec<(Track, usize, Child)> = wanted
        .into_iter()
        .map(|(track, tests)| Ok((track, tests, start(track)?)))
        .collect::<Result<_>>()?;
    let (mut passed, mut failed) = (0, Vec::new());
    thread::scope(|scope| -> Result<()> {
        let mut waiting = Vec::new();
        for (track, tests, mut child) in started {
            let output = child.stdout.take().context("a track's output")?;
            scope.spawn(move || pass_on(track, output));
            waiting.push((track, tests, child));
        }
        for (track, tests, mut child) in waiting {
            if child.wait()?.success() {
                passed += tests;
            } else {
                failed.push(track.name());
            }
        }
        Ok(())
    })?;
    ensure!(
        failed.is_empty(),
        "a test has failed on track {}; {passed} passed on tracks without a failure",
        failed.join(" and on track ")
    );
    println!(
        "\n{passed} passed, 0 failed, in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn start(track: Track) -> Result<Child> {
    Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .args(["--track", track.name()])
        .stdout(Stdio::piped())
        .spawn()
        .context("start this program again")
}

/// Prints what a track says, each line with its name.
#[expect(clippy::print_stdout, reason = "a test says how it goes")]
fn pass_on(track: Track, output: impl Read) {
    let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
    for line in lines.map(|line| String::from_utf8_lossy(&line).into_owned()) {
        if line.is_empty() {
            println!();
        } else {
            println!("{:>7}  {line}", track.name());
        }
    }
}
