//! What has become of orders to many.

use std::time::Duration;

use bootd_protocol::preparation::{Progress, Stage};
use rusqlite::{Row, Transaction, params};

use super::{NodeTest, StateStore, number};
use crate::error::Result;

pub(super) fn write_progress(db: &Transaction<'_>, progress: &Progress) -> rusqlite::Result<()> {
    let insert = "INSERT OR REPLACE INTO preparation_node
                      (preparation, node, stage, since_ms, message, boot, reset_ms)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    db.prepare_cached(insert)?
        .execute(params![
            progress.preparation,
            progress.node,
            progress.stage.name(),
            millis(progress.since),
            progress.message,
            number(progress.boot),
            progress.reset_at.map(millis),
        ])
        .map(|_| ())
}

pub(super) fn write_test(db: &Transaction<'_>, it: &NodeTest) -> rusqlite::Result<()> {
    let insert =
        "INSERT OR REPLACE INTO node_test (test, node, boot, at_ms) VALUES (?1, ?2, ?3, ?4)";
    db.prepare_cached(insert)?
        .execute(params![it.test, it.node, number(it.boot), it.at_ms])
        .map(|_| ())
}

impl StateStore {
    /// How far every node of every preparation is.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn prepared(&self) -> Result<Vec<Progress>> {
        let all = self.all(
            "SELECT * FROM preparation_node ORDER BY preparation, node",
            progress,
        )?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Which nodes had which tests.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn tested(&self) -> Result<Vec<NodeTest>> {
        self.all("SELECT * FROM node_test ORDER BY test, node", |row| {
            Ok(NodeTest {
                test: row.get("test")?,
                node: row.get("node")?,
                boot: unsigned(row, "boot")?,
                at_ms: row.get("at_ms")?,
            })
        })
    }
}

/// A row of a stage that nobody knows is as if it were not there.
fn progress(row: &Row<'_>) -> rusqlite::Result<Option<Progress>> {
    let Ok(stage) = row.get::<_, String>("stage")?.parse::<Stage>() else {
        return Ok(None);
    };
    let reset_ms: Option<i64> = row.get("reset_ms")?;
    Ok(Some(Progress {
        preparation: row.get("preparation")?,
        node: row.get("node")?,
        stage,
        since: time(row.get("since_ms")?),
        boot: unsigned(row, "boot")?,
        reset_at: reset_ms.map(time),
        message: row.get("message")?,
    }))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn time(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    Ok(u64::try_from(value).unwrap_or(0))
}
