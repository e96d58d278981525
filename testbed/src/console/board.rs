//! The model: one row for each machine, fed by events.

use std::fmt;
use std::time::Duration;

use bootd_protocol::identity::Firmware;

use super::text::{bar, columns, seconds};

/// What a machine is doing, in the order of a first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Without power.
    Off,
    /// Power is on and nothing was heard yet.
    PowerOn,
    /// The firmware runs.
    Firmware,
    /// The firmware asks the master for something to boot.
    Netboot,
    /// Our init runs: modules, network, disk.
    Init,
    /// Blobs are fetched and written to the disk.
    Installing,
    /// It has installed itself and restarts from its disk.
    Restarting,
    /// It asks the master whether what it has is right.
    Verifying,
    /// Its processes run.
    Running,
    /// It gave up.
    Failed,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Stage::Off => "off",
            Stage::PowerOn => "power-on",
            Stage::Firmware => "firmware",
            Stage::Netboot => "netboot",
            Stage::Init => "init",
            Stage::Installing => "installing",
            Stage::Restarting => "restarting",
            Stage::Verifying => "verifying",
            Stage::Running => "running",
            Stage::Failed => "failed",
        }
    }

    /// Whether the machine stays so without anything being done: its time does not count.
    const fn is_rest(self) -> bool {
        matches!(self, Stage::Off | Stage::Running | Stage::Failed)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something a machine did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The machine's name.
    pub node: String,
    /// When, since the view began.
    pub at: Duration,
    /// What it did.
    pub kind: EventKind,
}

/// What a machine did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// It went on to another stage.
    Stage(Stage),
    /// So much of its present stage's work is done, in bytes.
    Progress {
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// It runs this version of its software.
    Version(String),
    /// A remark for the reader.
    Note(String),
}

#[derive(Debug, Clone)]
struct Row {
    node: String,
    firmware: Firmware,
    stage: Stage,
    since: Duration,
    progress: Option<(u64, u64)>,
    version: String,
    /// Stages left so far, and the time each took.
    passed: Vec<(Stage, Duration)>,
}

/// All machines. Events of machines that are not on it are ignored.
#[derive(Debug, Clone)]
pub struct Board {
    rows: Vec<Row>,
}

impl Board {
    /// Machines in the order they are shown, all without power.
    #[must_use]
    pub fn new(machines: &[(String, Firmware)]) -> Self {
        let rows = machines.iter().map(|(node, firmware)| Row {
            node: node.clone(),
            firmware: *firmware,
            stage: Stage::Off,
            since: Duration::ZERO,
            progress: None,
            version: String::new(),
            passed: Vec::new(),
        });
        Board {
            rows: rows.collect(),
        }
    }

    /// Takes an event; whether it changed something that is worth a line in a log. Of
    /// progress, only each quarter is.
    pub fn apply(&mut self, event: &Event) -> bool {
        let Some(row) = self.rows.iter_mut().find(|row| row.node == event.node) else {
            return false;
        };
        match &event.kind {
            EventKind::Stage(stage) => row.enter(*stage, event.at),
            EventKind::Progress { done, total } => row.advance(*done, *total),
            EventKind::Version(version) => {
                let is_new = row.version != *version;
                row.version.clone_from(version);
                is_new
            }
            EventKind::Note(_) => true,
        }
    }

    /// The stage that a machine is in.
    #[must_use]
    pub fn stage(&self, node: &str) -> Option<Stage> {
        let row = self.rows.iter().find(|row| row.node == node)?;
        Some(row.stage)
    }

    /// Whether every machine is in this stage.
    #[must_use]
    pub fn all_in(&self, stage: Stage) -> bool {
        self.rows.iter().all(|row| row.stage == stage)
    }

    /// The present state as lines of a table.
    #[must_use]
    pub fn table(&self, now: Duration) -> Vec<String> {
        let head = ["node", "firmware", "stage", "for", "version", "progress"];
        let rows = self.rows.iter().map(|row| {
            vec![
                row.node.clone(),
                row.firmware.to_string(),
                row.stage.to_string(),
                seconds(now.saturating_sub(row.since)),
                row.version.clone(),
                row.progress
                    .map_or_else(String::new, |(done, total)| bar(done, total)),
            ]
        });
        columns(&head, rows.collect())
    }

    /// The line of a log for an event.
    #[must_use]
    pub fn line(event: &Event) -> String {
        let what = match &event.kind {
            EventKind::Stage(stage) => stage.to_string(),
            EventKind::Progress { done, total } => bar(*done, *total),
            EventKind::Version(version) => format!("version {version}"),
            EventKind::Note(note) => note.clone(),
        };
        format!("{:>9}  {}  {what}", seconds(event.at), event.node)
    }

    /// What happened, as lines of a table: the time each machine spent in each stage that
    /// any of them passed, all visits together, and how it ended.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let mut stages: Vec<Stage> = self
            .rows
            .iter()
            .flat_map(|row| row.passed.iter().map(|(stage, _)| *stage))
            .filter(|stage| !stage.is_rest())
            .collect();
        stages.sort();
        stages.dedup();
        let head: Vec<&str> = ["node", "firmware"]
            .into_iter()
            .chain(stages.iter().map(|stage| stage.name()))
            .chain(["total", "ends", "version"])
            .collect();
        let rows = self.rows.iter().map(|row| row.summary(&stages));
        columns(&head, rows.collect())
    }
}

impl Row {
    fn enter(&mut self, stage: Stage, at: Duration) -> bool {
        if self.stage == stage {
            return false;
        }
        self.passed
            .push((self.stage, at.saturating_sub(self.since)));
        self.stage = stage;
        self.since = at;
        self.progress = None;
        true
    }

    fn advance(&mut self, done: u64, total: u64) -> bool {
        let quarter = |done: u64, total: u64| done.saturating_mul(4) / total.max(1);
        let before = self.progress.map(|(done, total)| quarter(done, total));
        self.progress = Some((done, total));
        before != Some(quarter(done, total))
    }

    fn summary(&self, stages: &[Stage]) -> Vec<String> {
        let spent = |stage: &Stage| -> Duration {
            let visits = self.passed.iter().filter(|(passed, _)| passed == stage);
            visits.map(|(_, time)| *time).sum()
        };
        let times: Vec<Duration> = stages.iter().map(spent).collect();
        let mut cells = vec![self.node.clone(), self.firmware.to_string()];
        cells.extend(times.iter().map(|&time| match time {
            Duration::ZERO => "-".to_owned(),
            time => seconds(time),
        }));
        cells.push(seconds(times.iter().sum()));
        cells.extend([self.stage.to_string(), self.version.clone()]);
        cells
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
