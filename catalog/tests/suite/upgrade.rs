//! Databases that older versions made.

use std::path::Path;
use std::process::Command;

use crate::common::{digest, fixture};
use catalog::state::{Lease, LeaseState, Place, Presence, StateStore};
use catalog::{Catalog, Error, schema};
use rusqlite::Connection;
use tempfile::TempDir;

const CATALOG_1: &str = include_str!("fixtures/catalog-1.sql");
const CATALOG_2: &str = include_str!("fixtures/catalog-2.sql");
const STATE_1: &str = include_str!("fixtures/state-1.sql");

/// What an operator may have added.
const OWN: &str = "
    CREATE TABLE asset (node TEXT, price INTEGER);
    CREATE INDEX node_by_comment ON node (comment);
    CREATE TRIGGER asset_goes AFTER DELETE ON node BEGIN DELETE FROM asset WHERE node = OLD.name; END;
    CREATE VIEW dear AS SELECT node.name, price FROM node JOIN asset ON asset.node = node.name;
    INSERT INTO asset VALUES ('n1', 1000);";

/// Rows that version 1 took and today's schema does not.
const STALE: &str = "
    INSERT INTO network (name, subnet) VALUES ('wide', '10.0.0.0/8'), ('odd', '999.0.0.0/8');";

fn version_1(more: &str) -> TempDir {
    older(CATALOG_1, more)
}

/// A state directory whose catalog an older version made.
fn older(schema: &str, more: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    Catalog::create(dir.path()).unwrap();
    let path = dir.path().join("catalog.db");
    std::fs::remove_file(&path).unwrap();
    make(&path, &format!("{schema} {} {more}", fixture()));
    dir
}

fn make(path: &Path, script: &str) {
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    db.execute_batch(script).unwrap();
}

/// Every row of every table that both versions have, in the columns of version 1.
fn rows(path: &Path) -> Vec<String> {
    let old = Connection::open_in_memory().unwrap();
    old.execute_batch(CATALOG_1).unwrap();
    let tables = names(&old, "SELECT name FROM sqlite_schema WHERE type = 'table'");
    let db = Connection::open(path).unwrap();
    let mut all = Vec::new();
    for table in tables.iter().filter(|table| *table != "generation") {
        let columns = format!("SELECT name FROM pragma_table_info('{table}')");
        let columns = names(&old, &columns).join(", ");
        let query = format!("SELECT '{table}: ' || json_array({columns}) FROM {table}");
        all.extend(names(&db, &query));
    }
    all.sort();
    all
}

fn names(db: &Connection, query: &str) -> Vec<String> {
    let mut statement = db.prepare(query).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn an_upgraded_catalog_is_as_a_new_one_with_the_old_rows() {
    for (version, schema) in [(1, CATALOG_1), (2, CATALOG_2)] {
        upgrades(version, schema);
    }
}

fn upgrades(version: u32, schema: &str) {
    let dir = older(schema, "");
    let path = dir.path().join("catalog.db");
    let before = rows(&path);
    assert!(before.len() > 20, "{before:?}");

    let catalog = Catalog::open(dir.path()).unwrap();
    assert_eq!(catalog.schema_drift().unwrap(), [""; 0]);
    assert_eq!(rows(&path), before);
    assert_eq!(
        rows(&dir.path().join(format!("catalog.db.version-{version}"))),
        before
    );

    let fresh = dir.path().join("fresh.db");
    drop(schema::create(&fresh).unwrap());
    let told = "SELECT type || name || tbl_name || coalesce(sql, '') FROM sqlite_schema ORDER BY 1";
    let (upgraded, fresh) = (
        Connection::open(&path).unwrap(),
        Connection::open(&fresh).unwrap(),
    );
    assert_eq!(names(&upgraded, told), names(&fresh, told));
    for pragma in ["user_version", "application_id"] {
        let value = |db: &Connection| -> i64 {
            db.pragma_query_value(None, pragma, |row| row.get(0))
                .unwrap()
        };
        assert_eq!(value(&upgraded), value(&fresh), "{pragma}");
    }
    assert_eq!(names(&upgraded, "PRAGMA integrity_check"), ["ok"]);

    // Guards of both versions are at work, and edits are counted.
    let refused = |edit: &str| upgraded.execute_batch(edit).unwrap_err().to_string();
    assert!(refused("UPDATE node SET class = 'x'").starts_with("no class has this name"));
    assert!(refused("UPDATE network SET mode = 'on'").contains("mode is full, proxy or off"));
    let before = catalog.snapshot().unwrap();
    upgraded
        .execute_batch("INSERT INTO dhcp_option VALUES ('node', 'n1', 42, 'ip', '10.0.0.2', 1)")
        .unwrap();
    let after = catalog.snapshot().unwrap();
    assert!(after.generation > before.generation);
    assert_eq!(after.node("n1").unwrap().options[0].bytes, [10, 0, 0, 2]);
    assert_eq!(after.problems, []);

    // The second time there is nothing to do.
    let generation = after.generation;
    drop(catalog);
    let again = Catalog::open(dir.path()).unwrap();
    assert_eq!(again.snapshot().unwrap().generation, generation);
}

#[test]
fn the_shell_of_the_system_reads_an_upgraded_catalog() {
    let dir = version_1("");
    drop(Catalog::open(dir.path()).unwrap());
    let output = Command::new("sqlite3")
        .arg(dir.path().join("catalog.db"))
        .arg("PRAGMA integrity_check; UPDATE network SET mode = 'proxy'; SELECT name, mode FROM network;")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\nlan|proxy\n");
}

#[test]
fn what_an_operator_added_stays_and_stale_rows_are_told() {
    let dir = version_1(&format!("{OWN} {STALE}"));
    let path = dir.path().join("catalog.db");
    let before = rows(&path);
    let catalog = Catalog::open(dir.path()).unwrap();
    assert_eq!(rows(&path), before);
    assert_eq!(
        catalog.schema_drift().unwrap(),
        [
            "the index node_by_comment is not in schema.sql",
            "the table asset is not in schema.sql",
            "the trigger asset_goes is not in schema.sql",
            "the view dear is not in schema.sql",
        ]
    );
    let db = Connection::open(&path).unwrap();
    assert_eq!(names(&db, "SELECT name || price FROM dear"), ["n11000"]);
    db.execute_batch("DELETE FROM node").unwrap();
    assert_eq!(names(&db, "SELECT node FROM asset"), [""; 0]);

    let problems = catalog.snapshot().unwrap().problems;
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "network odd: subnet \"999.0.0.0/8\" is not like 10.0.0.0/24",
            "network wide: 10.0.0.0/8 overlaps lan (10.0.0.0/24)",
        ]
    );
}

#[test]
fn an_upgrade_that_fails_leaves_everything_as_it_was() {
    // This trigger of the operator's cannot be made again: its table has another name by then.
    let dir = version_1(
        "CREATE TABLE t (x); CREATE TRIGGER broken AFTER DELETE ON t BEGIN SELECT 1; END;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, ' t ', ' nowhere ') WHERE name = 'broken';",
    );
    let path = dir.path().join("catalog.db");
    let before = std::fs::read(&path).unwrap();
    assert!(Catalog::open(dir.path()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn two_that_open_it_at_once_upgrade_it_once() {
    let dir = version_1("");
    std::thread::scope(|scope| {
        let open =
            || Catalog::open(dir.path()).map(|catalog| catalog.snapshot().unwrap().generation);
        let both = [scope.spawn(open), scope.spawn(open)];
        let [one, two] = both.map(|thread| thread.join().unwrap().unwrap());
        assert_eq!(one, two);
    });
}

#[test]
fn an_upgrade_waits_for_nobody_for_ever() {
    let dir = version_1("");
    let other = Connection::open(dir.path().join("catalog.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(Catalog::open(dir.path()), Err(Error::Busy { .. })));
}

#[test]
fn an_upgraded_state_has_the_old_leases() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    make(
        &path,
        &format!(
            "PRAGMA journal_mode = WAL; {STATE_1}
             INSERT INTO lease VALUES ('10.0.0.7', '52:54:00:00:00:01', 9, 'a'), ('x', 'y', 1, '');
             INSERT INTO event (id, at_ms, node, kind, text) VALUES (7, 1, 'a', 'stage', 'it runs');
             INSERT INTO counter VALUES ('http_bytes', 3);"
        ),
    );
    let old = StateStore::read_only(&path).unwrap().unwrap();
    assert!(old.leases().is_err());

    let store = StateStore::open(&path).unwrap();
    let lease = Lease {
        ip: "10.0.0.7".parse().unwrap(),
        mac: "52:54:00:00:00:01".parse().unwrap(),
        expires_ms: 9,
        hostname: "a".into(),
        state: LeaseState::Bound,
        place: Place::default(),
    };
    assert_eq!(store.leases().unwrap(), [lease]);
    assert_eq!(store.events(None, 10).unwrap().len(), 1);
    assert_eq!(store.counters().unwrap(), [("http_bytes".to_owned(), 3)]);
    let db = Connection::open(&path).unwrap();
    let told = "SELECT type || name || coalesce(sql, '') FROM sqlite_schema ORDER BY 1";
    let fresh = dir.path().join("fresh.db");
    drop(StateStore::open(&fresh).unwrap());
    assert_eq!(
        names(&db, told),
        names(&Connection::open(&fresh).unwrap(), told)
    );
    db.execute_batch("INSERT INTO event (at_ms, kind, text) VALUES (1, 'k', 't')")
        .unwrap();
    assert_eq!(db.last_insert_rowid(), 8);
}

/// Version 2 had a row for each address, which was written over.
#[test]
fn a_state_of_version_2_keeps_its_leases() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    make(
        &path,
        &format!(
            "PRAGMA journal_mode = WAL; {STATE_1}
             PRAGMA user_version = 2;
             ALTER TABLE node_state ADD COLUMN from_disk INTEGER NOT NULL DEFAULT 0;
             DROP TABLE lease;
             CREATE TABLE lease (
                 ip INTEGER PRIMARY KEY, mac INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
                 state TEXT NOT NULL, hostname TEXT NOT NULL DEFAULT '', network TEXT,
                 relay INTEGER, circuit TEXT, remote TEXT) STRICT;
             INSERT INTO lease VALUES
                 (167772168, 2, 9, 'bound', 'b', 'lan', NULL, NULL, NULL),
                 (167772167, 1, 8, 'released', 'a', NULL, 167772161, 'port', '0x07');"
        ),
    );
    let leases = StateStore::open(&path).unwrap().leases().unwrap();
    let short: Vec<_> = leases
        .iter()
        .map(|it| {
            (
                it.ip.to_string(),
                it.hostname.as_str(),
                it.place.circuit.as_deref(),
            )
        })
        .collect();
    let expected = [
        ("10.0.0.7".to_owned(), "a", Some("port")),
        ("10.0.0.8".to_owned(), "b", None),
    ];
    assert_eq!(short, expected);
}

/// Version 3 knew neither presence nor what manifests are made of.
#[test]
fn a_state_of_version_3_keeps_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    make(
        &path,
        &format!(
            "PRAGMA journal_mode = WAL; {STATE_1}
             PRAGMA user_version = 3;
             ALTER TABLE node_state ADD COLUMN from_disk INTEGER NOT NULL DEFAULT 0;
             DROP TABLE lease;
             CREATE TABLE lease (
                 number INTEGER PRIMARY KEY, ip INTEGER NOT NULL, mac INTEGER NOT NULL,
                 expires_ms INTEGER NOT NULL, state TEXT NOT NULL, hostname TEXT NOT NULL DEFAULT '',
                 network TEXT, relay INTEGER, circuit TEXT, remote TEXT) STRICT;
             INSERT INTO lease VALUES (9, 167772168, 2, 9, 'bound', 'b', 'lan', NULL, NULL, NULL);
             INSERT INTO node_state (node, stage, stage_since_ms, last_seen_ms, from_disk, message)
                 VALUES ('a', 'running', 1, 2, 1, 'booted from slot a');
             INSERT INTO key_replay VALUES ('{}', 3, 4);",
            digest('a')
        ),
    );
    let store = StateStore::open(&path).unwrap();
    let nodes = store.nodes().unwrap();
    assert_eq!((nodes[0].node.as_str(), nodes[0].last_seen_ms), ("a", 2));
    assert_eq!(nodes[0].presence, Presence::Unknown);
    assert!(nodes[0].from_disk);
    assert_eq!(store.leases().unwrap()[0].hostname, "b");
    assert_eq!(store.replays().unwrap().len(), 1);
    // The class is filled in as soon as bootd has read the catalog.
    assert_eq!(store.statuses().unwrap(), []);
    assert_eq!(store.prepared().unwrap(), []);
}
