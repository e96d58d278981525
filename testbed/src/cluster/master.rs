//! A master in the lab: its state directory, the `bootd` that serves it, and looks at both.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bootd_protocol::identity::Mac;
use rusqlite::{Connection, OpenFlags};

use super::release::catalog;
use super::{program, wait_for};
use crate::lab::{GATEWAY, PREFIX_LENGTH};

/// How long `bootd` may take to serve.
const START_LIMIT: Duration = Duration::from_secs(15);

/// A state directory and, while it is on, its `bootd`.
pub struct Master {
    dir: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

/// What `state.db` says of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its name in the catalog.
    pub name: String,
    /// Its stage, by bootd's name.
    pub stage: String,
    /// Its address.
    pub address: Option<String>,
    /// The manifest it runs.
    pub running: Option<String>,
    /// Bytes done and in all of its stage.
    pub progress: (u64, u64),
    /// What it said last.
    pub message: String,
}

/// What `state.db` says of a leased address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The address.
    pub address: String,
    /// `bound`, `expired`, `released` or `declined`.
    pub state: String,
    /// The relay that the machine was last heard through.
    pub relay: Option<String>,
    /// What the relay said of its port.
    pub circuit: Option<String>,
}

impl Master {
    /// Makes the state directory `dir` with an empty catalog that serves the lab's network.
    ///
    /// # Errors
    /// `catalog init` or the first edit fails.
    pub fn create(dir: &Path, log: &Path) -> Result<Self> {
        let master = Master::empty(dir, log)?;
        let [a, b, c, _] = GATEWAY.octets();
        master.sql(&format!(
            "INSERT INTO network (name, subnet, pool_first, pool_last)
             VALUES ('lab', '{a}.{b}.{c}.0/{PREFIX_LENGTH}', '{a}.{b}.{c}.100', '{a}.{b}.{c}.199')"
        ))?;
        Ok(master)
    }

    /// Makes the state directory `dir` with an empty catalog.
    ///
    /// # Errors
    /// `catalog init` fails.
    pub fn empty(dir: &Path, log: &Path) -> Result<Self> {
        catalog(&["init".as_ref(), dir.as_os_str()])?;
        Ok(Master {
            dir: dir.to_owned(),
            log: log.to_owned(),
            child: None,
        })
    }

    /// A master whose state directory `dir` is a copy of `original`, where nobody writes meanwhile.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn copy(original: &Path, dir: &Path, log: &Path) -> Result<Self> {
        let output = Command::new("cp").arg("-a").args([original, dir]).output();
        let output = output.context("run cp")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Master {
            dir: dir.to_owned(),
            log: log.to_owned(),
            child: None,
        })
    }

    /// The state directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Trusts the key in `public_key`.
    ///
    /// # Errors
    /// `catalog trust` refuses.
    pub fn trust(&self, public_key: &Path) -> Result<()> {
        self.catalog(&["trust".as_ref(), "testbed".as_ref(), public_key.as_os_str()])
            .map(drop)
    }

    /// Installs a composite.
    ///
    /// # Errors
    /// `catalog install` refuses.
    pub fn install(&self, composite: &Path) -> Result<String> {
        self.catalog(&["install".as_ref(), composite.as_os_str()])
    }

    /// Runs `catalog` on this state directory; its output.
    ///
    /// # Errors
    /// It fails; with what it said.
    pub fn catalog(&self, arguments: &[&std::ffi::OsStr]) -> Result<String> {
        let all: Vec<_> = ["--dir".as_ref(), self.dir.as_os_str()]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        catalog(&all)
    }

    /// Edits the catalog as an operator does: with the `sqlite3` shell.
    ///
    /// # Errors
    /// The shell refuses; with what it said.
    pub fn sql(&self, text: &str) -> Result<()> {
        let output = Command::new("sqlite3")
            // Another edit may be under way: bootd's, or another test's.
            .args(["-bail", "-cmd", ".timeout 5000"])
            .arg(self.dir.join("catalog.db"))
            .arg(text)
            .output()
            .context("run sqlite3 (package sqlite3)")?;
        if !output.status.success() {
            bail!(
                "sqlite3 refuses {text:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Starts `bootd` and waits until it serves.
    ///
    /// # Errors
    /// It ends, or does not serve in time; with the end of its log.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// As [`Master::start`], with more options for `bootd`.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(&mut self, options: &[String]) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .context("bootd's log")?;
        let before = log.metadata()?.len();
        let child = Command::new(program("bootd")?)
            .arg("--state")
            .arg(&self.dir)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start bootd")?;
        self.child = Some(child);
        wait_for("bootd serves", START_LIMIT, || {
            let text = fs::read(&self.log)?;
            let new =
                String::from_utf8_lossy(text.get(usize::try_from(before)?..).unwrap_or_default())
                    .into_owned();
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("it ends with {status}: {new}");
            }
            Ok(new.contains("bootd serves").then_some(()))
        })
    }

    /// Ends `bootd` (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// It does not end well.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let status = child.wait()?;
        if !status.success() {
            bail!("bootd ends with {status}");
        }
        Ok(())
    }

    /// Ends `bootd` without a warning (SIGKILL).
    ///
    /// # Errors
    /// It has ended before, or cannot be ended.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("bootd runs")?;
        if let Some(status) = child.try_wait()? {
            bail!("bootd has ended by itself: {status}");
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The process id of `bootd`, if it is on.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn state(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = self.dir.join("state.db");
        let state = Connection::open_with_flags(&path, flags).context("open state.db")?;
        state.busy_timeout(Duration::from_secs(5))?;
        Ok(state)
    }

    /// One of bootd's numbers; 0 if it has not counted that yet.
    ///
    /// # Errors
    /// `state.db` cannot be read.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let state = self.state()?;
        let sql = "SELECT coalesce((SELECT value FROM counter WHERE name = ?1), 0)";
        let value: i64 = state.query_row(sql, [name], |row| row.get(0))?;
        Ok(u64::try_from(value)?)
    }

    /// What is known of the node with this card; `None` before it was seen.
    ///
    /// # Errors
    /// `state.db` cannot be read.
    pub fn node(&self, mac: Mac) -> Result<Option<NodeRow>> {
        let state = self.state()?;
        let mut statement = state.prepare(
            "SELECT node, stage, address, running, progress_done, progress_total, message
             FROM node_state WHERE mac = ?1",
        )?;
        let mut rows = statement.query_map([mac.to_string()], |row| {
            let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
            Ok(NodeRow {
                name: row.get(0)?,
                stage: row.get(1)?,
                address: row.get(2)?,
                running: row.get(3)?,
                progress: (number(4)?, number(5)?),
                message: row.get(6)?,
            })
        })?;
        Ok(rows.next().transpose()?)
    }
}

impl Master {
    /// The lease of the machine with this card, if it has one: the first by address.
    ///
    /// # Errors
    /// `state.db` cannot be read.
    pub fn lease(&self, mac: Mac) -> Result<Option<LeaseRow>> {
        let state = self.state()?;
        let mut statement =
            state.prepare("SELECT address, state, relay, circuit FROM leases WHERE mac = ?1")?;
        let mut rows = statement.query_map([mac.to_string()], |row| {
            Ok(LeaseRow {
                address: row.get(0)?,
                state: row.get(1)?,
                relay: row.get(2)?,
                circuit: row.get(3)?,
            })
        })?;
        Ok(rows.next().transpose()?)
    }

    /// How far a node is in its last preparation.
    ///
    /// # Errors
    /// `state.db` cannot be read.
    pub fn prepared(&self, node: &str) -> Result<Option<String>> {
        let state = self.state()?;
        let mut statement = state.prepare(
            "SELECT stage FROM preparation_node WHERE node = ?1 ORDER BY preparation DESC",
        )?;
        let mut rows = statement.query_map([node], |row| row.get(0))?;
        Ok(rows.next().transpose()?)
    }

    /// How many addresses of this network are leased.
    ///
    /// # Errors
    /// `state.db` cannot be read.
    pub fn bound(&self, network: &str) -> Result<u64> {
        let sql = "SELECT count(*) FROM leases WHERE network = ?1 AND state = 'bound'";
        let count: i64 = self.state()?.query_row(sql, [network], |row| row.get(0))?;
        Ok(u64::try_from(count)?)
    }

    /// The class of the node with this card, if the catalog has one.
    ///
    /// # Errors
    /// `catalog.db` cannot be read.
    pub fn class(&self, mac: Mac) -> Result<Option<String>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let catalog = Connection::open_with_flags(self.dir.join("catalog.db"), flags)?;
        catalog.busy_timeout(Duration::from_secs(5))?;
        let mut statement = catalog.prepare("SELECT class FROM node WHERE mac = ?1")?;
        let mut rows = statement.query_map([mac.to_string()], |row| row.get(0))?;
        Ok(rows.next().transpose()?)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for one that has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
