use std::net::SocketAddr;

use bootd_protocol::identity::SystemUuid;
use bootd_protocol::smbios::Smbios;
use bootd_protocol::verify::key::SecretKey;
use bootd_protocol::verify::message::{Receipt, Sequence};
use catalog::state::StateStore;

use super::*;
use crate::recorder::recorder;
use crate::supervision::Life;

fn report(version: u8, stage: Stage, text: &str) -> Observation {
    let identity = Identity {
        key: SecretKey::from_seed(&[1; 32]).public(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        uuid: SystemUuid([7; 16]),
        arch: Arch::X86_64,
        firmware: Firmware::Uefi,
        key_is_kept: true,
        smbios: Smbios::default(),
    };
    let sequence = Sequence::default();
    Observation {
        from: SocketAddr::from(([10, 0, 0, 7], 1000)),
        name: Some("a".into()),
        identity: identity.clone(),
        sequence,
        version,
        fact: Fact::Reported {
            report: Report {
                identity,
                sequence,
                stage,
                manifest: Digest::of(b"m"),
                done: 0,
                total: 0,
                text: text.into(),
            },
            receipt: Receipt::default(),
        },
    }
}

fn state(presence: &Presence) -> NodeState {
    lock(&presence.nodes)["a"].clone()
}

#[test]
fn who_misses_three_reports_is_absent_until_it_is_heard_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let (recorder, desk) = recorder(StateStore::open(&path).unwrap());
    let presence = Presence::new(Vec::new(), recorder);
    presence.observed(&report(2, Stage::Running, "booted"));
    presence.observed(&report(2, Stage::Running, ""));
    assert_eq!(state(&presence).message, "booted");
    assert_eq!(state(&presence).report_seconds, Some(10));
    let begun = Instant::now();
    assert_eq!(presence.tick(begun + Duration::from_secs(36)), [""; 0]);
    assert!(presence.is_present("a"));
    assert_eq!(presence.tick(begun + Duration::from_secs(38)), ["a"]);
    assert_eq!(state(&presence).presence, There::Absent);
    assert_eq!(state(&presence).stage, "running");
    presence.observed(&report(2, Stage::Restarting, ""));
    assert_eq!(presence.tick(begun + Duration::from_secs(38)), [""; 0]);
    assert_eq!(state(&presence).presence, There::Present);
    // An older init is silent while it runs.
    presence.observed(&report(1, Stage::Running, ""));
    assert_eq!(presence.tick(begun + Duration::from_secs(9999)), [""; 0]);
    assert_eq!(state(&presence).presence, There::Unknown);
    let last = state(&presence);
    drop(presence);
    desk.run(&Life::default().part("recorder"));
    let store = StateStore::open(&path).unwrap();
    assert_eq!(store.nodes().unwrap(), [last]);
    let events = store.events(Some("a"), 10).unwrap();
    let kinds: Vec<&str> = events.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["running", "absent", "present", "restarting", "running"]
    );
}

#[test]
fn what_is_heard_without_news_is_written_once_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let (recorder, desk) = recorder(StateStore::open(&path).unwrap());
    let presence = Presence::new(Vec::new(), recorder);
    for _ in 0..3 {
        presence.observed(&report(2, Stage::Running, ""));
    }
    assert_eq!(lock(&presence.heard).len(), 1);
    presence.tick(Instant::now());
    assert!(lock(&presence.heard).is_empty());
    let last = state(&presence);
    drop(presence);
    desk.run(&Life::default().part("recorder"));
    assert_eq!(StateStore::open(&path).unwrap().nodes().unwrap(), [last]);
}

#[test]
fn nodes_that_were_never_heard_of_are_known_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog::Catalog::create(dir.path()).unwrap();
    let sql = |script: &str| {
        let db = rusqlite::Connection::open(catalog.db_path()).unwrap();
        db.execute_batch(script).unwrap();
    };
    sql("INSERT INTO class (name) VALUES ('web'), ('db');
         INSERT INTO node (name, mac, class) VALUES
             ('a', '02:00:00:00:00:01', 'web'), ('b', '02:00:00:00:00:02', 'web');");
    let view = || crate::desired::Desired::load(&catalog).unwrap().view();
    let path = dir.path().join("state.db");
    let written = |work: &dyn Fn(&Presence)| -> Vec<(String, Option<String>, String)> {
        let store = StateStore::open(&path).unwrap();
        let earlier = store.nodes().unwrap();
        let (recorder, desk) = recorder(store);
        let presence = Presence::new(earlier, recorder);
        work(&presence);
        drop(presence);
        desk.run(&Life::default().part("recorder"));
        let nodes = StateStore::open(&path).unwrap().nodes().unwrap();
        let nodes = nodes.into_iter();
        nodes.map(|it| (it.node, it.class, it.stage)).collect()
    };
    let is = |node: &str, class: Option<&str>, stage: &str| {
        (node.to_owned(), class.map(str::to_owned), stage.to_owned())
    };
    let begun = written(&|presence| {
        presence.follow(&view());
        assert_eq!(presence.stages(), [("unseen".to_owned(), 2)].into());
        presence.observed(&report(2, Stage::Running, "booted"));
        assert_eq!(state(presence).class.as_deref(), Some("web"));
    });
    let web = Some("web");
    assert_eq!(begun, [is("a", web, "running"), is("b", web, "unseen")]);

    sql("UPDATE node SET class = 'db'");
    let later = written(&|presence| presence.follow(&view()));
    let db = Some("db");
    assert_eq!(later, [is("a", db, "running"), is("b", db, "unseen")]);

    sql("DELETE FROM node");
    let gone = written(&|presence| {
        presence.follow(&view());
        presence.follow(&view());
    });
    assert_eq!(gone, [is("a", None, "running"), is("b", None, "unseen")]);
}
