//! The test bed's command; `testbed/demo` and `testbed/test` build and call it.
#![expect(clippy::print_stdout, reason = "a command writes its results there")]

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use testbed::bench;
use testbed::demo;
use testbed::e2e::{self, Track};
use testbed::inputs;
use testbed::lab::{self, Lab, Side};
use testbed::options::MachineOptions;
use testbed::qemu::Accel;
use testbed::selftest;

/// Machines under QEMU in a private network, and what is tried with them.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where Debian packages are kept and logs are written
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "target/testbed"
    )]
    work_dir: PathBuf,

    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Fetch the Debian packages that are used as input, with apt
    Inputs,
    /// Run a command in a private network of its own
    Run {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Show the main job: blank machines install themselves and run from their own disks
    Demo(MachineOptions),
    /// Run the end-to-end tests
    E2e {
        /// Begin with the test of this number
        #[arg(long, value_name = "N", default_value_t = 1)]
        from: usize,
        /// Who executes the machines' instructions
        #[arg(long, value_enum, default_value_t)]
        accel: Accel,
        /// Only the tests of this track, with both processors to itself
        #[arg(long, value_enum)]
        only: Option<Track>,
        /// This is the process of a track
        #[arg(long, value_enum, hide = true)]
        track: Option<Track>,
    },
    /// Test the test bed itself: real firmware reaches the network, a power cut loses
    /// exactly what was not flushed
    Selftest(MachineOptions),
    /// Measure the master: by itself, or side by side with its peers
    Bench {
        /// What is measured
        #[command(subcommand)]
        what: Figure,
    },
}

#[derive(Debug, Subcommand)]
enum Figure {
    /// Answers of the verify protocol per second, their latency and cost
    Verify(bench::verify::Options),
    /// Memory of a bootd that has nothing to do
    Memory {
        /// Nodes in the catalog
        #[arg(long, value_name = "N", default_value_t = 1000)]
        nodes: u16,
    },
    /// The catalog: from an edit to manifests, installing, very many nodes
    Catalog(bench::catalog::Options),
    /// DHCP side by side with Kea, dnsmasq and ISC dhcpd
    Dhcp(bench::contest::Options),
    /// TFTP side by side with tftpd-hpa, dnsmasq, atftpd and async-tftp
    Tftp(bench::contest::Options),
    /// HTTP side by side with nginx
    Http(bench::contest::Options),
    /// A contestant
    #[command(subcommand, hide = true)]
    Part(bench::part::Part),
}

fn main() -> Result<ExitCode> {
    let Arguments { work_dir, command } = Arguments::parse();
    match command {
        Task::Inputs => {
            for (name, file) in e2e::fetch(&work_dir)?.iter() {
                println!("{name}: {}", file.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Task::Run { command } => in_lab(|_| run(&command)),
        Task::Demo(options) => {
            in_lab(|mut lab| demo::demo(&mut lab, &options, &work_dir).map(|()| ExitCode::SUCCESS))
        }
        Task::E2e {
            from,
            only,
            track: None,
            ..
        } => e2e::run(from, only, &work_dir).map(|()| ExitCode::SUCCESS),
        Task::E2e {
            from,
            accel,
            track: Some(track),
            ..
        } => {
            // A track ends with the program that started it, also when that one is killed.
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
            in_lab(|mut lab| {
                e2e::run_track(&mut lab, track, accel, from, &work_dir).map(|()| ExitCode::SUCCESS)
            })
        }
        Task::Bench { what } => measure(what, &work_dir),
        Task::Selftest(options) => in_lab(|lab| self_test(lab, &options, &work_dir)),
    }
}

fn measure(what: Figure, work_dir: &Path) -> Result<ExitCode> {
    match what {
        Figure::Verify(options) => bench::verify::run(&options)?,
        Figure::Memory { nodes } => bench::memory::run(nodes)?,
        Figure::Catalog(options) => bench::catalog::run(&options)?,
        Figure::Part(part) => part.run()?,
        Figure::Dhcp(options) => {
            return side_by_side(work_dir, &options, bench::dhcp::fetch, bench::dhcp::run);
        }
        Figure::Tftp(options) => {
            return side_by_side(work_dir, &options, bench::tftp::fetch, bench::tftp::run);
        }
        Figure::Http(options) => {
            return side_by_side(work_dir, &options, bench::http::fetch, bench::http::run);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares in a lab, with a directory on the disk that goes with it however it ends.
fn side_by_side(
    work_dir: &Path,
    options: &bench::contest::Options,
    fetch: fn(&Path),
    run: fn(&bench::contest::Options, &Path, &Path) -> Result<()>,
) -> Result<ExitCode> {
    if !lab::is_inside() {
        fetch(work_dir);
    }
    let scratch = |outer: u32| work_dir.join(format!("bench-{outer}"));
    match lab::enter()? {
        Side::Outside(code) => {
            let scratch = scratch(std::process::id());
            match std::fs::remove_dir_all(&scratch) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("remove {}", scratch.display()))
                }
                Ok(()) | Err(_) => Ok(code),
            }
        }
        Side::Inside(lab) => {
            let scratch = scratch(lab.outer());
            std::fs::create_dir_all(&scratch)?;
            let scratch = std::fs::canonicalize(scratch)?;
            run(options, work_dir, &scratch)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn in_lab(body: impl FnOnce(Lab) -> Result<ExitCode>) -> Result<ExitCode> {
    match lab::enter()? {
        Side::Outside(code) => Ok(code),
        Side::Inside(lab) => body(lab),
    }
}

fn run(command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no command")?;
    // In this process's place, so that it is PID 1, whose end ends all the rest.
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

fn self_test(mut lab: Lab, options: &MachineOptions, work_dir: &Path) -> Result<ExitCode> {
    let packages = inputs::fetch(&work_dir.join("debs"))?;
    println!("real firmware, blank disks:");
    let machines = selftest::firmware(&mut lab, options, work_dir)?;
    println!("\npower cut:");
    let found = selftest::power_cut(&lab, &packages, options.accel, work_dir)?;
    println!(
        "  a guest ran after {:.1} s; its flushed sector stayed, its unflushed one was lost",
        found.boot.as_secs_f64()
    );
    println!(
        "  cut at the 20th flush: {} sectors durable, none after them",
        found.flushed
    );
    if options.keep {
        println!(
            "\nrunning until Ctrl-C; to look in:  {} -- bash",
            lab.way_in()
        );
        loop {
            std::thread::park();
        }
    }
    drop(machines);
    Ok(ExitCode::SUCCESS)
}
