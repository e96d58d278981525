use std::net::SocketAddr;
use std::thread::JoinHandle;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::smbios::Smbios;
use bootd_protocol::verify::key::SecretKey;
use bootd_protocol::verify::message::{BootedFrom, Identity, Sequence};
use catalog::Catalog;
use catalog::state::StateStore;
use rusqlite::Connection;

use super::*;
use crate::recorder::recorder;
use crate::registrar::registrar;
use crate::supervision::Life;

#[test]
fn a_command_is_filled_in_or_not_run() {
    let command = ["/bin/x", "{node}-bmc", "{mac}", "{nodes}"].map(str::to_owned);
    let known = [
        ("{node}", Some("n1".to_owned())),
        ("{mac}", Some("02:00:00:00:00:01".to_owned())),
        ("{address}", None),
    ];
    assert_eq!(
        filled(&command, &known).unwrap(),
        ["/bin/x", "n1-bmc", "02:00:00:00:00:01", "{nodes}"]
    );
    let command = ["/bin/x".to_owned(), "{address}".to_owned()];
    assert_eq!(
        filled(&command, &known).unwrap_err(),
        "{address} of this node is not known"
    );
}

/// A master with class `web`, whose node `n1` is there; it ends when it is dropped.
struct Master {
    orders: Option<Orders>,
    desks: Vec<JoinHandle<()>>,
}

impl Master {
    fn of(dir: &std::path::Path) -> Self {
        let catalog = Catalog::open(dir).unwrap();
        let desired = Desired::load(&catalog).unwrap();
        let state = StateStore::open(&catalog.state_path()).unwrap();
        let (nodes, prepared, tested) = (
            state.nodes().unwrap(),
            state.prepared().unwrap(),
            state.tested().unwrap(),
        );
        let (recorder, written) = recorder(state);
        let (registrar, edited) = registrar(catalog, desired.clone(), recorder.clone());
        let edge = Edge {
            presence: Presence::new(nodes, recorder.clone()),
            desired,
            recorder,
            registrar,
            hooks: Hooks::none(),
        };
        let life = Life::default();
        let (a, b) = (life.part("recorder"), life.part("registrar"));
        Master {
            orders: Some(Orders::new(prepared, tested, edge)),
            desks: vec![
                std::thread::spawn(move || edited.run(&b)),
                std::thread::spawn(move || written.run(&a)),
            ],
        }
    }

    fn orders(&self) -> &Orders {
        self.orders.as_ref().unwrap()
    }

    /// What the node `n1` is told to try in this boot, which it then asks for.
    fn trial(&self, boot: u64) -> Option<i64> {
        let orders = self.orders();
        let view = orders.edge.desired.view();
        let (test, wanted) = orders.trial(&view, "n1", &ask(boot))?;
        let action = Action::Test {
            manifest: wanted.manifest,
            size: wanted.size,
            http_port: 1,
        };
        orders.observed(&asked(boot, action, false));
        Some(test)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.orders = None;
        for desk in self.desks.drain(..) {
            desk.join().unwrap();
        }
    }
}

fn catalog(more: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::create(dir.path()).unwrap();
    let blob = catalog.blobs().writer().unwrap().put(&b"x"[..]).unwrap();
    let db = Connection::open(catalog.db_path()).unwrap();
    let digest = blob.sha256;
    let script = format!(
        "INSERT INTO blob VALUES ('{digest}', {});
         INSERT INTO boot_image VALUES ('debian', '1', 'x86_64', '{digest}', '{digest}', NULL, NULL);
         INSERT INTO package (name, version, arch) VALUES ('site', '1', 'all'), ('site', '2', 'all');
         INSERT INTO class (name) VALUES ('web');
         INSERT INTO class_image VALUES ('web', 'x86_64', 'debian', '1');
         INSERT INTO class_package VALUES ('web', 1, 'site', '1');
         INSERT INTO node (name, mac, class) VALUES ('n1', '02:00:00:00:00:01', 'web');
         {more}",
        blob.size
    );
    db.execute_batch(&script).unwrap();
    dir
}

fn ask(boot: u64) -> Ask {
    Ask {
        identity: Identity {
            key: SecretKey::from_seed(&[1; 32]).public(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            uuid: SystemUuid([0; 16]),
            arch: Arch::X86_64,
            firmware: Firmware::Uefi,
            key_is_kept: true,
            smbios: Smbios::default(),
        },
        sequence: Sequence { boot, datagram: 1 },
        booted_from: BootedFrom::SlotA,
        manifest: Digest::of(b"m"),
        failed: Digest::NONE,
    }
}

fn asked(boot: u64, action: Action, is_right: bool) -> Observation {
    let ask = ask(boot);
    let verdict = Verdict {
        action,
        hostname: "n1".into(),
        reason: String::new(),
    };
    Observation {
        from: SocketAddr::from(([127, 0, 0, 1], 1)),
        name: Some("n1".into()),
        identity: ask.identity.clone(),
        sequence: ask.sequence,
        version: 2,
        fact: Fact::Asked {
            ask,
            verdict,
            is_right,
        },
    }
}

#[test]
fn a_test_is_for_one_boot_whoever_restarts() {
    let dir = catalog(
        "INSERT INTO test (scope, name) VALUES ('class', 'web'), ('node', 'n1');
         INSERT INTO test_package VALUES (1, 'site', '2'), (2, 'site', '2');",
    );
    let master = Master::of(dir.path());
    assert_eq!([master.trial(7), master.trial(7)], [Some(1); 2]);
    drop(master);
    let master = Master::of(dir.path());
    assert_eq!(master.trial(7), Some(1));
    assert_eq!(master.trial(8), Some(2));
    assert_eq!(master.trial(9), None);
    drop(master);
    let db = Connection::open(dir.path().join("catalog.db")).unwrap();
    db.execute_batch(
        "INSERT INTO test (scope, name) VALUES ('class', 'web');
         INSERT INTO test_package VALUES (3, 'site', '2');
         UPDATE class SET install = 'hold';",
    )
    .unwrap();
    assert_eq!(Master::of(dir.path()).trial(9), None, "it waits");
}

#[test]
fn a_preparation_comes_to_its_end_and_into_the_catalog() {
    let dir = catalog(
        "INSERT INTO preparation DEFAULT VALUES;
         INSERT INTO preparation_target VALUES (1, 'all', '');
         INSERT INTO test (scope, name) VALUES ('node', 'n1');
         INSERT INTO test_package VALUES (1, 'site', '2');",
    );
    let master = Master::of(dir.path());
    let orders = master.orders();
    orders.follow(&orders.edge.desired.view());
    assert_eq!(master.trial(3), None, "one thing after the other");
    let shut = orders.gate("n1", &ask(3), 2);
    assert!(matches!(shut, Gate::Shut(_)), "{shut:?}");
    let hold = Action::Hold { retry_after: 5 };
    orders.observed(&asked(3, hold, true));
    let restart = orders.gate("n1", &ask(3), 2);
    assert!(matches!(restart, Gate::Restart(_)), "{restart:?}");
    drop(master);

    let catalog = Catalog::open(dir.path()).unwrap();
    let decision = catalog.snapshot().unwrap().preparations[0].decision;
    assert_eq!(decision.map(|it| it.name()), Some("go"));
    let master = Master::of(dir.path());
    let orders = master.orders();
    orders.follow(&orders.edge.desired.view());
    assert!(matches!(orders.gate("n1", &ask(3), 2), Gate::Restart(_)));
    orders.observed(&asked(4, Action::Run, true));
    assert_eq!(orders.gate("n1", &ask(4), 2), Gate::Open);
    drop(master);
    let state = StateStore::open(&catalog.state_path()).unwrap();
    assert_eq!(state.prepared().unwrap()[0].stage.name(), "done");
}
