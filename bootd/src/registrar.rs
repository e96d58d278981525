//! The one thread that edits `catalog.db`: new nodes, what they said of themselves, their keys.
//!
//! A thousand machines that are switched on at once are a thousand edits. They are gathered, so
//! that they take one transaction and the catalog is read anew once; and leases are written
//! elsewhere, so that none waits for them.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use catalog::edit::Batch;
use catalog::identify::{Identity, Match, match_rule};
use catalog::keys::{PublicKey, key_text};
use catalog::{Catalog, Error};
use tracing::{info, warn};

use crate::chain::chain;
use crate::desired::{Desired, View};
use crate::recorder::Recorder;
use crate::supervision::{BEAT_INTERVAL, Pulse};

/// Edits are gathered for so long after the first of a batch.
const GATHER: Duration = Duration::from_millis(250);
/// Edits kept while the catalog cannot be written; later ones are left to the machines, which
/// ask again.
const MAX_WAITING: usize = 10_000;

/// An edit that is asked for.
#[derive(Debug)]
enum Edit {
    Enrol(Box<Identity>),
    Learn(String, Box<Identity>),
    BindKey(Box<Identity>, PublicKey),
    Decide(i64),
}

/// Where to ask for edits. Clones reach the same registrar.
#[derive(Debug, Clone)]
pub struct Registrar(Sender<Edit>);

/// The end that makes them, to be run on a thread of its own.
pub struct Desk {
    edits: Receiver<Edit>,
    catalog: Catalog,
    desired: Desired,
    recorder: Recorder,
    waiting: Vec<Edit>,
    failing: bool,
}

/// A registrar for this catalog. What it does is recorded, too.
#[must_use]
pub fn registrar(catalog: Catalog, desired: Desired, recorder: Recorder) -> (Registrar, Desk) {
    let (sender, edits) = channel();
    let desk = Desk {
        edits,
        catalog,
        desired,
        recorder,
        waiting: Vec::new(),
        failing: false,
    };
    (Registrar(sender), desk)
}

impl Registrar {
    fn send(&self, edit: Edit) {
        // The desk is there until the process ends.
        let _ = self.0.send(edit);
    }

    /// Makes a machine a node, as the catalog's rules say.
    pub fn enrol(&self, identity: Identity) {
        self.send(Edit::Enrol(Box::new(identity)));
    }

    /// Fills in what a node's row does not say.
    pub fn learn(&self, node: String, identity: Identity) {
        self.send(Edit::Learn(node, Box::new(identity)));
    }

    /// Decides that a preparation goes on: all are ready.
    pub fn decide(&self, preparation: i64) {
        self.send(Edit::Decide(preparation));
    }

    /// Binds a machine's key to its node, if that has none.
    pub fn bind_key(&self, machine: Identity, key: PublicKey) {
        self.send(Edit::BindKey(Box::new(machine), key));
    }
}

impl Desk {
    /// Edits until all senders are gone; `pulse` is its sign of life.
    pub fn run(mut self, pulse: &Pulse) {
        while self.gather(pulse) {
            self.write();
        }
    }

    /// Waits for an edit, or for the time to try again, and takes those that come soon after.
    /// Whether there is anybody left to ask for edits.
    fn gather(&mut self, pulse: &Pulse) -> bool {
        while self.waiting.is_empty() {
            pulse.beat();
            match self.edits.recv_timeout(BEAT_INTERVAL) {
                Ok(first) => self.waiting.push(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        pulse.beat();
        let until = Instant::now() + GATHER;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.edits.recv_timeout(left) {
                Ok(edit) if self.waiting.len() < MAX_WAITING => self.waiting.push(edit),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                // What is here is still to be written, and then nothing comes.
                Err(RecvTimeoutError::Disconnected) => {
                    return !self.waiting.is_empty() && !self.failing;
                }
            }
            if left.is_zero() {
                return true;
            }
        }
    }

    fn write(&mut self) {
        let (waiting, view) = (&self.waiting, self.desired.view());
        let made = self.catalog.batch(|batch| {
            let make = |edit| make(batch, &view, edit);
            waiting.iter().filter_map(make).collect::<Vec<_>>()
        });
        match made {
            Ok(made) => {
                self.failing = false;
                self.waiting.clear();
                self.tell(made);
            }
            Err(error) => {
                if !self.failing {
                    let error = chain(&error);
                    warn!("catalog.db cannot be written, new nodes wait until it can: {error}");
                }
                self.failing = true;
            }
        }
    }

    fn tell(&self, made: Vec<Made>) {
        for made in made {
            match made {
                Made::Node { name, rule } => {
                    info!(node = name, rule, "enrolled");
                    let text = format!("enrolled by rule {rule}");
                    self.recorder.event(Some(&name), "enrolled", text);
                }
                Made::Key { name, key } => {
                    let key = key_text(&key);
                    info!(node = name, key, "key bound");
                    let text = format!("bound at first contact: {key}");
                    self.recorder.event(Some(&name), "key", text);
                }
                Made::Refused { what, error } => {
                    let error = chain(&error);
                    warn!("{what} could not be written into the catalog: {error}");
                }
            }
        }
    }
}

/// What came of an edit that is to be told.
#[derive(Debug)]
enum Made {
    Node { name: String, rule: String },
    Key { name: String, key: PublicKey },
    Refused { what: String, error: Error },
}

fn make(batch: &Batch<'_>, view: &View, edit: &Edit) -> Option<Made> {
    let refused = |what: String| |error| Made::Refused { what, error };
    match edit {
        Edit::Enrol(identity) => {
            let Match::Rule { rule, .. } = match_rule(&view.snapshot, identity) else {
                let mac = identity.mac.map(|it| it.to_string()).unwrap_or_default();
                warn!(mac, "not enrolled: no rule takes it in any more");
                return None;
            };
            let name = batch.enrol(rule, identity);
            let rule = rule.name.clone();
            Some(
                name.map_or_else(refused("a new machine".to_owned()), |name| Made::Node {
                    name,
                    rule,
                }),
            )
        }
        Edit::Learn(node, identity) => {
            let learned = batch.learn(node, identity);
            learned
                .err()
                .map(refused(format!("node {node}: what it is")))
        }
        Edit::Decide(preparation) => {
            let decided = batch.go(*preparation);
            decided.err().map(refused(format!(
                "the decision of preparation {preparation}"
            )))
        }
        Edit::BindKey(machine, key) => {
            let mac = machine.mac.map(|mac| mac.to_string()).unwrap_or_default();
            match batch.bind_key_of(machine, key) {
                Ok(None) => None,
                Ok(Some(name)) => Some(Made::Key { name, key: *key }),
                Err(error) => Some(refused(format!("the key of {mac}"))(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use bootd_protocol::identity::Mac;
    use catalog::state::StateStore;

    use super::*;
    use crate::recorder::recorder;
    use crate::supervision::Life;

    #[test]
    fn a_thousand_new_machines_are_one_edit() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path()).unwrap();
        let db = catalog.db_path();
        sqlite3(
            &db,
            "INSERT INTO class (name, key_policy) VALUES ('web', 'open');
             INSERT INTO rule (name, action, class) VALUES ('all', 'enrol', 'web');",
        );
        let desired = Desired::load(&catalog).unwrap();
        let before = commits(&db);
        let (recorder, _written) = recorder(StateStore::open(&catalog.state_path()).unwrap());
        let writer = Catalog::open(dir.path()).unwrap();
        let (registrar, desk) = registrar(writer, desired, recorder);
        let machine = |number: u16| {
            let [high, low] = number.to_be_bytes();
            Identity {
                mac: Some(Mac([2, 0, 0, 0, high, low])),
                ..Identity::default()
            }
        };
        (0..1000).for_each(|number| registrar.enrol(machine(number)));
        // Asked for again before it is done, and something that cannot be.
        registrar.enrol(machine(7));
        registrar.bind_key(machine(1000), [7; 32]);
        // Another maker's card with the same last digits, in the same moment: the key is for the
        // machine, whatever it is called.
        let namesake = Identity {
            mac: Some(Mac([6, 0, 0, 0, 0, 7])),
            ..Identity::default()
        };
        registrar.enrol(namesake.clone());
        registrar.bind_key(namesake, [8; 32]);
        drop(registrar);
        desk.run(&Life::default().part("registrar"));
        let snapshot = catalog.snapshot().unwrap();
        assert_eq!(snapshot.nodes.len(), 1001);
        let keys: Vec<_> = snapshot
            .nodes
            .iter()
            .filter_map(|it| Some((it.name.as_str(), it.mac?.0[0], it.public_key?)))
            .collect();
        assert_eq!(keys, [("node-000007-2", 6, [8; 32])]);
        assert_eq!(commits(&db), before + 1);
    }

    #[test]
    fn a_perhaps_makes_no_node() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path()).unwrap();
        sqlite3(
            &catalog.db_path(),
            "INSERT INTO class (name) VALUES ('web');
             INSERT INTO rule (name, priority, class, serial) VALUES ('a', 1, 'web', 'CZ*');
             INSERT INTO rule (name, priority, class) VALUES ('b', 2, 'web');",
        );
        let desired = Desired::load(&catalog).unwrap();
        let (recorder, _written) = recorder(StateStore::open(&catalog.state_path()).unwrap());
        let writer = Catalog::open(dir.path()).unwrap();
        let (registrar, desk) = registrar(writer, desired, recorder);
        let by_dhcp = |last| Identity {
            mac: Some(Mac([2, 0, 0, 0, 0, last])),
            ..Identity::default()
        };
        registrar.enrol(by_dhcp(1));
        registrar.enrol(Identity {
            serial: Some("CZ1".into()),
            ..by_dhcp(2)
        });
        drop(registrar);
        desk.run(&Life::default().part("registrar"));
        let nodes = catalog.snapshot().unwrap().nodes;
        let names: Vec<_> = nodes.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["node-000002"]);
    }

    fn sqlite3(db: &Path, script: &str) {
        let status = Command::new("sqlite3").arg(db).arg(script).status();
        assert!(status.unwrap().success());
    }

    /// How many transactions have changed this database: its "file change counter" (SQLite's
    /// file format, section 1.3.8).
    fn commits(db: &Path) -> u32 {
        let bytes = std::fs::read(db).unwrap();
        u32::from_be_bytes(bytes[24..28].try_into().unwrap())
    }
}
