//! What is measured, and the goals.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::load::{self, Load, Report};
use crate::bench::contest::{Contest, Options, Outcome, Subject};
use crate::bench::debian::{self, Peer, Program};
use crate::bench::figures::{count, real};
use crate::bench::files::TestFiles;
use crate::bench::population;
use crate::bench::serving::{self, Entrant};
use crate::bench::table::{self, BOOTD, Better, Figure, Goal, Row};

const MIB: usize = 1 << 20;
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4080);

/// A kind of work: name, size of the file, transfers, how many at once.
const CASES: [(&str, usize, usize, usize); 2] = [
    ("1 client", 32 * MIB, 32, 1),
    ("100 clients", 4 * MIB, 200, 100),
];

/// Which server.
enum Server {
    Nginx(Program),
    Bootd,
}

impl Server {
    fn name(&self) -> &'static str {
        match self {
            Server::Nginx(_) => "nginx",
            Server::Bootd => BOOTD,
        }
    }

    fn command(&self, files: &TestFiles, scratch: &Path) -> Result<Command> {
        match self {
            Server::Nginx(program) => nginx(program, files, scratch),
            Server::Bootd => {
                let mut command = population::bootd(&files.state)?;
                command.arg("--no-dhcp");
                command.arg(format!("--http-port={}", SERVER.port()));
                Ok(command)
            }
        }
    }
}

fn nginx(program: &Program, files: &TestFiles, scratch: &Path) -> Result<Command> {
    let dir = scratch.join("nginx");
    fs::create_dir_all(&dir)?;
    let config = dir.join("nginx.conf");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|it| format!("{it}_temp_path {}/{it};\n", dir.display()))
        .concat();
    fs::write(
        &config,
        format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {dir}/pid;\nerror_log stderr;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\naccess_log off;\nsendfile on;\ntcp_nopush on;\n{temporary}\
             server {{ listen {SERVER} backlog=4096; root {root}; }}\n}}\n",
            dir = dir.display(),
            root = files.root.display(),
        ),
    )?;
    let mut command = program.command();
    command.arg("-p").arg(&dir).args(["-e", "stderr", "-c"]);
    command.arg(config);
    Ok(command)
}

fn find(work_dir: &Path, leave_out: impl FnMut(&str, &anyhow::Error)) -> Vec<Server> {
    let nginx: Peer<Server> = (
        "nginx",
        &["nginx", "nginx-common"],
        "usr/sbin/nginx",
        Server::Nginx,
    );
    debian::find(work_dir, [nginx], leave_out)
}

/// Brings the peer, if it can be had; [`run`] says if it cannot.
pub fn fetch(work_dir: &Path) {
    find(work_dir, |_, _| {});
}

/// Compares, and prints the table.
///
/// # Errors
/// Something of the bench itself fails; a contestant that fails is left out, and said so.
pub fn run(options: &Options, work_dir: &Path, scratch: &Path) -> Result<()> {
    let mut contest = Contest::new(options, scratch)?;
    let files = TestFiles::create(scratch, &[4 * MIB, 32 * MIB])?;
    let mut servers = find(work_dir, |name, why| {
        contest.say(&format!("{name} is left out: {why:#}"));
    });
    servers.push(Server::Bootd);
    servers.retain(|it| options.wants(it.name()));
    let mut entrants = Vec::new();
    for (number, server) in servers.into_iter().enumerate() {
        let first = load(&files, CASES[1].1, 1, 1)?;
        let command = server.command(&files, scratch)?;
        let name = server.name();
        let answers = || load::run(&first).is_ok_and(|it| it.downloads.done == 1);
        entrants.extend(serving::start(
            &contest, server, name, number, command, answers,
        )?);
    }
    for repetition in 0..options.repetitions() {
        let cases = CASES.iter().filter(|(name, ..)| options.does(name));
        for &(name, size, transfers, at_once) in cases {
            let load = load(&files, size, transfers, at_once)?;
            let mut order: Vec<&Entrant<Server>> = entrants.iter().collect();
            let seed = options.seed + u64::from(repetition) + count(name.len());
            fastrand::Rng::with_seed(seed).shuffle(&mut order);
            for entrant in order {
                let subject = Subject {
                    case: name,
                    server: entrant.server.name(),
                    repetition,
                    process: &entrant.process,
                    forks: false,
                    memory: false,
                };
                contest.sample(&subject, &entrant.netns, || figures(&load))?;
            }
        }
    }
    table::print(&rows(), &contest.samples);
    Ok(())
}

fn load(files: &TestFiles, size: usize, transfers: usize, at_once: usize) -> Result<Load> {
    let file = files.of(size)?;
    Ok(Load {
        server: SERVER,
        path: file.http(),
        content: file.content.clone(),
        transfers,
        at_once,
        limit: Duration::from_secs(20),
    })
}

fn figures(load: &Load) -> Result<Outcome> {
    let Report {
        mut downloads,
        bytes,
    } = load::run(load)?;
    let mut figures = downloads.figures();
    figures.extend([
        ("mb_s", real(bytes) / downloads.elapsed.as_secs_f64() / 1e6),
        ("gib", real(bytes) / 1_073_741_824.0),
    ]);
    let note = downloads.note();
    Ok(Outcome { figures, note })
}

/// The lines of the table.
fn rows() -> Vec<Row> {
    const RATE: Figure = |it| it.get("mb_s").copied();
    const COST: Figure =
        |it| Some(it.get("server_cpu_s")? / it.get("gib").filter(|it| **it > 0.0)?);
    let row = |(work, ..): (&'static str, usize, usize, usize)| Row {
        work,
        unit: "MB/s",
        case: work,
        figure: RATE,
        over: None,
        better: Better::Higher,
        limits: &[],
        goal: Goal::TimesPeer(0.9),
    };
    let mut rows: Vec<Row> = CASES.map(row).into();
    rows.extend(CASES.map(|case| Row {
        unit: "server CPU s per GiB",
        figure: COST,
        better: Better::Lower,
        goal: Goal::None,
        ..row(case)
    }));
    rows
}
