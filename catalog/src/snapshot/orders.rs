//! Orders to many: preparations, tests; and what classes say of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bootd_protocol::identity::Arch;
use bootd_protocol::manifest::{Boot, PackageRef};
use bootd_protocol::preparation::Decision;
use rusqlite::{Connection, Row};

use super::read::{RowResult, boot, each, good_rows, parsed, row_try};
use super::{Node, Problem};

/// Where the nodes of a class install.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Install {
    /// On their disks.
    #[default]
    Persist,
    /// In RAM, at every boot.
    Test,
    /// Nowhere: they wait.
    Hold,
}

/// How an absent node is reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Program and arguments, with placeholders.
    pub command: Vec<String>,
    /// After so long an absence.
    pub after: Duration,
}

/// Whom an order is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covered {
    /// All nodes.
    All,
    /// Those of this class.
    Class(String),
    /// This one.
    Node(String),
}

impl Covered {
    /// Whether the order is for `node`.
    #[must_use]
    pub fn is(&self, node: &Node) -> bool {
        match self {
            Covered::All => true,
            Covered::Class(class) => *class == node.class,
            Covered::Node(name) => *name == node.name,
        }
    }
}

/// A preparation of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preparation {
    /// Its number.
    pub id: i64,
    /// What was decided.
    pub decision: Option<Decision>,
    /// Whom it is for.
    pub covers: Vec<Covered>,
}

/// A test of packages for one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// Its number.
    pub id: i64,
    /// Whom it is for.
    pub covers: Covered,
    /// What it replaces or adds.
    pub packages: Vec<PackageRef>,
    /// The boot image that it tries, for each architecture that there is a build for.
    pub images: BTreeMap<Arch, Boot>,
}

fn covered(scope: &str, name: String) -> Covered {
    match scope {
        "class" => Covered::Class(name),
        "node" => Covered::Node(name),
        _ => Covered::All,
    }
}

pub(super) fn preparations(
    db: &Connection,
    problems: &mut Vec<Problem>,
) -> rusqlite::Result<Vec<Preparation>> {
    let query = "SELECT CAST(id AS TEXT) AS name, id, decision FROM preparation ORDER BY id";
    let mut all = good_rows(db, "preparation", query, problems, |row| {
        Ok(Ok(Preparation {
            id: row.get("id")?,
            decision: row_try!(parsed(row, "decision")?),
            covers: Vec::new(),
        }))
    })?;
    let targets = "SELECT preparation, scope, name FROM preparation_target";
    each(db, "preparation_target", targets, problems, |row| {
        let (id, scope): (i64, String) = (row.get(0)?, row.get(1)?);
        if let Some(preparation) = all.iter_mut().find(|it| it.id == id) {
            preparation.covers.push(covered(&scope, row.get(2)?));
        }
        Ok(())
    })?;
    Ok(all)
}

const IMAGES: &str = "
    SELECT t.id AS class, i.arch, i.name, i.version,
           i.uki, u.size AS uki_size, i.efi, e.size AS efi_size,
           i.bios_boot, b.size AS bios_boot_size, i.bios_core, c.size AS bios_core_size
    FROM test t
    JOIN boot_image i ON i.name = t.image AND i.version = t.version
    LEFT JOIN blob u ON u.sha256 = i.uki
    LEFT JOIN blob e ON e.sha256 = i.efi
    LEFT JOIN blob b ON b.sha256 = i.bios_boot
    LEFT JOIN blob c ON c.sha256 = i.bios_core";

pub(super) fn tests(db: &Connection, problems: &mut Vec<Problem>) -> rusqlite::Result<Vec<Test>> {
    let mut all: BTreeMap<i64, Test> = BTreeMap::new();
    let query = "SELECT id, scope, name FROM test";
    each(db, "test", query, problems, |row| {
        let (id, scope): (i64, String) = (row.get(0)?, row.get(1)?);
        let test = Test {
            id,
            covers: covered(&scope, row.get(2)?),
            packages: Vec::new(),
            images: BTreeMap::new(),
        };
        all.insert(id, test);
        Ok(())
    })?;
    let packages = "SELECT test, package, version FROM test_package ORDER BY test, package";
    each(db, "test_package", packages, problems, |row| {
        if let Some(test) = all.get_mut(&row.get(0)?) {
            test.packages.push(PackageRef {
                name: row.get(1)?,
                version: row.get(2)?,
            });
        }
        Ok(())
    })?;
    let images = good_rows(db, "boot image of test", IMAGES, problems, |row| {
        let id: i64 = row.get("class")?;
        Ok(boot(row)?.map(|(arch, boot)| (id, arch, boot)))
    })?;
    for (id, arch, boot) in images {
        if let Some(test) = all.get_mut(&id) {
            test.images.insert(arch, boot);
        }
    }
    Ok(all.into_values().collect())
}

pub(super) fn install(row: &Row<'_>) -> rusqlite::Result<RowResult<Install>> {
    Ok(match row.get::<_, String>("install")?.as_str() {
        "persist" => Ok(Install::Persist),
        "test" => Ok(Install::Test),
        "hold" => Ok(Install::Hold),
        other => Err(format!("install is {other:?}")),
    })
}

pub(super) fn reset(row: &Row<'_>) -> rusqlite::Result<RowResult<(String, Reset)>> {
    let command: String = row.get("reset_command")?;
    let seconds: i64 = row.get("reset_after_seconds")?;
    let wrong = |error| format!("reset_command is not a JSON array of text: {error}");
    let reset = Reset {
        command: row_try!(serde_json::from_str(&command).map_err(wrong)),
        after: Duration::from_secs(seconds.unsigned_abs()),
    };
    Ok(Ok((row.get("name")?, reset)))
}
