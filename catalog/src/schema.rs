//! The tables of `catalog.db`: made, opened, compared with what they should be.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::upgrade::{rebuild, upgrade};

/// `schema.sql`, the one truth of the tables.
pub const SCHEMA: &str = include_str!("../../schema.sql");

/// `PRAGMA user_version` of [`SCHEMA`].
pub const VERSION: i64 = 3;

/// `PRAGMA application_id` of [`SCHEMA`]: "btcd".
const APPLICATION_ID: i64 = 0x6274_6364;

/// How long a write waits for another program's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the tables in a new or empty database.
///
/// # Errors
/// A database that has tables already, and what the file system refuses.
pub fn create(path: &Path) -> Result<Connection> {
    let sql = Error::sql(path);
    let connection = Connection::open(path).map_err(&sql)?;
    settle(&connection).map_err(&sql)?;
    if count_tables(&connection).map_err(&sql)? > 0 {
        return Err(Error::AlreadyThere(path.to_owned()));
    }
    let script = format!("BEGIN IMMEDIATE; {SCHEMA}; COMMIT;");
    connection.execute_batch(&script).map_err(&sql)?;
    Ok(connection)
}

/// Opens an existing catalog. One made by an older version is brought to this one first, and kept
/// as `catalog.db.version-N`.
///
/// # Errors
/// No such file, a database of something else, one made by a newer version.
pub fn open(path: &Path) -> Result<Connection> {
    let sql = Error::sql(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(&sql)?;
    settle(&connection).map_err(foreign_if_no_database(path))?;
    let id = pragma(&connection, "application_id").map_err(foreign_if_no_database(path))?;
    let version = pragma(&connection, "user_version").map_err(&sql)?;
    if id != APPLICATION_ID {
        return Err(Error::Foreign {
            path: path.to_owned(),
            expected: "catalog",
        });
    }
    if version > VERSION {
        return Err(Error::Newer {
            path: path.to_owned(),
            found: version,
            known: VERSION,
        });
    }
    if version < VERSION {
        upgrade(&mut connection, path, VERSION, |db| {
            rebuild(db, SCHEMA)?;
            db.execute_batch("UPDATE generation SET value = value + 1")
        })?;
    }
    Ok(connection)
}

/// How this database differs from a fresh one: one sentence for each table, trigger, index or
/// view that is missing, changed or added. Empty when all is as it should be.
///
/// # Errors
/// What SQLite refuses.
pub fn drift(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(SCHEMA)?;
    let (want, have) = (objects(&fresh)?, objects(connection)?);
    let missing = want.iter().filter_map(|(name, sql)| match have.get(name) {
        None => Some(format!("the {name} of schema.sql is missing")),
        Some(other) if other != sql => Some(format!("the {name} is not as in schema.sql")),
        Some(_) => None,
    });
    let added = have
        .keys()
        .filter(|name| !want.contains_key(*name))
        .map(|name| format!("the {name} is not in schema.sql"));
    Ok(missing.chain(added).collect())
}

/// Every object of the schema as "kind name" with the SQL that made it.
fn objects(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    connection
        .prepare("SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// What every connection to a catalog is set to.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The schema's triggers are the guards; foreign keys as in the shell, so that both see one
    // behaviour. Cascades through triggers do not need recursive_triggers.
    connection.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL;",
    )
}

fn count_tables(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn foreign_if_no_database(path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    move |source| match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => Error::Foreign {
            path: path.to_owned(),
            expected: "catalog",
        },
        _ => Error::sql(path)(source),
    }
}
