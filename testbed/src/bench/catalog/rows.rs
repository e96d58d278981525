//! Rows of a large catalog, and edits of them.

use std::path::Path;

use anyhow::Result;
use rusqlite::{Connection, Transaction, params};

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) nodes: u32,
    pub(super) classes: u32,
    pub(super) packages: u32,
    /// Of each package.
    pub(super) modules: u32,
}

impl Size {
    /// That of the goals.
    pub(super) const USUAL: Size = Size {
        nodes: 10_000,
        classes: 20,
        packages: 200,
        modules: 100,
    };
}

/// Packages that every class has, and packages that it has besides.
const COMMON: u32 = 20;
const OWN: u32 = 10;
/// One node of so many is set apart from its class.
const APART: u32 = 100;

/// The card of a node.
pub(super) fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x52, 0x54, a, b, c, d]
}

/// Fills an empty catalog.
pub(super) fn fill(catalog: &Path, size: Size) -> Result<()> {
    let mut db = Connection::open(catalog)?;
    let edit = db.transaction()?;
    let image = "0".repeat(64);
    edit.execute("INSERT INTO blob VALUES (?1, 1)", [&image])?;
    for arch in ["x86_64", "aarch64"] {
        edit.execute(
            "INSERT INTO boot_image VALUES ('image', '1', ?2, ?1, ?1, NULL, NULL)",
            params![image, arch],
        )?;
    }
    for package in 0..size.packages {
        for version in ["1", "2"] {
            let modules = if version == "2" && package > COMMON {
                0
            } else {
                size.modules
            };
            insert_package(&edit, package, version, modules)?;
        }
    }
    for class in 0..size.classes {
        insert_class(&edit, class, size.packages)?;
    }
    for node in 0..size.nodes {
        insert_node(&edit, node, size.classes)?;
    }
    Ok(edit.commit()?)
}

fn name(package: u32) -> String {
    format!("package-{package:03}")
}

fn insert_package(db: &Transaction<'_>, package: u32, version: &str, modules: u32) -> Result<()> {
    let name = name(package);
    db.prepare_cached("INSERT INTO package (name, version, arch) VALUES (?1, ?2, 'all')")?
        .execute([name.as_str(), version])?;
    let id = db.last_insert_rowid();
    for module in 0..modules {
        let of_version = if module == 0 { version } else { "1" };
        let digest =
            bootd_protocol::digest::Digest::of(format!("{name} {module} {of_version}").as_bytes());
        db.prepare_cached("INSERT OR IGNORE INTO blob VALUES (?1, ?2)")?
            .execute(params![digest.to_string(), module])?;
        db.prepare_cached(
            "INSERT INTO package_file (package_id, path, kind, mode, sha256, type)
             VALUES (?1, ?2, 'file', 493, ?3, 'library')",
        )?
        .execute(params![
            id,
            format!("/usr/lib/{name}/part-{}/module-{module:03}.so", module % 10),
            digest.to_string()
        ])?;
    }
    if package >= COMMON {
        db.prepare_cached(
            "INSERT INTO package_relation (package_id, kind, relation)
             VALUES (?1, 'needs', 'package-000 (>= 1)'), (?1, 'needs', 'package-001 (>= 1, << 9)')",
        )?
        .execute([id])?;
    }
    Ok(())
}

fn insert_class(db: &Transaction<'_>, class: u32, packages: u32) -> Result<()> {
    let class_name = format!("class-{class:02}");
    db.execute(
        "INSERT INTO class (name, key_policy) VALUES (?1, 'open')",
        [&class_name],
    )?;
    for arch in ["x86_64", "aarch64"] {
        db.execute(
            "INSERT INTO class_image VALUES (?1, ?2, 'image', '1')",
            [class_name.as_str(), arch],
        )?;
    }
    let own = (0..OWN).map(|it| COMMON + (class * OWN + it) % (packages - COMMON));
    for package in (0..COMMON).chain(own) {
        // Base packages last.
        db.execute(
            "INSERT INTO class_package VALUES (?1, ?2, ?3, '1')",
            params![class_name, packages - package, name(package)],
        )?;
    }
    Ok(())
}

fn insert_node(db: &Transaction<'_>, node: u32, classes: u32) -> Result<()> {
    let node_name = format!("node-{node:06}");
    let mac = bootd_protocol::identity::Mac(mac(node));
    let key = bootd_protocol::digest::Digest::of(node_name.as_bytes());
    db.prepare_cached(
        "INSERT INTO node (name, mac, arch, firmware, class, public_key)
         VALUES (?1, ?2, ?3, 'uefi', ?4, ?5)",
    )?
    .execute(params![
        node_name,
        mac.to_string(),
        if node.is_multiple_of(4) {
            "aarch64"
        } else {
            "x86_64"
        },
        format!("class-{:02}", node % classes),
        key.to_string()
    ])?;
    if node.is_multiple_of(APART) && node < 10_000 {
        db.prepare_cached("INSERT INTO node_package VALUES (?1, NULL, 'package-002', '2')")?
            .execute([node_name])?;
    }
    Ok(())
}

/// Another version of a package that all classes have.
pub(super) fn edit_all(time: usize) -> String {
    let version = if time.is_multiple_of(2) { 2 } else { 1 };
    format!("UPDATE class_package SET version = '{version}' WHERE package = 'package-003'")
}

/// The same for one class.
pub(super) fn edit_one(time: usize) -> String {
    let version = if time.is_multiple_of(2) { 2 } else { 1 };
    format!(
        "UPDATE class_package SET version = '{version}' WHERE package = 'package-004' AND class = 'class-07'"
    )
}

/// Makes an edit as another program does.
pub(super) fn run(catalog: &Path, edit: &str) -> Result<()> {
    Ok(Connection::open(catalog)?.execute_batch(edit)?)
}
