//! Orders to many, written.

use bootd_protocol::preparation::Decision;
use rusqlite::params;

use crate::error::{Error, Result};
use crate::snapshot::Covered;
use crate::store::Catalog;

impl Catalog {
    /// Has nodes prepared; the number of the preparation.
    ///
    /// # Errors
    /// What the schema refuses: a class or node that is not there.
    pub fn prepare(&mut self, covers: &[Covered], comment: &str) -> Result<i64> {
        self.write(|transaction| {
            let insert = "INSERT INTO preparation (comment) VALUES (?1)";
            transaction.execute(insert, [comment])?;
            let id = transaction.last_insert_rowid();
            let insert = "INSERT OR IGNORE INTO preparation_target VALUES (?1, ?2, ?3)";
            for covered in covers {
                let (scope, name) = match covered {
                    Covered::All => ("all", ""),
                    Covered::Class(name) => ("class", name.as_str()),
                    Covered::Node(name) => ("node", name.as_str()),
                };
                transaction.execute(insert, params![id, scope, name])?;
            }
            Ok(id)
        })
    }

    /// Decides what becomes of a preparation.
    ///
    /// # Errors
    /// [`Error::NoSuch`]; what the schema refuses.
    pub fn decide(&mut self, preparation: i64, decision: Decision) -> Result<()> {
        let changed = self.write(|transaction| {
            let update = "UPDATE preparation SET decision = ?2 WHERE id = ?1";
            transaction.execute(update, params![preparation, decision.name()])
        })?;
        match changed {
            0 => Err(Error::NoSuch {
                kind: "preparation",
                name: preparation.to_string(),
            }),
            _ => Ok(()),
        }
    }
}
