//! The `catalog` command as people use it: whole outputs and exit codes.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac};
use bootd_protocol::preparation::{Progress, Stage};
use catalog::Catalog;
use catalog::identify::Identity;
use catalog::served::Served;
use catalog::snapshot::Covered;
use catalog::state::{Lease, LeaseState, NodeState, Place, Presence, Record, StateStore};
use rusqlite::Connection;

const RELEASE: &str = r#"
name = "demo"
version = "1"

[[boot_image]]
name = "debian"
version = "6.1"
arch = "x86_64"
uki = "uki"
loader = { efi = "uki" }

[[package]]
name = "site"
version = "1.0"
[[package.file]]
path = "/srv/index"
text = "welcome"

[[package]]
name = "base"
version = "1"
[[package.file]]
path = "/srv/index"
text = "nothing here"
[[package.file]]
path = "/bin/httpd"
text = "program"
mode = "0755"
[[package.process]]
name = "httpd"
argv = ["/bin/httpd"]

[[class]]
name = "web"
packages = ["site", "base"]
images = ["debian"]

[[rule]]
name = "lab"
class = "web"
mac_prefix = "52:54:00"

[[network]]
name = "lan"
subnet = "10.0.0.0/24"
"#;

/// Runs `catalog` in `dir`: exit code, standard output, standard error.
pub(crate) fn catalog(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_catalog"))
        .current_dir(dir)
        .env("BOOTD_DIR", "state")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.lines().map(str::trim_end);
        lines.collect::<Vec<_>>().join("\n")
    };
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// Runs what must go well.
pub(crate) fn good(dir: &Path, arguments: &[&str]) -> String {
    let (code, told, error) = catalog(dir, arguments);
    assert_eq!(code, 0, "{arguments:?}: {told} {error}");
    told
}

/// What another program does to the catalog.
pub(crate) fn set(dir: &Path, script: &str) {
    let db = Connection::open(dir.join("state/catalog.db")).unwrap();
    db.execute_batch(script).unwrap();
}

/// From nothing to an installed release.
pub(crate) fn cluster() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("uki"), "image").unwrap();
    fs::write(at.join("release.toml"), RELEASE).unwrap();
    good(at, &["init"]);
    good(at, &["keygen", "release"]);
    good(at, &["trust", "me", "release.pub"]);
    good(
        at,
        &["compose", "release.toml", "-o", "demo", "-k", "release.key"],
    );
    let told = good(at, &["install", "demo"]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[..lines.len() - 1],
        [
            "     KIND        NAME",
            "new  boot image  debian 6.1 (x86_64)",
            "new  package     site 1.0 (all)",
            "new  package     base 1 (all)",
            "new  class       web",
            "new  network     lan",
            "new  rule        lab",
        ]
    );
    assert!(lines[7].ends_with("signed by me): 4 new modules (31 B), 0 were here (0 B)"));
    dir
}

/// What `explain --files` says of class `web`.
fn class_text(wanted: Digest) -> String {
    let [httpd, index] = [Digest::of(b"program"), Digest::of(b"welcome")].map(|it| it.short());
    format!(
        "Class web: keys are bound after `catalog approve NODE`.
Packages for x86_64 (table class_package), first wins:
  PACKAGE  VERSION  BUILD  FROM               FILES  LOST TO EARLIER ONES
  site     1.0      all    class, position 1  1      0
  base     1        all    class, position 2  1      1
  /bin/httpd  {httpd}  from base
  /srv/index  {index}  from site, over base
Boot image for x86_64: debian 6.1 (table class_image).
Manifest for x86_64 and uefi: {wanted}"
    )
}

/// Makes a machine a node as bootd does; gives back the manifest that it should have.
fn enrol(catalog: &mut Catalog) -> Digest {
    let identity = Identity {
        mac: Some("52:54:00:00:00:01".parse().unwrap()),
        arch: Some(Arch::X86_64),
        firmware: Some(Firmware::Uefi),
        ..Identity::default()
    };
    let rule = catalog.snapshot().unwrap().rules[0].clone();
    assert_eq!(catalog.enrol(&rule, &identity).unwrap(), NODE);
    let served = Served::first(&catalog.snapshot().unwrap());
    let wanted = served.wanted("web", None, Arch::X86_64, Firmware::Uefi);
    wanted.unwrap().digest
}

const NODE: &str = "node-000001";

#[test]
fn a_machine_that_is_not_there_yet_is_explained() {
    let dir = cluster();
    let at = dir.path();
    assert_eq!(
        good(at, &["check"]),
        "All right: 1 classes, 0 nodes, 1 manifests, 3 modules."
    );
    assert!(good(at, &["nodes"]).starts_with("No nodes yet"));
    let machine = [
        "explain",
        "--mac",
        "52:54:00:00:00:01",
        "--arch",
        "x86_64",
        "--files",
    ];
    let told = good(at, &machine);
    let wanted = enrol(&mut Catalog::open(&at.join("state")).unwrap());
    let before = "This machine is no node yet.\nRule lab matches: it becomes a node of class web.\n  mac_prefix is 52:54:00:00:00:01, which fits 52:54:00\n";
    assert_eq!(told, format!("{before}{}", class_text(wanted)));

    let told = good(at, &["explain", "--mac", "02:00:00:00:00:01"]);
    assert_eq!(
        told,
        "This machine is no node, and no rule matches: it gets nothing to boot.
  rule lab does not match: mac_prefix should be 52:54:00, the machine has 02:00:00:00:00:01
On network lan: it gets an address (network.unknown is serve)."
    );
    let told = good(at, &["list"]);
    let expected =
        "class web: 1 nodes, keys after approval\n  boots debian 6.1 on x86_64\n  has   site 1.0\n";
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn a_machine_that_has_not_said_what_it_is_is_a_perhaps() {
    let dir = cluster();
    let at = dir.path();
    let catalog = Catalog::open(&at.join("state")).unwrap();
    let db = Connection::open(catalog.db_path()).unwrap();
    db.execute_batch(
        "INSERT INTO rule (name, priority, class, chassis, slot)
             VALUES ('blades', 1, 'web', 'CZ1*', 'Slot 0*');
         INSERT INTO rule (name, priority, action, product) VALUES ('old', 2, 'ignore', 'R610')",
    )
    .unwrap();
    let machine = ["explain", "--mac", "52:54:00:00:00:01"];
    let told = good(at, &machine);
    let before = "This machine is no node yet.
Rule blades may take it in, into class web, once it has said what it is.
  chassis should be CZ1*, which its init will tell
  slot should be Slot 0*, which its init will tell
Rule old may ignore it, once it has said what it is.
  product should be R610, which its init will tell
Rule lab else makes it a node of class web.
  mac_prefix is 52:54:00:00:00:01, which fits 52:54:00
Until it has said what it is, it is no node, and boots what class web has for it.
Class web: ";
    assert!(told.starts_with(before), "{told}");

    let sits = |slot| [&machine[..], &["--chassis", "CZ17", "--slot", slot]].concat();
    let told = good(at, &sits("Slot 05"));
    let before = "This machine is no node yet.
Rule blades matches: it becomes a node of class web.
  chassis is CZ17, which fits CZ1*
  slot is Slot 05, which fits Slot 0*
Class web: ";
    assert!(told.starts_with(before), "{told}");
    let told = good(at, &sits("Slot 15"));
    let before = "This machine is no node yet.
  rule blades does not match: slot should be Slot 0*, the machine has Slot 15
Rule old may ignore it, once";
    assert!(told.starts_with(before), "{told}");
    let other = ["--serial", "1", "--product", "R620"];
    let told = good(at, &[&sits("Slot 15")[..], &other].concat());
    assert!(told.contains("\nRule lab matches: it becomes"), "{told}");
}

#[test]
fn a_node_is_shown_approved_and_explained() {
    let dir = cluster();
    let at = dir.path();
    let mut catalog = Catalog::open(&at.join("state")).unwrap();
    let wanted = enrol(&mut catalog);
    let (code, told, error) = self::catalog(at, &["approve", NODE]);
    assert_eq!((code, told.as_str()), (1, ""));
    assert_eq!(
        error,
        "catalog: node-000001 offers no key yet: let it boot first"
    );

    let mut state = StateStore::open(&catalog.state_path()).unwrap();
    let observed = NodeState {
        node: NODE.into(),
        stage: "installing".into(),
        progress_done: 1,
        progress_total: 4,
        running: Some(Digest::of(b"old")),
        offered_key: Some([7; 32]),
        message: "writing".into(),
        address: Some("10.0.0.7".parse().unwrap()),
        presence: Presence::Present,
        ..NodeState::default()
    };
    state.write(&[Record::Node(Box::new(observed))]).unwrap();
    let told = good(at, &["nodes"]);
    let row = told.lines().nth(1).unwrap().split("  ");
    let row: Vec<&str> = row.map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let runs = format!("{}, wants {}", Digest::of(b"old").short(), wanted.short());
    assert_eq!(row[..4], [NODE, "web", "present", "installing 25%"]);
    assert_eq!(
        row[6..],
        [&runs, "10.0.0.7", "waits for approval", "writing"]
    );
    let json: serde_json::Value = serde_json::from_str(&good(at, &["nodes", "--json"])).unwrap();
    assert_eq!(json[0]["wanted"], wanted.to_string());
    assert_eq!(json[0]["progress"], serde_json::json!([1, 4]));

    assert_eq!(
        good(at, &["approve", NODE]),
        "node-000001: its key is bound."
    );
    let told = good(at, &["explain", NODE, "--files"]);
    let before = "node-000001 is a row of the table node.\nIts key: bound.\nIt was last in stage installing. writing\n";
    let after = format!("\nIt runs manifest {}.", Digest::of(b"old"));
    assert_eq!(told, format!("{before}{}{after}", class_text(wanted)));
}

#[test]
fn check_tells_all_that_is_wrong() {
    let dir = cluster();
    let at = dir.path();
    let catalog = Catalog::open(&at.join("state")).unwrap();
    let db = Connection::open(catalog.db_path()).unwrap();
    db.execute_batch(
        "INSERT INTO node (name, mac, class, ip) VALUES ('far', '02:00:00:00:00:02', 'web', '10.1.0.7');
         UPDATE package_process SET argv = '[\"/bin/gone\"]';
         INSERT INTO node (name, mac, class, arch, firmware)
             VALUES ('arm', '02:00:00:00:00:01', 'web', 'aarch64', 'uefi');",
    )
    .unwrap();
    let (code, told, _) = self::catalog(at, &["check"]);
    assert_eq!(code, 3);
    assert_eq!(
        told,
        "class web on x86_64: process httpd of package base starts /bin/gone, which no package of the list has
class web on aarch64: it has no boot image for aarch64: insert one into class_image
class web on aarch64: process httpd of package base starts /bin/gone, which no package of the list has
node far: its address 10.1.0.7 is in none of the networks, so it is never given"
    );

    db.execute_batch(
        "DELETE FROM node;
         UPDATE package_process SET argv = '[\"/bin/httpd\"]';",
    )
    .unwrap();
    let rotten = catalog.blobs().path(Digest::of(b"program"));
    fs::write(&rotten, "PROGRAM").unwrap();
    assert_eq!(self::catalog(at, &["check"]).0, 0);
    let (code, told, _) = self::catalog(at, &["check", "--deep"]);
    assert_eq!(code, 3);
    assert!(told.contains("is rotten: the bytes in"), "{told}");
    fs::remove_file(&rotten).unwrap();
    let (code, told, _) = self::catalog(at, &["check"]);
    assert_eq!(code, 3);
    assert!(
        told.ends_with("is missing: install its composite again"),
        "{told}"
    );
    good(at, &["install", "demo"]);
    assert_eq!(self::catalog(at, &["check", "--deep"]).0, 0);
}

#[test]
fn leases_and_networks_are_shown() {
    let dir = cluster();
    let at = dir.path();
    assert_eq!(good(at, &["leases"]), "No address was given yet.");
    let mut catalog = Catalog::open(&at.join("state")).unwrap();
    enrol(&mut catalog);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    let lease = |last: u8, hours: i64, state| {
        Record::Lease(Lease {
            ip: Ipv4Addr::new(10, 0, 0, last),
            mac: Mac([0x52, 0x54, 0, 0, 0, last]),
            // Half an hour more than the command rounds down to.
            expires_ms: now + hours * 3_600_000 + hours.signum() * 1_800_000,
            hostname: "h".into(),
            state,
            place: Place {
                network: Some("lan".into()),
                relay: Some(Ipv4Addr::new(10, 0, 0, 254)),
                circuit: Some("ge-0/0/7".into()),
                remote: None,
            },
        })
    };
    let mut store = StateStore::open(&catalog.state_path()).unwrap();
    store
        .write(&[
            lease(1, 3, LeaseState::Bound),
            lease(2, -4, LeaseState::Bound),
            lease(3, 5, LeaseState::Released),
            lease(4, 6, LeaseState::Declined),
        ])
        .unwrap();
    assert_eq!(
        good(at, &["leases"]),
        "ADDRESS   MAC                NODE         NETWORK  STATE     UNTIL
10.0.0.1  52:54:00:00:00:01  node-000001  lan      bound     in 3h
10.0.0.2  52:54:00:00:00:02               lan      expired   4h ago
10.0.0.3  52:54:00:00:00:03               lan      released  in 5h
10.0.0.4  52:54:00:00:00:04               lan      declined  in 6h"
    );
    // The shell of the system reads the same while the writer has it open.
    let output = Command::new("sqlite3")
        .args(["-readonly", "state/state.db"])
        .arg("SELECT address, mac, state, network, relay, circuit, remote FROM leases LIMIT 2")
        .current_dir(at)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "10.0.0.1|52:54:00:00:00:01|bound|lan|10.0.0.254|ge-0/0/7|\n\
         10.0.0.2|52:54:00:00:00:02|expired|lan|10.0.0.254|ge-0/0/7|\n"
    );

    let db = Connection::open(catalog.db_path()).unwrap();
    db.execute_batch(
        "INSERT INTO network (name, subnet, mode, probe, boot_by, uefi_loader, unknown)
             VALUES ('wan', '10.9.0.0/16', 'proxy', 0, 'http', 'ipxe.efi', 'ignore');
         INSERT INTO dhcp_option VALUES ('network', 'wan', 42, 'ip', '10.9.0.1', 0),
             ('network', 'wan', 15, 'text', 'example.org', 0);",
    )
    .unwrap();
    assert_eq!(
        good(at, &["list", "networks"]),
        "NETWORK  SUBNET       POOL  MODE   BOOTP     PROBE  BOOT BY   LOADER    UNKNOWN  LEASE  OPTIONS
lan      10.0.0.0/24  none  full   reserved  yes    as asked  none      serve    3600s
wan      10.9.0.0/16  none  proxy  reserved  no     http      ipxe.efi  ignore   3600s  15 42"
    );
}

#[test]
fn errors_say_what_to_do_and_why() {
    let dir = cluster();
    let at = dir.path();
    let told = |arguments: &[&str]| {
        let (code, told, error) = catalog(at, arguments);
        assert_eq!(told, "");
        (code, error)
    };
    for (arguments, code, expected) in [
        (
            &["--dir", "nowhere", "nodes"][..],
            1,
            "catalog: the catalog cannot be opened\n  because: nowhere holds no catalog: make one with `catalog init nowhere`",
        ),
        (
            &["init"],
            1,
            "catalog: no catalog was made in state\n  because: state holds a catalog already: nothing was changed",
        ),
        (
            &["install", "release.toml"],
            1,
            "catalog: nothing was installed\n  because: the composite is damaged, or no composite: ",
        ),
        (
            &["explain", "nobody"],
            1,
            "catalog: no node is called \"nobody\": see `catalog nodes`",
        ),
        (
            &["trust", "you", "release.toml"],
            1,
            "catalog: the key is not trusted\n  because: release.toml holds no key that can be used here: ",
        ),
    ] {
        let (found, error) = told(arguments);
        assert_eq!(found, code, "{arguments:?}: {error}");
        assert!(error.starts_with(expected), "{arguments:?}: {error}");
    }
    assert_eq!(told(&["explain"]).0, 2);
    assert_eq!(told(&["explain", "--mac", "nonsense"]).0, 2);
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let big = RELEASE.replace(
        "text = \"welcome\"",
        &format!("text = \"{}\"", "x".repeat(3 << 20)),
    );
    fs::write(at.join("release.toml"), big).unwrap();
    fs::write(at.join("uki"), "image").unwrap();
    fs::create_dir(at.join("state")).unwrap();
    good(at, &["keygen", "release"]);
    good(
        at,
        &["compose", "release.toml", "-o", "demo", "-k", "release.key"],
    );
    // A small disk in a mount namespace of its own, gone with the shell.
    let script = "mount -t tmpfs -o size=2m tmpfs state && $CATALOG init >init.log \
        && $CATALOG trust me release.pub >>init.log && $CATALOG install demo; echo status $?; \
        ls state/blobs/tmp; sqlite3 state/catalog.db 'SELECT count(*) FROM package'; \
        mount -o remount,size=9m state && $CATALOG install demo >>init.log; echo status $?";
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .current_dir(at)
        .env("BOOTD_DIR", "state")
        .env("CATALOG", env!("CARGO_BIN_EXE_catalog"))
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, "status 1\n0\nstatus 0\n", "{error}");
    let expected = "catalog: nothing was installed\n  because: the disk of ";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.contains("/state/blobs/tmp/"), "{error}");
    assert!(
        error.ends_with("is full: free some space and do it again\n"),
        "{error}"
    );
}

#[test]
fn help_is_something_to_work_from() {
    let dir = tempfile::tempdir().unwrap();
    let help = good(dir.path(), &["--help"]);
    for part in [
        "Examples, from nothing to a running cluster:",
        "sqlite3",
        "explain",
        "Exit status",
    ] {
        assert!(help.contains(part), "{part} in {help}");
    }
    for command in [
        "init", "keygen", "trust", "compose", "install", "nodes", "explain", "check", "approve",
        "leases", "list",
    ] {
        assert!(help.contains(&format!("\n  {command}")), "{command}");
        good(dir.path(), &[command, "--help"]);
    }
}

#[test]
fn nodes_are_prepared_and_it_is_decided() {
    let dir = cluster();
    let at = dir.path();
    let mut catalog = Catalog::open(&at.join("state")).unwrap();
    enrol(&mut catalog);
    assert_eq!(
        good(at, &["prepare"]),
        "No preparations: see `catalog prepare --help`."
    );
    let told = good(at, &["prepare", "--class", "web", "--node", NODE]);
    assert!(
        told.starts_with("Preparation 1: its nodes restart"),
        "{told}"
    );
    let snapshot = catalog.snapshot().unwrap();
    let covers = [Covered::Class("web".into()), Covered::Node(NODE.to_owned())];
    assert_eq!(snapshot.preparations[0].covers, covers);
    let (code, _, error) = self::catalog(at, &["prepare", "--class", "wbe"]);
    assert_eq!(code, 1);
    assert!(error.contains("no class has this name"), "{error}");

    let mut state = StateStore::open(&catalog.state_path()).unwrap();
    let progress = Progress {
        preparation: 1,
        node: NODE.into(),
        stage: Stage::Ready,
        since: std::time::Duration::ZERO,
        boot: 1,
        reset_at: None,
        message: "has what it should".into(),
    };
    state.write(&[Record::Prepared(progress)]).unwrap();
    let told = good(at, &["prepare"]);
    let row: Vec<&str> = told.lines().nth(1).unwrap().split("  ").collect();
    let row: Vec<&str> = row.iter().map(|it| it.trim()).collect();
    assert!(
        row.contains(&"not decided yet") && row.contains(&"1 ready"),
        "{told}"
    );

    assert_eq!(good(at, &["decide", "1", "go"]), "Preparation 1: go.");
    assert_eq!(
        good(at, &["decide", "1", "cancel"]),
        "Preparation 1: cancel."
    );
    let (code, _, error) = self::catalog(at, &["decide", "1", "go"]);
    assert_eq!(code, 1);
    assert!(error.contains("has been decided"), "{error}");
    let (code, _, error) = self::catalog(at, &["decide", "7", "go"]);
    assert_eq!((code, error.contains("preparation")), (1, true), "{error}");
}
