//! Commands that edit, or tell what an edit would do: `pack`, `diff`, `install --dry-run`,
//! `regress`.

use std::fs;

use crate::cli::{catalog, cluster, good, set};

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).collect()
}

#[test]
fn an_edit_is_seen_before_it_is_made() {
    let dir = cluster();
    let at = dir.path();
    set(
        at,
        "INSERT INTO package (name, version, arch) VALUES ('site', '2.0', 'all');
         INSERT INTO node (name, mac, class) VALUES ('n1', '52:54:00:00:00:01', 'web');",
    );
    let edit = "UPDATE class_package SET version = '2.0' WHERE package = 'site'";
    let told = good(at, &["diff", edit]);
    assert_eq!(
        lines(&told),
        [
            "FOR        ON           NODES  CHANGES          PATHS  TO FETCH",
            "class web  x86_64 uefi  n1     site 1.0 -> 2.0  1      1 modules, 12 B",
        ]
    );
    let none = good(
        at,
        &["diff", "UPDATE class SET comment = '' WHERE name = 'x'"],
    );
    assert_eq!(none, "No row would change.\nNo node gets anything else.");
    let same = good(at, &["diff", "UPDATE class SET comment = 'x'"]);
    assert!(same.ends_with("No node gets anything else."), "{same}");

    let (code, told, _) = catalog(
        at,
        &[
            "diff",
            "DELETE FROM class_package WHERE package = 'base'; INSERT INTO package_relation (package_id, kind, relation) VALUES (1, 'needs', 'base')",
        ],
    );
    assert_eq!(code, 3);
    let problem = "New problem: class web on x86_64: package site 1.0 needs base, which no package of the list is or provides: put one into the list";
    assert!(told.contains(problem), "{told}");
    let moved = good(
        at,
        &[
            "diff",
            "UPDATE node SET hold = 1; INSERT INTO class (name) VALUES ('db'); UPDATE node SET class = 'db'",
        ],
    );
    assert_eq!(moved, "Node n1: class web -> db, waits, and runs nothing.");
    for (edit, expected) in [
        ("ATTACH 'state/catalog.db' AS real", "not authorized"),
        (
            "BEGIN; DELETE FROM node",
            "it begins a transaction and does not end it: add COMMIT",
        ),
    ] {
        let (code, _, error) = catalog(at, &["diff", edit]);
        assert_eq!(code, 1);
        assert!(error.contains(expected), "{error}");
    }
    let (code, _, error) = catalog(at, &["diff", "UPDATE node SET class = 'x'"]);
    assert_eq!(code, 1);
    assert!(error.contains("no class has this name"), "{error}");

    // Nothing has been written.
    assert!(good(at, &["diff", edit]).contains("site 1.0 -> 2.0"));
    assert!(good(at, &["list", "classes"]).contains("has   site 1.0"));
}

#[test]
fn a_package_is_packed_tried_installed_and_taken_back() {
    let dir = cluster();
    let at = dir.path();
    fs::create_dir_all(at.join("site")).unwrap();
    fs::write(at.join("site/index"), "second").unwrap();
    let pack = [
        "pack",
        "site",
        "--name",
        "site",
        "--version",
        "2.0",
        "--prefix",
        "/srv",
    ];
    let told = good(
        at,
        &[&pack[..], &["-o", "site.composite", "-k", "release.key"]].concat(),
    );
    assert!(
        told.starts_with("site.composite: site 2.0 (all), 1 files, 0 relations,"),
        "{told}"
    );
    let tried = good(at, &["install", "--dry-run", "site.composite"]);
    assert_eq!(
        lines(&tried),
        [
            "     KIND     NAME",
            "new  package  site 2.0 (all)",
            "No node gets anything else."
        ]
    );
    assert!(!good(at, &["list", "packages"]).contains("2.0"));
    good(at, &["install", "site.composite"]);

    set(
        at,
        "UPDATE class_package SET version = '2.0' WHERE package = 'site'",
    );
    assert_eq!(
        good(at, &["regress", "site", "--class", "web"]),
        "class web: site 2.0 -> 1.0"
    );
    let (code, _, error) = catalog(at, &["regress", "site", "--class", "web"]);
    assert_eq!(code, 1);
    assert!(
        error.contains("site 1.0 is the oldest version that is kept"),
        "{error}"
    );
    set(
        at,
        "INSERT INTO node (name, mac, class) VALUES ('n1', '52:54:00:00:00:01', 'web')",
    );
    assert_eq!(
        good(at, &["regress", "site", "2.0", "--node", "n1"]),
        "node n1: site 1.0 -> 2.0"
    );
    assert_eq!(
        good(at, &["regress", "site", "--node", "n1"]),
        "node n1: site 2.0 -> 1.0"
    );
    for (arguments, expected) in [
        (
            &["regress", "gone", "--class", "web"][..],
            "the list of class web has no package gone",
        ),
        (
            &["regress", "site", "9", "--class", "web"],
            "this package has no such version",
        ),
        (&["regress", "site", "--node", "x"], "there is no node x"),
    ] {
        let (code, _, error) = catalog(at, arguments);
        assert_eq!(code, 1);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_description_packs_too_and_mistakes_are_told() {
    let dir = cluster();
    let at = dir.path();
    let text = "name = \"tool\"\nversion = \"1\"\nneeds = [\"base\"]\n[[file]]\npath = \"/bin/tool\"\ntext = \"#!/bin/sh\\n\"\nmode = \"0755\"\n";
    fs::write(at.join("tool.toml"), text).unwrap();
    let out = ["-o", "tool.composite", "-k", "release.key"];
    let told = good(at, &[&["pack", "tool.toml"][..], &out].concat());
    assert!(
        told.contains("tool 1 (all), 1 files, 1 relations"),
        "{told}"
    );
    fs::write(at.join("other.deb"), "no archive").unwrap();
    for (source, expected) in [
        ("other.deb", "this is no Debian package"),
        (
            "uki",
            "give one directory, Debian packages (.deb) or one description (.toml)",
        ),
        (
            "state",
            "give the package a name and a version: --name NAME --version VERSION",
        ),
    ] {
        let (code, _, error) = catalog(at, &[&["pack", source][..], &out].concat());
        assert_eq!(code, 1);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_nothing_names_is_cleared_away_and_nothing_else() {
    let dir = cluster();
    let at = dir.path();
    let release = fs::read_to_string(at.join("release.toml")).unwrap();
    for version in ["1.1", "1.10", "1.9"] {
        // Another site, in no list: the class goes on with the first.
        let text = release.replace("version = \"1.0\"", &format!("version = \"{version}\""));
        let text = text.replace("\"site\", \"base\"", "\"site=1.0\", \"base\"");
        let text = text.replace("welcome", version);
        fs::write(at.join("other.toml"), text).unwrap();
        good(
            at,
            &["compose", "other.toml", "-o", "other", "-k", "release.key"],
        );
        good(at, &["install", "other"]);
    }
    let blobs = || walk(&at.join("state/blobs/sha256"));
    assert_eq!(blobs(), 7);
    fs::write(at.join("state/blobs/sha256/README"), "mine").unwrap();

    let told = good(at, &["gc", "--keep", "2", "--dry-run"]);
    assert!(
        told.ends_with("1 packages, 0 boot images, 1 modules (3 B) would be removed."),
        "{told}"
    );
    assert!(told.contains("package  site  1.1      all"), "{told}");
    assert_eq!(blobs(), 7);
    let told = good(at, &["gc", "--keep", "2"]);
    assert!(
        told.ends_with("1 packages, 0 boot images, 1 modules (3 B) removed."),
        "{told}"
    );
    assert_eq!(blobs(), 6);

    // What a node lists, or runs, stays however old it is.
    set(
        at,
        "INSERT INTO node (name, mac, class) VALUES ('n1', '52:54:00:00:00:01', 'web');
         INSERT INTO node_package VALUES ('n1', NULL, 'site', '1.9');",
    );
    let state = catalog_state(at);
    state
        .execute_batch(
            "INSERT INTO manifest VALUES ('m', 'web', 'x86_64', 'debian', '6.1', 1, 1);
             INSERT INTO manifest_package VALUES ('m', 1, 'site', '1.10');",
        )
        .unwrap();
    let told = good(at, &["gc", "--keep", "0"]);
    assert!(
        told.ends_with("0 packages, 0 boot images, 0 modules (0 B) removed."),
        "{told}"
    );
    set(at, "DELETE FROM node_package");
    state.execute_batch("DELETE FROM manifest_package").unwrap();
    let told = good(at, &["gc", "--keep", "0"]);
    assert!(
        told.ends_with("2 packages, 0 boot images, 2 modules (7 B) removed."),
        "{told}"
    );
    assert_eq!(blobs(), 4);
    assert!(at.join("state/blobs/sha256/README").exists());
    assert!(good(at, &["check", "--deep"]).starts_with("All right"));

    let writer = catalog::Catalog::open(&at.join("state")).unwrap();
    let _installing = writer.blobs().writer().unwrap();
    let (code, _, error) = catalog(at, &["gc"]);
    assert_eq!(code, 1);
    assert!(error.contains("gc has stopped"), "{error}");
}

/// `state.db`, as bootd makes it.
fn catalog_state(at: &std::path::Path) -> rusqlite::Connection {
    let path = at.join("state/state.db");
    drop(catalog::state::StateStore::open(&path).unwrap());
    rusqlite::Connection::open(path).unwrap()
}

/// How many files there are below a directory's directories.
fn walk(dir: &std::path::Path) -> usize {
    let dirs = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let dirs = dirs.filter(|it| it.is_dir());
    dirs.map(|it| fs::read_dir(it).unwrap().count()).sum()
}
