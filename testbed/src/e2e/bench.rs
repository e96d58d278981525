//! What the end-to-end tests share: a master with a release, and ways to look.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bootd_protocol::identity::Firmware;

use super::Track;
use crate::cluster::http;
use crate::cluster::master::{Master, NodeRow};
use crate::cluster::node::Node;
use crate::cluster::release::{FIRST, SECOND_IMAGE, SECOND_SITE, Workshop};
use crate::cluster::wait_for;
use crate::inputs::{self, Packages};
use crate::lab::Lab;
use crate::nbd::Counters;
use crate::qemu::Accel;

/// From power on to the processes running, a first installation included.
pub(super) const INSTALL_LIMIT: Duration = Duration::from_secs(300);
/// From power on to the processes running, from the disk.
pub(super) const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// How long bootd may take to say what it did.
const LOG_LIMIT: Duration = Duration::from_secs(10);

/// The master, the release, and what has been counted.
pub(super) struct Bench {
    pub(super) master: Master,
    pub(super) accel: Accel,
    pub(super) logs: PathBuf,
    /// Where packages are kept.
    pub(super) work_dir: PathBuf,
    /// What an installation and an update ask of a disk, as the main path has seen it.
    pub(super) work: Work,
    /// Machines that the main path leaves running, BIOS first.
    pub(super) installed: Vec<Node>,
}

/// What every track begins with: files below the work directory.
struct Prepared {
    root: PathBuf,
    /// The state directory of a master that has the releases.
    master: PathBuf,
    /// Where they were made.
    release: PathBuf,
}

impl Prepared {
    fn below(work: &Path) -> Self {
        let root = work.join("e2e");
        Prepared {
            master: root.join("master"),
            release: root.join("release"),
            root,
        }
    }
}

/// Makes the releases and a master that has them, and removes what an earlier run left.
pub(super) fn prepare(work: &Path, packages: Packages) -> Result<()> {
    let Prepared {
        root,
        master: state,
        release,
    } = Prepared::below(work);
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
    }
    fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
    let master = Master::create(&state, &root.join("bootd.log"))?;
    let workshop = &Workshop::new(&release, packages, &state)?;
    master.trust(&workshop.public_key())?;
    // Each release sets the class to its own versions; the first is installed last.
    let versions = [SECOND_IMAGE, SECOND_SITE, FIRST];
    let composed = thread::scope(|scope| {
        let composing = versions.map(|version| scope.spawn(move || workshop.compose(version)));
        composing.map(thread::ScopedJoinHandle::join)
    });
    for release in composed {
        let release = release.map_err(|_| anyhow!("composing has panicked"))??;
        master.install(&release)?;
    }
    Ok(())
}

/// What an installation and an update ask of a disk, from power on to the restart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub(super) install: Counters,
    pub(super) update: Counters,
}

impl Default for Work {
    /// What was seen once, for a run without the main path.
    fn default() -> Self {
        let seen = |writes, flushes| Counters {
            writes,
            flushes,
            ..Counters::default()
        };
        Work {
            install: seen(140, 20),
            update: seen(100, 12),
        }
    }
}

/// The master's numbers at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) tftp: u64,
    pub(super) http: u64,
    /// Questions of the verify protocol, and their answers: nodes that run report besides.
    pub(super) asked: u64,
    pub(super) answered: u64,
}

/// Says one line of a test.
#[expect(clippy::print_stdout, reason = "a test says how it goes")]
pub(super) fn say(text: impl std::fmt::Display) {
    println!("  {text}");
}

impl Bench {
    /// A master of the lab's own, which begins as a copy of what was prepared.
    pub(super) fn new(lab: &Lab, track: Track, accel: Accel, work: &Path) -> Result<Self> {
        let prepared = Prepared::below(work);
        let logs = prepared.root.join(track.name());
        fs::create_dir(&logs).with_context(|| format!("make {}", logs.display()))?;
        let state = lab.run_dir().join("master");
        let mut master = Master::copy(&prepared.master, &state, &logs.join("bootd.log"))?;
        master.start()?;
        Ok(Bench {
            master,
            accel,
            logs,
            work_dir: work.to_owned(),
            work: Work::default(),
            installed: Vec::new(),
        })
    }

    /// Where releases are made, for one that was not prepared and for a master with this state
    /// directory.
    pub(super) fn workshop_for(&self, state: &Path) -> Result<Workshop> {
        let prepared = Prepared::below(&self.work_dir);
        let packages = inputs::fetch(&self.work_dir.join("debs"))?;
        Ok(Workshop::open(&prepared.release, packages, state))
    }

    pub(super) fn node(
        &self,
        lab: &mut Lab,
        name: &str,
        firmware: Firmware,
        number: u8,
    ) -> Result<Node> {
        Node::new(lab, name, firmware, number, self.accel, &self.logs)
    }

    /// Waits until the counters are written, which is done every second.
    pub(super) fn counted(&self) -> Result<()> {
        let now = self.master.counter("uptime_seconds")?;
        wait_for("the counters are written", Duration::from_secs(10), || {
            Ok((self.master.counter("uptime_seconds")? > now + 1).then_some(()))
        })
    }

    pub(super) fn numbers(&self) -> Result<Numbers> {
        self.counted()?;
        let count = |name| self.master.counter(name);
        Ok(Numbers {
            tftp: count("tftp_bytes")?,
            http: count("http_bytes")?,
            asked: count("verify_received")? - count("verify_reports")?,
            answered: count("verify_answered")? - count("verify_reports")?,
        })
    }

    pub(super) fn row(&self, node: &Node) -> Result<NodeRow> {
        self.master
            .node(node.mac())?
            .with_context(|| format!("{} is unknown to the master", node.name()))
    }

    /// The front page that the node serves has to be that of this version of the site.
    pub(super) fn check_page(&self, node: &Node, site: &str) -> Result<()> {
        let address = self.row(node)?.address.context("the node has an address")?;
        let page = wait_for("the node serves a page", Duration::from_secs(20), || {
            Ok(http::get(&address, "/").ok())
        })?;
        let wanted = format!("<h1>site {site}</h1>");
        ensure!(
            page.contains(&wanted),
            "{}: {page:?} instead of {wanted}",
            node.name()
        );
        Ok(())
    }

    /// Edits the catalog and waits until the edit is in force; how long that took.
    pub(super) fn edit(&self, sql: &str) -> Result<Duration> {
        self.change(|| self.master.sql(sql))
    }

    /// Changes the catalog and waits until the change is in force; how long that took.
    pub(super) fn change(&self, change: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let before = self.in_force()?;
        change()?;
        let begun = Instant::now();
        wait_for("the edit is in force", Duration::from_secs(5), || {
            Ok((self.in_force()? > before).then_some(()))
        })?;
        Ok(begun.elapsed())
    }

    /// Waits until bootd's log has this text so many times.
    pub(super) fn logged(&self, text: &str, times: usize) -> Result<()> {
        wait_for(&format!("bootd logs {text:?}"), LOG_LIMIT, || {
            let log = fs::read_to_string(self.logs.join("bootd.log"))?;
            Ok((log.matches(text).count() >= times).then_some(()))
        })
    }

    /// How often a catalog has come in force.
    fn in_force(&self) -> Result<usize> {
        let log = fs::read_to_string(self.logs.join("bootd.log"))?;
        Ok(log.matches("catalog in force").count())
    }
}
