//! From the tables to manifests: who wins, what is refused, what stays in force.

use crate::common::{catalog, digest, mac, sql};
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::manifest::Manifest;
use catalog::identify::{
    Fit, Identity, KnownBy, Match, candidates, differences, match_node, passed,
};
use catalog::select::manifest_for;
use catalog::served::{Encoded, Served};
use catalog::{Catalog, Error};

const X86: Arch = Arch::X86_64;

fn web(catalog: &Catalog) -> Result<Manifest, Vec<String>> {
    let snapshot = catalog.snapshot().unwrap();
    manifest_for(&snapshot, "web", X86, Firmware::Bios)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn the_first_package_wins_and_parents_are_added() {
    let (_dir, catalog) = catalog();
    let manifest = web(&catalog).unwrap();
    let json = String::from_utf8(manifest.to_bytes().unwrap()).unwrap();
    let [a, b, c] = ['a', 'b', 'c'].map(digest);
    let expected = format!(
        r#"{{"format":1,"class":"web","arch":"x86_64","boot":{{"name":"debian","version":"6.1","image":{{"sha256":"{a}","size":10}},"loader":{{"efi":{{"sha256":"{b}","size":20}},"bios_boot":{{"sha256":"{c}","size":30}},"bios_core":{{"sha256":"{c}","size":30}}}}}},"packages":[{{"name":"site","version":"1.0"}},{{"name":"base","version":"1"}}],"files":[{{"path":"/bin","mode":493,"uid":0,"gid":0,"directory":{{}}}},{{"path":"/bin/httpd","mode":493,"uid":0,"gid":0,"regular":{{"sha256":"{c}","size":30}}}},{{"path":"/bin/www","mode":511,"uid":0,"gid":0,"symlink":"httpd"}},{{"path":"/srv","mode":493,"uid":0,"gid":0,"directory":{{}}}},{{"path":"/srv/index","mode":420,"uid":0,"gid":0,"regular":{{"sha256":"{a}","size":10}}}}],"processes":[{{"name":"httpd","package":"base","argv":["/bin/httpd","-f"],"env":["A=b"],"restart":"always"}}],"policy":{{"on_silence":"run","foreign_disk":"keep"}}}}"#
    );
    assert_eq!(json, expected);

    sql(
        &catalog,
        "UPDATE class_package SET position = 3 WHERE package = 'site'",
    );
    let other = web(&catalog).unwrap();
    assert_eq!(other.packages[0].name, "base");
    assert_ne!(other.files, manifest.files);
}

#[test]
fn says_everything_that_is_wrong_with_a_class() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "UPDATE class_image SET image = 'old', version = '5';
         INSERT INTO package (id, name, version, arch) VALUES (9, 'arm', '1', 'aarch64');
         INSERT INTO class_package VALUES ('web', 0, 'arm', '1'), ('web', 0, 'spare', '1');
         INSERT INTO package_file (package_id, path, kind, mode, target)
             VALUES (4, '/bin/httpd', 'link', 511, 'x'), (4, '/srv', 'link', 511, 'y');
         UPDATE package_process SET argv = '[\"/bin/nothing\"]';",
    );
    assert_eq!(
        web(&catalog).unwrap_err(),
        [
            "class web on x86_64: boot image old 5 has no loader for BIOS machines",
            "class web on x86_64: package arm 1 is not there for x86_64: install it, or give the class another version",
            "class web on x86_64: package site has /srv/index, but package spare makes /srv a link",
            "class web on x86_64: process httpd of package base starts /bin/nothing, which no package of the list has",
        ]
    );
    let snapshot = catalog.snapshot().unwrap();
    let problems = manifest_for(&snapshot, "idle", X86, Firmware::Uefi).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "class idle on x86_64: it has no boot image for x86_64: insert one into class_image"
    );
}

#[test]
fn a_broken_class_keeps_its_last_good_manifest_and_the_others_go_on() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "INSERT INTO class (name) VALUES ('db');
         INSERT INTO class_package VALUES ('db', 1, 'site', '1.0');
         INSERT INTO class_image VALUES ('db', 'x86_64', 'debian', '6.1');",
    );
    let before = catalog.snapshot().unwrap();
    let first = Served::first(&before);
    assert_eq!(first.problems(), []);
    let wanted = |served: &Served, class| {
        served
            .wanted(class, None, X86, Firmware::Uefi)
            .unwrap()
            .digest
    };
    assert_eq!(
        first
            .wanted("web", None, X86, Firmware::Bios)
            .unwrap()
            .digest,
        wanted(&first, "web")
    );

    sql(
        &catalog,
        "UPDATE class_package SET version = '2.0' WHERE class = 'db';
         UPDATE package_process SET argv = '[\"/gone\"]';",
    );
    let second = first.next(&before, &catalog.snapshot().unwrap());
    assert_eq!(wanted(&second, "web"), wanted(&first, "web"));
    assert_ne!(wanted(&second, "db"), wanted(&first, "db"));
    assert_eq!(second.problems().len(), 1);
    let served = second.manifest(wanted(&second, "db")).unwrap();
    assert_eq!(
        Manifest::from_bytes(&served.bytes, served.digest).unwrap(),
        served.manifest().unwrap()
    );
    assert_eq!(second.all().count(), 4);
}

#[test]
fn rows_that_make_no_sense_are_left_out_and_named() {
    let (_dir, catalog) = catalog();
    // Rows that the schema refuses today: an older version may have taken them.
    sql(
        &catalog,
        "PRAGMA ignore_check_constraints = ON;
         DROP TRIGGER network_insert; DROP TRIGGER dhcp_option_insert;
         INSERT INTO network (name, subnet) VALUES ('a', '999.0.0.0/8'), ('z', '10.0.0.0/16');
         INSERT INTO network (name, subnet, pool_first, pool_last)
             VALUES ('b', '10.9.0.0/24', '10.9.0.9', '10.9.0.1'),
                    ('c', '10.8.0.0/24', '10.7.0.9', '10.8.0.1');
         INSERT INTO network (name, subnet, router) VALUES ('d', '10.7.0.0/24', '10.7.0.255');
         INSERT INTO network (name, subnet, mode) VALUES ('e', '10.6.0.0/24', 'on');
         INSERT INTO dhcp_option VALUES
             ('network', 'lan', 51, 'u32', '60', 0), ('network', 'lan', 42, 'ip', '10.0.0.256', 0),
             ('network', 'lan', 43, 'hex', '0x', 0), ('network', 'lan', 44, 'ip4', '10.0.0.1', 0),
             ('network', 'lan', 300, 'u8', '1', 0), ('class', 'gone', 42, 'ip', '10.0.0.1', 0);
         UPDATE node SET ip = '10.0.0.999';",
    );
    let snapshot = catalog.snapshot().unwrap();
    let told: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "dhcp_option 42 of class gone: no class has this name",
            "dhcp_option 42 of network lan: value \"10.0.0.256\" is not of type ip",
            "dhcp_option 43 of network lan: value \"0x\" is not of type hex",
            "dhcp_option 44 of network lan: type is \"ip4\"",
            "dhcp_option 51 of network lan: bootd sets option 51 itself",
            "dhcp_option 300 of network lan: code 300 is not from 1 to 254",
            "network a: subnet \"999.0.0.0/8\" is not like 10.0.0.0/24",
            "network b: pool_first 10.9.0.9 comes after pool_last 10.9.0.1",
            "network c: pool address 10.7.0.9 is not a machine's address in 10.8.0.0/24",
            "network d: router 10.7.0.255 is not a machine's address in 10.7.0.0/24",
            "network e: mode is \"on\"",
            "network z: 10.0.0.0/16 overlaps lan (10.0.0.0/24)",
            "node n1: ip is \"10.0.0.999\": invalid IPv4 address syntax",
        ]
    );
    assert_eq!(snapshot.networks.len(), 1);
    assert_eq!(snapshot.nodes, []);
}

fn machine(last: u8) -> Identity {
    Identity {
        mac: Some(mac(last).parse().unwrap()),
        arch: Some(X86),
        firmware: Some(Firmware::Uefi),
        ..Identity::default()
    }
}

fn is(found: &Match<'_>) -> (String, Option<KnownBy>) {
    match found {
        Match::Node { node, by, .. } => (node.name.clone(), Some(*by)),
        Match::Rule { rule, .. } => (rule.name.clone(), None),
        Match::Perhaps { rule } => (format!("perhaps {}", rule.name), None),
        Match::Nobody => ("nobody".into(), None),
    }
}

#[test]
fn knows_nodes_by_key_then_mac_then_uuid() {
    let (_dir, mut catalog) = catalog();
    let uuid: SystemUuid = "123e4567-e89b-12d3-a456-426614174000".parse().unwrap();
    sql(
        &catalog,
        &format!("INSERT INTO node (name, uuid, class) VALUES ('n2', '{uuid}', 'web')"),
    );
    catalog.bind_key("n2", &[7; 32]).unwrap();
    let snapshot = catalog.snapshot().unwrap();
    let find = |identity: &Identity| is(&match_node(&snapshot, identity));

    let n1 = machine(1);
    assert_eq!(find(&n1), ("n1".into(), Some(KnownBy::Mac)));
    let with_uuid = Identity {
        uuid: Some(uuid),
        ..n1.clone()
    };
    assert_eq!(find(&with_uuid), ("n1".into(), Some(KnownBy::Mac)));
    let row = snapshot.node("n1").unwrap();
    assert_eq!(
        differences(&snapshot, row, &with_uuid),
        ["its uuid is that of node n2"]
    );
    let new_card = Identity {
        mac: Some(Mac([2; 6])),
        ..with_uuid.clone()
    };
    assert_eq!(find(&new_card), ("n2".into(), Some(KnownBy::Uuid)));
    let with_key = Identity {
        key: Some([7; 32]),
        ..n1
    };
    assert_eq!(find(&with_key), ("n2".into(), Some(KnownBy::Key)));
    assert_eq!(find(&Identity::default()), ("nobody".into(), None));
}

#[test]
fn rules_are_tried_in_order_and_say_why_they_pass() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "DELETE FROM rule;
         INSERT INTO rule (name, priority, action, product) VALUES ('c', 1, 'ignore', 'Virtual*');
         INSERT INTO rule (name, priority, class, firmware) VALUES ('b', 2, 'web', 'bios');
         INSERT INTO rule (name, priority, class, vendor) VALUES ('a', 3, 'web', 'PXE*:Arch:*7*');
         INSERT INTO rule (name, priority, class, mac_prefix) VALUES ('d', 4, 'web', '02:');",
    );
    let snapshot = catalog.snapshot().unwrap();
    let because = |identity: &Identity| -> Vec<String> {
        let passed = passed(&snapshot, identity);
        passed.into_iter().map(|passed| passed.because).collect()
    };
    let find = |identity: &Identity| is(&match_node(&snapshot, identity)).0;

    let unknown = told(machine(9));
    assert_eq!(find(&unknown), "nobody");
    assert_eq!(
        because(&unknown),
        [
            "product should be Virtual*, the machine does not say",
            "firmware should be bios, the machine has uefi",
            "vendor should be PXE*:Arch:*7*, the machine does not say",
            "mac_prefix should be 02:, the machine has 52:54:00:00:00:09",
        ]
    );
    let vendor = |text: &str| Identity {
        vendor: Some(text.into()),
        ..unknown.clone()
    };
    assert_eq!(find(&vendor("PXEClient:Arch:00007:UNDI")), "a");
    assert_eq!(find(&vendor("PXEClient:Arch:00009")), "nobody");
    let bios = Identity {
        firmware: Some(Firmware::Bios),
        ..unknown.clone()
    };
    assert_eq!(find(&bios), "b");
    let virtual_machine = Identity {
        product: Some("Virtual Machine".into()),
        ..bios
    };
    assert_eq!(find(&virtual_machine), "c");
}

/// Its init has spoken, and its board says nothing.
fn told(machine: Identity) -> Identity {
    let nothing = || Some(String::new());
    Identity {
        product: nothing(),
        vendor: nothing(),
        serial: nothing(),
        chassis: nothing(),
        slot: nothing(),
        ..machine
    }
}

#[test]
fn what_only_init_tells_is_a_perhaps_until_it_has() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "DELETE FROM rule;
         INSERT INTO rule (name, priority, class, firmware, serial)
             VALUES ('a', 1, 'web', 'uefi', 'CZ1*');
         INSERT INTO rule (name, priority, action, chassis) VALUES ('b', 2, 'ignore', 'X*');
         INSERT INTO rule (name, priority, action, class, slot) VALUES ('c', 3, 'hold', 'idle', '*');",
    );
    let find = |identity: &Identity| is(&match_node(&catalog.snapshot().unwrap(), identity)).0;
    let candidates = |identity: &Identity| -> Vec<(String, Fit)> {
        let snapshot = catalog.snapshot().unwrap();
        let candidates = candidates(&snapshot, identity);
        candidates.map(|(it, fit)| (it.name.clone(), fit)).collect()
    };
    let bios = Identity {
        firmware: Some(Firmware::Bios),
        ..machine(9)
    };
    let perhaps = |name: &str| (name.to_owned(), Fit::Perhaps);
    assert_eq!(find(&machine(9)), "perhaps a");
    assert_eq!(candidates(&machine(9)), ["a", "b", "c"].map(perhaps));
    // The first that may take it in: one that may ignore it does not.
    assert_eq!(find(&bios), "perhaps c");
    assert_eq!(candidates(&bios), ["b", "c"].map(perhaps));
    let silent = told(machine(9));
    assert_eq!(find(&silent), "nobody");
    assert_eq!(
        passed(&catalog.snapshot().unwrap(), &silent)[2].because,
        "slot should be *, the machine does not say"
    );
    let serial = |text: &str| Identity {
        serial: Some(text.into()),
        ..silent.clone()
    };
    assert_eq!(find(&serial("CZ12")), "a");
    assert_eq!(find(&serial("CZ21")), "nobody");
    let sits = |chassis: &str, slot: &str| Identity {
        chassis: Some(chassis.into()),
        slot: Some(slot.into()),
        ..silent.clone()
    };
    assert_eq!(find(&sits("X1", "3")), "b");
    assert_eq!(find(&sits("Y1", "3")), "c");

    // A rule that fits is no more than a perhaps after one that may.
    let add = |script: &str| sql(&catalog, script);
    add("INSERT INTO rule (name, priority, class) VALUES ('d', 4, 'web')");
    assert_eq!(find(&machine(9)), "perhaps a");
    assert_eq!(candidates(&bios)[2], ("d".into(), Fit::Yes));
    add("DELETE FROM rule WHERE name = 'c'");
    assert_eq!(find(&bios), "perhaps d");
    assert_eq!(find(&silent), "d");
    // Ignored it is, whatever it says; and nobody, where nothing else is left.
    add("UPDATE rule SET action = 'ignore', class = NULL WHERE name = 'd'");
    assert_eq!(find(&bios), "d");
    add("DELETE FROM rule WHERE name = 'd'");
    assert_eq!(find(&bios), "nobody");
    // A rule that goes by what DHCP tells decides, whatever stands after it.
    add("INSERT INTO rule (name, priority, class) VALUES ('0', 0, 'web')");
    assert_eq!(find(&machine(9)), "0");
}

#[test]
fn enrols_once_binds_one_key_and_learns_what_is_missing() {
    let (_dir, mut catalog) = catalog();
    let snapshot = catalog.snapshot().unwrap();
    let rule = &snapshot.rules[0];
    let uuid = "123e4567-e89b-12d3-a456-426614174000".parse().unwrap();
    let new = Identity {
        uuid: Some(uuid),
        ..machine(9)
    };
    assert_eq!(catalog.enrol(rule, &new).unwrap(), "node-000009");
    assert_eq!(catalog.enrol(rule, &new).unwrap(), "node-000009");
    let twin = Identity {
        mac: Some(Mac([2, 2, 2, 0, 0, 9])),
        ..machine(9)
    };
    assert_eq!(catalog.enrol(rule, &twin).unwrap(), "node-000009-2");

    let snapshot = catalog.snapshot().unwrap();
    let node = snapshot.node("node-000009").unwrap();
    assert_eq!(
        (node.arch, node.firmware),
        (Some(X86), Some(Firmware::Uefi))
    );
    assert_eq!(
        (node.uuid, node.class.as_str(), node.hold),
        (Some(uuid), "web", false)
    );

    catalog.bind_key("n1", &[1; 32]).unwrap();
    catalog.bind_key("n1", &[1; 32]).unwrap();
    assert!(matches!(
        catalog.bind_key("n1", &[2; 32]),
        Err(Error::Refused(_))
    ));
    assert!(matches!(
        catalog.bind_key("n9", &[2; 32]),
        Err(Error::NoSuch { .. })
    ));

    let seen = Identity {
        uuid: Some("123e4567-e89b-12d3-a456-426614174001".parse().unwrap()),
        ..machine(1)
    };
    assert!(catalog.learn("n1", &seen).unwrap());
    assert!(!catalog.learn("n1", &seen).unwrap());
    assert_eq!(
        catalog.snapshot().unwrap().node("n1").unwrap().uuid,
        seen.uuid
    );
}

#[test]
fn a_watcher_sees_the_edits_of_others_and_two_writers_take_turns() {
    let (dir, mut catalog) = catalog();
    let mut watcher = catalog.watcher().unwrap();
    assert!(!watcher.changed().unwrap());
    let before = catalog.snapshot().unwrap();
    sql(&catalog, "UPDATE node SET hold = 1");
    assert!(watcher.changed().unwrap());
    assert!(!watcher.changed().unwrap());
    let after = catalog.snapshot().unwrap();
    assert!(after.generation > before.generation);
    assert_eq!((before.nodes[0].hold, after.nodes[0].hold), (false, true));

    // Another writer in the middle of a transaction: this one waits for its end.
    let other = rusqlite::Connection::open(dir.path().join("catalog.db")).unwrap();
    other
        .execute_batch("BEGIN IMMEDIATE; UPDATE node SET hold = 0")
        .unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| catalog.bind_key("n1", &[1; 32]));
        other.execute_batch("COMMIT").unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert!(watcher.changed().unwrap());
    let node = catalog.snapshot().unwrap().node("n1").unwrap().clone();
    assert_eq!((node.hold, node.public_key), (false, Some([1; 32])));
}

#[test]
fn a_test_changes_what_its_nodes_try_and_nothing_else() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "INSERT INTO test (scope, name) VALUES ('node', 'n1'), ('class', 'idle');
         INSERT INTO test (scope, name, image, version)
             VALUES ('node', 'n1', 'old', '5'), ('class', 'web', 'debian', '6.1');
         INSERT INTO test_package VALUES (1, 'site', '2.0'), (1, 'spare', '1'), (2, 'site', '2.0');",
    );
    let snapshot = catalog.snapshot().unwrap();
    let served = Served::first(&snapshot);
    let usual = served
        .wanted("web", None, Arch::X86_64, Firmware::Uefi)
        .unwrap();
    let trial = served
        .trial(1, "web", "n1", Arch::X86_64, Firmware::Uefi)
        .unwrap();
    let packages = |encoded: &Encoded| -> Vec<String> {
        let packages = encoded.head.packages.iter();
        packages
            .map(|it| format!("{} {}", it.name, it.version))
            .collect()
    };
    assert_eq!(packages(usual), ["site 1.0", "base 1"]);
    assert_eq!(packages(trial), ["spare 1", "site 2.0", "base 1"]);
    assert!(served.manifest(trial.digest).is_some());
    assert!(served.every().any(|it| it.digest == trial.digest));
    let image = served.trial(3, "web", "n1", Arch::X86_64, Firmware::Uefi);
    let image = &image.unwrap().head;
    assert_eq!(
        (image.boot.name.as_str(), image.boot.version.as_str()),
        ("old", "5")
    );
    assert_eq!(image.packages, usual.head.packages);
    // It has no loader for BIOS, and what the class has anyway is no test.
    assert!(
        served
            .trial(3, "web", "n1", Arch::X86_64, Firmware::Bios)
            .is_none()
    );
    assert!(
        served
            .trial(4, "web", "n1", Arch::X86_64, Firmware::Uefi)
            .is_none()
    );
    // Class idle has no boot image, and so no machine to try anything.
    assert!(
        served
            .trial(2, "idle", "n1", Arch::X86_64, Firmware::Uefi)
            .is_none()
    );
    assert!(
        served
            .trial(1, "idle", "n1", Arch::X86_64, Firmware::Uefi)
            .is_none()
    );
}
