//! Reads a snapshot out of the tables.
//!
//! A row that the schema let through and that makes no sense becomes a [`Problem`] and is left
//! out: the rest of the catalog goes on.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::time::Duration;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::Arch;
use bootd_protocol::manifest::{BlobRef, Boot, ForeignDisk, Loader, OnSilence, Policy};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::option::{self, Options};
use super::orders;
use super::{
    Action, Apart, BootBy, Class, Features, KeyPolicy, Node, Problem, Rule, Scope, Snapshot,
    Word as _,
};
use super::{list, network, package};
use crate::keys::parse_key;

/// The whole catalog. The caller holds a transaction, so that all tables are of one moment.
pub(crate) fn snapshot(db: &Connection) -> rusqlite::Result<Snapshot> {
    let mut problems = Vec::new();
    let generation: i64 = db.query_row("SELECT value FROM generation", [], |row| row.get(0))?;
    let mut options = option::read(db, &mut problems)?;
    let mut apart = list::apart(db, &mut problems)?;
    let mut snapshot = Snapshot {
        generation: generation.unsigned_abs(),
        networks: network::read(db, &mut options, &mut problems)?,
        classes: classes(db, &mut options, &mut problems)?,
        packages: package::read(db, &mut problems)?,
        rules: good_rows(db, "rule", RULES, &mut problems, rule)?,
        nodes: good_rows(db, "node", NODES, &mut problems, |row| {
            node(row, &mut options, &mut apart)
        })?,
        preparations: orders::preparations(db, &mut problems)?,
        tests: orders::tests(db, &mut problems)?,
        ..Snapshot::default()
    };
    snapshot.index();
    problems.extend(network::reservations(&snapshot));
    snapshot.problems = problems;
    Ok(snapshot)
}

/// What is wrong with a row, in words.
pub(super) type RowResult<T> = Result<T, String>;

/// Reads every row of a query whose first column is the row's name; bad ones become problems.
pub(super) fn good_rows<T>(
    db: &Connection,
    table: &'static str,
    query: &str,
    problems: &mut Vec<Problem>,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<RowResult<T>>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = db.prepare(query)?;
    let mut rows = statement.query([])?;
    let mut good = Vec::new();
    while let Some(row) = rows.next()? {
        match tolerate(read(row))? {
            Ok(value) => good.push(value),
            Err(text) => problems.push(about_row(table, row, text)?),
        }
    }
    Ok(good)
}

fn about_row(table: &'static str, row: &Row<'_>, text: String) -> rusqlite::Result<Problem> {
    let name = match row.get_ref(0)? {
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => "?".to_owned(),
    };
    Ok(Problem {
        scope: Scope::Row { table, name },
        text,
    })
}

/// A value that is no UTF-8, or not of its kind, spoils its row and not the catalog.
pub(super) fn tolerate<T>(read: rusqlite::Result<RowResult<T>>) -> rusqlite::Result<RowResult<T>> {
    use rusqlite::Error;
    let is_about_value = |error: &Error| {
        matches!(
            error,
            Error::Utf8Error(..)
                | Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
        )
    };
    match read {
        Err(error) if is_about_value(&error) => {
            Ok(Err(format!("a value in it cannot be read: {error}")))
        }
        read => read,
    }
}

/// A column's text as a value; NULL is `None`.
pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<RowResult<Option<T>>> {
    let text: Option<String> = row.get(column)?;
    Ok(text
        .map(|text| {
            text.parse()
                .map_err(|error| format!("{column} is {text:?}: {error}"))
        })
        .transpose())
}

/// A column that has one of a few words; NULL is `None`.
pub(super) fn word<T: Copy>(
    row: &Row<'_>,
    column: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> rusqlite::Result<RowResult<Option<T>>> {
    let text: Option<String> = row.get(column)?;
    let value = text.map(|text| {
        let found = all.iter().find(|value| name(**value) == text);
        found
            .copied()
            .ok_or_else(|| format!("{column} is {text:?}"))
    });
    Ok(value.transpose())
}

/// Gives up on the row, not on the query.
macro_rules! row_try {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(text) => return Ok(Err(text)),
        }
    };
}
pub(super) use row_try;

const RULES: &str = "SELECT * FROM rule ORDER BY priority, name";

fn rule(row: &Row<'_>) -> rusqlite::Result<RowResult<Rule>> {
    let class: Option<String> = row.get("class")?;
    let action: String = row.get("action")?;
    let action = match (action.as_str(), class) {
        ("enrol", Some(class)) => Action::Enrol { class },
        ("hold", Some(class)) => Action::Hold { class },
        ("ignore", None) => Action::Ignore,
        (action, class) => {
            return Ok(Err(format!(
                "action {action:?} does not go with class {class:?}"
            )));
        }
    };
    Ok(Ok(Rule {
        name: row.get("name")?,
        priority: row.get("priority")?,
        arch: row_try!(parsed(row, "arch")?),
        firmware: row_try!(parsed(row, "firmware")?),
        mac_prefix: row.get("mac_prefix")?,
        product: row.get("product")?,
        vendor: row.get("vendor")?,
        network: row.get("network")?,
        relay: row_try!(parsed(row, "relay")?),
        circuit: row.get("circuit")?,
        remote: row.get("remote")?,
        vendor_class: row.get("vendor_class")?,
        serial: row.get("serial")?,
        chassis: row.get("chassis")?,
        slot: row.get("slot")?,
        action,
        node_prefix: row.get("node_prefix")?,
    }))
}

const NODES: &str = "SELECT * FROM node ORDER BY name";

fn node(
    row: &Row<'_>,
    options: &mut Options,
    apart: &mut HashMap<String, Box<Apart>>,
) -> rusqlite::Result<RowResult<Node>> {
    let name: String = row.get("name")?;
    let key: Option<String> = row.get("public_key")?;
    Ok(Ok(Node {
        options: options.take("node", &name),
        apart: apart.remove(&name),
        name,
        mac: row_try!(parsed(row, "mac")?),
        uuid: row_try!(parsed(row, "uuid")?),
        arch: row_try!(parsed(row, "arch")?),
        firmware: row_try!(parsed(row, "firmware")?),
        class: row.get("class")?,
        public_key: key.as_deref().and_then(parse_key),
        ip: row_try!(parsed(row, "ip")?),
        hold: row.get("hold")?,
        boot_by: row_try!(word(row, "boot_by", BootBy::ALL, BootBy::name)?),
    }))
}

fn classes(
    db: &Connection,
    options: &mut Options,
    problems: &mut Vec<Problem>,
) -> rusqlite::Result<BTreeMap<String, Class>> {
    let classes = good_rows(db, "class", "SELECT * FROM class", problems, |row| {
        class(row, options)
    })?;
    let mut classes: BTreeMap<String, Class> = classes
        .into_iter()
        .map(|class| (class.name.clone(), class))
        .collect();
    list::fill_classes(db, &mut classes, problems)?;
    let resets = "SELECT name, reset_command, reset_after_seconds FROM class
                  WHERE reset_command IS NOT NULL";
    for (class, reset) in good_rows(db, "class", resets, problems, orders::reset)? {
        if let Some(class) = classes.get_mut(&class) {
            class.reset = Some(reset);
        }
    }
    for (class, arch, boot) in good_rows(db, "boot image of class", IMAGES, problems, image)? {
        if let Some(class) = classes.get_mut(&class) {
            class.images.insert(arch, boot);
        }
    }
    Ok(classes)
}

fn class(row: &Row<'_>, options: &mut Options) -> rusqlite::Result<RowResult<Class>> {
    let name: String = row.get("name")?;
    let lease: Option<u32> = row.get("lease_seconds")?;
    let key_policy = match row.get::<_, String>("key_policy")?.as_str() {
        "open" => KeyPolicy::Open,
        "approval" => KeyPolicy::Approval,
        other => return Ok(Err(format!("key_policy is {other:?}"))),
    };
    let on_silence = match row.get::<_, String>("on_silence")?.as_str() {
        "run" => OnSilence::Run,
        "hold" => OnSilence::Hold,
        other => return Ok(Err(format!("on_silence is {other:?}"))),
    };
    let foreign_disk = match row.get::<_, String>("foreign_disk")?.as_str() {
        "keep" => ForeignDisk::Keep,
        "overwrite" => ForeignDisk::Overwrite,
        other => return Ok(Err(format!("foreign_disk is {other:?}"))),
    };
    Ok(Ok(Class {
        options: options.take("class", &name),
        name,
        key_policy,
        policy: Policy {
            on_silence,
            foreign_disk,
            disk: row.get("disk")?,
        },
        packages: Vec::new(),
        features: Features::new(),
        images: BTreeMap::new(),
        lease: lease.map(|seconds| Duration::from_secs(seconds.into())),
        boot_by: row_try!(word(row, "boot_by", BootBy::ALL, BootBy::name)?),
        install: row_try!(orders::install(row)?),
        reset: None,
    }))
}

const IMAGES: &str = "
    SELECT ci.class, ci.arch, i.name, i.version,
           i.uki, u.size AS uki_size, i.efi, e.size AS efi_size,
           i.bios_boot, b.size AS bios_boot_size, i.bios_core, c.size AS bios_core_size
    FROM class_image ci
    LEFT JOIN boot_image i ON i.name = ci.image AND i.version = ci.version AND i.arch = ci.arch
    LEFT JOIN blob u ON u.sha256 = i.uki
    LEFT JOIN blob e ON e.sha256 = i.efi
    LEFT JOIN blob b ON b.sha256 = i.bios_boot
    LEFT JOIN blob c ON c.sha256 = i.bios_core";

fn image(row: &Row<'_>) -> rusqlite::Result<RowResult<(String, Arch, Boot)>> {
    let class = row.get("class")?;
    Ok(boot(row)?.map(|(arch, boot)| (class, arch, boot)))
}

/// A boot image with the lengths of its blobs.
pub(super) fn boot(row: &Row<'_>) -> rusqlite::Result<RowResult<(Arch, Boot)>> {
    let arch: Option<Arch> = row_try!(parsed(row, "arch")?);
    let name: Option<String> = row.get("name")?;
    let uki = row_try!(blob(row, "uki", "uki_size")?);
    let efi = row_try!(blob(row, "efi", "efi_size")?);
    let (Some(arch), Some(name), Some(image), Some(efi)) = (arch, name, uki, efi) else {
        return Ok(Err("it names a boot image that is not there".into()));
    };
    let boot = Boot {
        name,
        version: row.get("version")?,
        image,
        loader: Loader {
            efi,
            bios_boot: row_try!(blob(row, "bios_boot", "bios_boot_size")?),
            bios_core: row_try!(blob(row, "bios_core", "bios_core_size")?),
        },
    };
    Ok(Ok((arch, boot)))
}

/// A blob by the columns of its digest and its size.
pub(super) fn blob(
    row: &Row<'_>,
    digest: &str,
    size: &str,
) -> rusqlite::Result<RowResult<Option<BlobRef>>> {
    let sha256: Option<Digest> = row_try!(parsed(row, digest)?);
    let size: Option<i64> = row.get(size)?;
    Ok(match (sha256, size) {
        (None, _) => Ok(None),
        (Some(sha256), Some(size)) => Ok(Some(BlobRef {
            sha256,
            size: size.unsigned_abs(),
        })),
        (Some(sha256), None) => Err(format!(
            "{digest} is {sha256}, which is not in the table blob"
        )),
    })
}

/// A JSON array of text.
pub(super) fn texts(row: &Row<'_>, column: &str) -> rusqlite::Result<RowResult<Vec<String>>> {
    let json: String = row.get(column)?;
    Ok(serde_json::from_str(&json)
        .map_err(|error| format!("{column} is not a JSON array of text: {error}")))
}

/// Gives every row of a query to `take`; those that cannot be read become problems.
pub(super) fn each(
    db: &Connection,
    table: &'static str,
    query: &str,
    problems: &mut Vec<Problem>,
    mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = db.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Err(text) = tolerate(take(row).map(Ok))? {
            problems.push(about_row(table, row, text)?);
        }
    }
    Ok(())
}
