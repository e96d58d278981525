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
