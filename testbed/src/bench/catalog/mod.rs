//! The catalog measured: how long it takes from rows to manifests, from an edit to its effect, and
//! from a composite to an installed release; and what a bootd with very many nodes weighs.

mod install;
mod rows;

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ::catalog::Catalog;
use ::catalog::identify::{Identity, match_node};
use ::catalog::served::Served;
use ::catalog::snapshot::Snapshot;
use anyhow::{Context as _, Result};
use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac};
use tempfile::TempDir;

use self::rows::Size;
use super::memory::megabytes;
use super::{figures::median, free_ports, proc};
use crate::cluster::master::Master;
use crate::cluster::{http, wait_for};

/// How often each time is taken; the median counts.
const TIMES: usize = 5;
/// Machines that are looked up.
const LOOKUPS: u32 = 200_000;

/// What `testbed bench catalog` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Size of the composite that is installed, in MB
    #[arg(long, value_name = "N", default_value_t = 1000)]
    composite: u64,
    /// Nodes of the large catalog
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    many: u32,
}

/// One line of the table.
struct Line {
    what: String,
    goal: &'static str,
    measured: String,
    reached: bool,
}

/// Measures everything and prints a Markdown table.
///
/// # Errors
/// A catalog that cannot be made, a `bootd` that does not start.
#[expect(clippy::print_stdout, reason = "its result")]
pub fn run(options: &Options) -> Result<()> {
    let mut lines = resolution()?;
    lines.extend(edit_in_force()?);
    lines.extend(many_nodes(options.many)?);
    lines.push(install::measure(options.composite)?);
    println!("| catalog | goal | measured | reached |\n|---|---|---:|---|");
    for Line {
        what,
        goal,
        measured,
        reached,
    } in lines
    {
        let reached = if reached { "yes" } else { "no" };
        println!("| {what} | {goal} | {measured} | {reached} |");
    }
    Ok(())
}

/// A catalog with rows of this size.
fn filled(size: Size) -> Result<(TempDir, Catalog)> {
    let dir = tempfile::tempdir()?;
    let catalog = Catalog::create(dir.path())?;
    rows::fill(&catalog.db_path(), size)?;
    Ok((dir, catalog))
}

/// From an edit to manifests, by this thread alone.
fn resolution() -> Result<Vec<Line>> {
    let (_dir, catalog) = filled(Size::USUAL)?;
    let snapshot = catalog.snapshot()?;
    let served = Served::first(&snapshot);
    let files: usize = served
        .all()
        .filter_map(|(_, it)| Some(it.manifest().ok()?.files.len()))
        .sum();
    let problems = served.problems().len();
    anyhow::ensure!(problems == 0, "the catalog has {problems} problems");
    let mut state = (snapshot, served);
    let everything = time_edits(&catalog, &mut state, &rows::edit_all)?;
    let one_class = time_edits(&catalog, &mut state, &rows::edit_one)?;
    let manifests = state.1.all().count();
    let what = |edit: &str| {
        format!(
            "10,000 nodes, 20 classes, 200 packages, 20,000 modules into {manifests} manifests of {files} files in all, after an edit of {edit}"
        )
    };
    Ok(vec![
        below(
            what("all classes"),
            everything,
            "1 s",
            Duration::from_secs(1),
        ),
        below(
            what("one class"),
            one_class,
            "100 ms",
            Duration::from_millis(100),
        ),
    ])
}

/// Edits, reads and resolves several times.
fn time_edits(
    catalog: &Catalog,
    state: &mut (Snapshot, Served),
    edit: &dyn Fn(usize) -> String,
) -> Result<Duration> {
    let mut times = Vec::new();
    for time in 0..TIMES {
        rows::run(&catalog.db_path(), &edit(time))?;
        let begun = Instant::now();
        let snapshot = catalog.snapshot()?;
        let served = state.1.next(&state.0, &snapshot);
        times.push(begun.elapsed());
        let changed = served
            .all()
            .filter(|(_, it)| state.1.manifest(it.digest).is_none());
        anyhow::ensure!(changed.count() > 0, "the edit changes nothing");
        *state = (snapshot, served);
    }
    Ok(middle(times))
}

fn middle(times: Vec<Duration>) -> Duration {
    let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    Duration::from_secs_f64(median(seconds).unwrap_or_default())
}

fn below(what: String, time: Duration, goal: &'static str, limit: Duration) -> Line {
    let measured = match time.as_micros() {
        few if few < 1000 => format!("{:.2} µs", time.as_secs_f64() * 1e6),
        _ => format!("{:.0} ms", time.as_secs_f64() * 1e3),
    };
    Line {
        what,
        goal,
        measured,
        reached: time < limit,
    }
}

/// A running bootd on a catalog of this size.
fn started(size: Size) -> Result<(TempDir, Master, SocketAddr)> {
    let dir = tempfile::tempdir()?;
    let state = dir.path().join("master");
    let mut master = Master::create(&state, &dir.path().join("bootd.log"))?;
    rows::fill(&state.join("catalog.db"), size)?;
    let [http, tftp, verify] = free_ports()?;
    master.start_with(&[
        "--no-dhcp".to_owned(),
        format!("--http-port={http}"),
        format!("--tftp-port={tftp}"),
        format!("--verify-port={verify}"),
    ])?;
    Ok((dir, master, (Ipv4Addr::LOCALHOST, http).into()))
}

/// From the end of `sqlite3` to the new manifest being served, and what a node is told of it.
fn edit_in_force() -> Result<Vec<Line>> {
    let (_dir, mut master, http) = started(Size::USUAL)?;
    let catalog = Catalog::open(master.dir())?;
    let (mut times, mut longest) = (Vec::new(), 0);
    for time in 0..TIMES {
        let before = wanted(&catalog)?;
        let edit = rows::edit_one(time);
        let trial = catalog.trial()?;
        trial.sql(&edit)?;
        let change = trial.diff()?.changes.into_iter().next();
        let digest = change
            .and_then(|it| it.digest)
            .context("the edit changes a manifest")?;
        master.sql(&edit)?;
        let begun = Instant::now();
        let path = format!("/manifest/{digest}");
        wait_for("the edit is in force", Duration::from_secs(10), || {
            Ok(http::get_from(http, &path).is_ok().then_some(()))
        })?;
        times.push(begun.elapsed());
        let path = format!("/manifest/{}/from/{before}", wanted(&catalog)?);
        longest = longest.max(http::get_from(http, &path)?.len());
    }
    master.stop()?;
    let what = "an edit by sqlite3 is in force, 10,000 nodes".to_owned();
    Ok(vec![
        below(what, middle(times), "1 s", Duration::from_secs(1)),
        Line {
            what: "an update of one module of 3,000, besides the module".to_owned(),
            goal: "at most 64 KB",
            measured: format!("{longest} bytes"),
            reached: longest <= 64_000,
        },
    ])
}

/// The manifest of a node that the edits of one class are about.
fn wanted(catalog: &Catalog) -> Result<Digest> {
    let served = Served::first(&catalog.snapshot()?);
    let wanted = served.wanted("class-07", None, Arch::X86_64, Firmware::Uefi);
    Ok(wanted.context("the class has a manifest")?.digest)
}

/// What very many nodes cost: memory, and the time to find one of them and what it gets.
fn many_nodes(nodes: u32) -> Result<Vec<Line>> {
    let size = Size {
        nodes,
        ..Size::USUAL
    };
    let (_dir, mut master, _) = started(size)?;
    // An edit: for a moment there are two catalogs in memory.
    master.sql(&rows::edit_one(0))?;
    wait_for("bootd has it", Duration::from_secs(60), || {
        Ok((master.counter("uptime_seconds")? >= 5).then_some(()))
    })?;
    let memory = proc::memory(master.pid().context("bootd runs")?)?;
    let snapshot = Catalog::open(master.dir())?.snapshot()?;
    master.stop()?;
    let served = Served::first(&snapshot);
    let begun = Instant::now();
    for number in 0..LOOKUPS {
        let identity = Identity {
            mac: Some(Mac(rows::mac(number.wrapping_mul(7919) % nodes))),
            arch: Some(Arch::X86_64),
            firmware: Some(Firmware::Uefi),
            ..Identity::default()
        };
        if let ::catalog::identify::Match::Node { node, .. } = match_node(&snapshot, &identity) {
            black_box(served.wanted(&node.class, Some(&node.name), Arch::X86_64, Firmware::Uefi));
        }
    }
    let each = begun.elapsed() / LOOKUPS;
    Ok(vec![
        Line {
            what: format!("{nodes} nodes: bootd resident after an edit (largest so far)"),
            goal: "below 300 MB",
            measured: format!("{} MB ({})", megabytes(memory.rss), megabytes(memory.peak)),
            reached: memory.rss * 1024 < 300_000_000,
        },
        below(
            format!("{nodes} nodes: who is it, and what does it get"),
            each,
            "20 µs",
            Duration::from_micros(20),
        ),
    ])
}
