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
    }
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
    let mut store = StateStore::open(&path).unwrap();
    store
        .write(&[
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
