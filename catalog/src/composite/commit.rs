//! The rows of a composite, written in one transaction that the caller holds.

mod package;
mod upsert;

use bootd_protocol::manifest::BlobRef;
use rusqlite::{Transaction, params};

use self::upsert::{replace, upsert};
use super::format::{BootImage, Class, Composite, Node, Row, Update, Value, text};
use super::install::{Change, Item};

/// Writes everything; what is there just so is left alone.
pub(crate) fn commit(db: &Transaction<'_>, composite: &Composite) -> rusqlite::Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut item = |kind, name, change| items.push(Item { kind, name, change });
    for (sha256, size) in composite.blobs() {
        let insert = "INSERT INTO blob (sha256, size) SELECT ?1, ?2
                      WHERE NOT EXISTS (SELECT 1 FROM blob WHERE sha256 = ?1 AND size = ?2)";
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        db.prepare_cached(insert)?
            .execute(params![sha256.to_string(), size])?;
    }
    for image in &composite.boot_images {
        let name = format!("{} {} ({})", image.name, image.version, image.arch);
        item("boot image", name, boot_image(db, image)?);
    }
    for row in &composite.packages {
        let name = format!("{} {} ({})", row.name, row.version, row.arch);
        item("package", name, package::write(db, row)?);
    }
    for it in &composite.classes {
        item("class", text(&it.row, "name").to_owned(), class(db, it)?);
    }
    for it in &composite.networks {
        let name = text(&it.row, "name");
        let row = upsert(db, "network", &["name"], &it.row)?;
        let options = options(db, "network", name, &it.options)?;
        item("network", name.to_owned(), row.and(options));
    }
    for row in &composite.rules {
        let change = upsert(db, "rule", &["name"], row)?;
        item("rule", text(row, "name").to_owned(), change);
    }
    for it in &composite.nodes {
        item("node", text(&it.row, "name").to_owned(), node(db, it)?);
    }
    for it in &composite.updates {
        for (kind, name, change) in update(db, it)? {
            item(kind, name, change);
        }
    }
    Ok(items)
}

impl Change {
    /// What became of something that has two parts.
    fn and(self, other: Change) -> Change {
        match (self, other) {
            (Change::New, _) => Change::New,
            (Change::Same, Change::Same) => Change::Same,
            (Change::Changed | Change::Same, _) => Change::Changed,
        }
    }
}

fn boot_image(db: &Transaction<'_>, image: &BootImage) -> rusqlite::Result<Change> {
    let digest = |blob: BlobRef| Value::Text(blob.sha256.to_string());
    let mut row = Row::from([
        ("name".into(), Value::Text(image.name.clone())),
        ("version".into(), Value::Text(image.version.clone())),
        ("arch".into(), Value::Text(image.arch.name().into())),
        ("uki".into(), digest(image.uki)),
        ("efi".into(), digest(image.efi)),
    ]);
    let bios = [
        ("bios_boot", image.bios_boot),
        ("bios_core", image.bios_core),
    ];
    let bios = bios.map(|(column, blob)| Some((column.to_owned(), digest(blob?))));
    row.extend(bios.into_iter().flatten());
    upsert(db, "boot_image", &["name", "version", "arch"], &row)
}

fn class(db: &Transaction<'_>, class: &Class) -> rusqlite::Result<Change> {
    let name = text(&class.row, "name");
    let row = upsert(db, "class", &["name"], &class.row)?;
    let packages = (1..).zip(&class.packages).map(|(position, package)| {
        Row::from([
            ("package".into(), Value::Text(package.name.clone())),
            ("version".into(), Value::Text(package.version.clone())),
            ("position".into(), Value::Number(position)),
        ])
    });
    let packages: Vec<Row> = packages.collect();
    let images = class.images.iter().map(|(arch, image)| {
        Row::from([
            ("arch".into(), Value::Text(arch.clone())),
            ("image".into(), Value::Text(image.name.clone())),
            ("version".into(), Value::Text(image.version.clone())),
        ])
    });
    let images: Vec<Row> = images.collect();
    let owner = [("class", name)];
    Ok(row
        .and(replace_said(db, "class_package", &owner, &packages)?)
        .and(replace_said(db, "class_image", &owner, &images)?)
        .and(features(db, "class", name, &class.features)?)
        .and(options(db, "class", name, &class.options)?))
}

fn node(db: &Transaction<'_>, node: &Node) -> rusqlite::Result<Change> {
    let name = text(&node.row, "name");
    Ok(upsert(db, "node", &["name"], &node.row)?
        .and(replace_said(
            db,
            "node_package",
            &[("node", name)],
            &node.list,
        )?)
        .and(features(db, "node", name, &node.features)?)
        .and(options(db, "node", name, &node.options)?))
}

fn features(
    db: &Transaction<'_>,
    scope: &str,
    owner: &str,
    features: &[String],
) -> rusqlite::Result<Change> {
    let row = |feature: &String| Row::from([("feature".into(), Value::Text(feature.clone()))]);
    let rows: Vec<Row> = features.iter().map(row).collect();
    replace_said(db, "feature", &[("scope", scope), ("owner", owner)], &rows)
}

fn options(
    db: &Transaction<'_>,
    scope: &str,
    owner: &str,
    rows: &[Row],
) -> rusqlite::Result<Change> {
    replace_said(
        db,
        "dhcp_option",
        &[("scope", scope), ("owner", owner)],
        rows,
    )
}

/// What the release says nothing of stays as it is.
fn replace_said(
    db: &Transaction<'_>,
    table: &str,
    owner: &[(&str, &str)],
    rows: &[Row],
) -> rusqlite::Result<Change> {
    match rows.is_empty() {
        true => Ok(Change::Same),
        false => replace(db, table, owner, rows),
    }
}

/// A class's list, or the lists of single nodes, get these packages in these versions.
fn update(
    db: &Transaction<'_>,
    update: &Update,
) -> rusqlite::Result<Vec<(&'static str, String, Change)>> {
    let (table, owner) = match update.class {
        Some(_) => ("class_package", "class"),
        None => ("node_package", "node"),
    };
    let mut changes = Vec::new();
    for name in update.class.iter().chain(&update.nodes) {
        let mut change = Change::Same;
        for package in &update.packages {
            let row = Row::from([
                (owner.to_owned(), Value::Text(name.clone())),
                ("package".into(), Value::Text(package.name.clone())),
                ("version".into(), Value::Text(package.version.clone())),
            ]);
            if upsert(db, table, &[owner, "package"], &row)? != Change::Same {
                change = Change::Changed;
            }
        }
        let kind = if update.class.is_some() {
            "update of class"
        } else {
            "update of node"
        };
        changes.push((kind, name.clone(), change));
    }
    Ok(changes)
}
