//! Preparations as an operator of the simulated world has them: what the catalog says, what is
//! remembered through a restart of the master, and who was told to restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bootd_protocol::once::Once;
use bootd_protocol::preparation::{
    Command, Decision, Need, Preparations, Progress, Stage, Target, Wish,
};
use bootd_protocol::verify::master::{Fact, Observation};
use bootd_protocol::verify::message::{Action, Order};

/// A node that is not heard for so long is absent.
const ABSENT: Duration = Duration::from_secs(45);

/// What has been ordered, and what is known of it.
#[derive(Debug, Default)]
pub struct Orders {
    /// Nodes of each preparation, and its decision.
    wished: Vec<(Vec<String>, Option<Decision>)>,
    /// When the newest began.
    begun: Duration,
    remembered: BTreeMap<(i64, String), Progress>,
    heard: BTreeMap<String, Duration>,
    /// In which boot a node had a test.
    had: BTreeMap<(String, i64), u64>,
    /// Nodes that were told to restart, and the boot in which.
    told: BTreeSet<(String, u64)>,
    /// Nodes that came back from the common restart, not yet looked at, and when it began.
    returned: Vec<(String, Duration)>,
}

impl Orders {
    pub(super) fn begin(&mut self, nodes: Vec<String>, now: Duration) {
        self.wished.push((nodes, None));
        self.begun = now;
    }

    pub(super) fn decide(&mut self) {
        for (_, decision) in &mut self.wished {
            decision.get_or_insert(Decision::Go);
        }
    }

    /// When the newest preparation began.
    #[must_use]
    pub fn begun(&self) -> Duration {
        self.begun
    }

    /// Whether no node waits for another any more.
    #[must_use]
    pub fn are_over(&self) -> bool {
        self.remembered.values().all(|it| {
            let id = usize::try_from(it.preparation - 1).unwrap_or(usize::MAX);
            let decided = self.wished.get(id).is_some_and(|it| it.1.is_some());
            match it.stage {
                Stage::Done => true,
                Stage::Failed | Stage::Absent => decided,
                Stage::Ordered | Stage::Installing | Stage::Ready | Stage::Restarting => false,
            }
        })
    }

    /// When this node was last heard.
    #[must_use]
    pub fn heard(&self, node: &str) -> Option<Duration> {
        self.heard.get(node).copied()
    }

    /// Whether this node was told to restart in this boot.
    #[must_use]
    pub fn told(&self, node: &str, boot: u64) -> bool {
        self.told.contains(&(node.to_owned(), boot))
    }

    /// Nodes that came back from the common restart, and when that was decided.
    pub fn returned(&mut self) -> Vec<(String, Duration)> {
        std::mem::take(&mut self.returned)
    }

    /// A node was told to test: each test in one boot of it.
    pub(super) fn tested(&mut self, node: &str, test: i64, boot: u64) {
        let before = self.had.insert((node.to_owned(), test), boot);
        assert!(
            before.is_none_or(|before| before == boot),
            "{node} has test {test} in boots {before:?} and {boot}"
        );
    }

    /// How often a test was had.
    #[must_use]
    pub fn tests_had(&self) -> usize {
        self.had.len()
    }

    pub(super) fn had(&self) -> Once {
        let had = self.had.iter();
        Once::restored(had.map(|((node, test), boot)| (node.clone(), *test, *boot)))
    }

    pub(super) fn restored(&self) -> Preparations {
        Preparations::restored(self.remembered.values().cloned())
    }

    pub(super) fn wishes(&self, now: Duration) -> Vec<Wish> {
        let target = |node: &String| Target {
            node: node.clone(),
            present: !self.is_missing(node, now),
            reset_after: None,
        };
        let wish = |(id, (nodes, decision)): (i64, &(Vec<String>, Option<Decision>))| Wish {
            id,
            decision: *decision,
            targets: nodes.iter().map(target).collect(),
        };
        (1..).zip(&self.wished).map(wish).collect()
    }

    fn is_missing(&self, node: &str, now: Duration) -> bool {
        self.heard(node).is_none_or(|at| now > at + ABSENT)
    }

    pub(super) fn missing(&self, now: Duration) -> Vec<String> {
        let nodes = self.heard.keys();
        nodes
            .filter(|node| self.is_missing(node, now))
            .cloned()
            .collect()
    }

    /// Keeps in mind who was told to restart.
    pub(super) fn note_told(&mut self, observation: &Observation) {
        let told = match &observation.fact {
            Fact::Asked { verdict, .. } => verdict.action == Action::Restart,
            Fact::Reported { receipt, .. } => receipt.order == Order::Restart,
            Fact::KeyOffered { .. } => false,
        };
        if let Some(name) = observation.name.clone().filter(|_| told) {
            self.told.insert((name, observation.sequence.boot));
        }
    }

    pub(super) fn observed(
        &mut self,
        observation: &Observation,
        preparations: &mut Preparations,
        now: Duration,
    ) {
        let Some(name) = &observation.name else {
            return;
        };
        self.heard.insert(name.clone(), now);
        self.note_told(observation);
        let (boot, version) = (observation.sequence.boot, observation.version);
        match &observation.fact {
            Fact::Asked {
                verdict, is_right, ..
            } => {
                let need = match &verdict.action {
                    _ if *is_right => Need::Nothing,
                    Action::Install { .. } => Need::Installation,
                    Action::Run => Need::Impossible(verdict.reason.clone()),
                    Action::Hold { .. } | Action::Restart | Action::Test { .. } => return,
                };
                preparations.handle_asked(name, boot, version, &need, now);
            }
            Fact::Reported { report, .. } => {
                let news = (report.stage, report.text.as_str());
                preparations.handle_reported(name, boot, version, news, now);
            }
            Fact::KeyOffered { .. } => {}
        }
    }

    /// What is remembered outlives the master at once; a decision comes into the catalog later, or
    /// is lost with the master.
    pub(super) fn obey(&mut self, preparations: &mut Preparations, now: Duration) {
        while let Some(command) = preparations.next_command() {
            match command {
                Command::Remember(progress) => {
                    let place = (progress.preparation, progress.node.clone());
                    let before = self.remembered.insert(place, progress.clone());
                    let before = before.filter(|it| it.stage == Stage::Restarting);
                    if let Some(before) = before.filter(|_| progress.stage == Stage::Done) {
                        self.returned.push((progress.node, before.since));
                    }
                }
                Command::Decide(id) if now.as_millis().is_multiple_of(2) => {
                    let wish = usize::try_from(id - 1).ok();
                    if let Some(wish) = wish.and_then(|id| self.wished.get_mut(id)) {
                        wish.1.get_or_insert(Decision::Go);
                    }
                }
                Command::Decide(_) | Command::Reset { .. } => {}
            }
        }
    }
}
