//! The catalog that bootd chooses from while it is measured: many nodes, classes and rules of
//! every kind that the schema has.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::Result;
use bootd_protocol::identity::Mac;
use rusqlite::{Connection, Transaction, params};

use super::{CLASS, install};
use crate::cluster::master::Master;

/// Nodes, and the classes that they belong to in turn.
pub(super) const NODES: u32 = 1000;
const CLASSES: u32 = 20;
/// Rules that match no machine of the load, before the one that does.
const OTHER_RULES: u32 = 40;

/// Makes a state directory for the network 10.77.0.0/16. `mac` tells the card of each node.
///
/// # Errors
/// The catalog refuses.
pub(super) fn create(
    dir: &Path,
    log: &Path,
    workshop: &Path,
    mac: impl Fn(u32) -> [u8; 6],
) -> Result<()> {
    let master = Master::create(dir, log)?;
    fs::create_dir_all(workshop)?;
    install(&master, workshop)?;
    let mut catalog = Connection::open(dir.join("catalog.db"))?;
    let edit = catalog.transaction()?;
    // Its peers do not ask whether somebody has an address before they give it, either.
    edit.execute(
        "UPDATE network SET subnet = '10.77.0.0/16', pool_first = '10.77.1.0',
                            pool_last = '10.77.250.255', lease_seconds = 43200, probe = 0",
        [],
    )?;
    for class in 0..CLASSES {
        insert_class(&edit, class)?;
    }
    for rule in 0..OTHER_RULES {
        insert_rule(&edit, rule)?;
    }
    // Whoever is left; the test bed's own class has an image and a package.
    edit.execute(
        "INSERT INTO rule (name, priority, arch, firmware, action, class)
         VALUES ('everybody', 900, 'x86_64', 'uefi', 'enrol', ?1)",
        [CLASS],
    )?;
    for node in 0..NODES {
        edit.execute(
            "INSERT INTO node (name, mac, class) VALUES (?1, ?2, ?3)",
            params![
                format!("node-{node:05}"),
                Mac(mac(node)).to_string(),
                class_name(node % CLASSES)
            ],
        )?;
    }
    Ok(edit.commit()?)
}

fn class_name(class: u32) -> String {
    format!("class-{class:02}")
}

/// A class with the package and the boot image of the first one.
fn insert_class(edit: &Transaction<'_>, class: u32) -> Result<()> {
    let name = class_name(class);
    edit.execute("INSERT INTO class (name) VALUES (?1)", [&name])?;
    edit.execute(
        "INSERT INTO class_package (class, position, package, version)
         SELECT ?1, position, package, version FROM class_package WHERE class = ?2",
        [&name, CLASS],
    )?;
    edit.execute(
        "INSERT INTO class_image (class, arch, image, version)
         SELECT ?1, arch, image, version FROM class_image WHERE class = ?2",
        [&name, CLASS],
    )?;
    Ok(())
}

/// Rules by architecture, by firmware, by maker of the card, and by place.
fn insert_rule(edit: &Transaction<'_>, rule: u32) -> Result<()> {
    let (column, value): (&str, String) = match rule % 4 {
        0 => (
            "arch",
            if rule.is_multiple_of(8) {
                "aarch64"
            } else {
                "riscv64"
            }
            .into(),
        ),
        1 => ("firmware", "bios".into()),
        2 => {
            let column = PLACE[usize::try_from(rule)? / 4 % PLACE.len()];
            (column, place_value(column, rule))
        }
        _ => ("mac_prefix", format!("52:54:{rule:02x}")),
    };
    edit.execute(
        &format!(
            "INSERT INTO rule (name, priority, {column}, action, class)
             VALUES (?1, ?2, ?3, 'enrol', ?4)"
        ),
        params![
            format!("rule-{rule:02}"),
            100 + rule,
            value,
            class_name(rule % CLASSES)
        ],
    )?;
    Ok(())
}

/// The columns of a rule that tell where a machine is.
/// The columns of a rule that tell where a machine is.
const PLACE: [&str; 3] = ["relay", "circuit", "remote"];

/// A place where no machine of the load is.
fn place_value(column: &str, rule: u32) -> String {
    match column {
        "relay" => format!("10.78.{rule}.1"),
        _ => format!("cabinet-{rule}"),
    }
}

/// Puts a file into the catalog's store, as one of its blobs.
///
/// # Errors
/// The store or the catalog refuses.
pub(super) fn add_blob(dir: &Path, content: &[u8]) -> Result<String> {
    let catalog = catalog::Catalog::open(dir)?;
    let writer = catalog.blobs().writer()?;
    let blob = writer.put(content)?;
    writer.sync()?;
    let (digest, size) = (blob.sha256.to_string(), i64::try_from(blob.size)?);
    Connection::open(dir.join("catalog.db"))?.execute(
        "INSERT OR IGNORE INTO blob (sha256, size) VALUES (?1, ?2)",
        params![digest, size],
    )?;
    Ok(digest)
}

/// `bootd` as it is run in all of these: no line for each packet, as its peers are run.
pub(super) fn bootd(state: &Path) -> Result<std::process::Command> {
    let mut command = std::process::Command::new(crate::cluster::program("bootd")?);
    let arguments: [&OsStr; 4] = [
        "--state".as_ref(),
        state.as_os_str(),
        "--log".as_ref(),
        "warn".as_ref(),
    ];
    command.args(arguments);
    Ok(command)
}
