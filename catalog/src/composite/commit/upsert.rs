//! Rows that are inserted, updated where they differ, or left alone.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension as _, ToSql, Transaction, params_from_iter};

use crate::composite::format::{Row, Value};
use crate::composite::install::Change;

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Flag(flag) => ValueRef::Integer(i64::from(*flag)),
            Value::Number(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Inserts a row, or updates it where it differs. Column names have been checked.
pub(super) fn upsert(
    db: &Transaction<'_>,
    table: &str,
    keys: &[&str],
    row: &Row,
) -> rusqlite::Result<Change> {
    let terms = |of_key: bool, between: &str, is: &str| {
        let columns = (1..).zip(row.keys());
        let columns = columns.filter(|(_, column)| keys.contains(&column.as_str()) == of_key);
        let terms = columns.map(|(number, column)| format!("\"{column}\" {is} ?{number}"));
        terms.collect::<Vec<_>>().join(between)
    };
    let this = terms(true, " AND ", "IS");
    let same = match terms(false, " AND ", "IS") {
        none if none.is_empty() => "1".to_owned(),
        same => same,
    };
    let query = format!("SELECT {same} FROM {table} WHERE {this}");
    let values = || params_from_iter(row.values());
    let found: Option<bool> = db
        .prepare_cached(&query)?
        .query_row(values(), |found| found.get(0))
        .optional()?;
    match found {
        Some(true) => Ok(Change::Same),
        Some(false) => {
            let set = terms(false, ", ", "=");
            let update = format!("UPDATE {table} SET {set} WHERE {this}");
            db.prepare_cached(&update)?.execute(values())?;
            Ok(Change::Changed)
        }
        None => {
            insert(db, table, row)?;
            Ok(Change::New)
        }
    }
}

fn insert(db: &Transaction<'_>, table: &str, row: &Row) -> rusqlite::Result<()> {
    let columns: Vec<String> = row.keys().map(|column| format!("\"{column}\"")).collect();
    let marks: Vec<String> = (1..=row.len()).map(|number| format!("?{number}")).collect();
    let (columns, marks) = (columns.join(", "), marks.join(", "));
    db.prepare_cached(&format!("INSERT INTO {table} ({columns}) VALUES ({marks})"))?
        .execute(params_from_iter(row.values()))
        .map(|_| ())
}

/// Lets the rows that belong to `owner` (columns and what they hold) be these.
pub(super) fn replace(
    db: &Transaction<'_>,
    table: &str,
    owner: &[(&str, &str)],
    rows: &[Row],
) -> rusqlite::Result<Change> {
    let terms = (1..)
        .zip(owner)
        .map(|(number, (column, _))| format!("{column} = ?{number}"));
    let of_owner = terms.collect::<Vec<_>>().join(" AND ");
    let values = || params_from_iter(owner.iter().map(|(_, value)| *value));
    let all = || -> rusqlite::Result<Vec<String>> {
        let columns = "SELECT group_concat('\"' || name || '\"') FROM pragma_table_info(?1)";
        let columns: String = db.query_row(columns, [table], |row| row.get(0))?;
        let query =
            format!("SELECT json_array({columns}) FROM {table} WHERE {of_owner} ORDER BY 1");
        db.prepare_cached(&query)?
            .query_map(values(), |row| row.get(0))?
            .collect()
    };
    let before = all()?;
    db.execute(&format!("DELETE FROM {table} WHERE {of_owner}"), values())?;
    for row in rows {
        let mut row = row.clone();
        let owned = owner.iter();
        row.extend(
            owned.map(|(column, value)| ((*column).to_owned(), Value::Text((*value).to_owned()))),
        );
        insert(db, table, &row)?;
    }
    Ok(match before == all()? {
        true => Change::Same,
        false => Change::Changed,
    })
}
