//! Package lists: nodes set apart, order, features, and what packages say about each other.

use crate::common::{catalog, digest, sql};
use bootd_protocol::identity::{Arch, Firmware};
use bootd_protocol::manifest::Manifest;
use catalog::Catalog;
use catalog::select::{Selection, Subject, select};
use catalog::served::{Kept, Running, Served};
use catalog::snapshot::Snapshot;

const X86: Arch = Arch::X86_64;

/// What node n1 of class web gets.
fn selected(snapshot: &Snapshot) -> Selection<'_> {
    let subject = Subject {
        class: &snapshot.classes["web"],
        node: snapshot.node("n1"),
        test: None,
        arch: X86,
        firmware: Firmware::Uefi,
    };
    select(snapshot, subject)
}

/// Its packages, as "name version".
fn list(catalog: &Catalog) -> Vec<String> {
    let snapshot = catalog.snapshot().unwrap();
    let selection = selected(&snapshot);
    let packages = selection.packages.iter();
    packages
        .map(|it| format!("{} {}", it.name, it.version))
        .collect()
}

fn problems(catalog: &Catalog) -> Vec<String> {
    let snapshot = catalog.snapshot().unwrap();
    let selection = selected(&snapshot);
    selection.problems.iter().map(ToString::to_string).collect()
}

fn left_out(catalog: &Catalog) -> Vec<String> {
    let snapshot = catalog.snapshot().unwrap();
    let selection = selected(&snapshot);
    let gone = selection.left_out.iter();
    gone.map(|it| format!("{} {}: {}", it.name, it.version, it.why))
        .collect()
}

/// A package without files, in class web, with relations as (kind, relation).
fn add(catalog: &Catalog, name: &str, version: &str, position: &str, relations: &[(&str, &str)]) {
    sql(
        catalog,
        &format!(
            "INSERT INTO package (name, version, arch) VALUES ('{name}', '{version}', 'all');
             INSERT INTO class_package VALUES ('web', {position}, '{name}', '{version}');"
        ),
    );
    for (kind, relation) in relations {
        relate(catalog, name, kind, relation, "");
    }
}

fn relate(catalog: &Catalog, name: &str, kind: &str, relation: &str, on_class: &str) {
    sql(
        catalog,
        &format!(
            "INSERT INTO package_relation (package_id, kind, relation, on_class)
             SELECT id, '{kind}', '{relation}', '{on_class}' FROM package WHERE name = '{name}'"
        ),
    );
}

#[test]
fn a_node_is_set_apart_by_rows() {
    let (_dir, catalog) = catalog();
    assert_eq!(list(&catalog), ["site 1.0", "base 1"]);
    sql(
        &catalog,
        "INSERT INTO node_package VALUES ('n1', NULL, 'site', '2.0'), ('n1', 9, 'spare', '1')",
    );
    assert_eq!(list(&catalog), ["site 2.0", "base 1", "spare 1"]);
    sql(
        &catalog,
        "UPDATE node_package SET position = 0 WHERE package = 'spare'",
    );
    assert_eq!(list(&catalog), ["spare 1", "site 2.0", "base 1"]);
    sql(
        &catalog,
        "UPDATE node_package SET version = NULL WHERE package = 'site'",
    );
    assert_eq!(list(&catalog), ["spare 1", "base 1"]);
    assert_eq!(
        left_out(&catalog),
        ["site 1.0: the node's row says so (table node_package)"]
    );
    sql(
        &catalog,
        "UPDATE node SET packages = 'own'; UPDATE node_package SET version = '2.0' WHERE package = 'site'",
    );
    assert_eq!(list(&catalog), ["site 2.0", "spare 1"]);
    // Others of its class are not concerned.
    let served = Served::first(&catalog.snapshot().unwrap());
    let wanted = |node| -> Manifest {
        let wanted = served.wanted("web", node, X86, Firmware::Uefi);
        wanted.unwrap().manifest().unwrap()
    };
    assert_eq!(wanted(None).packages.len(), 2);
    assert_eq!(wanted(Some("n2")), wanted(None));
    assert_eq!(wanted(Some("n1")).packages[1].name, "spare");
    assert_eq!(wanted(Some("n1")).class, "web");
}

#[test]
fn a_node_apart_without_a_good_list_does_not_get_its_classs() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "INSERT INTO package (name, version, arch) VALUES ('arm', '1', 'aarch64');
         INSERT INTO node_package VALUES ('n1', 1, 'arm', '1')",
    );
    let served = Served::first(&catalog.snapshot().unwrap());
    assert!(
        served
            .wanted("web", Some("n1"), X86, Firmware::Uefi)
            .is_none()
    );
    assert!(
        served
            .wanted("web", Some("n2"), X86, Firmware::Uefi)
            .is_some()
    );
    assert_eq!(
        served.problems()[0].to_string(),
        "node n1 on x86_64: package arm 1 is not there for x86_64: install it, or give the node another version"
    );
}

#[test]
fn what_has_no_position_stands_before_what_it_needs() {
    let (_dir, catalog) = catalog();
    add(
        &catalog,
        "app",
        "1",
        "NULL",
        &[("needs", "lib"), ("needs", "base")],
    );
    add(&catalog, "lib", "1", "NULL", &[("needs", "base")]);
    add(&catalog, "free", "1", "NULL", &[]);
    assert_eq!(
        list(&catalog),
        ["free 1", "site 1.0", "app 1", "lib 1", "base 1"]
    );
    assert_eq!(problems(&catalog), [""; 0]);

    relate(&catalog, "lib", "needs", "app", "");
    assert_eq!(
        problems(&catalog),
        [
            "class web on x86_64: packages app, lib need each other in a circle, and have no position: give them one (UPDATE class_package SET position = …)"
        ]
    );
    sql(
        &catalog,
        "UPDATE class_package SET position = 5 WHERE package IN ('app', 'lib')",
    );
    assert_eq!(
        problems(&catalog),
        [""; 0],
        "with a position, a circle does no harm"
    );
}

#[test]
fn upgrades_stand_before_what_they_upgrade_and_go_with_it() {
    let (_dir, catalog) = catalog();
    add(
        &catalog,
        "site-fix",
        "1.0.1",
        "9",
        &[("upgrades", "site (>= 1.0, << 2)")],
    );
    add(
        &catalog,
        "fix-fix",
        "1",
        "10",
        &[("upgrades", "site-fix (= 1.0.1)")],
    );
    assert_eq!(
        list(&catalog),
        ["fix-fix 1", "site-fix 1.0.1", "site 1.0", "base 1"]
    );
    sql(
        &catalog,
        "UPDATE class_package SET version = '2.0' WHERE package = 'site'",
    );
    assert_eq!(list(&catalog), ["site 2.0", "base 1"]);
    assert_eq!(
        left_out(&catalog),
        [
            "site-fix 1.0.1: it upgrades site (>= 1.0, << 2), which the list does not have",
            "fix-fix 1: it upgrades site-fix (= 1.0.1), which the list does not have",
        ]
    );
    add(&catalog, "a", "1", "20", &[("upgrades", "b")]);
    add(&catalog, "b", "1", "21", &[("upgrades", "a")]);
    let problems = problems(&catalog);
    assert!(
        problems[0].contains("packages b, a upgrade each other in a circle"),
        "{problems:?}"
    );
}

#[test]
fn needs_and_conflicts_are_told_in_words() {
    let (_dir, catalog) = catalog();
    add(
        &catalog,
        "shop",
        "1.4",
        "0",
        &[
            ("needs", "base (>= 2)"),
            ("needs", "mail | news"),
            ("conflicts", "site (<< 2)"),
        ],
    );
    assert_eq!(
        problems(&catalog),
        [
            "class web on x86_64: package shop 1.4 needs base (>= 2), but the list has base 1: give it another version",
            "class web on x86_64: package shop 1.4 needs mail | news, which no package of the list is or provides: put one into the list",
            "class web on x86_64: package shop 1.4 conflicts with site (<< 2), which site 1.0 is: take one of them out of the list",
        ]
    );
    sql(
        &catalog,
        "UPDATE class_package SET version = '2.0' WHERE package = 'site';
         UPDATE package_relation SET for_arch = 'aarch64' WHERE relation = 'mail | news';",
    );
    relate(&catalog, "site", "provides", "base (= 2.5)", "");
    assert_eq!(problems(&catalog), [""; 0]);
    sql(
        &catalog,
        "UPDATE package_relation SET relation = 'base' WHERE kind = 'provides'",
    );
    assert_eq!(
        problems(&catalog),
        [
            "class web on x86_64: package shop 1.4 needs base (>= 2), but the list has base without a version in site and base 1: give it another version"
        ]
    );
}

#[test]
fn features_pick_packages_and_files() {
    let (_dir, catalog) = catalog();
    let [a, b] = ['a', 'b'].map(digest);
    add(&catalog, "debug", "1", "0", &[]);
    sql(
        &catalog,
        &format!(
            "UPDATE package SET function = 'debugging' WHERE name = 'debug';
             INSERT INTO package_file (package_id, path, kind, mode, sha256, arch, function) VALUES
                 (4, '/etc/conf', 'file', 420, '{a}', 'all', ''),
                 (4, '/etc/conf', 'file', 384, '{a}', 'aarch64', ''),
                 (4, '/etc/conf', 'file', 292, '{b}', 'x86_64', ''),
                 (4, '/etc/conf', 'file', 256, '{b}', 'all', 'routing'),
                 (4, '/etc/only', 'file', 420, '{a}', 'all', 'routing');
             INSERT INTO class_package VALUES ('web', 5, 'spare', '1');"
        ),
    );
    let modes = || -> Vec<(String, u32)> {
        let snapshot = catalog.snapshot().unwrap();
        let selection = selected(&snapshot);
        assert_eq!(selection.problems, []);
        let files = selection.files.iter();
        let files = files.filter(|(path, _)| path.starts_with("/etc"));
        files
            .map(|(path, won)| ((*path).to_owned(), won.module.file.mode))
            .collect()
    };
    assert_eq!(modes(), [("/etc/conf".into(), 0o444)]);
    assert_eq!(list(&catalog), ["site 1.0", "base 1", "spare 1"]);
    assert_eq!(
        left_out(&catalog),
        ["debug 1: it is for nodes that ask for feature debugging"]
    );
    sql(
        &catalog,
        "INSERT INTO feature (scope, owner, feature) VALUES
             ('class', 'web', 'routing'), ('node', 'n1', 'debugging')",
    );
    assert_eq!(
        modes(),
        [("/etc/conf".into(), 0o400), ("/etc/only".into(), 0o644)]
    );
    assert_eq!(list(&catalog)[0], "debug 1");
    sql(
        &catalog,
        "INSERT INTO feature VALUES ('node', 'n1', 'routing', 0)",
    );
    assert_eq!(
        modes(),
        [("/etc/conf".into(), 0o444)],
        "the node's word goes first"
    );
}

#[test]
fn nobody_wins_a_path_by_chance() {
    let (_dir, catalog) = catalog();
    let a = digest('a');
    sql(
        &catalog,
        &format!(
            "INSERT INTO class_package VALUES ('web', 1, 'spare', '1');
             INSERT INTO package_file (package_id, path, kind, mode, sha256, function) VALUES
                 (4, '/srv/index', 'file', 256, '{a}', ''),
                 (4, '/x', 'file', 256, '{a}', 'one'), (4, '/x', 'file', 256, '{a}', 'two');
             INSERT INTO feature (scope, owner, feature) VALUES
                 ('class', 'web', 'one'), ('class', 'web', 'two');"
        ),
    );
    assert_eq!(
        problems(&catalog),
        [
            "class web on x86_64: package spare 1 has /x for feature one and for feature two, and both are asked for: leave one out (table feature)",
            "class web on x86_64: packages site 1.0 and spare 1 both have /srv/index, and both stand at position 1: give one of them another position",
        ]
    );
}

#[test]
fn interfaces_hold_and_missing_libraries_are_noted() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "INSERT INTO package_api VALUES (3, '/bin/httpd', 'consumes', 'routes/1');
         INSERT INTO package_library VALUES (3, '/bin/httpd', 'libc.so.6', 'direct'),
                                            (3, '/bin/gone', 'libm.so.6', 'direct');",
    );
    assert_eq!(
        problems(&catalog),
        [
            "class web on x86_64: /bin/httpd of package base 1 uses the interface routes/1, which no package of the list provides (table package_api)"
        ]
    );
    sql(
        &catalog,
        "INSERT INTO package_api VALUES (1, '/srv/index', 'provides', 'routes/1')",
    );
    assert_eq!(problems(&catalog), [""; 0]);
    let snapshot = catalog.snapshot().unwrap();
    assert_eq!(
        selected(&snapshot).notes[0].text,
        "/bin/httpd of package base 1 needs the library libc.so.6, which no package of the list has"
    );
}

/// Classes web and back; web's site needs db (>= 2) on back.
fn two_classes() -> (tempfile::TempDir, Catalog) {
    let (dir, catalog) = catalog();
    sql(
        &catalog,
        "INSERT INTO class (name) VALUES ('back');
         INSERT INTO class_image VALUES ('back', 'x86_64', 'debian', '6.1');
         INSERT INTO package (name, version, arch) VALUES ('db', '1', 'all'), ('db', '2.1', 'all');
         INSERT INTO class_package VALUES ('back', 1, 'db', '2.1');",
    );
    relate(&catalog, "site", "needs", "db (>= 2)", "back");
    (dir, catalog)
}

#[test]
fn what_other_classes_need_is_not_taken_away() {
    let (_dir, catalog) = two_classes();
    let good = catalog.snapshot().unwrap();
    let first = Served::first(&good);
    assert_eq!(first.problems(), []);
    let digests = |served: &Served| {
        ["web", "back"].map(|class| {
            let wanted = served.wanted(class, None, X86, Firmware::Uefi);
            wanted.map(|it| it.digest)
        })
    };

    sql(
        &catalog,
        "UPDATE class_package SET version = '1' WHERE class = 'back'",
    );
    let broken = catalog.snapshot().unwrap();
    let second = first.next(&good, &broken);
    assert_eq!(digests(&second), digests(&first));
    let complaint = "class back on x86_64: package site 1.0 of class web needs db (>= 2) on class back (table package_relation), but class back on x86_64 has db 1: class back on x86_64 keeps what it had";
    assert_eq!(second.problems()[0].to_string(), complaint);

    // Something else is edited: the promise is still broken, and still told.
    sql(
        &catalog,
        "UPDATE class SET comment = 'x' WHERE name = 'idle'",
    );
    let later = catalog.snapshot().unwrap();
    let third = second.next(&broken, &later);
    assert_eq!(digests(&third), digests(&first));
    assert_eq!(third.problems(), second.problems());

    // A master that starts with this has nothing to go back to: the one that asks gets nothing.
    let fresh = Served::first(&later);
    assert_eq!(digests(&fresh)[0], None);
    assert!(digests(&fresh)[1].is_some());

    sql(
        &catalog,
        "UPDATE class_package SET version = '2.1' WHERE class = 'back'",
    );
    let mended = third.next(&later, &catalog.snapshot().unwrap());
    assert_eq!(mended.problems(), []);
    assert_eq!(digests(&mended), digests(&first));

    sql(&catalog, "DELETE FROM class WHERE name = 'back'");
    let alone = mended.next(&later, &catalog.snapshot().unwrap());
    let text = alone.problems()[0].to_string();
    assert!(
        text.contains("which does not exist or has no manifest"),
        "{text}"
    );
}

#[test]
fn a_node_apart_counts_for_its_class() {
    let (_dir, catalog) = two_classes();
    let good = catalog.snapshot().unwrap();
    let first = Served::first(&good);
    sql(
        &catalog,
        "INSERT INTO node (name, mac, class, arch, firmware)
             VALUES ('db1', '52:54:00:00:00:09', 'back', 'x86_64', 'uefi');
         INSERT INTO node_package VALUES ('db1', NULL, 'db', '1');",
    );
    let second = first.next(&good, &catalog.snapshot().unwrap());
    let text = second.problems()[0].to_string();
    assert!(text.contains("but node db1 on x86_64 has db 1"), "{text}");
}

#[test]
fn what_nodes_run_is_checked_too() {
    let (_dir, catalog) = two_classes();
    let old = catalog.snapshot().unwrap();
    let first = Served::first(&old);
    let digest = |served: &Served, class| {
        let wanted = served.wanted(class, None, X86, Firmware::Uefi);
        wanted.unwrap().digest
    };
    // Both go on to something else: those of class back do not run it yet.
    sql(
        &catalog,
        "INSERT INTO package (name, version, arch) VALUES ('db', '3', 'all');
         UPDATE class_package SET version = '3' WHERE class = 'back';
         UPDATE package_relation SET relation = 'db (>= 3)';",
    );
    let second = first.next(&old, &catalog.snapshot().unwrap());
    assert_eq!(second.problems(), []);
    assert!(second.looks_abroad());
    let runs = |back: bootd_protocol::digest::Digest| -> Running {
        let names = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        Running::from([
            (
                "web".into(),
                [(digest(&second, "web"), names(&["n1"]))].into(),
            ),
            ("back".into(), [(back, names(&["db1", "db2"]))].into()),
        ])
    };
    let unmet = second.unmet(&runs(digest(&first, "back")));
    let expected = "package site 1.0 of class web needs db (>= 3) on class back (table package_relation), but node db1 (and 1 more) runs db 2.1";
    assert_eq!(unmet, [("n1".to_owned(), expected.to_owned())].into());
    assert_eq!(second.unmet(&runs(digest(&second, "back"))), [].into());
}

#[test]
fn what_was_good_outlives_the_master() {
    let (dir, catalog) = two_classes();
    let good = catalog.snapshot().unwrap();
    let first = Served::first(&good);
    let kept = Kept::below(dir.path());
    assert_eq!(kept.read().all().count(), 0);
    kept.write(&first).unwrap();
    sql(
        &catalog,
        "UPDATE class_package SET version = '1' WHERE class = 'back'; UPDATE class_package SET version = '2.0' WHERE class = 'web' AND package = 'site'",
    );

    // The next master starts with the bad edit.
    let restored = kept.read();
    assert!(restored.is_as(&first));
    let broken = catalog.snapshot().unwrap();
    let next = restored.next(&Snapshot::default(), &broken);
    // The back keeps what the front needs; the front's own edit was all right.
    let digest = |served: &Served, class| {
        let wanted = served.wanted(class, None, X86, Firmware::Uefi);
        wanted.unwrap().digest
    };
    assert_eq!(digest(&next, "back"), digest(&first, "back"));
    assert_ne!(digest(&next, "web"), digest(&first, "web"));
    assert_eq!(next.problems().len(), 1);
    sql(
        &catalog,
        "UPDATE class_package SET version = '2.1' WHERE class = 'back'",
    );
    let mended = next.next(&broken, &catalog.snapshot().unwrap());
    assert_eq!(mended.problems(), []);
    assert!(mended.is_as(&next));
    assert!(mended.former(digest(&first, "web")).is_some());

    // What nobody has goes, what is damaged is as if it were not there.
    kept.write(&mended).unwrap();
    let files = || std::fs::read_dir(dir.path().join("manifests")).unwrap();
    assert_eq!(files().count(), 3);
    assert!(kept.read().is_as(&mended));
    let wanted = mended
        .wanted("web", None, X86, Firmware::Uefi)
        .unwrap()
        .digest;
    std::fs::write(dir.path().join(format!("manifests/{wanted}")), "x").unwrap();
    assert_eq!(kept.read().all().count(), 2);
    std::fs::write(dir.path().join("manifests/index.json"), "[{}]").unwrap();
    assert_eq!(kept.read().all().count(), 0);
}

/// What is wanted of n1 and of the others of its class.
fn wanted(served: &Served, node: Option<&str>) -> Option<bootd_protocol::digest::Digest> {
    let wanted = served.wanted("web", node, X86, Firmware::Uefi);
    wanted.map(|it| it.digest)
}

#[test]
fn a_row_that_makes_no_sense_takes_nothing_away() {
    for edit in [
        "UPDATE package_process SET argv = '[\"/bin/httpd\", 1]'",
        "UPDATE package_process SET limits = '{\"nofile\": -1}'",
        "UPDATE package_process SET env = CAST(x'5b2241ff225d' AS TEXT)",
        "INSERT INTO package_relation (package_id, kind, relation) VALUES (3, 'needs', 'db (')",
        "INSERT INTO package_relation (package_id, kind, relation) VALUES (3, 'provides', 'db (<< 3)')",
        "UPDATE package_file SET path = CAST(x'2fff' AS TEXT) WHERE path = '/bin/www'",
    ] {
        let (_dir, catalog) = catalog();
        let good = catalog.snapshot().unwrap();
        let first = Served::first(&good);
        sql(
            &catalog,
            &format!("PRAGMA ignore_check_constraints = ON; {edit}"),
        );
        let snapshot = catalog.snapshot().unwrap();
        let second = first.next(&good, &snapshot);
        assert_eq!(wanted(&second, None), wanted(&first, None), "{edit}");
        let texts: Vec<String> = second.problems().iter().map(ToString::to_string).collect();
        let row = "package base 1 has a row that makes no sense: see catalog check";
        assert!(texts.iter().any(|it| it.contains(row)), "{edit}: {texts:?}");
        assert!(texts.len() >= 2, "{edit}: {texts:?}");
    }
}

#[test]
fn bytes_that_are_no_text_spoil_their_row_alone() {
    let (_dir, catalog) = catalog();
    sql(
        &catalog,
        "INSERT INTO rule (name, class, product) VALUES ('odd', 'web', CAST(x'ff' AS TEXT));
         INSERT INTO feature (scope, owner, feature) VALUES ('class', 'web', 'good');
         UPDATE class SET reset_command = '[\"/bin/true\", 1]' WHERE name = 'web';",
    );
    let snapshot = catalog.snapshot().unwrap();
    let texts: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0].starts_with("class web: reset_command is not a JSON array"),
        "{texts:?}"
    );
    assert!(
        texts[1].starts_with("rule odd: a value in it cannot be read"),
        "{texts:?}"
    );
    assert_eq!(snapshot.rules.len(), 1);
    assert!(snapshot.classes["web"].features["good"]);
}

#[test]
fn who_is_newly_set_apart_has_its_class_to_go_back_to() {
    let (_dir, catalog) = two_classes();
    let good = catalog.snapshot().unwrap();
    let first = Served::first(&good);
    sql(
        &catalog,
        "INSERT INTO package (name, version, arch) VALUES ('arm', '1', 'aarch64');
         INSERT INTO node_package VALUES ('n1', 1, 'arm', '1');
         INSERT INTO node (name, mac, class, arch, firmware)
             VALUES ('db1', '52:54:00:00:00:09', 'back', 'x86_64', 'uefi');
         INSERT INTO node_package VALUES ('db1', NULL, 'db', '1');",
    );
    let second = first.next(&good, &catalog.snapshot().unwrap());
    assert_eq!(wanted(&second, Some("n1")), wanted(&first, None));
    assert_eq!(wanted(&second, None), wanted(&first, None));
    let back = |served: &Served, node| {
        let wanted = served.wanted("back", node, X86, Firmware::Uefi);
        wanted.map(|it| it.digest)
    };
    assert_eq!(back(&second, Some("db1")), back(&first, None));
}

#[test]
fn who_needs_something_is_not_stopped_where_it_goes() {
    let (_dir, catalog) = two_classes();
    let good = catalog.snapshot().unwrap();
    let first = Served::first(&good);
    sql(&catalog, "DELETE FROM class WHERE name = 'back'");
    let gone = catalog.snapshot().unwrap();
    let second = first.next(&good, &gone);
    assert_eq!(wanted(&second, None), wanted(&first, None));
    let text = second.problems()[0].to_string();
    assert!(
        text.ends_with(
            "which does not exist or has no manifest: class web on x86_64 keeps what it had"
        ),
        "{text}"
    );
}

#[test]
fn relations_for_one_processor_are_for_that_one() {
    let (_dir, catalog) = catalog();
    add(
        &catalog,
        "lib",
        "1",
        "5",
        &[("provides", "codec (= 3)"), ("upgrades", "site (>= 9)")],
    );
    add(&catalog, "app", "1", "0", &[("needs", "codec (>= 3)")]);
    assert!(
        !problems(&catalog).is_empty(),
        "lib is left out: it upgrades what is not there"
    );
    sql(
        &catalog,
        "UPDATE package_relation SET for_arch = 'aarch64' WHERE kind = 'upgrades'",
    );
    assert_eq!(problems(&catalog), [""; 0]);
    sql(
        &catalog,
        "UPDATE package_relation SET for_arch = 'aarch64' WHERE kind = 'provides'",
    );
    assert!(problems(&catalog)[0].contains("needs codec (>= 3)"));
}
