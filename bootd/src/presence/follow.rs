//! What is looked at once a second: who is missing, and what is wanted of whom.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bootd_protocol::digest::Digest;
use bootd_protocol::verify::message::REPORT_SECS;
use catalog::served::{Encoded, Running};
use catalog::snapshot::Node;
use catalog::state::{Contents, NodeState, Presence as There, Record, Wished};

use tracing::warn;

use super::{Presence, lock};
use crate::desired::View;
use crate::recorder::unix_ms;

/// So many reports come in a second at most, however many nodes there are.
const REPORTS_PER_SECOND: usize = 200;
/// Wishes that are written at once.
const WISHES_PER_RECORD: usize = 1000;

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
        let news = self.wishes(view);
        // A record for each would be more of them than may wait at once.
        for news in news.chunks(WISHES_PER_RECORD) {
            self.recorder
                .record(Record::Wished(news.to_vec(), unix_ms()));
        }
    }

    /// What is wished otherwise of nodes than before.
    fn wishes(&self, view: &View) -> Vec<Wished> {
        let (mut nodes, mut unseen) = (lock(&self.nodes), lock(&self.unseen));
        let classes = view.snapshot.classes.keys();
        let classes: HashMap<&str, Arc<str>> = classes
            .map(|it| (it.as_str(), it.as_str().into()))
            .collect();
        let mut news = Vec::new();
        for row in &view.snapshot.nodes {
            let class = classes.get(row.class.as_str());
            let class = class.map_or_else(|| row.class.as_str().into(), Arc::clone);
            let state = nodes.get_mut(&row.name);
            let known = state.as_ref().and_then(|it| it.arch.zip(it.firmware));
            let machine = row.arch.zip(row.firmware).or(known);
            let wanted = machine.and_then(|(arch, firmware)| {
                let node = Some(row.name.as_str());
                view.served.wanted(&row.class, node, arch, firmware)
            });
            let wanted = wanted.map(|it| it.digest);
            let wished = match state {
                Some(state) => wish(state, class, wanted),
                None => unseen_wish(&mut unseen, row, class, wanted),
            };
            news.extend(wished);
        }
        let is_gone = |name: &str| view.snapshot.node(name).is_none();
        let of_catalog = nodes.values_mut().filter(|it| it.class.is_some());
        for state in of_catalog.filter(|it| is_gone(&it.node)) {
            state.class = None;
            news.push(gone(&state.node, state.wanted));
        }
        unseen.retain(|name, it| {
            let gone_now = is_gone(name);
            if gone_now {
                news.push(gone(name, it.wanted));
            }
            !gone_now
        });
        news
    }
}

/// A node that was never heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unseen {
    pub(super) class: Arc<str>,
    pub(super) wanted: Option<Digest>,
}

impl Unseen {
    /// One that an earlier run wrote.
    pub(super) fn restored(state: NodeState) -> (String, Unseen) {
        let unseen = Unseen {
            class: state.class.unwrap_or_default().into(),
            wanted: state.wanted,
        };
        (state.node, unseen)
    }
}

/// A class without a complete list wants what it wanted.
fn wish(state: &mut NodeState, class: Arc<str>, wanted: Option<Digest>) -> Option<Wished> {
    let wanted = wanted.or(state.wanted);
    if (state.class.as_deref(), state.wanted) == (Some(class.as_ref()), wanted) {
        return None;
    }
    (state.class, state.wanted) = (Some(class.as_ref().to_owned()), wanted);
    Some(Wished {
        node: state.node.clone(),
        class: Some(class),
        wanted,
    })
}

fn unseen_wish(
    unseen: &mut HashMap<String, Unseen>,
    row: &Node,
    class: Arc<str>,
    wanted: Option<Digest>,
) -> Option<Wished> {
    let before = unseen.get(&row.name);
    let wanted = wanted.or(before.and_then(|it| it.wanted));
    let now = Unseen { class, wanted };
    if before == Some(&now) {
        return None;
    }
    unseen.insert(row.name.clone(), now.clone());
    Some(Wished {
        node: row.name.clone(),
        class: Some(now.class),
        wanted,
    })
}

fn gone(node: &str, wanted: Option<Digest>) -> Wished {
    Wished {
        node: node.to_owned(),
        class: None,
        wanted,
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
