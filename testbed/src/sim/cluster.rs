//! The master: the real verify machine before a catalog of one class, and the real machine of
//! preparations.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bootd_protocol::identity::Mac;
use bootd_protocol::once::Once;
use bootd_protocol::preparation::Preparations;
use bootd_protocol::verify::key::{PublicKey, SecretKey};
use bootd_protocol::verify::master::{
    Command, Fact, Gate, KnownNode, Master, Observation, Standing, Wanted, Wishes,
};
use bootd_protocol::verify::message::{Action, Ask, Identity, Order, Receipt, Report};
use node_initramfs::plan::Software;

use super::orders::Orders;

/// The catalog: what is wanted, and who is known.
#[derive(Debug)]
pub struct Catalog {
    /// What every node should have.
    pub wanted: Software,
    nodes: BTreeMap<Mac, Option<PublicKey>>,
    preparations: Preparations,
    /// What tests try, by their numbers from 1.
    pub trials: Vec<Software>,
    once: Once,
}

impl Wishes for Catalog {
    fn standing(&self, who: &Identity) -> Standing {
        let row = self.nodes.get(&who.mac);
        Standing::Known(Box::new(KnownNode {
            name: who.mac.to_string(),
            enrol: row.is_none(),
            key: row.copied().flatten(),
            keys_are_open: true,
            wanted: Ok(Wanted {
                manifest: self.wanted.manifest,
                size: 1,
                in_ram: false,
            }),
        }))
    }

    fn gate(&self, name: &str, ask: &Ask, version: u8) -> Gate {
        self.preparations.gate(name, ask.sequence.boot, version)
    }

    fn trial(&self, name: &str, ask: &Ask) -> Option<Wanted> {
        let test = self.test(name, ask.sequence.boot)?;
        let trial = self.trials.get(usize::try_from(test - 1).ok()?)?;
        Some(Wanted {
            manifest: trial.manifest,
            size: 1,
            in_ram: true,
        })
    }

    fn receipt(&self, name: &str, report: &Report) -> Receipt {
        let boot = report.sequence.boot;
        let restart = self.preparations.order(name, boot, report.stage);
        Receipt {
            order: restart.as_ref().map_or(Order::None, |_| Order::Restart),
            reason: restart.unwrap_or_default(),
            ..Receipt::default()
        }
    }
}

impl Catalog {
    /// The test that a node has in this boot.
    fn test(&self, name: &str, boot: u64) -> Option<i64> {
        let tests = (1..).zip(&self.trials).map(|(test, _)| test);
        let free = !self.preparations.concerns(name);
        free.then(|| self.once.due(name, boot, tests)).flatten()
    }
}

/// A row that is on its way into the catalog.
#[derive(Debug)]
struct Write {
    at: Duration,
    mac: Mac,
    key: Option<PublicKey>,
}

/// A master with its catalog.
#[derive(Debug)]
pub struct Cluster {
    /// The catalog.
    pub catalog: Catalog,
    key: SecretKey,
    epoch: u64,
    machine: Master,
    writes: Vec<Write>,
    /// The orders that operators gave, and what came of them.
    pub orders: Orders,
}

impl Cluster {
    /// A new one.
    #[must_use]
    pub fn new(key: SecretKey, wanted: Software) -> Self {
        let machine = Master::new(key.clone(), 1, 4080);
        let catalog = Catalog {
            wanted,
            nodes: BTreeMap::new(),
            preparations: Preparations::default(),
            trials: Vec::new(),
            once: Once::default(),
        };
        Cluster {
            catalog,
            key,
            epoch: 1,
            machine,
            writes: Vec::new(),
            orders: Orders::default(),
        }
    }

    /// The master is started anew: what was on its way into the catalog has arrived, what it
    /// had only in mind is gone.
    pub fn restart(&mut self, next_epoch: bool) {
        self.commit(Duration::MAX);
        self.epoch += u64::from(next_epoch);
        self.machine = Master::new(self.key.clone(), self.epoch, 4080);
        self.catalog.preparations = self.orders.restored();
        self.catalog.once = self.orders.had();
    }

    /// An operator has all nodes prepared that are known.
    pub fn prepare(&mut self, now: Duration) {
        let nodes = self.catalog.nodes.keys().map(ToString::to_string);
        self.orders.begin(nodes.collect(), now);
        self.tick(now);
    }

    /// An operator decides for those that are not ready.
    pub fn decide(&mut self, now: Duration) {
        self.orders.decide();
        self.tick(now);
    }

    /// What is looked at now and then.
    pub fn tick(&mut self, now: Duration) {
        let preparations = &mut self.catalog.preparations;
        preparations.handle_wishes(&self.orders.wishes(now), now);
        for node in self.orders.missing(now) {
            preparations.handle_absent(&node, now);
        }
        preparations.handle_timeout(now);
        self.orders.obey(preparations, now);
    }

    fn observe(&mut self, observation: &Observation, now: Duration) {
        if let (Some(name), Fact::Asked { ask, verdict, .. }) =
            (&observation.name, &observation.fact)
            && matches!(verdict.action, Action::Test { .. })
            && let Some(test) = self.catalog.test(name, ask.sequence.boot)
        {
            self.catalog.once.handle_told(name, ask.sequence.boot, test);
            self.orders.tested(name, test, ask.sequence.boot);
        }
        let preparations = &mut self.catalog.preparations;
        self.orders.observed(observation, preparations, now);
        self.orders.obey(preparations, now);
    }

    /// A master that has been deposed and does not know it answers in the place of this one.
    /// Nothing of it is remembered but whom it told to restart.
    #[must_use]
    pub fn deposed_answer(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut machine = Master::new(self.key.clone(), self.epoch.saturating_sub(1), 4080);
        let _ = machine.handle_datagram(nowhere(), datagram, &self.catalog);
        let mut answer = None;
        while let Some(command) = machine.next_command() {
            match command {
                Command::Send { datagram, .. } => answer = Some(datagram),
                Command::Observe(observation) => self.orders.note_told(&observation),
                Command::Enrol(_) | Command::BindKey(_) | Command::Ignored { .. } => {}
            }
        }
        answer
    }

    /// Rows that were written by `now` are in force.
    pub fn commit(&mut self, now: Duration) {
        self.writes.retain(|write| {
            if write.at <= now {
                let row = self.catalog.nodes.entry(write.mac).or_default();
                *row = row.or(write.key);
            }
            write.at > now
        });
    }

    /// Takes a datagram; gives the answer.
    pub fn receive(
        &mut self,
        datagram: &[u8],
        now: Duration,
        write_delay: Duration,
    ) -> Option<Vec<u8>> {
        self.commit(now);
        let _ = self
            .machine
            .handle_datagram(nowhere(), datagram, &self.catalog);
        let mut answer = None;
        while let Some(command) = self.machine.next_command() {
            let (mac, key) = match command {
                Command::Send {
                    datagram: bytes, ..
                } => {
                    assert!(
                        bytes.len() <= datagram.len(),
                        "an answer larger than its question"
                    );
                    assert!(answer.is_none(), "two answers to one question");
                    answer = Some(bytes);
                    continue;
                }
                Command::Enrol(machine) => (machine.mac, None),
                Command::BindKey(machine) => (machine.mac, Some(machine.key)),
                Command::Ignored { .. } => continue,
                Command::Observe(observation) => {
                    self.observe(&observation, now);
                    continue;
                }
            };
            self.writes.push(Write {
                at: now + write_delay,
                mac,
                key,
            });
        }
        answer
    }
}

fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}
