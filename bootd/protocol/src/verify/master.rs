//! The master's side: knows who asks, compares, answers once.

mod counters;
mod judge;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

pub use self::counters::Counters;
use self::judge::{Fit, fit, in_version_1, judge, test};
use super::QUESTION_LEN;
use super::header::{Drop, Envelope, Header, Kind, seal};
use super::key::{KeyId, PublicKey, SecretKey};
use super::message::{Action, Ask, Identity, Receipt, Report, Sequence, Verdict};
use crate::digest::Digest;

/// Seconds a held node waits before it asks again.
pub const HOLD_RETRY_SECS: u16 = 5;

/// What the catalog says about who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A rule says: no answer. Or no rule takes it in.
    Ignored {
        /// Why, for people.
        reason: String,
    },
    /// Somebody holds it, or a rule does.
    Held {
        /// Its name, if the catalog has one.
        name: Option<String>,
        /// The key bound to it.
        key: Option<Box<PublicKey>>,
        /// Whether a rule takes it in now, to hold it: it has no row yet.
        enrol: bool,
        /// Why, for people.
        reason: String,
    },
    /// A node of a class.
    Known(Box<KnownNode>),
}

/// A node of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNode {
    /// Its name; the one it gets if it is enrolled now.
    pub name: String,
    /// Whether a rule takes it in now: it has no row yet.
    pub enrol: bool,
    /// The key bound to it.
    pub key: Option<PublicKey>,
    /// Whether a first key is bound at once; else the operator approves it.
    pub keys_are_open: bool,
    /// What it should have, or why the catalog cannot say.
    pub wanted: Result<Wanted, String>,
}

/// What a node should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Names the manifest.
    pub manifest: Digest,
    /// Its length in bytes.
    pub size: u32,
    /// Whether the node runs it from RAM, and its disk stays as it is.
    pub in_ram: bool,
}

/// What becomes of a node that has what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It runs.
    Open,
    /// It waits for others; why, for people.
    Shut(String),
    /// It restarts; why, for people. Only for nodes of version 2 and later.
    Restart(String),
}

/// The catalog, as far as this protocol asks it.
pub trait Wishes {
    /// What it says about `who`.
    fn standing(&self, who: &Identity) -> Standing;

    /// Whether the node `name`, which asks and has what it should, may run now.
    fn gate(&self, _name: &str, _ask: &Ask, _version: u8) -> Gate {
        Gate::Open
    }

    /// What the node `name`, which asks, tries in this boot alone.
    fn trial(&self, _name: &str, _ask: &Ask) -> Option<Wanted> {
        None
    }

    /// What the node `name` hears when it reports.
    fn receipt(&self, _name: &str, _report: &Report) -> Receipt {
        Receipt::default()
    }
}

/// What the edge has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send this.
    Send {
        /// To the sender of the question.
        to: SocketAddr,
        /// No longer than the question.
        datagram: Vec<u8>,
    },
    /// Give this machine a row. Comes again with each question until the catalog shows it.
    Enrol(Box<Identity>),
    /// Tell people that this machine gets no answer. Comes again with each datagram of it.
    Ignored {
        /// The machine.
        machine: Box<Identity>,
        /// Why.
        reason: String,
    },
    /// Bind this machine's key to its node. Comes again with each question until the catalog shows
    /// the key.
    BindKey(Box<Identity>),
    /// Something to keep for people.
    Observe(Box<Observation>),
}

/// Something seen of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Who sent the datagram.
    pub from: SocketAddr,
    /// The node it speaks for; `None` if the catalog knows none.
    pub name: Option<String>,
    /// Who it says it is.
    pub identity: Identity,
    /// Its count of datagrams.
    pub sequence: Sequence,
    /// The version of the protocol that it speaks.
    pub version: u8,
    /// What was seen.
    pub fact: Fact,
}

/// What was seen of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// It asked and got this answer.
    Asked {
        /// The question.
        ask: Ask,
        /// The answer.
        verdict: Verdict,
        /// Whether it has what it should.
        is_right: bool,
    },
    /// It told what it is doing.
    Reported {
        /// What.
        report: Report,
        /// What it was told.
        receipt: Receipt,
    },
    /// It came with a key that is not bound to it. Nothing else it says counts.
    KeyOffered {
        /// The key that is bound to the node.
        bound: Option<PublicKey>,
    },
}

/// The machine.
#[derive(Debug)]
pub struct Master {
    key: SecretKey,
    epoch: u64,
    http_port: u16,
    seen: HashMap<KeyId, Sequence>,
    /// Keys bound by this machine that the catalog does not show yet.
    binding: HashMap<String, PublicKey>,
    counters: Counters,
    commands: VecDeque<Command>,
}

impl Master {
    /// A master that has heard nothing yet.
    #[must_use]
    pub fn new(key: SecretKey, epoch: u64, http_port: u16) -> Self {
        Master {
            key,
            epoch,
            http_port,
            seen: HashMap::new(),
            binding: HashMap::new(),
            counters: Counters::default(),
            commands: VecDeque::new(),
        }
    }

    /// Remembers how far a key had counted before this master started.
    pub fn restore(&mut self, key: KeyId, sequence: Sequence) {
        self.seen.insert(key, sequence);
    }

    /// What became of the datagrams so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The next thing to do.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The machine keeps no timers: whoever wants an answer asks again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    /// Takes a datagram from the network.
    ///
    /// # Errors
    /// Why it was dropped; it has been counted.
    pub fn handle_datagram(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        wishes: &impl Wishes,
    ) -> Result<(), Drop> {
        self.counters.received += 1;
        let result = self.answer(from, datagram, wishes);
        match &result {
            Ok(()) => self.counters.answered += 1,
            Err(reason) => self.counters.drop(*reason),
        }
        result
    }

    fn answer(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        wishes: &impl Wishes,
    ) -> Result<(), Drop> {
        let envelope = Envelope::parse(datagram)?;
        if datagram.len() != QUESTION_LEN {
            return Err(Drop::Malformed);
        }
        let message = Message::parse(&envelope)?;
        let identity = message.identity();
        if envelope.header.node != identity.key.id() {
            return Err(Drop::Signature);
        }
        envelope.check(&identity.key)?;
        let standing = self.with_binding(wishes.standing(identity));
        match (message, standing) {
            (message, Standing::Ignored { reason }) => {
                let machine = Box::new(message.into_identity());
                self.commands
                    .push_back(Command::Ignored { machine, reason });
                Err(Drop::Ignored)
            }
            (
                Message::Ask(ask),
                Standing::Held {
                    name,
                    enrol,
                    reason,
                    ..
                },
            ) => {
                if enrol {
                    let machine = Box::new(ask.identity.clone());
                    self.commands.push_back(Command::Enrol(machine));
                }
                self.refuse(from, envelope.header, name, ask, reason, None);
                Ok(())
            }
            (
                Message::Report(report),
                Standing::Held {
                    name, key, reason, ..
                },
            ) => {
                // It may run still: its word counts, by the key that is bound to it.
                let node = KnownNode {
                    name: name.ok_or(Drop::Ignored)?,
                    enrol: false,
                    key: key.map(|key| *key),
                    keys_are_open: false,
                    wanted: Err(reason),
                };
                self.answer_report(from, envelope.header, report, node, wishes)
            }
            (Message::Ask(ask), Standing::Known(node)) => {
                self.answer_ask(from, envelope.header, ask, *node, wishes)
            }
            (Message::Report(report), Standing::Known(node)) => {
                self.answer_report(from, envelope.header, report, *node, wishes)
            }
        }
    }

    /// Until the catalog shows a key that was just bound, the binding holds all the same.
    fn with_binding(&mut self, mut standing: Standing) -> Standing {
        if let Standing::Known(node) = &mut standing {
            if node.key.is_some() {
                self.binding.remove(&node.name);
            } else {
                node.key = self.binding.get(&node.name).copied();
            }
        }
        standing
    }

    fn answer_ask(
        &mut self,
        from: SocketAddr,
        header: Header,
        ask: Ask,
        node: KnownNode,
        wishes: &impl Wishes,
    ) -> Result<(), Drop> {
        let fit = fit(&node, &ask.identity);
        if let Fit::Refused(reason) = fit {
            self.enrol(&node, &ask.identity);
            let fact = Fact::KeyOffered { bound: node.key };
            self.refuse(from, header, Some(node.name), ask, reason, Some(fact));
            return Ok(());
        }
        self.admit(&fit, &node, &ask.identity, ask.sequence)?;
        let gate = || wishes.gate(&node.name, &ask, header.version);
        let mut verdict = judge(&ask, &node, self.http_port, gate);
        if header.version < verdict.action.since() {
            verdict.action = in_version_1(&ask);
        }
        let trial = || wishes.trial(&node.name, &ask);
        // Only in the place of software of its own.
        let may_try = header.version >= 2 && ask.manifest != Digest::NONE;
        if let Some(trial) = may_try.then(trial).flatten() {
            verdict.action = test(&trial, self.http_port);
            verdict.reason.clear();
        }
        self.send(from, header, Kind::Verdict, &verdict.to_body());
        let who = Speaker::of(from, &header, &ask.identity, ask.sequence);
        let wanted = node.wanted.as_ref().ok();
        let fact = Fact::Asked {
            is_right: wanted.is_some_and(|it| it.manifest == ask.manifest)
                && !matches!(verdict.action, Action::Test { .. }),
            ask,
            verdict,
        };
        self.observe(who, Some(node.name), fact);
        Ok(())
    }

    fn answer_report(
        &mut self,
        from: SocketAddr,
        header: Header,
        report: Report,
        node: KnownNode,
        wishes: &impl Wishes,
    ) -> Result<(), Drop> {
        let fit = fit(&node, &report.identity);
        if matches!(fit, Fit::Refused(_)) {
            return Err(Drop::Ignored);
        }
        self.admit(&fit, &node, &report.identity, report.sequence)?;
        let receipt = match header.version {
            0..2 => Receipt::default(),
            _ => wishes.receipt(&node.name, &report),
        };
        let body = match header.version {
            0..2 => Vec::new(),
            _ => receipt.to_body(),
        };
        self.send(from, header, Kind::Receipt, &body);
        self.counters.reports += 1;
        let who = Speaker::of(from, &header, &report.identity, report.sequence);
        self.observe(who, Some(node.name), Fact::Reported { report, receipt });
        Ok(())
    }

    /// Counts the datagram of a key that fits; gives the machine a row and binds the key where
    /// that is due.
    fn admit(
        &mut self,
        fit: &Fit,
        node: &KnownNode,
        identity: &Identity,
        sequence: Sequence,
    ) -> Result<(), Drop> {
        if *fit != Fit::Passing {
            let last = self.seen.entry(identity.key.id()).or_default();
            if sequence <= *last {
                return Err(Drop::Replayed);
            }
            *last = sequence;
        }
        self.enrol(node, identity);
        if *fit == Fit::New {
            self.binding.insert(node.name.clone(), identity.key);
        }
        // Until the catalog shows it: it may not have been written.
        if self.binding.get(&node.name) == Some(&identity.key) {
            let machine = Box::new(identity.clone());
            self.commands.push_back(Command::BindKey(machine));
        }
        Ok(())
    }

    fn enrol(&mut self, node: &KnownNode, identity: &Identity) {
        if node.enrol {
            let machine = Box::new(identity.clone());
            self.commands.push_back(Command::Enrol(machine));
        }
    }

    fn refuse(
        &mut self,
        from: SocketAddr,
        header: Header,
        name: Option<String>,
        ask: Ask,
        reason: String,
        fact: Option<Fact>,
    ) {
        let verdict = Verdict {
            action: Action::Hold {
                retry_after: HOLD_RETRY_SECS,
            },
            hostname: name.clone().unwrap_or_default(),
            reason,
        };
        self.send(from, header, Kind::Verdict, &verdict.to_body());
        let who = Speaker::of(from, &header, &ask.identity, ask.sequence);
        let fact = fact.unwrap_or(Fact::Asked {
            ask,
            verdict,
            is_right: false,
        });
        self.observe(who, name, fact);
    }

    fn observe(&mut self, who: Speaker, name: Option<String>, fact: Fact) {
        let observation = Observation {
            from: who.from,
            name,
            identity: who.identity,
            sequence: who.sequence,
            version: who.version,
            fact,
        };
        self.commands
            .push_back(Command::Observe(Box::new(observation)));
    }

    fn send(&mut self, to: SocketAddr, question: Header, kind: Kind, body: &[u8]) {
        let header = Header {
            kind,
            epoch: self.epoch,
            ..question
        };
        let datagram = seal(&header, body, 0, &self.key);
        self.commands.push_back(Command::Send { to, datagram });
    }
}

/// Who said something.
struct Speaker {
    from: SocketAddr,
    identity: Identity,
    sequence: Sequence,
    version: u8,
}

impl Speaker {
    fn of(from: SocketAddr, header: &Header, identity: &Identity, sequence: Sequence) -> Self {
        Speaker {
            from,
            identity: identity.clone(),
            sequence,
            version: header.version,
        }
    }
}

/// The questions a master takes.
enum Message {
    Ask(Ask),
    Report(Report),
}

impl Message {
    fn parse(envelope: &Envelope<'_>) -> Result<Self, Drop> {
        let malformed = |_| Drop::Malformed;
        let version = envelope.header.version;
        match envelope.header.kind {
            Kind::Ask => Ask::from_body(envelope.body, version)
                .map(Message::Ask)
                .map_err(malformed),
            Kind::Report => Report::from_body(envelope.body, version)
                .map(Message::Report)
                .map_err(malformed),
            Kind::Verdict | Kind::Receipt => Err(Drop::Kind),
        }
    }

    fn identity(&self) -> &Identity {
        match self {
            Message::Ask(ask) => &ask.identity,
            Message::Report(report) => &report.identity,
        }
    }

    fn into_identity(self) -> Identity {
        match self {
            Message::Ask(ask) => ask.identity,
            Message::Report(report) => report.identity,
        }
    }
}
