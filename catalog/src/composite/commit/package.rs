//! A package with everything that belongs to it.

use bootd_protocol::manifest::{Content, Process, ProcessKind, Restart};
use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::composite::format::{Module, Package};
use crate::composite::install::Change;

/// Writes a package; one that is there becomes as this one is.
pub(super) fn write(db: &Transaction<'_>, package: &Package) -> rusqlite::Result<Change> {
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
    for table in ["file", "process", "relation", "library", "api"] {
        db.execute(
            &format!("DELETE FROM package_{table} WHERE package_id = ?1"),
            [id],
        )?;
    }
    let set = "UPDATE package SET function = ?2 WHERE id = ?1 AND function <> ?2";
    db.execute(set, params![id, package.function])?;
    for module in &package.modules {
        insert_module(db, id, module)?;
    }
    for (position, process) in (1i64..).zip(&package.processes) {
        insert_process(db, id, position, process)?;
    }
    insert_others(db, id, package)?;
    Ok(match found {
        None => Change::New,
        Some(_) if before == rows_of(db, id)? => Change::Same,
        Some(_) => Change::Changed,
    })
}

/// Everything that belongs to a package, as text to compare.
fn rows_of(db: &Transaction<'_>, id: i64) -> rusqlite::Result<Vec<String>> {
    let query = "
        SELECT json_array(function) FROM package WHERE id = ?1
        UNION ALL
        SELECT json_array(path, kind, mode, uid, gid, sha256, target, arch, function, type, signature)
        FROM package_file WHERE package_id = ?1
        UNION ALL
        SELECT json_array(position, name, argv, env, restart, kind, readiness, limits)
        FROM package_process WHERE package_id = ?1
        UNION ALL
        SELECT json_array(kind, relation, on_class, for_arch) FROM package_relation WHERE package_id = ?1
        UNION ALL
        SELECT json_array(path, library, how) FROM package_library WHERE package_id = ?1
        UNION ALL
        SELECT json_array(path, side, api) FROM package_api WHERE package_id = ?1";
    db.prepare_cached(query)?
        .query_map([id], |row| row.get(0))?
        .collect()
}

fn insert_module(db: &Transaction<'_>, id: i64, module: &Module) -> rusqlite::Result<()> {
    let (kind, sha256, target) = match &module.content {
        Content::Regular(blob) => ("file", Some(blob.sha256.to_string()), None),
        Content::Symlink(target) => ("link", None, Some(target)),
        Content::Directory(_) => ("dir", None, None),
    };
    let insert = "INSERT INTO package_file (package_id, path, kind, mode, uid, gid, sha256, target,
                                            arch, function, type, signature)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    db.prepare_cached(insert)?
        .execute(params![
            id,
            module.path,
            kind,
            module.mode,
            module.uid,
            module.gid,
            sha256,
            target,
            module.arch,
            module.function,
            module.kind.name(),
            module.signature.map(|it| it.to_string()),
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
    let kind = match process.kind {
        ProcessKind::Simple => "simple",
        ProcessKind::SelfManaging => "self-managing",
    };
    let json = |texts: &[String]| serde_json::Value::from(texts).to_string();
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

fn insert_others(db: &Transaction<'_>, id: i64, package: &Package) -> rusqlite::Result<()> {
    let relation = "INSERT INTO package_relation (package_id, kind, relation, on_class, for_arch)
                    VALUES (?1, ?2, ?3, ?4, ?5)";
    for it in &package.relations {
        let values = params![id, it.kind.name(), it.relation, it.on_class, it.for_arch];
        db.prepare_cached(relation)?.execute(values)?;
    }
    let library = "INSERT INTO package_library (package_id, path, library, how)
                   VALUES (?1, ?2, ?3, ?4)";
    for it in &package.libraries {
        let values = params![id, it.path, it.library, it.how];
        db.prepare_cached(library)?.execute(values)?;
    }
    let api = "INSERT INTO package_api (package_id, path, side, api) VALUES (?1, ?2, ?3, ?4)";
    for it in &package.apis {
        let values = params![id, it.path, it.side.name(), it.api];
        db.prepare_cached(api)?.execute(values)?;
    }
    Ok(())
}
