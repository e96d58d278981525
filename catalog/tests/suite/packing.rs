//! What a package knows of its modules and of other packages, and what else a composite carries.

use std::fs;
use std::path::Path;
use std::process::Command;

use catalog::Catalog;
use catalog::composite::compose::compose;
use catalog::composite::install::Change;
use catalog::composite::sign;
use rusqlite::Connection;
use tempfile::TempDir;

/// A catalog that trusts `key`, and what a release is made from.
fn bench() -> (TempDir, Catalog) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["uki", "efi"] {
        fs::write(at(name), name).unwrap();
    }
    fs::create_dir_all(at("tree/etc")).unwrap();
    fs::write(at("tree/etc/app.conf"), "verbose = 1\n").unwrap();
    fs::write(at("tree/notes"), "text\n").unwrap();
    debian_package(dir.path());
    let public = sign::generate(&at("key")).unwrap();
    let mut catalog = Catalog::create(&at("state")).unwrap();
    catalog.trust("me", &public).unwrap();
    (dir, catalog)
}

/// A Debian package with a real program and a library of its own.
fn debian_package(dir: &Path) {
    let root = dir.join("app");
    for part in ["DEBIAN", "usr/bin", "usr/lib", "etc/app"] {
        fs::create_dir_all(root.join(part)).unwrap();
    }
    let source = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let library = source("greet.c", "int greet(void) { return 7; }");
    let program = source(
        "app.c",
        "int greet(void); int main(void) { return greet(); }",
    );
    let gcc = |arguments: &[&str]| {
        let status = Command::new("gcc")
            .current_dir(dir)
            .args(arguments)
            .status();
        let compiled = status.is_ok_and(|it| it.success());
        assert!(
            compiled,
            "gcc compiles C programs: install Debian's package gcc"
        );
    };
    let shared = root.join("usr/lib/libgreet.so.1");
    let (library, shared) = (library.to_str().unwrap(), shared.to_str().unwrap());
    gcc(&[
        "-shared",
        "-fPIC",
        "-Wl,-soname,libgreet.so.1",
        library,
        "-o",
        shared,
    ]);
    let out = root.join("usr/bin/app");
    gcc(&[
        program.to_str().unwrap(),
        shared,
        "-o",
        out.to_str().unwrap(),
    ]);
    fs::write(root.join("etc/app/app.rules"), "all\n").unwrap();
    let control = "Package: app\nVersion: 1:2.0-3\nArchitecture: all\nMaintainer: N <n@example.org>\n\
        Pre-Depends: base-files (>= 12)\nDepends: libc6 (>= 2.34), libgreet1 (= 1), perl:any | python3\n\
        Conflicts: old-app\nBreaks: app-data (<< 2)\nProvides: greeter, libgreet1 (= 1)\nDescription: greets\n";
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    fs::write(root.join("DEBIAN/conffiles"), "/etc/app/app.rules\n").unwrap();
    let output = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([&root, &dir.join("app.deb")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

const PACKAGE: &str = r#"
name = "demo"
version = "1"

[[package]]
name = "app"
version = "2.0"
debs = ["app.deb"]
directory = "tree"
without_needs = ["base-*"]
upgrades = ["app-base (<< 3)"]

[[package.relation]]
kind = "needs"
relation = "db (>= 2)"
on_class = "back"
for_arch = "x86_64"

[[package.module]]
path = "/usr/bin/*"
libraries = ["libplugin.so"]
provides = ["greeting/1"]
uid = 7

[[package.file]]
path = "/etc/app.local"
text = "x86 and routing"
arch = "x86_64"
function = "routing"

[[package.file]]
path = "/etc/app.local"
source = "tree/notes"

[[package.process]]
name = "app"
argv = ["/usr/bin/app"]
kind = "self-managing"
readiness = "tcp:8080"
limits = { nofile = 4096 }
"#;

fn install(
    dir: &TempDir,
    catalog: &mut Catalog,
    release: &str,
) -> anyhow::Result<Vec<(String, Change)>> {
    let at = |name: &str| dir.path().join(name);
    fs::write(at("release.toml"), release)?;
    let key = sign::read_secret(&at("key.key"))?;
    compose(&at("release.toml"), &at("out"), &key, &[], &mut |_| {})?;
    let report = catalog.install(&at("out"), &mut |_, _| {})?;
    let items = report.items.into_iter();
    Ok(items
        .map(|it| (format!("{} {}", it.kind, it.name), it.change))
        .collect())
}

/// Rows of a query, columns joined by spaces.
fn rows(catalog: &Catalog, query: &str) -> Vec<String> {
    let db = Connection::open(catalog.db_path()).unwrap();
    let mut statement = db
        .prepare(&format!("SELECT concat_ws(' ', {query}"))
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_package_knows_its_modules_and_its_neighbours() {
    let (dir, mut catalog) = bench();
    install(&dir, &mut catalog, PACKAGE).unwrap();
    assert_eq!(
        rows(
            &catalog,
            "kind, relation, on_class, for_arch) FROM package_relation ORDER BY kind, relation"
        ),
        [
            "conflicts app-data (<< 2)  all",
            "conflicts old-app  all",
            "needs db (>= 2) back x86_64",
            "needs libc6 (>= 2.34)  all",
            "needs perl | python3  all",
            "provides app (= 1:2.0-3)  all",
            "provides greeter  all",
            "provides libgreet1 (= 1)  all",
            "upgrades app-base (<< 3)  all",
        ]
    );
    assert_eq!(
        rows(
            &catalog,
            "path, type, uid, arch, function) FROM package_file WHERE kind = 'file' ORDER BY 1"
        ),
        [
            "/etc/app.conf config 0 all ",
            "/etc/app.local config 0 all ",
            "/etc/app.local config 0 x86_64 routing",
            "/etc/app/app.rules config 0 all ",
            "/notes data 0 all ",
            "/usr/bin/app program 7 all ",
            "/usr/lib/libgreet.so.1 library 0 all ",
        ]
    );
    // Programs have a signature of their own; with other content, the content's digest will do.
    assert_eq!(
        rows(
            &catalog,
            "path) FROM package_file WHERE signature IS NOT NULL ORDER BY 1"
        ),
        ["/usr/bin/app", "/usr/lib/libgreet.so.1"]
    );
    let needed = rows(
        &catalog,
        "path, library, how) FROM package_library ORDER BY 1",
    );
    for expected in [
        "/usr/bin/app libc.so.6 direct",
        "/usr/bin/app libgreet.so.1 direct",
        "/usr/bin/app libplugin.so declared",
    ] {
        assert!(needed.iter().any(|it| it == expected), "{needed:?}");
    }
    assert_eq!(
        rows(&catalog, "path, side, api) FROM package_api"),
        ["/usr/bin/app provides greeting/1"]
    );
    assert_eq!(
        rows(
            &catalog,
            "name, kind, readiness, limits) FROM package_process"
        ),
        [r#"app self-managing tcp:8080 {"nofile":4096}"#]
    );
    assert_eq!(catalog.snapshot().unwrap().problems, []);
    // The same again changes nothing.
    let again = install(&dir, &mut catalog, PACKAGE).unwrap();
    assert_eq!(again, [("package app 2.0 (all)".into(), Change::Same)]);
}

const CLUSTER: &str = r#"
[[boot_image]]
name = "debian"
version = "6.1"
arch = "x86_64"
uki = "uki"
loader = { efi = "efi" }

[[package]]
name = "site"
version = "1"
links = { "/a" = "b" }

[[package]]
name = "site"
version = "2"
links = { "/a" = "c" }

[[class]]
name = "web"
packages = ["site=1"]
images = ["debian"]
features = ["routing"]
lease_seconds = 600
boot_by = "http"
option = [{ code = 42, type = "ip", value = "10.0.0.2", always = true }]

[[network]]
name = "lan"
subnet = "10.0.0.0/24"
mode = "proxy"
probe = false
option = [{ code = 44, type = "ip", value = "10.0.0.3" }]

[[rule]]
name = "rack"
class = "web"
network = "lan"
circuit = "ge-0/0/*"

[[node]]
name = "web-1"
mac = "52:54:00:00:00:01"
class = "web"
ip = "10.0.0.7"
features = ["debugging"]
package = [{ package = "site", version = "2" }]
"#;

fn release(rest: &str) -> String {
    format!("name = \"cluster\"\nversion = \"1\"\n{rest}")
}

#[test]
fn a_composite_carries_a_cluster() {
    let (dir, mut catalog) = bench();
    let items = install(&dir, &mut catalog, &release(CLUSTER)).unwrap();
    assert!(
        items.iter().all(|(_, change)| *change == Change::New),
        "{items:?}"
    );
    let snapshot = catalog.snapshot().unwrap();
    assert_eq!(snapshot.problems, []);
    assert_eq!(
        rows(&catalog, "lease_seconds, boot_by) FROM class"),
        ["600 http"]
    );
    assert_eq!(
        rows(&catalog, "network, circuit) FROM rule"),
        ["lan ge-0/0/*"]
    );
    assert_eq!(rows(&catalog, "mode, probe) FROM network"), ["proxy 0"]);
    assert_eq!(
        rows(&catalog, "scope, owner, code, always) FROM dhcp_option"),
        ["class web 42 1", "network lan 44 0"]
    );
    assert_eq!(
        rows(&catalog, "scope, owner, feature) FROM feature"),
        ["class web routing", "node web-1 debugging"]
    );
    assert_eq!(
        rows(&catalog, "node, package, version) FROM node_package"),
        ["web-1 site 2"]
    );
    let again = install(&dir, &mut catalog, &release(CLUSTER)).unwrap();
    assert!(
        again.iter().all(|(_, change)| *change == Change::Same),
        "{again:?}"
    );

    // What a release does not speak of is the operator's.
    let db = Connection::open(catalog.db_path()).unwrap();
    let edit = "UPDATE class SET comment = 'mine'; UPDATE network SET router = '10.0.0.1';
                INSERT INTO feature (scope, owner, feature) VALUES ('node', 'web-1', 'more');";
    db.execute_batch(edit).unwrap();
    let without = CLUSTER.replace("features = [\"debugging\"]\n", "");
    let items = install(&dir, &mut catalog, &release(&without)).unwrap();
    assert!(
        items.iter().all(|(_, change)| *change == Change::Same),
        "{items:?}"
    );
    assert_eq!(rows(&catalog, "comment) FROM class"), ["mine"]);
}

#[test]
fn an_update_names_its_nodes_and_packages() {
    let (dir, mut catalog) = bench();
    install(&dir, &mut catalog, &release(CLUSTER)).unwrap();
    let site = "[[package]]\nname = \"site\"\nversion = \"3\"\nlinks = { \"/a\" = \"d\" }\n";
    let update = |who: &str| release(&format!("{site}[[update]]\n{who}\npackages = [\"site\"]\n"));
    let items = install(&dir, &mut catalog, &update("class = \"web\"")).unwrap();
    assert_eq!(items[1], ("update of class web".into(), Change::Changed));
    let packages = "class, position, package, version) FROM class_package";
    assert_eq!(rows(&catalog, packages), ["web 1 site 3"]);
    let items = install(&dir, &mut catalog, &update("nodes = [\"web-1\"]")).unwrap();
    assert_eq!(items[1], ("update of node web-1".into(), Change::Changed));

    let before = rows(&catalog, "value) FROM generation");
    let wrong = |who: &str, catalog: &mut Catalog| {
        let error = install(&dir, catalog, &update(who)).unwrap_err();
        format!("{error:#}")
    };
    let unknown = wrong("nodes = [\"web-1\", \"gone\"]", &mut catalog);
    assert!(unknown.contains("no node has this name"), "{unknown}");
    assert_eq!(
        rows(&catalog, "value) FROM generation"),
        before,
        "nothing half done"
    );
    let both = wrong("class = \"web\"\nnodes = [\"web-1\"]", &mut catalog);
    assert!(
        both.contains("an update needs either class = NAME or nodes"),
        "{both}"
    );
}

#[test]
fn mistakes_in_a_package_are_told_in_words() {
    let (dir, mut catalog) = bench();
    fs::write(dir.path().join("tree/cut"), b"\x7fELF\x02\x01\x01").unwrap();
    let mut told = |from: &str, to: &str| {
        assert!(PACKAGE.contains(from), "{from}");
        let error = install(&dir, &mut catalog, &PACKAGE.replace(from, to)).unwrap_err();
        format!("{error:#}")
    };
    let cut = told("uid = 7", "uid = 8");
    assert!(cut.contains("/cut: to take it as it is, say so"), "{cut}");
    fs::remove_file(dir.path().join("tree/cut")).unwrap();
    for (from, to, expected) in [
        (
            "app-base (<< 3)",
            "app-base (< 3)",
            "is no relation such as",
        ),
        (
            "/usr/bin/*",
            "/opt/*",
            "no file of the package fits \"/opt/*\"",
        ),
        (
            "source = \"tree/notes\"",
            "",
            "file /etc/app.local needs either text",
        ),
        (
            "\"tcp:8080\"",
            "\"udp:1\"",
            "it is started, notify, tcp:PORT or path:/FILE",
        ),
        (
            "kind = \"needs\"",
            "kind = \"wants\"",
            "unknown variant `wants`",
        ),
        ("nofile = 4096", "files = 4096", "limits names \"files\""),
    ] {
        let text = told(from, to);
        assert!(text.contains(expected), "{text}");
    }
}
