//! How every node is doing: folded from what DHCP, TFTP, HTTP and verify see of it.

mod follow;
mod patience;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac};
use bootd_protocol::verify::key::PublicKey;
use bootd_protocol::verify::master::{Fact, Observation};
use bootd_protocol::verify::message::{
    Action, Ask, BootedFrom, Identity, REPORT_SECS, Report, Stage, Verdict,
};
use catalog::state::{NodeState, Presence as There, Record, UNSEEN};

use self::patience::Patience;

use self::follow::Unseen;
use crate::recorder::{Recorder, unix_ms};

/// What DHCP saw.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The node.
    pub node: String,
    /// Its card.
    pub mac: Mac,
    /// The address it was given, if it was given one.
    pub address: Option<Ipv4Addr>,
    /// What it is, as far as it says.
    pub machine: Option<(Arch, Firmware)>,
    /// What was decided, in words.
    pub text: String,
    /// Whether it boots from the network (and is not our own init).
    pub netboot: bool,
    /// Whether it was sent to its disk.
    pub to_disk: bool,
}

/// How often in a row a node's firmware is sent to its disk without the node being heard of from
/// there: after that the disk counts as one that does not start.
const SENT_TO_DISK: u32 = 2;

/// What DHCP says within this time belongs to one start: packets are lost and asked for again.
const ONE_START: Duration = Duration::from_secs(30);

/// All nodes. Clones share them.
#[derive(Debug, Clone)]
pub struct Presence {
    nodes: Arc<Mutex<HashMap<String, NodeState>>>,
    /// Nodes of the catalog that were never heard of: in a large cluster that is begun, most.
    unseen: Arc<Mutex<HashMap<String, Unseen>>>,
    /// How often each was sent to its disk since it was last heard of from there, and when last.
    sent_to_disk: Arc<Mutex<HashMap<String, (u32, Instant)>>>,
    /// When a node counts as absent unless it is heard of before.
    deadlines: Arc<Mutex<HashMap<String, Instant>>>,
    /// Nodes of which nothing is new but that they were heard: written once a second.
    heard: Arc<Mutex<HashSet<String>>>,
    /// Seconds between two reports of a node that runs.
    interval: Arc<AtomicU16>,
    recorder: Recorder,
}

impl Presence {
    /// Continues from what an earlier run wrote.
    #[must_use]
    pub fn new(earlier: Vec<NodeState>, recorder: Recorder) -> Self {
        // What was there is given the time to be heard by this run.
        let until = Instant::now() + patience::BOOTING;
        let there = earlier.iter().filter(|it| it.presence == There::Present);
        let deadlines = there.map(|it| (it.node.clone(), until)).collect();
        let (unseen, seen): (Vec<_>, Vec<_>) =
            earlier.into_iter().partition(|it| it.stage == UNSEEN);
        let nodes = seen.into_iter().map(|it| (it.node.clone(), it)).collect();
        let unseen = unseen.into_iter().map(Unseen::restored).collect();
        Presence {
            nodes: Arc::new(Mutex::new(nodes)),
            unseen: Arc::new(Mutex::new(unseen)),
            sent_to_disk: Arc::default(),
            deadlines: Arc::new(Mutex::new(deadlines)),
            heard: Arc::default(),
            interval: Arc::new(AtomicU16::new(REPORT_SECS)),
            recorder,
        }
    }

    fn times_sent(&self, node: &str) -> u32 {
        lock(&self.sent_to_disk).get(node).map_or(0, |it| it.0)
    }

    fn was_just_sent(&self, node: &str) -> bool {
        let sent = lock(&self.sent_to_disk);
        sent.get(node)
            .is_some_and(|(_, at)| at.elapsed() < ONE_START)
    }

    /// Whether a node that asks the network is to start from its disk instead: its disk has what it
    /// needs, and it has not been sent there in vain.
    #[must_use]
    pub fn starts_from_disk(&self, node: &str) -> bool {
        let nodes = lock(&self.nodes);
        let from_disk = nodes.get(node).is_some_and(|it| it.from_disk);
        from_disk && self.times_sent(node) < SENT_TO_DISK
    }

    /// A node's firmware was told to start from the disk.
    pub fn sent_to_disk(&self, node: &str) {
        let now = Instant::now();
        let mut sent = lock(&self.sent_to_disk);
        let (times, at) = sent.entry(node.to_owned()).or_insert((0, now));
        (*times, *at) = (*times + 1, now);
    }

    fn update(&self, node: &str, patience: Patience, change: impl FnOnce(&mut NodeState)) {
        let mut nodes = lock(&self.nodes);
        let state = nodes.entry(node.to_owned()).or_insert_with(|| {
            let unseen = lock(&self.unseen).remove(node);
            NodeState {
                node: node.to_owned(),
                class: unseen.as_ref().map(|it| it.class.as_ref().to_owned()),
                wanted: unseen.and_then(|it| it.wanted),
                ..NodeState::default()
            }
        });
        let before = state.clone();
        change(state);
        let now = unix_ms();
        self.wait_for(node, patience);
        self.count_as(state, patience.presence(state.presence), now);
        let news = *state != before;
        state.last_seen_ms = now;
        if state.stage != before.stage {
            state.stage_since_ms = now;
            self.recorder
                .event(Some(node), &state.stage, state.message.clone());
        }
        if news {
            self.recorder.record(Record::Node(Box::new(state.clone())));
        } else {
            lock(&self.heard).insert(node.to_owned());
        }
    }

    fn wait_for(&self, node: &str, patience: Patience) {
        let mut deadlines = lock(&self.deadlines);
        match patience {
            Patience::For(time) => deadlines.insert(node.to_owned(), Instant::now() + time),
            Patience::Unknown => deadlines.remove(node),
            Patience::AsBefore => None,
        };
    }

    /// Whether a node is there; told, where it had been missed.
    fn count_as(&self, state: &mut NodeState, presence: There, now: i64) {
        let before = state.presence;
        if before == presence {
            return;
        }
        (state.presence, state.presence_since_ms) = (presence, now);
        let text = match (before, presence) {
            (_, There::Absent) => format!("not heard any more; it was {}", state.stage),
            (There::Absent, _) if state.last_seen_ms > 0 => "heard again".to_owned(),
            _ => return,
        };
        self.recorder
            .event(Some(&state.node), presence.name(), text);
    }

    /// How many nodes are at each stage.
    #[must_use]
    pub fn stages(&self) -> BTreeMap<String, u64> {
        let nodes = lock(&self.nodes);
        let mut stages = BTreeMap::new();
        let unseen = lock(&self.unseen).len();
        if unseen > 0 {
            let unseen = u64::try_from(unseen).unwrap_or(u64::MAX);
            stages.insert(UNSEEN.to_owned(), unseen);
        }
        for node in nodes.values() {
            *stages.entry(node.stage.clone()).or_default() += 1;
        }
        stages
    }

    /// DHCP gave a node an address.
    pub fn saw_dhcp(&self, sighting: Sighting) {
        let Sighting {
            node,
            mac,
            address,
            machine,
            text,
            netboot,
            to_disk,
        } = sighting;
        if to_disk && !self.was_just_sent(&node) {
            self.sent_to_disk(&node);
        }
        // A node that runs renews its lease, too.
        let patience = match netboot {
            true => Patience::For(patience::BOOTING),
            false => Patience::AsBefore,
        };
        self.update(&node, patience, |state| {
            state.mac = Some(mac);
            state.address = address.or(state.address);
            if let Some((arch, firmware)) = machine {
                (state.arch, state.firmware) = (Some(arch), Some(firmware));
            }
            if netboot {
                state.stage = "firmware".into();
                state.message = text;
                (state.progress_done, state.progress_total) = (0, 0);
            }
        });
    }

    /// The address that a node was given last, or spoke from.
    #[must_use]
    pub fn address(&self, node: &str) -> Option<Ipv4Addr> {
        let nodes = lock(&self.nodes);
        nodes.get(node).and_then(|it| it.address)
    }

    /// A node whose address this is fetches its boot image.
    pub fn saw_boot_image(&self, from: Ipv4Addr, done: u64, total: u64) {
        let name = {
            let nodes = lock(&self.nodes);
            let node = nodes.values().find(|it| it.address == Some(from));
            node.map(|it| it.node.clone())
        };
        let Some(name) = name else { return };
        self.update(&name, Patience::For(patience::BOOTING), |state| {
            state.stage = Stage::Netboot.name().into();
            state.message = "loads its boot image".into();
            (state.progress_done, state.progress_total) = (done, total);
        });
    }

    /// A node spoke the verify protocol.
    pub fn observed(&self, observation: &Observation) {
        let Observation {
            from,
            name,
            identity,
            version,
            fact,
            ..
        } = observation;
        let Some(name) = name else { return };
        match fact {
            Fact::KeyOffered { bound } => self.offered(name, identity.key, bound.as_ref()),
            Fact::Asked { ask, verdict, .. } => {
                if ask.booted_from != BootedFrom::Network {
                    lock(&self.sent_to_disk).remove(name);
                }
                let sent = self.times_sent(name);
                self.update(name, Patience::after_verdict(*version, verdict), |state| {
                    state.from_disk = disk_starts(ask, verdict, sent);
                    seen(state, from.ip(), identity);
                    asked(state, ask, verdict);
                });
            }
            Fact::Reported { report, receipt } => {
                if report.stage == Stage::Restarting {
                    lock(&self.sent_to_disk).remove(name);
                }
                let patience = Patience::after_report(*version, report.stage, receipt);
                self.update(name, patience, |state| {
                    seen(state, from.ip(), identity);
                    reported(state, report);
                    if matches!(patience, Patience::For(_)) && report.stage == Stage::Running {
                        state.report_seconds = Some(receipt.next_report);
                    }
                });
            }
        }
    }

    /// A key that is not bound says nothing about the node itself.
    fn offered(&self, name: &str, key: PublicKey, bound: Option<&PublicKey>) {
        let news = {
            let nodes = lock(&self.nodes);
            nodes
                .get(name)
                .is_none_or(|it| it.offered_key != Some(*key.as_bytes()))
        };
        if !news {
            return;
        }
        let text = match bound {
            Some(_) => format!("another key than the bound one: {key}"),
            None => format!("key waits for approval: {key}"),
        };
        self.recorder.event(Some(name), "key", text.clone());
        let patience = match bound {
            Some(_) => Patience::AsBefore,
            None => Patience::For(patience::BOOTING),
        };
        self.update(name, patience, |state| {
            state.offered_key = Some(*key.as_bytes());
            if bound.is_none() {
                state.stage = Stage::Holding.name().into();
                state.message = text;
            }
        });
    }
}

fn seen(state: &mut NodeState, from: std::net::IpAddr, identity: &Identity) {
    if let std::net::IpAddr::V4(address) = from {
        state.address = Some(address);
    }
    state.mac = Some(identity.mac);
    (state.arch, state.firmware) = (Some(identity.arch), Some(identity.firmware));
    state.offered_key = None;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn known(digest: Digest) -> Option<Digest> {
    (digest != Digest::NONE).then_some(digest)
}

/// Whether a node that asks can start from its disk: it has, or it has come by the network and has
/// all of its software on the disk, where it has not just been sent in vain.
fn disk_starts(ask: &Ask, verdict: &Verdict, sent_to_disk: u32) -> bool {
    match (ask.booted_from, &verdict.action) {
        (BootedFrom::SlotA | BootedFrom::SlotB, _) => true,
        (BootedFrom::Network, Action::Run | Action::Restart) => sent_to_disk < SENT_TO_DISK,
        (
            BootedFrom::Network,
            Action::Install { .. } | Action::Hold { .. } | Action::Test { .. },
        ) => false,
    }
}

fn asked(state: &mut NodeState, ask: &Ask, verdict: &Verdict) {
    state.running = known(ask.manifest);
    state.failed = known(ask.failed);
    (state.progress_done, state.progress_total) = (0, 0);
    let from = match ask.booted_from {
        BootedFrom::Network => "booted from the network".to_owned(),
        BootedFrom::SlotA | BootedFrom::SlotB => format!("booted from slot {}", ask.booted_from),
    };
    let (stage, wanted) = match &verdict.action {
        // With a reason: it is not what is wanted.
        Action::Run if verdict.reason.is_empty() => (Stage::Running, known(ask.manifest)),
        Action::Run => (Stage::Running, state.wanted),
        Action::Install { manifest, .. } => (Stage::Fetching, Some(*manifest)),
        Action::Test { .. } => (Stage::Fetching, state.wanted),
        Action::Hold { .. } => (Stage::Holding, state.wanted),
        Action::Restart => (Stage::Restarting, state.wanted),
    };
    state.stage = stage.name().into();
    state.wanted = wanted;
    state.message = if verdict.reason.is_empty() {
        from
    } else {
        verdict.reason.clone()
    };
}

fn reported(state: &mut NodeState, report: &Report) {
    state.stage = report.stage.name().into();
    (state.progress_done, state.progress_total) = (report.done, report.total);
    // That it runs is said again and again, without a word more.
    if report.stage != Stage::Running || !report.text.is_empty() {
        state.message.clone_from(&report.text);
    }
    // Installed, or updated: its disk has all that it needs to start.
    state.from_disk |= report.stage == Stage::Restarting;
    if report.stage == Stage::Running {
        state.running = known(report.manifest);
    }
}
