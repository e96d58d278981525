//! What docs/operating.md tells people to type works as it stands there.

use std::path::Path;
use std::process::Command;

use crate::common::{catalog, sql};
use catalog::state::StateStore;

const OPERATING: &str = include_str!("../../../docs/operating.md");

const PACKAGES: &str = include_str!("../../../docs/packages.md");

/// The shell commands of one section, without the marks around them.
fn commands(section: &str) -> Vec<&'static str> {
    let (_, text) = OPERATING.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let blocks = text.split("```sh\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

/// Runs what stands in a block, with this `catalog` and the state directory `dir`; its output.
fn run(block: &str, dir: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_catalog"));
    let programs = program.parent().unwrap().display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-euc", block])
        .current_dir(dir)
        .env("PATH", &path)
        .env("BOOTD_DIR", dir)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    let is_good = output.status.success() && error.is_empty();
    assert!(is_good, "{block}{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_examples_of_networks_and_options_work() {
    let (dir, catalog) = catalog();
    sql(&catalog, "DELETE FROM rule; DELETE FROM network;");
    let blocks = commands("Networks, relays, locations, options");
    assert!(blocks.len() >= 6, "{blocks:?}");
    let mut told = Vec::new();
    for block in blocks {
        // `check` finds that the blobs of this catalog are only rows: that is no concern of ours.
        let block = block.replace("catalog check", "catalog check > check.txt || true");
        let output = run(&block, dir.path());
        told.push(output);
    }
    let snapshot = catalog.snapshot().unwrap();
    assert_eq!(snapshot.problems, []);
    let names = snapshot
        .networks
        .iter()
        .map(|network| network.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["office", "rack1", "rack2"]);
    assert_eq!(snapshot.network("rack1").unwrap().options.len(), 1);
    assert_eq!(snapshot.node("db1").unwrap().options[0].bytes, [0x23, 0x28]);
    let explained = told
        .iter()
        .find(|text| text.contains("Rule rack2-web matches"));
    assert!(
        explained.is_some_and(|text| text
            .contains("  relay is 10.2.0.1\n  circuit is ge-0/0/7, which fits ge-0/0/*\n")),
        "{told:?}"
    );
}

/// Those that show a table again and again would not end.
#[test]
fn the_examples_of_orders_work() {
    let (dir, catalog) = catalog();
    drop(StateStore::open(&catalog.state_path()).unwrap());
    let blocks = [commands("Preparing nodes"), commands("Tests in RAM")].concat();
    assert_eq!(blocks.len(), 5, "{blocks:?}");
    for block in blocks {
        let lines = block.lines().filter(|line| !line.contains("--watch"));
        let block = lines.collect::<Vec<_>>().join("\n");
        run(&block, dir.path());
    }
    let snapshot = catalog.snapshot().unwrap();
    assert_eq!(snapshot.problems, []);
    assert_eq!(snapshot.preparations.len(), 2);
    assert_eq!(snapshot.tests.len(), 2);
    let reset = snapshot.classes["web"].reset.as_ref().unwrap();
    assert_eq!(reset.command[4], "{node}-bmc");
}

#[test]
fn the_examples_of_packages_work() {
    let (dir, catalog) = catalog();
    // bootd has been there.
    drop(StateStore::open(&catalog.state_path()).unwrap());
    let blocks = PACKAGES.split("```sh\n").skip(1);
    let blocks: Vec<&str> = blocks.map(|it| it.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 5, "{blocks:?}");
    let mut told = String::new();
    for block in blocks {
        told += &run(block, dir.path());
    }
    for expected in [
        "class, placed by what it needs",
        "Without spare 1: the node's row says so (table node_package).",
        "class web: site 2.0 -> 1.0",
        "node n1: site 1.0 -> 2.0",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    assert_eq!(catalog.snapshot().unwrap().problems, []);
}
