//! The rows of a composite, written in one transaction that the caller holds.

use bootd_protocol::manifest::{BlobRef, Content, File, Process, ProcessKind, Restart};
use rusqlite::{OptionalExtension as _, ToSql, Transaction, params};

use super::format::{BootImage, Class, Composite, Network, Package, Rule};
use super::install::{Change, Item};

/// Writes everything; what is there just so is left alone.
pub(super) fn commit(db: &Transaction<'_>, composite: &Composite) -> rusqlite::Result<Vec<Item>> {
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
        item("package", name, package(db, row)?);
    }
    for row in &composite.classes {
        item("class", row.name.clone(), class(db, row)?);
    }
    for row in &composite.rules {
        item("rule", row.name.clone(), rule(db, row)?);
    }
    for row in &composite.networks {
        item("network", row.name.clone(), network(db, row)?);
    }
    Ok(items)
}

/// Inserts a row, or updates it where it differs. `keys` columns come first.
fn upsert(
    db: &Transaction<'_>,
    table: &str,
    keys: &[&str],
    columns: &[&str],
    values: &[&dyn ToSql],
) -> rusqlite::Result<Change> {
    let numbered = |from: usize, names: &[&str], between: &str| {
        let terms = names.iter().enumerate();
        let terms = terms.map(|(index, name)| format!("{name} IS ?{}", index + from));
        terms.collect::<Vec<_>>().join(between)
    };
    let this = numbered(1, keys, " AND ");
    let same = numbered(keys.len() + 1, columns, " AND ");
    let query = format!("SELECT {same} FROM {table} WHERE {this}");
    let found: Option<bool> = db
        .prepare_cached(&query)?
        .query_row(values, |row| row.get(0))
        .optional()?;
    let all: Vec<&str> = keys.iter().chain(columns).copied().collect();
    let marks: Vec<String> = (1..=all.len()).map(|number| format!("?{number}")).collect();
    let (all, marks) = (all.join(", "), marks.join(", "));
    match found {
        Some(true) => Ok(Change::Same),
        Some(false) => {
            let set = numbered(keys.len() + 1, columns, ", ").replace(" IS ", " = ");
            db.execute(&format!("UPDATE {table} SET {set} WHERE {this}"), values)?;
            Ok(Change::Changed)
        }
        None => {
            db.execute(
                &format!("INSERT INTO {table} ({all}) VALUES ({marks})"),
                values,
            )?;
            Ok(Change::New)
        }
    }
}

fn boot_image(db: &Transaction<'_>, image: &BootImage) -> rusqlite::Result<Change> {
    let digest = |blob: BlobRef| blob.sha256.to_string();
    upsert(
        db,
        "boot_image",
        &["name", "version", "arch"],
        &["uki", "efi", "bios_boot", "bios_core"],
        params![
            image.name,
            image.version,
            image.arch.name(),
            digest(image.uki),
            digest(image.efi),
            image.bios_boot.map(digest),
            image.bios_core.map(digest),
        ],
    )
}

fn package(db: &Transaction<'_>, package: &Package) -> rusqlite::Result<Change> {
    let key = params![package.name, package.version, package.arch];
    let find = "SELECT id FROM package WHERE name = ?1 AND version = ?2 AND arch = ?3";
    let found: Option<i64> = db.query_row(find, key, |row| row.get(0)).optional()?;
    let id = match found {
        Some(id) => id,
        None => {
            let insert = "INSERT INTO package (name, version, arch) VALUES (?1, ?2, ?3)";
            db.execute(insert, key)?;
            db.last_insert_rowid()
        }
    };
    let before = rows_of(db, id)?;
    db.execute("DELETE FROM package_file WHERE package_id = ?1", [id])?;
    db.execute("DELETE FROM package_process WHERE package_id = ?1", [id])?;
    for file in &package.files {
        insert_file(db, id, file)?;
    }
    for (position, process) in (1i64..).zip(&package.processes) {
        insert_process(db, id, position, process)?;
    }
    Ok(match found {
        None => Change::New,
        Some(_) if before == rows_of(db, id)? => Change::Same,
        Some(_) => Change::Changed,
    })
}

/// Everything that belongs to a package, as text to compare.
fn rows_of(db: &Transaction<'_>, id: i64) -> rusqlite::Result<Vec<String>> {
    let query = "
        SELECT json_array(path, kind, mode, uid, gid, sha256, target) FROM package_file
        WHERE package_id = ?1
        UNION ALL
        SELECT json_array(position, name, argv, env, restart, kind, readiness, limits) FROM package_process
        WHERE package_id = ?1";
    db.prepare_cached(query)?
        .query_map([id], |row| row.get(0))?
        .collect()
}

fn insert_file(db: &Transaction<'_>, id: i64, file: &File) -> rusqlite::Result<()> {
    let (kind, sha256, target) = match &file.content {
        Content::Regular(blob) => ("file", Some(blob.sha256.to_string()), None),
        Content::Symlink(target) => ("link", None, Some(target)),
        Content::Directory(_) => ("dir", None, None),
    };
    let insert = "INSERT INTO package_file (package_id, path, kind, mode, uid, gid, sha256, target)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    db.prepare_cached(insert)?
        .execute(params![
            id, file.path, kind, file.mode, file.uid, file.gid, sha256, target
        ])
        .map(|_| ())
}

fn insert_process(
    db: &Transaction<'_>,
    id: i64,
    position: i64,
    process: &Process,
) -> rusqlite::Result<()> {
    let restart = match process.restart {
        Restart::Always => "always",
        Restart::OnFailure => "on-failure",
        Restart::Never => "never",
    };
    let json = |texts: &[String]| serde_json::Value::from(texts).to_string();
    let kind = match process.kind {
        ProcessKind::Simple => "simple",
        ProcessKind::SelfManaging => "self-managing",
    };
    let limits = process.limits.iter();
    let limits: serde_json::Map<_, _> = limits
        .map(|(name, value)| (name.clone(), (*value).into()))
        .collect();
    let insert = "INSERT INTO package_process
                      (package_id, position, name, argv, env, restart, kind, readiness, limits)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    db.prepare_cached(insert)?
        .execute(params![
            id,
            position,
            process.name,
            json(&process.argv),
            json(&process.env),
            restart,
            kind,
            process.readiness.to_string(),
            serde_json::Value::from(limits).to_string(),
        ])
        .map(|_| ())
}

fn class(db: &Transaction<'_>, class: &Class) -> rusqlite::Result<Change> {
    let change = upsert(
        db,
        "class",
        &["name"],
        &[
            "key_policy",
            "on_silence",
            "foreign_disk",
            "disk",
            "comment",
        ],
        params![
            class.name,
            class.key_policy,
            class.on_silence,
            class.foreign_disk,
            class.disk,
            class.comment,
        ],
    )?;
    let before = lists_of(db, &class.name)?;
    db.execute("DELETE FROM class_package WHERE class = ?1", [&class.name])?;
    db.execute("DELETE FROM class_image WHERE class = ?1", [&class.name])?;
    for (position, package) in (1i64..).zip(&class.packages) {
        db.execute(
            "INSERT INTO class_package (class, position, package, version) VALUES (?1, ?2, ?3, ?4)",
            params![class.name, position, package.name, package.version],
        )?;
    }
    for (arch, image) in &class.images {
        db.execute(
            "INSERT INTO class_image (class, arch, image, version) VALUES (?1, ?2, ?3, ?4)",
            params![class.name, arch, image.name, image.version],
        )?;
    }
    let lists_changed = before != lists_of(db, &class.name)?;
    Ok(match change {
        Change::Same if lists_changed => Change::Changed,
        Change::New | Change::Changed | Change::Same => change,
    })
}

fn lists_of(db: &Transaction<'_>, class: &str) -> rusqlite::Result<Vec<String>> {
    let query = "
        SELECT text FROM (
            SELECT json_array('package', package, version) AS text, position FROM class_package
            WHERE class = ?1
            UNION ALL
            SELECT json_array('image', arch, image, version), 0 FROM class_image WHERE class = ?1
        ) ORDER BY position, text";
    db.prepare_cached(query)?
        .query_map([class], |row| row.get(0))?
        .collect()
}

fn rule(db: &Transaction<'_>, rule: &Rule) -> rusqlite::Result<Change> {
    upsert(
        db,
        "rule",
        &["name"],
        &[
            "priority",
            "arch",
            "firmware",
            "mac_prefix",
            "product",
            "vendor",
            "action",
            "class",
            "node_prefix",
            "comment",
        ],
        params![
            rule.name,
            rule.priority,
            rule.arch,
            rule.firmware,
            rule.mac_prefix,
            rule.product,
            rule.vendor,
            rule.action,
            rule.class,
            rule.node_prefix,
            rule.comment,
        ],
    )
}

fn network(db: &Transaction<'_>, network: &Network) -> rusqlite::Result<Change> {
    upsert(
        db,
        "network",
        &["name"],
        &[
            "subnet",
            "pool_first",
            "pool_last",
            "router",
            "dns",
            "lease_seconds",
            "server",
        ],
        params![
            network.name,
            network.subnet,
            network.pool_first,
            network.pool_last,
            network.router,
            network.dns,
            network.lease_seconds,
            network.server,
        ],
    )
}
