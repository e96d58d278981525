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
