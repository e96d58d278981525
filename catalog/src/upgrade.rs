//! A database made by an older version becomes one of this version, all of it or nothing.
//!
//! Every table is made again from today's schema and filled with the rows it had, so that the
//! result is what a new database would be, with all its checks: `ALTER TABLE` could not add those.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{Error, Result};

/// Brings the database at `path` to `known` and calls `adapt` for what [`rebuild`] cannot do by
/// itself, in the same transaction. What was there is kept beside it, as `NAME.version-N`.
///
/// Nothing happens where another program was faster.
pub(crate) fn upgrade(
    connection: &mut Connection,
    path: &Path,
    known: i64,
    adapt: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
) -> Result<()> {
    let sql = Error::sql(path);
    // Triggers and checks are today's, rows may be older: they are carried over as they are, and
    // `catalog check` tells what is wrong with them. Renaming a table leaves all others alone.
    let lenient = "PRAGMA legacy_alter_table = ON; PRAGMA ignore_check_constraints = ON;";
    let strict = "PRAGMA legacy_alter_table = OFF; PRAGMA ignore_check_constraints = OFF;";
    connection.execute_batch(lenient).map_err(&sql)?;
    let upgraded = (|| {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&sql)?;
        let found = version(&transaction).map_err(&sql)?;
        if found < known {
            keep_copy(path, found)?;
            adapt(&transaction).map_err(&sql)?;
        }
        transaction.commit().map_err(&sql)
    })();
    connection.execute_batch(strict).map_err(&sql)?;
    upgraded
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Copies the database as it is while nobody can write, under its final name only when the copy is
/// whole and flushed.
fn keep_copy(path: &Path, version: i64) -> Result<()> {
    let kept = beside(path, &format!(".version-{version}"));
    let part = beside(path, &format!(".version-{version}.part"));
    let _ = fs::remove_file(&part);
    copy(path, &part).map_err(Error::sql(&part))?;
    let flushed = File::open(&part).and_then(|file| file.sync_all());
    flushed.map_err(Error::io("write", &part))?;
    fs::rename(&part, &kept).map_err(Error::io("rename", &part))
}

/// By a connection of its own: one that is about to write cannot be copied from.
fn copy(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut target = Connection::open(to)?;
    let backup = Backup::new(&source, &mut target)?;
    backup.run_to_completion(i32::MAX, Duration::ZERO, None)?;
    drop(backup);
    target.close().map_err(|(_, error)| error)
}

/// The file of this ending beside a database.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// An object of a schema.
struct Object {
    kind: String,
    name: String,
    sql: String,
}

/// Makes everything that `schema` has anew, and fills its tables with the rows of those that have
/// the same name: columns that both have. What is not in `schema` stays.
pub(crate) fn rebuild(db: &Connection, schema: &str) -> rusqlite::Result<()> {
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(schema)?;
    let (want, have) = (objects(&fresh)?, objects(db)?);
    let known = |object: &Object| want.iter().any(|other| other.name == object.name);
    for object in &have {
        let goes = match object.kind.as_str() {
            "trigger" | "index" => true,
            "view" => known(object),
            _ => false,
        };
        if goes {
            let (kind, name) = (&object.kind, &object.name);
            db.execute_batch(&format!("DROP {kind} \"{name}\""))?;
        }
    }
    for table in want.iter().filter(|object| object.kind == "table") {
        let old = have.iter().find(|object| object.name == table.name);
        renew(db, table, old.is_some())?;
    }
    let others = want.iter().filter(|object| object.kind != "table");
    let own = have
        .iter()
        .filter(|object| matches!(object.kind.as_str(), "trigger" | "index") && !known(object));
    for object in others.chain(own) {
        db.execute_batch(&object.sql)?;
    }
    db.pragma_update(None, "user_version", version(&fresh)?)
}

fn renew(db: &Connection, table: &Object, is_there: bool) -> rusqlite::Result<()> {
    let name = &table.name;
    if !is_there {
        return db.execute_batch(&table.sql);
    }
    let old = format!("{name} before the upgrade");
    db.execute_batch(&format!("ALTER TABLE \"{name}\" RENAME TO \"{old}\""))?;
    db.execute_batch(&table.sql)?;
    let before = columns(db, &old)?;
    let both: Vec<String> = columns(db, name)?
        .intersection(&before)
        .map(|column| format!("\"{column}\""))
        .collect();
    let both = both.join(", ");
    db.execute_batch(&format!(
        "INSERT INTO \"{name}\" ({both}) SELECT {both} FROM \"{old}\"; DROP TABLE \"{old}\""
    ))
}

/// In the order in which they were made. SQLite's own have no SQL.
fn objects(db: &Connection) -> rusqlite::Result<Vec<Object>> {
    db.prepare(
        "SELECT type, name, sql FROM sqlite_schema
         WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid",
    )?
    .query_map([], |row| {
        Ok(Object {
            kind: row.get(0)?,
            name: row.get(1)?,
            sql: row.get(2)?,
        })
    })?
    .collect()
}

fn columns(db: &Connection, table: &str) -> rusqlite::Result<BTreeSet<String>> {
    db.prepare("SELECT name FROM pragma_table_info(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect()
}
