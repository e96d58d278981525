//! Contestants in turn on the same work: one sample after another, each with what else this
//! machine did meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::figures::real;
use super::netns::Netns;
use super::proc::{self, Cpus};
use super::process::Process;

/// Numbers of a sample by name.
pub(super) type Figures = BTreeMap<&'static str, f64>;

/// Above this share of one CPU for other work, a sample counts as disturbed.
const DISTURBED: f64 = 0.2;
/// Below this one, the machine counts as quiet.
const QUIET: f64 = 0.15;
/// How long is waited for quiet before a sample, and in all.
const WAIT: Duration = Duration::from_secs(4);
const WAIT_IN_ALL: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(120);
/// Between two looks at a server's memory.
const MEMORY_GLANCE: Duration = Duration::from_millis(300);

/// How a comparison is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Less work and fewer repetitions: a few minutes
    #[arg(long)]
    pub quick: bool,
    /// Write every sample into this file, one JSON object in each line
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// How many times each contestant does each work [default: 5, or 3 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    pub repetitions: Option<u32>,
    /// Only contestants whose names begin with one of these, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only work whose name has this in it
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub work: String,
    /// Order and losses follow from this
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

impl Options {
    pub(super) fn repetitions(&self) -> u32 {
        self.repetitions.unwrap_or(if self.quick { 3 } else { 5 })
    }

    /// Whether this contestant takes part.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|it| name.starts_with(it.as_str()))
    }

    /// Whether this work is done.
    pub(super) fn does(&self, work: &str) -> bool {
        work.contains(&self.work)
    }
}

/// One measurement.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) case: String,
    pub(super) server: &'static str,
    pub(super) repetition: u32,
    pub(super) figures: Figures,
    /// CPUs that other work took meanwhile; `None` where that cannot be told.
    pub(super) foreign: Option<f64>,
    /// What went wrong.
    pub(super) note: Option<String>,
}

impl Sample {
    pub(super) fn is_disturbed(&self) -> bool {
        self.foreign.is_some_and(|it| it > DISTURBED)
    }
}

/// What a load gives back.
pub(super) struct Outcome {
    pub(super) figures: Figures,
    pub(super) note: Option<String>,
}

/// What is measured, against whom, and how often.
pub(super) struct Subject<'a> {
    pub(super) case: &'a str,
    pub(super) server: &'static str,
    pub(super) repetition: u32,
    pub(super) process: &'a Process,
    /// Whether its children come and go, and take their CPU time with them.
    pub(super) forks: bool,
    /// Whether its memory is looked at meanwhile.
    pub(super) memory: bool,
}

/// All samples, and where they are written.
pub(super) struct Contest {
    pub(super) cpus: Option<Cpus>,
    pub(super) samples: Vec<Sample>,
    scratch: PathBuf,
    json: Option<File>,
    waited: Duration,
    begun: Instant,
}

impl Contest {
    /// `scratch` is a directory for what is made on the way.
    pub(super) fn new(options: &Options, scratch: &Path) -> Result<Self> {
        let create =
            |path: &PathBuf| File::create(path).with_context(|| format!("make {}", path.display()));
        Ok(Contest {
            cpus: Cpus::choose()?,
            samples: Vec::new(),
            scratch: scratch.to_owned(),
            json: options.json.as_ref().map(create).transpose()?,
            waited: Duration::ZERO,
            begun: Instant::now(),
        })
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    pub(super) fn server_cpu(&self) -> Option<usize> {
        self.cpus.map(|it| it.master)
    }

    pub(super) fn load_cpu(&self) -> Option<usize> {
        self.cpus.map(|it| it.load)
    }

    /// Puts a load on a server, from `clients`.
    ///
    /// # Errors
    /// Something here fails; a server that fails makes a note in its sample.
    pub(super) fn sample(
        &mut self,
        subject: &Subject<'_>,
        clients: &Netns,
        load: impl FnOnce() -> Result<Outcome> + Send,
    ) -> Result<()> {
        self.wait_for_quiet()?;
        let (machine, ours, cpu) = times(subject.process)?;
        let begun = Instant::now();
        let watch = subject.memory.then_some(subject.process);
        let (outcome, memory) = self.run(watch, clients, load)?;
        let elapsed = begun.elapsed().as_secs_f64();
        let (machine_after, ours_after, cpu_after) = times(subject.process)?;
        let mut figures = outcome.figures;
        if !subject.forks {
            let cpu = cpu_after.saturating_sub(cpu).as_secs_f64();
            figures.insert("server_cpu_s", cpu);
        }
        if let Some(kib) = memory {
            figures.insert("memory_mb", real(kib) * 1024.0 / 1e6);
        }
        let machine = machine_after.saturating_sub(machine);
        let others = machine.saturating_sub(ours_after.saturating_sub(ours));
        let foreign = (!subject.forks).then(|| others.as_secs_f64() / elapsed);
        self.keep(Sample {
            case: subject.case.to_owned(),
            server: subject.server,
            repetition: subject.repetition,
            figures,
            foreign,
            note: outcome.note,
        })
    }

    /// Adds a sample that was not taken under load.
    pub(super) fn keep(&mut self, sample: Sample) -> Result<()> {
        self.tell(&sample);
        if let Some(file) = &mut self.json {
            let line = json!({
                "case": sample.case, "server": sample.server, "repetition": sample.repetition,
                "figures": sample.figures, "foreign": sample.foreign, "note": sample.note,
            });
            writeln!(file, "{line}")?;
        }
        self.samples.push(sample);
        Ok(())
    }

    /// Runs the load on its own core; a thread beside it looks at the server's memory.
    fn run(
        &self,
        watch: Option<&Process>,
        clients: &Netns,
        load: impl FnOnce() -> Result<Outcome> + Send,
    ) -> Result<(Outcome, Option<u64>)> {
        let done = AtomicBool::new(false);
        let largest = |process: &Process| {
            let mut largest = process.resident();
            while !done.load(Ordering::Relaxed) {
                thread::sleep(MEMORY_GLANCE);
                largest = largest.max(process.resident());
            }
            largest
        };
        thread::scope(|scope| {
            let watcher = watch.map(|process| scope.spawn(move || largest(process)));
            let outcome = clients.inside(self.load_cpu(), load);
            done.store(true, Ordering::Relaxed);
            let memory = watcher.and_then(|it| it.join().ok());
            Ok((outcome?, memory))
        })
    }

    fn wait_for_quiet(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < WAIT && self.waited < WAIT_IN_ALL {
            let glance = Instant::now();
            let (machine, ours) = (proc::machine_time()?, proc::visible_time());
            thread::sleep(GLANCE);
            let machine = proc::machine_time()?.saturating_sub(machine);
            let others = machine.saturating_sub(proc::visible_time().saturating_sub(ours));
            if others.as_secs_f64() < QUIET * glance.elapsed().as_secs_f64() {
                break;
            }
            self.waited += glance.elapsed();
        }
        Ok(())
    }

    #[expect(clippy::print_stderr, reason = "how far it has come")]
    pub(super) fn say(&self, text: &str) {
        eprintln!("{:6.1} s  {text}", self.begun.elapsed().as_secs_f64());
    }

    fn tell(&self, sample: &Sample) {
        let number = |it: &f64| {
            if it.abs() < 100.0 {
                format!("{it:.2}")
            } else {
                format!("{it:.0}")
            }
        };
        let figures = sample.figures.iter();
        let figures: Vec<String> = figures
            .map(|(name, it)| format!("{name} {}", number(it)))
            .collect();
        let note = sample
            .note
            .as_ref()
            .map_or_else(String::new, |it| format!("  !! {it}"));
        let (case, server) = (&sample.case, sample.server);
        self.say(&format!(
            "{} {case:34} {server:14} {}{note}",
            sample.repetition,
            figures.join(" ")
        ));
    }
}

/// CPU time of the machine, of the lab and of a server.
fn times(process: &Process) -> Result<(Duration, Duration, Duration)> {
    Ok((proc::machine_time()?, proc::visible_time(), process.cpu()))
}

/// A figure per 10,000 of another one; `None` if there were none.
pub(super) fn per_ten_thousand(value: f64, count: f64) -> Option<f64> {
    (count > 0.0).then(|| value * 10_000.0 / count)
}
