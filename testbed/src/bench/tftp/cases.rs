//! What is measured, and the goals.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::load::{self, Load};
use super::peers::{self, SERVER, Server};
use super::transfer::Wanted;
use crate::bench::contest::{Contest, Options, Outcome, Subject};
use crate::bench::figures::{count, real};
use crate::bench::files::TestFiles;
use crate::bench::serving::{self, Entrant};
use crate::bench::table::{self, Better, Figure, Goal, Row};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// The block size that fits an Ethernet frame, with its headers.
const BLOCK: u16 = 1468;

/// A kind of work.
struct Case {
    name: &'static str,
    /// Size of the file, bytes.
    size: usize,
    transfers: usize,
    at_once: usize,
    window: u16,
    /// Share of the server's datagrams that are lost.
    loss: f64,
    limit: Duration,
    memory: bool,
}

const CASES: [Case; 8] = [
    case("1 client, window 1", 16 * MIB, 1, 1, 1),
    case("1 client, window 16", 32 * MIB, 2, 1, 16),
    case("1 client, window 64", 32 * MIB, 4, 1, 64),
    case("100 clients, window 16", 4 * MIB, 100, 100, 16),
    Case {
        limit: Duration::from_secs(60),
        memory: true,
        ..case("500 clients, window 1", MIB, 500, 500, 1)
    },
    Case {
        loss: 0.01,
        ..case("1 % lost, 10 clients, window 1", MIB, 10, 10, 1)
    },
    Case {
        loss: 0.01,
        ..case("1 % lost, 10 clients, window 16", 4 * MIB, 50, 10, 16)
    },
    case("1 KiB files, 64 at once", KIB, 5000, 64, 1),
];

const fn case(
    name: &'static str,
    size: usize,
    transfers: usize,
    at_once: usize,
    window: u16,
) -> Case {
    Case {
        name,
        size,
        transfers,
        at_once,
        window,
        loss: 0.0,
        limit: Duration::from_secs(20),
        memory: false,
    }
}

impl Case {
    fn load(&self, files: &TestFiles, seed: u64) -> Result<Load> {
        let file = files.of(self.size)?;
        let is_lossy = self.loss > 0.0;
        Ok(Load {
            server: SERVER,
            wanted: Wanted {
                file: file.tftp(),
                content: file.content.clone(),
                block: BLOCK,
                window: self.window,
                // A second is what the server has to make something of; the client waits longer.
                timeout: is_lossy.then_some(1),
            },
            transfers: self.transfers,
            at_once: self.at_once,
            loss: self.loss,
            seed,
            timer: Duration::from_secs(if is_lossy { 3 } else { 1 }),
            tries: 8,
            limit: self.limit,
        })
    }
}

/// Brings the peers, as far as they can be had; [`run`] says which cannot.
pub fn fetch(work_dir: &Path) {
    peers::find(work_dir, |_, _| {});
}

/// Compares, and prints the table.
///
/// # Errors
/// Something of the bench itself fails; a contestant that fails is left out, and said so.
pub fn run(options: &Options, work_dir: &Path, scratch: &Path) -> Result<()> {
    let mut contest = Contest::new(options, scratch)?;
    let files = TestFiles::create(scratch, &[KIB, MIB, 4 * MIB, 16 * MIB, 32 * MIB])?;
    let mut servers = peers::find(work_dir, |name, why| {
        contest.say(&format!("{name} is left out: {why:#}"));
    });
    servers.extend([Server::Bootd, Server::IdealShared, Server::IdealOwn]);
    servers.retain(|it| options.wants(it.name()));
    let entrants = start(&contest, servers, &files)?;
    for repetition in 0..options.repetitions() {
        for case in CASES.iter().filter(|it| options.does(it.name)) {
            let mut order: Vec<&Entrant<Server>> = entrants.iter().collect();
            let seed = options.seed + u64::from(repetition);
            fastrand::Rng::with_seed(seed + count(case.name.len())).shuffle(&mut order);
            let load = case.load(&files, seed)?;
            for entrant in order {
                turn(&mut contest, case, &load, entrant, repetition)?;
            }
        }
    }
    table::print(&rows(), &contest.samples);
    Ok(())
}

fn start(
    contest: &Contest,
    servers: Vec<Server>,
    files: &TestFiles,
) -> Result<Vec<Entrant<Server>>> {
    let mut entrants = Vec::new();
    let first = Load {
        transfers: 1,
        at_once: 1,
        timer: Duration::from_millis(300),
        tries: 0,
        ..CASES[7].load(files, 0)?
    };
    for (number, server) in servers.into_iter().enumerate() {
        let command = server.command(files, contest.scratch())?;
        let name = server.name();
        let answers = || load::run(&first).is_ok_and(|it| it.downloads.done == 1);
        let entrant = serving::start(contest, server, name, number, command, answers)?;
        entrants.extend(entrant);
    }
    Ok(entrants)
}

fn turn(
    contest: &mut Contest,
    case: &Case,
    load: &Load,
    entrant: &Entrant<Server>,
    repetition: u32,
) -> Result<()> {
    if case.window > 1 && !entrant.server.has_windows() {
        return Ok(());
    }
    let subject = Subject {
        case: case.name,
        server: entrant.server.name(),
        repetition,
        process: &entrant.process,
        forks: entrant.server.forks(),
        memory: case.memory,
    };
    contest.sample(&subject, &entrant.netns, || figures(load))
}

fn figures(load: &Load) -> Result<Outcome> {
    let mut report = load::run(load)?;
    let downloads = &mut report.downloads;
    let seconds = downloads.elapsed.as_secs_f64();
    let mut figures = downloads.figures();
    figures.extend([
        ("mb_s", real(report.counts.bytes) / seconds / 1e6),
        ("transfers_s", real(count(downloads.done)) / seconds),
        ("timeouts", real(report.timeouts)),
        ("duplicates", real(report.counts.duplicates)),
    ]);
    let note = downloads.note();
    Ok(Outcome { figures, note })
}

const RATE: Figure = |it| it.get("mb_s").copied();
const TRANSFERS: Figure = |it| it.get("transfers_s").copied();
const TIMEOUTS: Figure = |it| it.get("timeouts").copied();
const MEMORY: Figure = |it| it.get("memory_mb").copied();

/// The lines of the table.
fn rows() -> Vec<Row> {
    let row = |case: usize, goal: f64| Row {
        work: CASES[case].name,
        unit: "MB/s",
        case: CASES[case].name,
        figure: RATE,
        over: None,
        better: Better::Higher,
        limits: &["ideal, shared", "ideal, own"],
        goal: Goal::TimesLimit(goal),
    };
    vec![
        row(0, 0.97),
        row(1, 0.85),
        row(2, 0.85),
        row(3, 0.8),
        row(4, 0.85),
        Row {
            unit: "client timeouts",
            figure: TIMEOUTS,
            better: Better::Lower,
            goal: Goal::Value(0.0),
            ..row(4, 0.0)
        },
        row(5, 0.7),
        row(6, 0.7),
        Row {
            unit: "transfers/s",
            figure: TRANSFERS,
            ..row(7, 0.9)
        },
        Row {
            work: "resident memory, 500 transfers running",
            unit: "MB",
            figure: MEMORY,
            better: Better::Lower,
            limits: &[],
            goal: Goal::Value(24.0),
            ..row(4, 0.0)
        },
    ]
}
