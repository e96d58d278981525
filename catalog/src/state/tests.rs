use std::time::Duration;

use bootd_protocol::preparation::Stage;

use super::*;

fn node() -> NodeState {
    NodeState {
        node: "a".into(),
        mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        address: Some(Ipv4Addr::new(10, 0, 0, 7)),
        arch: Some(Arch::X86_64),
        firmware: Some(Firmware::Uefi),
        stage: "running".into(),
        stage_since_ms: 1,
        last_seen_ms: 2,
        from_disk: true,
        running: Some(Digest::of(b"m")),
        wanted: Some(Digest::of(b"m")),
        failed: None,
        progress_done: 5,
        progress_total: 10,
        message: "well".into(),
        offered_key: Some([7; 32]),
        unmet: "db (>= 2)".into(),
        class: Some("web".into()),
        presence: Presence::Present,
        presence_since_ms: 3,
        report_seconds: Some(10),
    }
}

fn contents(name: &str, image: &str, packages: &[(&str, &str)]) -> Contents {
    let reference = |name: &str, version: &str| PackageRef {
        name: name.into(),
        version: version.into(),
    };
    Contents {
        digest: Digest::of(name.as_bytes()),
        class: "web".into(),
        arch: Arch::X86_64,
        image: reference("debian", image),
        packages: packages.iter().map(|it| reference(it.0, it.1)).collect(),
    }
}

#[test]
fn the_status_names_what_differs_from_what_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = StateStore::open(&dir.path().join("state.db")).unwrap();
    let (old, new) = (
        contents(
            "old",
            "6.1",
            &[("site", "1.0"), ("gone", "1"), ("base", "12")],
        ),
        contents(
            "new",
            "6.2",
            &[("new", "3"), ("site", "2.0"), ("base", "12")],
        ),
    );
    let other = contents(
        "other",
        "6.1",
        &[("site", "1.0"), ("gone", "1"), ("base", "12")],
    );
    let state = |name: &str, running: Option<&str>, wanted: &str| {
        let digest = |name: &str| Digest::of(name.as_bytes());
        Record::Node(Box::new(NodeState {
            node: name.into(),
            running: running.map(digest),
            wanted: Some(digest(wanted)),
            ..node()
        }))
    };
    let gone = NodeState {
        node: "z".into(),
        class: None,
        ..node()
    };
    let records = [
        Record::InForce(vec![old, new, other], 5),
        state("a", Some("old"), "old"),
        state("b", Some("old"), "new"),
        state("c", None, "new"),
        state("d", Some("never heard of"), "new"),
        state("e", Some("old"), "other"),
        Record::Node(Box::new(gone)),
    ];
    store.write(&records).unwrap();
    let told: Vec<(String, String)> = store
        .statuses()
        .unwrap()
        .into_iter()
        .map(|it| (it.name, it.differs))
        .collect();
    let expected = [
        ("a", ""),
        (
            "b",
            "site 1.0 -> 2.0, +new 3, -gone 1, boot image debian 6.1 -> debian 6.2",
        ),
        ("c", "has nothing"),
        ("d", "runs what is not known any more"),
        ("e", "other files or settings"),
    ];
    let expected = expected.map(|(name, differs)| (name.to_owned(), differs.to_owned()));
    assert_eq!(told, expected);
    let packages = store.statuses().unwrap()[0].packages.clone();
    assert_eq!(packages.as_deref(), Some("site 1.0, gone 1, base 12"));
}

#[test]
fn contents_that_nobody_names_go_after_a_week() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = StateStore::open(&dir.path().join("state.db")).unwrap();
    let day = 24 * 3600 * 1000;
    let named = NodeState {
        running: Some(Digest::of(b"named")),
        wanted: None,
        ..node()
    };
    let (old, kept) = (
        contents("old", "1", &[("site", "1.0")]),
        contents("named", "1", &[("site", "1.0")]),
    );
    let first = Record::InForce(vec![old, kept], 0);
    store
        .write(&[first, Record::Node(Box::new(named))])
        .unwrap();
    let count = |store: &StateStore, table: &str| -> i64 {
        let query = format!("SELECT count(*) FROM {table}");
        store
            .connection
            .query_row(&query, [], |row| row.get(0))
            .unwrap()
    };
    let new = || vec![contents("new", "1", &[("site", "2.0"), ("base", "1")])];
    store.write(&[Record::InForce(new(), 6 * day)]).unwrap();
    assert_eq!(count(&store, "manifest"), 3);
    // It was in force until the sixth day.
    store.write(&[Record::InForce(new(), 8 * day)]).unwrap();
    assert_eq!(count(&store, "manifest"), 3);
    store.write(&[Record::InForce(new(), 14 * day)]).unwrap();
    assert_eq!(count(&store, "manifest"), 2);
    assert_eq!(count(&store, "manifest_package"), 3);
}

#[test]
fn reads_back_what_it_wrote_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let lease = Lease {
        ip: Ipv4Addr::new(10, 0, 0, 7),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        expires_ms: 9,
        hostname: "a".into(),
        state: LeaseState::Declined,
        place: Place {
            network: Some("lan".into()),
            relay: Some(Ipv4Addr::new(10, 1, 0, 1)),
            circuit: Some("ge-0/0/7".into()),
            remote: Some("0x0004".into()),
        },
    };
    let replay = KeyReplay {
        key: [7; 32],
        boot: 3,
        seq: u64::MAX,
    };
    let event = Event {
        at_ms: 4,
        node: Some("a".into()),
        kind: "stage".into(),
        text: "it runs".into(),
    };
    let progress = Progress {
        preparation: 4,
        node: "a".into(),
        stage: Stage::Ready,
        since: Duration::from_millis(1234),
        boot: 7,
        reset_at: Some(Duration::from_millis(99)),
        message: "well".into(),
    };
    let test = NodeTest {
        test: 3,
        node: "a".into(),
        boot: 8,
        at_ms: 5,
    };
    let mut store = StateStore::open(&path).unwrap();
    store
        .write(&[
            Record::Prepared(progress.clone()),
            Record::Tested(test.clone()),
            Record::Node(Box::new(node())),
            Record::Lease(lease.clone()),
            Record::Event(event.clone()),
            Record::Replay(replay),
            Record::Counter("http_bytes", 12),
        ])
        .unwrap();
    drop(store);

    let store = StateStore::open(&path).unwrap();
    assert_eq!(store.nodes().unwrap(), [node()]);
    assert_eq!(store.prepared().unwrap(), [progress]);
    assert_eq!(store.tested().unwrap(), [test]);
    assert_eq!(store.leases().unwrap(), std::slice::from_ref(&lease));
    assert_eq!(
        store.events(Some("a"), 10).unwrap(),
        std::slice::from_ref(&event)
    );
    assert_eq!(store.events(None, 10).unwrap(), [event]);
    assert_eq!(store.events(Some("b"), 10).unwrap(), []);
    let stored = KeyReplay {
        seq: i64::MAX.unsigned_abs(),
        ..replay
    };
    assert_eq!(store.replays().unwrap(), [stored]);
    assert_eq!(store.counters().unwrap(), [("http_bytes".to_owned(), 12)]);
}

#[test]
fn the_last_lease_of_an_address_counts_and_the_others_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let lease = |host: u8, expires_ms| {
        Record::Lease(Lease {
            ip: Ipv4Addr::new(10, 0, 0, host),
            mac: Mac([2, 0, 0, 0, 0, host]),
            expires_ms,
            hostname: String::new(),
            state: LeaseState::Bound,
            place: Place::default(),
        })
    };
    let last = |store: &StateStore| -> Vec<(u8, i64)> {
        let leases = store.leases().unwrap();
        let short = leases.iter().map(|it| (it.ip.octets()[3], it.expires_ms));
        short.collect()
    };
    let mut store = StateStore::open(&path).unwrap();
    let rows = |store: &StateStore| {
        let (counting, past) = lease_rows(&store.connection).unwrap();
        counting + past
    };
    for round in 0..64 {
        let batch: Vec<Record> = (1..=128).map(|host| lease(host, round)).collect();
        store.write(&batch).unwrap();
    }
    assert_eq!(rows(&store), LEASES_BETWEEN_SWEEPS);
    store.write(&[lease(1, 99)]).unwrap();
    assert_eq!(rows(&store), 128);
    let mut expected: Vec<(u8, i64)> = (1..=128).map(|host| (host, 63)).collect();
    expected[0].1 = 99;
    assert_eq!(last(&store), expected);
    store.write(&[lease(2, 100)]).unwrap();
    drop(store);
    expected[1].1 = 100;
    assert_eq!(last(&StateStore::open(&path).unwrap()), expected);
}

#[test]
fn refuses_what_is_newer_or_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    assert!(StateStore::read_only(&path).unwrap().is_none());
    drop(StateStore::open(&path).unwrap());
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("PRAGMA user_version = 9").unwrap();
    assert!(matches!(
        StateStore::open(&path),
        Err(Error::Newer { found: 9, .. })
    ));
    drop(raw);

    let other = dir.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    assert!(matches!(
        StateStore::open(&other),
        Err(Error::Foreign { .. })
    ));
    std::fs::write(&other, [7; 4096]).unwrap();
    assert!(matches!(
        StateStore::open(&other),
        Err(Error::Damaged { .. })
    ));
    std::fs::write(&other, "not a database at all, but long enough to look").unwrap();
    assert!(matches!(
        StateStore::read_only(&other),
        Err(Error::Foreign { .. })
    ));
}

#[test]
fn one_that_was_replaced_keeps_nothing_of_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("state.db"), dir.path().join("copy.db"));
    let mut other = StateStore::open(&copy).unwrap();
    other.write(&[Record::Counter("http_bytes", 7)]).unwrap();
    drop(other);
    let mut store = StateStore::open(&path).unwrap();
    store.write(&[Record::Counter("tftp_bytes", 1)]).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    assert!(store.is_displaced());
    store.reopen().unwrap();
    assert_eq!(store.counters().unwrap(), [("http_bytes".to_owned(), 7)]);
}

#[test]
fn old_rows_are_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let lease = Record::Lease(Lease {
        ip: Ipv4Addr::new(10, 0, 0, 7),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        expires_ms: 9,
        hostname: String::new(),
        state: LeaseState::Bound,
        place: Place::default(),
    });
    let mut store = StateStore::open(&path).unwrap();
    store.write(&[lease.clone(), lease.clone(), lease]).unwrap();
    drop(store);
    assert_eq!(StateStore::open(&path).unwrap().leases, (1, 2));
}

#[test]
fn one_that_was_removed_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let mut store = StateStore::open(&path).unwrap();
    store.write(&[Record::Counter("http_bytes", 1)]).unwrap();
    assert!(!store.is_displaced());
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert!(store.is_displaced());
    store.reopen().unwrap();
    store.write(&[Record::Counter("http_bytes", 2)]).unwrap();
    assert!(!store.is_displaced());
    let reader = StateStore::read_only(&path).unwrap().unwrap();
    assert_eq!(reader.counters().unwrap(), [("http_bytes".to_owned(), 2)]);
}
