//! What `schema.sql` refuses, and in which words; with foreign keys off, as the shell has them.

use std::process::Command;

use crate::common::{catalog, digest, fixture, sql};
use crate::refused;
use catalog::{Catalog, Error, schema};
use rusqlite::Connection;

/// An edit of the software's tables and the sentence it is refused with.
const REFUSED: &[(&str, &str)] = &[
    // References that lead nowhere.
    (
        "UPDATE class_package SET version = '3.0' WHERE class = 'web' AND package = 'site'",
        "this package has no such version: see SELECT name, version, arch FROM package",
    ),
    (
        "INSERT INTO class_package VALUES ('web', 3, 'nginx', '1')",
        "no package has this name: see SELECT DISTINCT name FROM package",
    ),
    (
        "INSERT INTO class_package VALUES ('wbe', 3, 'site', '1.0')",
        "no class has this name: see SELECT name FROM class",
    ),
    (
        "INSERT OR REPLACE INTO class_package VALUES ('web', 1, 'site', '9')",
        "this package has no such version: see SELECT name, version, arch FROM package",
    ),
    (
        "UPDATE OR REPLACE class_package SET package = 'nginx' WHERE position = 1",
        "no package has this name: see SELECT DISTINCT name FROM package",
    ),
    (
        "UPDATE class_image SET version = '7' WHERE class = 'web'",
        "no boot image has this name, version and arch: see SELECT name, version, arch FROM boot_image",
    ),
    (
        "INSERT INTO class_image VALUES ('web', 'aarch64', 'debian', '6.1')",
        "no boot image has this name, version and arch: see SELECT name, version, arch FROM boot_image",
    ),
    (
        "UPDATE node SET class = 'nope'",
        "no class has this name: see SELECT name FROM class",
    ),
    (
        "INSERT INTO node (name, mac, class) VALUES ('x', '52:54:00:00:00:99', 'nope')",
        "no class has this name: see SELECT name FROM class",
    ),
    (
        "UPDATE rule SET class = 'nope'",
        "no class has this name: see SELECT name FROM class",
    ),
    (
        "INSERT INTO rule (name, class) VALUES ('r', 'nope')",
        "no class has this name: see SELECT name FROM class",
    ),
    (
        "INSERT INTO package_file (package_id, path, kind, mode) VALUES (99, '/x', 'dir', 493)",
        "no package has this package_id: see SELECT id, name, version, arch FROM package",
    ),
    (
        "UPDATE package_file SET package_id = 99",
        "no package has this package_id: see SELECT id, name, version, arch FROM package",
    ),
    (
        "INSERT INTO package_process (package_id, position, name, argv) VALUES (99, 1, 'x', '[\"/x\"]')",
        "no package has this package_id: see SELECT id, name, version, arch FROM package",
    ),
    (
        "UPDATE package_file SET sha256 = replace(sha256, 'c', 'd') WHERE path = '/bin/httpd'",
        "no blob has this sha256: insert it into blob first",
    ),
    (
        "INSERT INTO boot_image VALUES ('x', '1', 'x86_64', 'nope', 'nope', NULL, NULL)",
        "uki, efi, bios_boot and bios_core must name blobs that are in the table blob",
    ),
    (
        "UPDATE boot_image SET bios_core = 'nope', bios_boot = uki WHERE name = 'old'",
        "uki, efi, bios_boot and bios_core must name blobs that are in the table blob",
    ),
    // Rows that something still names.
    (
        "DELETE FROM class",
        "nodes still have this class: give them another one first: UPDATE node SET class = ... WHERE class = ...",
    ),
    (
        "DELETE FROM node; DELETE FROM class",
        "a rule still puts machines into this class: delete the rule first, or give it another class",
    ),
    (
        "DELETE FROM package WHERE version = '1.0'",
        "a class still lists this version of the package: see SELECT * FROM class_package, and give the class another version first",
    ),
    (
        "DELETE FROM boot_image WHERE name = 'debian'",
        "a class still boots this image: see SELECT * FROM class_image, and give the class another image first",
    ),
    (
        "DELETE FROM blob WHERE size = 20",
        "a package still has this blob: delete the package first",
    ),
    (
        "DELETE FROM package WHERE id = 2; DELETE FROM blob WHERE size = 20",
        "a boot image still has this blob: delete the boot image first",
    ),
    (
        "DELETE FROM generation",
        "generation counts the edits of this catalog: leave its row alone",
    ),
    // Names that never change.
    (
        "UPDATE blob SET size = 11 WHERE size = 10",
        "a blob is named by its content and never changes: insert another row",
    ),
    (
        "INSERT OR REPLACE INTO blob SELECT sha256, size + 1 FROM blob",
        "this blob is here with another size: one of the two is damaged",
    ),
    (
        "UPDATE package SET version = '1.1' WHERE id = 1",
        "a package never changes its name, version or arch: install another one",
    ),
    (
        "INSERT OR REPLACE INTO package (name, version, arch) VALUES ('site', '1.0', 'all')",
        "this version of this package is here already: give it another version",
    ),
    (
        "INSERT OR REPLACE INTO package (id, name, version, arch) VALUES (1, 'new', '1.0', 'all')",
        "another package has this id: leave the id out and one is chosen",
    ),
    (
        "UPDATE boot_image SET version = '7' WHERE name = 'old'",
        "a boot image never changes its name, version or arch: install another one",
    ),
    // Values.
    (
        "UPDATE node SET mac = '52:54:00:AA:BB:CC'",
        "CHECK constraint failed: mac is like 52:54:00:12:34:56, in lower case",
    ),
    (
        "UPDATE node SET mac = NULL",
        "CHECK constraint failed: a node needs a mac or a uuid to be known by",
    ),
    (
        "UPDATE node SET uuid = '123e4567e89b12d3a456426614174000'",
        "CHECK constraint failed: uuid is like 123e4567-e89b-12d3-a456-426614174000, in lower case",
    ),
    (
        "UPDATE node SET arch = 'amd64'",
        "CHECK constraint failed: arch is x86_64, aarch64 or riscv64",
    ),
    (
        "UPDATE node SET firmware = 'efi'",
        "CHECK constraint failed: firmware is bios or uefi",
    ),
    (
        "UPDATE node SET public_key = 'abc'",
        "CHECK constraint failed: public_key is 64 lower-case hexadecimal digits",
    ),
    (
        "UPDATE node SET ip = 'ten'",
        "CHECK constraint failed: ip is an IPv4 address such as 10.0.0.7",
    ),
    (
        "UPDATE node SET hold = 2",
        "CHECK constraint failed: hold is 0 or 1",
    ),
    (
        "UPDATE node SET name = 'Web Server'",
        "CHECK constraint failed: a node name is a host name: lower-case letters, digits, - and .",
    ),
    (
        "INSERT INTO node (name, mac, class) VALUES ('n2', '52:54:00:00:00:01', 'web')",
        "another node has this mac: a card belongs to one node, see SELECT name, mac FROM node",
    ),
    (
        "UPDATE class SET key_policy = 'closed'",
        "CHECK constraint failed: key_policy is open or approval",
    ),
    (
        "UPDATE class SET on_silence = 'wait'",
        "CHECK constraint failed: on_silence is run or hold",
    ),
    (
        "UPDATE class SET foreign_disk = 'wipe'",
        "CHECK constraint failed: foreign_disk is keep or overwrite",
    ),
    (
        "UPDATE class SET disk = '/dev/vda'",
        "CHECK constraint failed: disk is a kernel name without /dev/, such as vda or nvme0n1",
    ),
    (
        "UPDATE rule SET action = 'ignore'",
        "CHECK constraint failed: enrol and hold need a class; ignore has none",
    ),
    (
        "UPDATE rule SET mac_prefix = '52-54'",
        "CHECK constraint failed: mac_prefix is like 52:54:00, in lower case",
    ),
    (
        "UPDATE network SET subnet = '10.0.0.0'",
        "CHECK constraint failed: subnet is like 10.0.0.0/24, with 1 to 30 network bits",
    ),
    (
        "UPDATE network SET pool_last = NULL",
        "CHECK constraint failed: pool_first and pool_last go together: give both or neither",
    ),
    (
        "UPDATE network SET lease_seconds = 5",
        "CHECK constraint failed: lease_seconds is from 60 to 31536000 (a year)",
    ),
    (
        "UPDATE network SET lease_seconds = 'hour'",
        "cannot store TEXT value in INTEGER column network.lease_seconds",
    ),
    (
        "INSERT INTO blob VALUES ('ABC', 1)",
        "CHECK constraint failed: sha256 is 64 lower-case hexadecimal digits",
    ),
    (
        "INSERT INTO package (name, version, arch) VALUES ('x', '1 0', 'all')",
        "CHECK constraint failed: a version begins with a letter or digit; then also . + - ~ : _",
    ),
    (
        "INSERT INTO package_file (package_id, path, kind, mode) VALUES (4, '/a/../b', 'dir', 493)",
        "CHECK constraint failed: path is absolute, without . or .. parts, double or trailing slashes",
    ),
    (
        "INSERT INTO package_file (package_id, path, kind, mode) VALUES (4, '/a/..', 'dir', 493)",
        "CHECK constraint failed: path is absolute, without . or .. parts, double or trailing slashes",
    ),
    (
        "INSERT INTO package_file (package_id, path, kind, mode) VALUES (4, '/a', 'file', 493)",
        "CHECK constraint failed: a file has a sha256, a link has a target, a dir has neither",
    ),
    (
        "INSERT INTO package_file (package_id, path, kind, mode) VALUES (4, '/a', 'dir', 65535)",
        "CHECK constraint failed: mode is permission bits, 0 to 4095 (octal 7777)",
    ),
    (
        "UPDATE package_process SET argv = '[\"httpd\"]'",
        "CHECK constraint failed: argv is a JSON array that begins with an absolute path",
    ),
    (
        "UPDATE package_process SET argv = 'httpd -f'",
        "CHECK constraint failed: argv is a JSON array that begins with an absolute path",
    ),
    (
        "UPDATE package_process SET argv = '[]'",
        "CHECK constraint failed: argv is a JSON array that begins with an absolute path",
    ),
    (
        "INSERT INTO trusted_key VALUES ('you', 'untrusted comment: minisign')",
        "CHECK constraint failed: key is the second line of a minisign .pub file, 56 characters that begin with RW",
    ),
    // Orders to many.
    (
        "INSERT INTO preparation (decision) VALUES ('stop')",
        "CHECK constraint failed: decision is go or cancel, or NULL for not yet",
    ),
    (
        "INSERT INTO preparation_target VALUES (7, 'all', '')",
        "no preparation has this number: insert it first, see SELECT id, comment FROM preparation",
    ),
    (
        "INSERT INTO preparation DEFAULT VALUES; INSERT INTO preparation_target VALUES (1, 'all', 'web')",
        "CHECK constraint failed: a class or node has a name, all has none",
    ),
    (
        "INSERT INTO preparation DEFAULT VALUES; INSERT INTO preparation_target VALUES (1, 'class', 'wbe')",
        "no class has this name: see SELECT name FROM class",
    ),
    (
        "INSERT INTO preparation DEFAULT VALUES; INSERT INTO preparation_target VALUES (1, 'node', 'n9')",
        "no node has this name: see SELECT name FROM node",
    ),
    (
        "INSERT INTO preparation (decision) VALUES ('cancel'); UPDATE preparation SET decision = 'go'",
        "this preparation has been decided: insert another one",
    ),
    (
        "INSERT INTO preparation DEFAULT VALUES; UPDATE preparation SET id = 2",
        "a preparation never changes its number: state.db knows it by it",
    ),
    (
        "UPDATE class SET reset_command = '/usr/bin/virsh reset {node}'",
        "CHECK constraint failed: reset_command is a JSON array that begins with an absolute path",
    ),
    (
        "UPDATE class SET reset_after_seconds = -1",
        "CHECK constraint failed: reset_after_seconds is from 0 to 86400 (a day)",
    ),
    (
        "UPDATE class SET install = 'ram'",
        "CHECK constraint failed: install is persist, test or hold",
    ),
    (
        "INSERT INTO test (scope, name) VALUES ('node', 'n9')",
        "no node has this name: see SELECT name FROM node",
    ),
    (
        "INSERT INTO test (scope, name) VALUES ('all', '')",
        "CHECK constraint failed: scope is class or node",
    ),
    (
        "INSERT INTO test (scope, name, image) VALUES ('node', 'n1', 'old')",
        "no boot image has this name and version: see SELECT name, version, arch FROM boot_image",
    ),
    (
        "INSERT INTO test (scope, name, version) VALUES ('node', 'n1', '5')",
        "CHECK constraint failed: image and version go together: give both or neither",
    ),
    (
        "INSERT INTO test (scope, name, image, version) VALUES ('node', 'n1', 'old', '5'); DELETE FROM boot_image WHERE name = 'old'",
        "a test still has this boot image: see SELECT * FROM test, and delete the test first",
    ),
    (
        "INSERT INTO test_package VALUES (1, 'site', '2.0')",
        "no test has this number: insert it first, see SELECT id, comment FROM test",
    ),
    (
        "INSERT INTO test (scope, name) VALUES ('class', 'web'); INSERT INTO test_package VALUES (1, 'site', '9')",
        "this package has no such version: see SELECT name, version, arch FROM package",
    ),
    (
        "INSERT INTO test (scope, name) VALUES ('class', 'web'); INSERT INTO test_package VALUES (1, 'spare', '1'); DELETE FROM package WHERE id = 4",
        "a test still has this version of the package: see SELECT * FROM test_package, and delete the test first",
    ),
];

fn memory() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(schema::SCHEMA).unwrap();
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    db.execute_batch(&fixture()).unwrap();
    db
}

fn generation(db: &Connection) -> i64 {
    db.query_row("SELECT value FROM generation", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn refuses_in_words() {
    for (edit, sentence) in REFUSED.iter().chain(refused::ON_NETWORKS) {
        let db = memory();
        db.execute_batch("BEGIN").unwrap();
        let refused = db.execute_batch(edit).unwrap_err();
        let rusqlite::Error::SqliteFailure(_, Some(message)) = refused else {
            panic!("{edit}: {refused}");
        };
        assert_eq!(message, *sentence, "{edit}");
    }
}

#[test]
fn refuses_in_the_same_words_in_the_shell() {
    let (_dir, catalog) = catalog();
    let all = REFUSED.iter().chain(refused::ON_NETWORKS);
    for (edit, sentence) in all.step_by(5) {
        let output = Command::new("sqlite3")
            .arg(catalog.db_path())
            .arg(format!("BEGIN; {edit}; COMMIT;"))
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(sentence), "{edit}: {told}");
        assert!(!output.status.success(), "{edit}");
    }
}

#[test]
fn every_edit_moves_the_generation_on() {
    let edits = [
        "UPDATE class_package SET version = '2.0' WHERE class = 'web' AND package = 'site'",
        "UPDATE class SET disk = 'vda'",
        "UPDATE node SET hold = 1",
        "UPDATE rule SET priority = 1",
        "UPDATE network SET router = '10.0.0.1'",
        "UPDATE package_process SET restart = 'never'",
        "UPDATE package_file SET uid = 1",
        "UPDATE class_image SET image = 'old', version = '5'",
        "INSERT INTO dhcp_option VALUES ('class', 'web', 42, 'ip', '10.0.0.2', 0)",
        "UPDATE dhcp_option SET value = '10.0.0.3'",
        "DELETE FROM dhcp_option",
        "INSERT INTO preparation DEFAULT VALUES",
        "INSERT INTO preparation_target VALUES (1, 'class', 'web'), (1, 'node', 'n1')",
        "UPDATE preparation SET decision = 'go'",
        "UPDATE preparation_target SET scope = 'all', name = '' WHERE scope = 'class'",
        "INSERT INTO test (scope, name) VALUES ('node', 'n1')",
        "INSERT INTO test_package VALUES (1, 'site', '2.0')",
        "UPDATE test_package SET version = '1.0'",
        "UPDATE test SET comment = 'once'",
        "DELETE FROM test_package",
        "DELETE FROM trusted_key",
        "INSERT INTO trusted_key SELECT 'you', 'RW' || substr(replace(printf('%60s', ''), ' ', 'y'), 1, 54)",
        "DELETE FROM network",
        "DELETE FROM node",
        "DELETE FROM rule",
        "DELETE FROM class",
        "DELETE FROM package",
        "DELETE FROM boot_image",
        "DELETE FROM blob",
    ];
    let db = memory();
    for edit in edits {
        let before = generation(&db);
        db.execute_batch(edit).unwrap();
        assert!(generation(&db) > before, "{edit}");
    }
    for table in [
        "package_file",
        "package_process",
        "class_package",
        "class_image",
        "test",
    ] {
        let count = format!("SELECT count(*) FROM {table}");
        let left: i64 = db.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[test]
fn a_class_takes_its_new_name_along() {
    let db = memory();
    db.execute_batch("UPDATE class SET name = 'www' WHERE name = 'web'")
        .unwrap();
    for table in ["node", "rule", "class_package", "class_image"] {
        let query = format!("SELECT count(*) > 0 AND min(class) = 'www' FROM {table}");
        let moved: bool = db.query_row(&query, [], |row| row.get(0)).unwrap();
        assert!(moved, "{table}");
    }
}

#[test]
fn orders_follow_the_names_and_go_with_the_rows() {
    let db = memory();
    db.execute_batch(
        "INSERT INTO preparation DEFAULT VALUES;
         INSERT INTO preparation_target VALUES (1, 'class', 'web'), (1, 'node', 'n1');
         INSERT INTO test (scope, name) VALUES ('class', 'web'), ('node', 'n1');
         UPDATE class SET name = 'www' WHERE name = 'web';
         UPDATE node SET name = 'n2';",
    )
    .unwrap();
    let names = "SELECT group_concat(name, ' ') FROM
        (SELECT name FROM preparation_target UNION ALL SELECT name FROM test)";
    let told =
        |db: &Connection| -> Option<String> { db.query_row(names, [], |row| row.get(0)).unwrap() };
    assert_eq!(told(&db).as_deref(), Some("www n2 www n2"));
    db.execute_batch("DELETE FROM node; DELETE FROM rule; DELETE FROM class")
        .unwrap();
    assert_eq!(told(&db), None);
}

#[test]
fn the_views_tell() {
    let db = memory();
    let told: Vec<(String, String, i64, i64)> = db
        .prepare("SELECT package, version, files, bytes FROM class_contents WHERE class = 'web'")
        .unwrap()
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(
        told,
        [
            ("site".into(), "1.0".into(), 1, 10),
            ("base".into(), "1".into(), 4, 60)
        ]
    );
}

#[test]
fn a_catalog_is_the_schema_and_the_shell_makes_the_same() {
    let (dir, catalog) = catalog();
    assert_eq!(catalog.schema_drift().unwrap(), [""; 0]);

    let shell = dir.path().join("shell.db");
    let status = Command::new("sqlite3")
        .arg(&shell)
        .arg(format!(
            ".read '{}/../schema.sql'",
            env!("CARGO_MANIFEST_DIR")
        ))
        .status()
        .unwrap();
    assert!(status.success());
    let db = schema::open(&shell).unwrap();
    assert_eq!(schema::drift(&db).unwrap(), [""; 0]);

    sql(
        &catalog,
        "DROP TRIGGER node_insert; DROP VIEW class_contents; CREATE TABLE mine (x); CREATE VIEW class_contents AS SELECT 1;",
    );
    assert_eq!(
        catalog.schema_drift().unwrap(),
        [
            "the trigger node_insert of schema.sql is missing",
            "the view class_contents is not as in schema.sql",
            "the table mine is not in schema.sql",
        ]
    );
}

#[test]
fn opens_what_it_made_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Catalog::open(dir.path()), Err(Error::Missing(_))));
    let made = Catalog::create(dir.path()).unwrap();
    let key = made.master_key().unwrap().public();
    assert!(matches!(
        Catalog::create(dir.path()),
        Err(Error::AlreadyThere(_))
    ));
    let opened = Catalog::open(dir.path()).unwrap();
    assert_eq!(opened.master_key().unwrap().public(), key);
    let listed = std::fs::read_to_string(dir.path().join("master.pub")).unwrap();
    assert_eq!(listed.trim(), catalog::keys::key_text(&key));
    let secret = std::fs::metadata(dir.path().join("master.key")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&secret) & 0o777, 0o600);

    sql(&made, "PRAGMA user_version = 7");
    let error = Catalog::open(dir.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} was made by a newer bootd (schema 7, this program knows 3): use that version, \
             or restore the copy that was made before the upgrade",
            made.db_path().display()
        )
    );
    sql(&made, "PRAGMA application_id = 1");
    assert!(matches!(
        Catalog::open(dir.path()),
        Err(Error::Foreign { .. })
    ));
    std::fs::write(made.db_path(), digest('a')).unwrap();
    assert!(matches!(
        Catalog::open(dir.path()),
        Err(Error::Foreign { .. })
    ));
}
