//! What is looked at once a second: who is missing, and what is wanted of whom.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bootd_protocol::verify::message::REPORT_SECS;
use catalog::served::{Encoded, Running};
use catalog::state::{Contents, NodeState, Presence as There, Record};

use tracing::warn;

use super::{Presence, lock};
use crate::desired::View;
use crate::recorder::unix_ms;

/// So many reports come in a second at most, however many nodes there are.
const REPORTS_PER_SECOND: usize = 200;
/// The stage of a node that was never heard of.
const UNSEEN: &str = "unseen";

impl Presence {
    /// Seconds until a node that runs is to report again.
    #[must_use]
    pub fn next_report(&self) -> u16 {
        self.interval.load(Relaxed)
    }

    /// Whether the node is there, as far as is known.
    #[must_use]
    pub fn is_present(&self, node: &str) -> bool {
        lock(&self.nodes)
            .get(node)
            .is_some_and(|it| it.presence == There::Present)
    }

    /// Finds those who are missing, and writes who was heard. To be called once a second; gives
    /// back who is missing from now on.
    pub fn tick(&self, now: Instant) -> Vec<String> {
        let missing = self.missing(now);
        let mut nodes = lock(&self.nodes);
        let at = unix_ms();
        for name in &missing {
            if let Some(state) = nodes.get_mut(name) {
                self.count_as(state, There::Absent, at);
                self.recorder.record(Record::Node(Box::new(state.clone())));
            }
        }
        let heard = std::mem::take(&mut *lock(&self.heard));
        for state in heard.iter().filter_map(|name| nodes.get(name)) {
            self.recorder.record(Record::Node(Box::new(state.clone())));
        }
        let reporting = |it: &&NodeState| it.presence == There::Present;
        self.interval
            .store(interval(nodes.values().filter(reporting).count()), Relaxed);
        missing
    }

    /// Tells what nodes need of others by what all of them run now. To be called once a second.
    pub fn compare(&self, view: &View) {
        let mut nodes = lock(&self.nodes);
        let there = nodes.values().filter(|it| it.presence != There::Absent);
        let mut running = Running::new();
        for state in there {
            if let (Some(class), Some(digest)) = (&state.class, state.running) {
                let of_class = running.entry(class.clone()).or_default();
                of_class.entry(digest).or_default().push(state.node.clone());
            }
        }
        let mut unmet = view.served.unmet(&running);
        for state in nodes.values_mut() {
            let text = unmet.remove(&state.node).unwrap_or_default();
            if state.unmet == text {
                continue;
            }
            let event = match text.is_empty() {
                true => "what it needs of others is there again",
                false => &text,
            };
            warn!("node {}: {event}", state.node);
            self.recorder
                .event(Some(&state.node), "dependency", event.to_owned());
            state.unmet = text;
            self.recorder.record(Record::Node(Box::new(state.clone())));
        }
    }

    fn missing(&self, now: Instant) -> Vec<String> {
        let mut deadlines = lock(&self.deadlines);
        let late = deadlines.iter().filter(|(_, until)| **until <= now);
        let missing: Vec<String> = late.map(|(name, _)| name.clone()).collect();
        for name in &missing {
            deadlines.remove(name);
        }
        missing
    }

    /// The catalog has changed: what is wanted of every node, and what that is made of.
    pub fn follow(&self, view: &View) {
        let contents = view.served.every().map(|it| contents_of(it)).collect();
        self.recorder.record(Record::InForce(contents, unix_ms()));
        let mut nodes = lock(&self.nodes);
        for row in &view.snapshot.nodes {
            let state = nodes.entry(row.name.clone()).or_insert_with(|| NodeState {
                node: row.name.clone(),
                stage: UNSEEN.into(),
                stage_since_ms: unix_ms(),
                presence: There::Absent,
                presence_since_ms: unix_ms(),
                ..NodeState::default()
            });
            let machine = (row.arch.or(state.arch)).zip(row.firmware.or(state.firmware));
            let wanted = machine.and_then(|(arch, firmware)| {
                view.served
                    .wanted(&row.class, Some(&row.name), arch, firmware)
            });
            // A class without a complete list wants what it wanted.
            let wanted = wanted.map(|it| it.digest).or(state.wanted);
            if (state.class.as_deref(), state.wanted) != (Some(row.class.as_str()), wanted) {
                (state.class, state.wanted) = (Some(row.class.clone()), wanted);
                self.recorder.record(Record::Node(Box::new(state.clone())));
            }
        }
        let gone =
            |it: &&mut NodeState| it.class.is_some() && view.snapshot.node(&it.node).is_none();
        for state in nodes.values_mut().filter(gone) {
            state.class = None;
            self.recorder.record(Record::Node(Box::new(state.clone())));
        }
    }
}

fn interval(nodes: usize) -> u16 {
    let seconds = nodes.div_ceil(REPORTS_PER_SECOND);
    u16::try_from(seconds).unwrap_or(u16::MAX).max(REPORT_SECS)
}

fn contents_of(encoded: &Encoded) -> Contents {
    let manifest = &encoded.head;
    Contents {
        digest: encoded.digest,
        class: manifest.class.clone(),
        arch: manifest.arch,
        image: bootd_protocol::manifest::PackageRef {
            name: manifest.boot.name.clone(),
            version: manifest.boot.version.clone(),
        },
        packages: manifest.packages.clone(),
    }
}
