//! What is measured, and the goals.

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::load::{self, Load, Way, mac};
use super::peers::{self, INTERFACE, RELAY, SERVER, STANDING, Server};
use crate::bench::contest::{
    Contest, Figures, Options, Outcome, Sample, Subject, per_ten_thousand,
};
use crate::bench::figures::{milliseconds, real};
use crate::bench::netns::Netns;
use crate::bench::population;
use crate::bench::process::Process;
use crate::bench::serving::last_words;
use crate::bench::table::{self, Better, Figure, Goal, Row};

/// The clients' end of the cable.
const CLIENTS: &str = "v1";
/// How long a server may take to its first answer: one reads 50,000 leases for 20 seconds.
const START: Duration = Duration::from_secs(60);
/// How long one attempt at that may take; how long a server that answers on its link may take to
/// answer a relay.
const MOMENT: Duration = Duration::from_millis(200);
const RELAY_MOMENT: Duration = Duration::from_secs(2);
/// How long one sample may take.
const LIMIT: Duration = Duration::from_secs(12);
/// How long filling up may take.
const FILL: Duration = Duration::from_secs(60);
/// Clients that are on their way at any time.
const OUTSTANDING: usize = 32;
/// Numbers of the clients of the first repetition. The catalog's nodes are among them.
const FIRST: u32 = 0x0200_0000;

/// Leases standing, and the names of the cases with so many.
const LEVELS: [(usize, &str); 3] = [
    (0, "relay, 0 leases"),
    (10_000, "relay, 10k leases"),
    (50_000, "relay, 50k leases"),
];
const BROADCAST: &str = "broadcast, 0 leases";
const MEMORY: &str = "memory, 50k leases";

/// A contestant, its end of a cable and the clients' end.
struct Entrant {
    server: Server,
    here: Netns,
    there: Netns,
    process: Option<Process>,
    /// Whether it answers relays.
    relayed: bool,
}

impl Entrant {
    fn is_there(&mut self) -> bool {
        self.process.as_mut().is_some_and(|it| !it.has_ended())
    }

    /// Whether one client gets an address in a moment.
    fn answers(&self, cpu: Option<usize>, way: Way) -> Result<bool> {
        let load = Load {
            way,
            first: 0x0700_0000,
            clients: 1,
            outstanding: 1,
            timer: Duration::from_secs(1),
            tries: 1,
            limit: MOMENT,
        };
        let report = self.there.inside(cpu, || load::run(&load))?;
        Ok(report.done == 1)
    }
}

struct Dhcp<'a> {
    contest: Contest,
    options: &'a Options,
    entrants: Vec<Entrant>,
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
    let contest = Contest::new(options, scratch)?;
    let mut servers = peers::find(work_dir, |name, why| {
        contest.say(&format!("{name} is left out: {why:#}"));
    });
    let catalog = scratch.join("catalog");
    let log = scratch.join("catalog.log");
    population::create(&catalog, &log, &scratch.join("workshop"), |node| {
        mac(FIRST + node)
    })?;
    servers.push(Server::Bootd(catalog));
    servers.extend([false, true].map(|durable| Server::Ideal { durable }));
    servers.retain(|it| options.wants(it.name()));
    let mut dhcp = Dhcp {
        entrants: servers
            .into_iter()
            .zip(0..)
            .map(entrant)
            .collect::<Result<_>>()?,
        contest,
        options,
    };
    for (leases, case) in LEVELS.into_iter().filter(|(_, case)| options.does(case)) {
        dhcp.level(leases, case)?;
    }
    table::print(&rows(), &dhcp.contest.samples);
    Ok(())
}

fn entrant((server, number): (Server, u32)) -> Result<Entrant> {
    let here = Netns::new(&format!("server{number}"))?;
    let there = Netns::new(&format!("clients{number}"))?;
    let (own, relay) = (format!("{SERVER}/16"), format!("{RELAY}/16"));
    here.cable(&there, (INTERFACE, &own), (CLIENTS, &relay))?;
    Ok(Entrant {
        server,
        here,
        there,
        process: None,
        relayed: true,
    })
}

impl Dhcp<'_> {
    /// All repetitions with so many leases standing.
    fn level(&mut self, leases: usize, case: &'static str) -> Result<()> {
        for repetition in 0..self.options.repetitions() {
            // Without leases each begins anew; with them, a few more are no matter.
            if repetition == 0 || leases == 0 {
                self.start(leases)?;
                self.fill(leases)?;
            }
            if repetition == 0 && leases == 50_000 {
                self.memory()?;
            }
            let mut order: Vec<usize> = (0..self.entrants.len()).collect();
            fastrand::Rng::with_seed(self.options.seed + u64::from(repetition)).shuffle(&mut order);
            for index in order {
                self.turn(index, leases, case, repetition)?;
            }
        }
        self.entrants.iter_mut().for_each(|it| it.process = None);
        Ok(())
    }

    fn start(&mut self, leases: usize) -> Result<()> {
        for (number, entrant) in self.entrants.iter_mut().enumerate() {
            entrant.process = None;
            let dir = self.contest.scratch().join(format!("dhcp{number}"));
            let log = self.contest.scratch().join(format!("dhcp{number}.log"));
            let mut command = entrant.server.prepare(&dir, leases)?;
            let cpu = self.contest.server_cpu();
            entrant.process = Some(Process::spawn(&mut command, &entrant.here, cpu, &log)?);
        }
        for number in 0..self.entrants.len() {
            self.wait_for(number)?;
        }
        Ok(())
    }

    /// Waits until a server answers; leaves out one that does not.
    fn wait_for(&mut self, number: usize) -> Result<()> {
        let cpu = self.contest.load_cpu();
        let entrant = &mut self.entrants[number];
        let name = entrant.server.name();
        let begun = Instant::now();
        let mut on_link = None;
        while begun.elapsed() < START && entrant.is_there() {
            if entrant.answers(cpu, way())? {
                entrant.relayed = true;
                return Ok(());
            }
            if on_link.is_none() && entrant.answers(cpu, broadcast())? {
                on_link = Some(Instant::now());
            }
            if on_link.is_some_and(|since| since.elapsed() > RELAY_MOMENT) {
                entrant.relayed = false;
                self.contest
                    .say(&format!("{name} answers on its link only, no relay"));
                return Ok(());
            }
        }
        entrant.process = None;
        let log = self.contest.scratch().join(format!("dhcp{number}.log"));
        let last = last_words(&log);
        self.contest
            .say(&format!("{name} is left out: no answer; {last}"));
        Ok(())
    }

    /// Those that cannot read leases from a file get them by being asked.
    fn fill(&mut self, leases: usize) -> Result<()> {
        for entrant in &mut self.entrants {
            let asked = matches!(entrant.server, Server::Bootd(_));
            if leases == 0 || !asked || entrant.process.is_none() {
                continue;
            }
            let load = Load {
                clients: u32::try_from(leases)?,
                outstanding: 64,
                first: STANDING,
                timer: Duration::from_secs(1),
                tries: 5,
                limit: FILL,
                way: if entrant.relayed { way() } else { broadcast() },
            };
            let report = entrant
                .there
                .inside(self.contest.load_cpu(), || load::run(&load))?;
            let (name, done) = (entrant.server.name(), report.done);
            if done < load.clients {
                entrant.process = None;
                self.contest.say(&format!(
                    "{name} is left out: it has {done} of {leases} leases"
                ));
            }
        }
        Ok(())
    }

    fn memory(&mut self) -> Result<()> {
        for entrant in &self.entrants {
            if let Some(process) = &entrant.process {
                let megabytes = real(process.resident()) * 1024.0 / 1e6;
                self.contest.keep(Sample {
                    case: MEMORY.into(),
                    server: entrant.server.name(),
                    repetition: 0,
                    figures: Figures::from([("memory_mb", megabytes)]),
                    foreign: None,
                    note: None,
                })?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, index: usize, leases: usize, case: &str, repetition: u32) -> Result<()> {
        let entrant = &self.entrants[index];
        let is_ideal = matches!(entrant.server, Server::Ideal { .. });
        let Some(process) = entrant
            .process
            .as_ref()
            .filter(|_| leases == 0 || !is_ideal)
        else {
            return Ok(());
        };
        let mut load = Load {
            way: way(),
            first: FIRST + repetition * 0x1_0000,
            clients: clients(&entrant.server, leases, self.options.quick),
            outstanding: OUTSTANDING,
            timer: Duration::from_secs(1),
            tries: 5,
            limit: LIMIT,
        };
        if leases == 0 {
            // All have begun anew, so it is the catalog's nodes again.
            load.first = FIRST;
        }
        let mut subject = Subject {
            case,
            server: entrant.server.name(),
            repetition,
            process,
            forks: false,
            memory: false,
        };
        if entrant.relayed {
            let relayed = load.clone();
            self.contest
                .sample(&subject, &entrant.there, || figures(&relayed))?;
        }
        if leases == 0 && !is_ideal {
            load.way = broadcast();
            load.first = FIRST + 0x80_0000 + repetition * 0x1_0000;
            load.clients /= 2;
            subject.case = BROADCAST;
            self.contest
                .sample(&subject, &entrant.there, || figures(&load))?;
        }
        Ok(())
    }
}

/// As many as take a good part of a second; within the pool over all repetitions.
fn clients(server: &Server, leases: usize, quick: bool) -> u32 {
    let many = match (server, leases) {
        (Server::Ideal { .. }, _) => 20_000,
        (Server::Dnsmasq(_), 0) => 1_000,
        (Server::Dnsmasq(_), 10_000) => 500,
        (Server::Dnsmasq(_), _) => 200,
        (Server::Isc(_), 0) => 2_000,
        (Server::Isc(_), _) => 1_000,
        (Server::Kea(_) | Server::Bootd(_), 50_000) => 2_000,
        (Server::Kea(_) | Server::Bootd(_), _) => 8_000,
    };
    if quick { many / 2 } else { many }
}

fn way() -> Way {
    Way::Relay {
        from: SocketAddrV4::new(RELAY, 67),
        server: SocketAddrV4::new(SERVER, 67),
        circuits: true,
    }
}

fn broadcast() -> Way {
    Way::Broadcast {
        interface: CLIENTS.into(),
    }
}

fn figures(load: &Load) -> Result<Outcome> {
    let mut report = load::run(load)?;
    ensure!(!report.elapsed.is_zero(), "no time passed");
    let done = f64::from(report.done);
    let figures = Figures::from([
        ("rate", done / report.elapsed.as_secs_f64()),
        ("done", done),
        ("p50_ms", milliseconds(&mut report.latencies, 500)),
        ("p99_ms", milliseconds(&mut report.latencies, 990)),
        ("retransmissions", f64::from(report.retransmissions)),
    ]);
    let mut wrong = Vec::new();
    for (count, what) in [
        (report.failed, "gave up"),
        (report.unfinished, "not done in time"),
        (report.bad, "wrong answers"),
        (report.naks, "refused"),
        (report.given_twice, "addresses given twice"),
        (report.without_file, "offers without boot file"),
    ] {
        if count > 0 {
            wrong.push(format!("{count} {what}"));
        }
    }
    let note = (!wrong.is_empty()).then(|| wrong.join(", "));
    Ok(Outcome { figures, note })
}

const RATE: Figure = |it| it.get("rate").copied().filter(|rate| *rate > 0.0);
const COST: Figure = |it| per_ten_thousand(*it.get("server_cpu_s")?, *it.get("done")?);
const P99: Figure = |it| it.get("p99_ms").copied().filter(|it| *it > 0.0);

/// The lines of the table.
fn rows() -> Vec<Row> {
    let row = |work, case, goal| Row {
        work,
        unit: "DORA/s",
        case,
        figure: RATE,
        over: None,
        better: Better::Higher,
        limits: &["ideal, durable"],
        goal,
    };
    let mut rows = vec![
        row(
            "relay, 32 outstanding, 0 leases",
            LEVELS[0].1,
            Goal::TimesPeer(2.5),
        ),
        row(
            "relay, 32 outstanding, 10k leases",
            LEVELS[1].1,
            Goal::TimesPeer(2.5),
        ),
        row(
            "relay, 32 outstanding, 50k leases",
            LEVELS[2].1,
            Goal::TimesPeer(2.5),
        ),
        Row {
            unit: "rate, 50k leases to 0",
            over: Some(LEVELS[0].1),
            limits: &[],
            ..row("flat", LEVELS[2].1, Goal::Value(0.85))
        },
        row("broadcast, 32 outstanding", BROADCAST, Goal::TimesPeer(2.5)),
    ];
    rows.extend(LEVELS.map(|(_, case)| Row {
        unit: "p99 ms",
        figure: P99,
        better: Better::Lower,
        ..row(case, case, Goal::TimesPeer(1.0))
    }));
    rows.push(Row {
        unit: "server CPU s",
        figure: COST,
        better: Better::Lower,
        ..row("10,000 DORAs by relay", LEVELS[0].1, Goal::Value(0.35))
    });
    rows.push(Row {
        unit: "MB",
        figure: |it| it.get("memory_mb").copied(),
        better: Better::Lower,
        limits: &[],
        ..row("resident memory, 50k leases", MEMORY, Goal::Value(40.0))
    });
    rows
}
