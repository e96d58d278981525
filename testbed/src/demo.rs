//! The main job, shown: blank machines boot from the network, install themselves, restart and
//! run from their own disks, and are verified at a second boot that downloads nothing.

use std::fs;
use std::io::{IsTerminal as _, stdout};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cluster::master::Master;
use crate::cluster::node::Node;
use crate::cluster::release::{FIRST, Workshop};
use crate::cluster::{http, program, wait_for};
use crate::console::{Board, Event, EventKind, Stage, View};
use crate::inputs;
use crate::lab::Lab;
use crate::options::MachineOptions;
use crate::qemu::{Entry, Happening};

/// Until every node runs from its own disk.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);
/// From a process started to its first page.
const PAGE_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks at what the master knows.
const LOOK: Duration = Duration::from_millis(200);

/// Runs the demo.
///
/// # Errors
/// A node does not come to run from its own disk, or something on the way fails.
pub fn demo(lab: &mut Lab, options: &MachineOptions, work: &Path) -> Result<()> {
    let machines = options.machines()?;
    let logs = work.join("demo");
    fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
    let out = stdout();
    let on_terminal = out.is_terminal();
    let mut view = View::new(Board::new(&machines), out.lock(), on_terminal);
    let begun = Instant::now();

    view.say(
        "building the release from Debian's packages, and signing it",
        Duration::ZERO,
    )?;
    let state = tempfile::tempdir_in(lab.run_dir()).context("make the state directory")?;
    let dir = state.path().join("master");
    let mut master = Master::create(&dir, &logs.join("bootd.log"))?;
    let packages = inputs::fetch(&work.join("debs"))?;
    let workshop = Workshop::new(&state.path().join("release"), packages, &dir)?;
    let composite = workshop.compose(FIRST)?;
    master.trust(&workshop.public_key())?;
    master.install(&composite)?;
    master.start()?;
    let megabytes = fs::metadata(&composite)?.len() >> 20;
    view.say(
        &format!("the master serves a release of {megabytes} MB; power on"),
        begun.elapsed(),
    )?;

    let (sender, events) = channel();
    let mut nodes = Vec::new();
    for (index, (name, firmware)) in machines.iter().enumerate() {
        let number = u8::try_from(index + 1)?;
        let mut node = Node::new(lab, name, *firmware, number, options.accel, &logs)?;
        let shown = options.serial.as_deref() == Some(name);
        node.power_on(watcher(name, begun, shown, sender.clone()))?;
        nodes.push(node);
    }
    let mut show = Show {
        view: &mut view,
        events,
        begun,
        firmware_told: vec![None; nodes.len()],
    };
    show.until_all_run(&master, &nodes, "own disk")?;
    let transferred = bytes_sent(&master)?;
    show.view.say(
        "all run from their own disks; now a warm boot of all",
        begun.elapsed(),
    )?;
    for node in &nodes {
        node.reset()?;
    }
    show.drain_until(LOOK * 2)?;
    show.until_all_run(&master, &nodes, "warm boot")?;
    let warm = bytes_sent(&master)? - transferred;
    let pages = fetch_pages(&master, &nodes)?;

    view.finish()?;
    report(transferred, warm, &pages, &master)?;
    if options.keep {
        keep(lab, &master, &nodes)?;
    }
    master.stop()
}

/// What a node's console says, as events.
fn watcher(
    name: &str,
    begun: Instant,
    shown: bool,
    sender: Sender<Event>,
) -> impl Fn(&Entry) + Send + Sync + 'static {
    let name: Arc<str> = name.into();
    let sender = std::sync::Mutex::new(sender);
    move |entry| {
        let mut kinds = Vec::new();
        if shown && let Happening::Line(line) = &entry.what {
            kinds.push(EventKind::Note(line.clone()));
        }
        kinds.extend(meaning(&entry.what));
        for kind in kinds {
            let event = Event {
                node: name.to_string(),
                at: begun.elapsed(),
                kind,
            };
            if let Ok(sender) = sender.lock() {
                // The show may be over.
                let _ = sender.send(event);
            }
        }
    }
}

/// What a happening says about the stage of a node.
fn meaning(what: &Happening) -> Option<EventKind> {
    let stage = match what {
        Happening::Restarted { .. } => Stage::Firmware,
        Happening::PoweredOff | Happening::Ended => Stage::Off,
        Happening::Halted => Stage::Failed,
        Happening::Line(line) => {
            let said = line.split_once("bootd-init [")?.1.split_once("] ")?.1;
            return spoken(said);
        }
    };
    Some(EventKind::Stage(stage))
}

/// What a line of init says about the stage of its node.
fn spoken(said: &str) -> Option<EventKind> {
    let stages = [
        ("the master says install", Stage::Installing),
        ("restarting from the local disk", Stage::Restarting),
        ("verified as", Stage::Verifying),
        ("ready:", Stage::Running),
        ("installation stopped", Stage::Failed),
        ("cannot boot", Stage::Failed),
    ];
    if let Some((_, stage)) = stages.iter().find(|(text, _)| said.starts_with(text)) {
        return Some(EventKind::Stage(*stage));
    }
    said.contains("eth0: ")
        .then_some(EventKind::Stage(Stage::Init))
}

struct Show<'a, 'b> {
    view: &'a mut View<std::io::StdoutLock<'b>>,
    events: Receiver<Event>,
    begun: Instant,
    /// The stage the master reported last for each node, so that each is shown once.
    firmware_told: Vec<Option<String>>,
}

impl Show<'_, '_> {
    /// Shows what happens until every node runs.
    fn until_all_run(&mut self, master: &Master, nodes: &[Node], what: &str) -> Result<()> {
        let deadline = Instant::now() + INSTALL_LIMIT;
        loop {
            self.drain_until(LOOK)?;
            for (index, node) in nodes.iter().enumerate() {
                if node.is_over() {
                    bail!("{what}: {}", node.end());
                }
                self.look(master, index, node)?;
            }
            if self.view.board().all_in(Stage::Running) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{what}: not all nodes run within {} s",
                    INSTALL_LIMIT.as_secs()
                );
            }
        }
    }

    fn drain_until(&mut self, pause: Duration) -> Result<()> {
        let end = Instant::now() + pause;
        while let Ok(event) = self
            .events
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            self.view.apply(&event)?;
        }
        Ok(self.view.tick(self.begun.elapsed())?)
    }

    /// What only the master sees: the firmware's requests, and how far a download is.
    fn look(&mut self, master: &Master, index: usize, node: &Node) -> Result<()> {
        let Some(row) = master.node(node.mac())? else {
            return Ok(());
        };
        let mut tell = |kind| {
            let event = Event {
                node: node.name().to_owned(),
                at: self.begun.elapsed(),
                kind,
            };
            self.view.apply(&event)
        };
        if self.firmware_told[index].as_ref() != Some(&row.stage) {
            match row.stage.as_str() {
                "firmware" => tell(EventKind::Stage(Stage::Firmware))?,
                "netboot" => tell(EventKind::Stage(Stage::Netboot))?,
                _ => {}
            }
            self.firmware_told[index] = Some(row.stage.clone());
        }
        if let Some(running) = &row.running {
            tell(EventKind::Version(running.chars().take(12).collect()))?;
        }
        let (done, total) = row.progress;
        if total > 0 && matches!(row.stage.as_str(), "netboot" | "fetching") {
            tell(EventKind::Progress { done, total })?;
        }
        Ok(())
    }
}

fn bytes_sent(master: &Master) -> Result<u64> {
    Ok(master.counter("http_bytes")? + master.counter("tftp_bytes")?)
}

fn fetch_pages(master: &Master, nodes: &[Node]) -> Result<Vec<String>> {
    let mut pages = Vec::new();
    for node in nodes {
        let row = master.node(node.mac())?.context("the node is known")?;
        let address = row.address.context("the node has an address")?;
        let page = wait_for("the node serves a page", PAGE_LIMIT, || {
            Ok(http::get(&address, "/").ok())
        })?;
        pages.push(format!(
            "{} ({}, http://{address}/): {}",
            node.name(),
            row.name,
            page.trim()
        ));
    }
    Ok(pages)
}

#[expect(clippy::print_stdout, reason = "the demo's last words")]
fn report(transferred: u64, warm: u64, pages: &[String], master: &Master) -> Result<()> {
    println!(
        "\nfirst boot: {} MB sent; warm boot: {warm} bytes by TFTP and HTTP",
        transferred >> 20
    );
    for page in pages {
        println!("{page}");
    }
    println!("\n{}", master.catalog(&["nodes".as_ref()])?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the demo's last words")]
fn keep(lab: &Lab, master: &Master, nodes: &[Node]) -> Result<()> {
    let way = lab.way_in();
    let catalog = program("catalog")?;
    let catalog = catalog.display();
    println!("Still running. As root, from another terminal:");
    println!("  {way} {catalog} --dir {} nodes", master.dir().display());
    println!("  {way} sqlite3 {}/catalog.db", master.dir().display());
    for node in nodes {
        if let Some(address) = master.node(node.mac())?.and_then(|it| it.address) {
            println!("  {way} curl http://{address}/    # {}", node.name());
        }
    }
    println!("Ctrl-C ends it.");
    // The lab ends with this process, whoever ends it.
    let end = Command::new("sleep")
        .arg("infinity")
        .status()
        .context("wait")?;
    bail!("the wait ended with {end}")
}
