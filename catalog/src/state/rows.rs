//! The rows of `state.db`, read; and the widest of them, written.

use std::str::FromStr;

use rusqlite::{Row, Transaction, params};

use super::{Event, KeyReplay, Lease, NodeState, StateStore, number};
use crate::error::{Error, Result};
use crate::keys::{PublicKey, key_text, parse_key};

impl StateStore {
    /// All nodes, by name.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn nodes(&self) -> Result<Vec<NodeState>> {
        self.all("SELECT * FROM node_state ORDER BY node", |row| {
            Ok(NodeState {
                node: row.get("node")?,
                mac: text(row, "mac")?,
                address: text(row, "address")?,
                arch: text(row, "arch")?,
                firmware: text(row, "firmware")?,
                stage: row.get("stage")?,
                stage_since_ms: row.get("stage_since_ms")?,
                last_seen_ms: row.get("last_seen_ms")?,
                running: text(row, "running")?,
                wanted: text(row, "wanted")?,
                failed: text(row, "failed")?,
                progress_done: unsigned(row, "progress_done")?,
                progress_total: unsigned(row, "progress_total")?,
                message: row.get("message")?,
                offered_key: key(row, "offered_key")?,
            })
        })
    }

    /// All leases that can be read, by address.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        let leases = self.all("SELECT * FROM lease", |row| {
            let (ip, mac) = (text(row, "ip")?, text(row, "mac")?);
            let expires_ms = row.get("expires_ms")?;
            let hostname = row.get("hostname")?;
            Ok(ip.zip(mac).map(|(ip, mac)| Lease {
                ip,
                mac,
                expires_ms,
                hostname,
            }))
        })?;
        let mut leases: Vec<Lease> = leases.into_iter().flatten().collect();
        leases.sort_by_key(|lease| lease.ip);
        Ok(leases)
    }

    /// The newest `limit` events of one node or of all, oldest first.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn events(&self, node: Option<&str>, limit: u32) -> Result<Vec<Event>> {
        let query = "SELECT * FROM (SELECT * FROM event WHERE ?1 IS NULL OR node = ?1
                     ORDER BY id DESC LIMIT ?2) ORDER BY id";
        let sql = Error::sql(&self.path);
        let mut statement = self.connection.prepare(query).map_err(&sql)?;
        let rows = statement.query_map(params![node, limit], |row| {
            Ok(Event {
                at_ms: row.get("at_ms")?,
                node: row.get("node")?,
                kind: row.get("kind")?,
                text: row.get("text")?,
            })
        });
        rows.map_err(&sql)?
            .collect::<rusqlite::Result<_>>()
            .map_err(&sql)
    }

    /// The last message of every key.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn replays(&self) -> Result<Vec<KeyReplay>> {
        let replays = self.all("SELECT * FROM key_replay ORDER BY key", |row| {
            let boot = unsigned(row, "boot")?;
            let seq = unsigned(row, "seq")?;
            Ok(key(row, "key")?.map(|key| KeyReplay { key, boot, seq }))
        })?;
        Ok(replays.into_iter().flatten().collect())
    }

    /// All counters, by name.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn counters(&self) -> Result<Vec<(String, u64)>> {
        self.all("SELECT * FROM counter ORDER BY name", |row| {
            Ok((row.get("name")?, unsigned(row, "value")?))
        })
    }

    fn all<T>(
        &self,
        query: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let rows = || -> rusqlite::Result<_> {
            self.connection
                .prepare(query)?
                .query_map([], read)?
                .collect()
        };
        rows().map_err(Error::sql(&self.path))
    }
}

pub(super) fn write_node(transaction: &Transaction<'_>, state: &NodeState) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO node_state (node, mac, address, arch, firmware, stage,
                 stage_since_ms, last_seen_ms, running, wanted, failed, progress_done,
                 progress_total, message, offered_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            state.node,
            state.mac.map(|mac| mac.to_string()),
            state.address.map(|address| address.to_string()),
            state.arch.map(|arch| arch.name()),
            state.firmware.map(|firmware| firmware.name()),
            state.stage,
            state.stage_since_ms,
            state.last_seen_ms,
            state.running.map(|digest| digest.to_string()),
            state.wanted.map(|digest| digest.to_string()),
            state.failed.map(|digest| digest.to_string()),
            number(state.progress_done),
            number(state.progress_total),
            state.message,
            state.offered_key.as_ref().map(key_text),
        ])
        .map(|_| ())
}

/// What cannot be read as a value is as if it were not there: these are observations.
fn text<T: FromStr>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    Ok(u64::try_from(value).unwrap_or(0))
}

fn key(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<PublicKey>> {
    let text: Option<String> = row.get(column)?;
    Ok(text.as_deref().and_then(parse_key))
}
