//! Whether the rows of a composite fit the tables of `schema.sql`.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::commit;
use super::format::{Composite, Row};
use crate::schema::SCHEMA;

/// A row with a column that its table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{table} {row} has {column:?}, which is no column of the table {table}: there are {known}")]
pub struct NoColumn {
    table: String,
    row: String,
    column: String,
    known: String,
}

/// Columns that the composite says by other means, or that are the master's own.
const ELSEWHERE: [(&str, &str); 4] = [
    ("dhcp_option", "scope"),
    ("dhcp_option", "owner"),
    ("node_package", "node"),
    ("node", "public_key"),
];

/// Checks every row.
///
/// # Errors
/// The first that does not fit.
pub(super) fn check(composite: &Composite) -> Result<(), NoColumn> {
    let mut tables = Tables::default();
    for row in &composite.rules {
        tables.check("rule", row)?;
    }
    for it in &composite.classes {
        tables.check("class", &it.row)?;
        tables.check_all("dhcp_option", &it.options)?;
    }
    for it in &composite.networks {
        tables.check("network", &it.row)?;
        tables.check_all("dhcp_option", &it.options)?;
    }
    for it in &composite.nodes {
        tables.check("node", &it.row)?;
        tables.check_all("dhcp_option", &it.options)?;
        tables.check_all("node_package", &it.list)?;
    }
    Ok(())
}

/// Writes packages and boot images into an empty catalog: what the checks of its tables would refuse
/// when the composite is installed is refused when it is made.
///
/// # Errors
/// The table's own words.
pub(super) fn try_out(composite: &Composite) -> rusqlite::Result<()> {
    let alone = Composite {
        classes: Vec::new(),
        rules: Vec::new(),
        networks: Vec::new(),
        nodes: Vec::new(),
        updates: Vec::new(),
        ..composite.clone()
    };
    let mut db = Connection::open_in_memory()?;
    db.execute_batch(SCHEMA)?;
    let transaction = db.transaction()?;
    commit::commit(&transaction, &alone)?;
    transaction.commit()
}

/// The columns of the tables looked at so far.
#[derive(Default)]
struct Tables(BTreeMap<&'static str, Vec<String>>);

impl Tables {
    fn check_all(&mut self, table: &'static str, rows: &[Row]) -> Result<(), NoColumn> {
        rows.iter().try_for_each(|row| self.check(table, row))
    }

    fn check(&mut self, table: &'static str, row: &Row) -> Result<(), NoColumn> {
        let known = self.0.entry(table).or_insert_with(|| columns(table));
        let Some(column) = row.keys().find(|column| !known.contains(column)) else {
            return Ok(());
        };
        let name = ["name", "code", "package"];
        let name = name.iter().find_map(|it| row.get(*it));
        Err(NoColumn {
            table: table.to_owned(),
            row: name.map(ToString::to_string).unwrap_or_default(),
            column: column.clone(),
            known: known.join(", "),
        })
    }
}

fn columns(table: &str) -> Vec<String> {
    let names = || -> rusqlite::Result<Vec<String>> {
        let db = Connection::open_in_memory()?;
        db.execute_batch(SCHEMA)?;
        db.prepare("SELECT name FROM pragma_table_info(?1)")?
            .query_map([table], |row| row.get(0))?
            .collect()
    };
    let mut names = names().unwrap_or_default();
    names.retain(|column| !ELSEWHERE.contains(&(table, column)));
    names
}
