//! Contestants that serve the same files, each on a loopback of its own.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::contest::Contest;
use super::netns::Netns;
use super::process::Process;

/// How long a server may take to its first answer.
const START: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// A contestant.
pub(super) struct Entrant<S> {
    pub(super) server: S,
    pub(super) netns: Netns,
    pub(super) process: Process,
}

/// Starts one and waits until `answers`; `None` if it does not, and a line that says so.
pub(super) fn start<S>(
    contest: &Contest,
    server: S,
    name: &str,
    number: usize,
    mut command: Command,
    answers: impl Fn() -> bool + Sync,
) -> Result<Option<Entrant<S>>> {
    let netns = Netns::new(&format!("files{number}"))?;
    netns.add_interface()?;
    let log = contest.scratch().join(format!("files{number}.log"));
    let mut process = Process::spawn(&mut command, &netns, contest.server_cpu(), &log)?;
    let begun = Instant::now();
    while begun.elapsed() < START && !process.has_ended() {
        let answered = netns.inside(contest.load_cpu(), || Ok(answers()))?;
        if answered {
            return Ok(Some(Entrant {
                server,
                netns,
                process,
            }));
        }
        std::thread::sleep(POLL);
    }
    let last = last_words(&log);
    contest.say(&format!("{name} is left out: no answer; {last}"));
    Ok(None)
}

/// The last line of a log.
pub(super) fn last_words(log: &Path) -> String {
    let said = std::fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    said.lines().last().unwrap_or("it says nothing").to_owned()
}

/// Loads an ideal server, which then is told to stop, and serves well until then.
#[cfg(test)]
pub(super) fn while_it_serves<T>(
    serve: impl FnOnce(&std::sync::atomic::AtomicBool) -> Result<()> + Send,
    load: impl FnOnce() -> T,
) -> T {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&stop));
        let report = load();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        serving.join().unwrap().unwrap();
        report
    })
}
