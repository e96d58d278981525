//! The rows of `state.db`, read; and the widest of them, written.

use std::net::Ipv4Addr;
use std::str::FromStr;

use bootd_protocol::identity::Mac;
use rusqlite::{Row, Transaction, params};

use super::{
    Event, KeyReplay, Lease, LeaseState, NodeState, Place, Presence, StateStore, UNSEEN, Wished,
    number,
};
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
                from_disk: row.get("from_disk")?,
                running: text(row, "running")?,
                wanted: text(row, "wanted")?,
                failed: text(row, "failed")?,
                progress_done: unsigned(row, "progress_done")?,
                progress_total: unsigned(row, "progress_total")?,
                message: row.get("message")?,
                offered_key: key(row, "offered_key")?,
                unmet: row.get("unmet")?,
                class: row.get("class")?,
                presence: Presence::named(&row.get::<_, String>("presence")?),
                presence_since_ms: row.get("presence_since_ms")?,
                report_seconds: row.get("report_seconds")?,
            })
        })
    }

    /// All leases that can be read, by address.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        let query = "SELECT * FROM lease
                     WHERE number IN (SELECT max(number) FROM lease GROUP BY ip) ORDER BY ip";
        let leases = self.all(query, lease)?;
        Ok(leases.into_iter().flatten().collect())
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

    pub(super) fn all<T>(
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

pub(super) fn write_wishes(
    transaction: &Transaction<'_>,
    wishes: &[Wished],
    now: i64,
) -> rusqlite::Result<()> {
    let mut write = transaction.prepare_cached(
        "INSERT INTO node_state (node, stage, stage_since_ms, last_seen_ms, class, wanted,
                                 presence, presence_since_ms)
         VALUES (?1, ?2, ?3, 0, ?4, ?5, 'absent', ?3)
         ON CONFLICT (node) DO UPDATE SET class = excluded.class, wanted = excluded.wanted",
    )?;
    for it in wishes {
        let wanted = it.wanted.map(|digest| digest.to_string());
        write.execute(params![it.node, UNSEEN, now, it.class.as_deref(), wanted])?;
    }
    Ok(())
}

pub(super) fn write_node(transaction: &Transaction<'_>, state: &NodeState) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO node_state (node, mac, address, arch, firmware, stage,
                 stage_since_ms, last_seen_ms, running, wanted, failed, progress_done,
                 progress_total, message, offered_key, from_disk, class, presence,
                 presence_since_ms, report_seconds, unmet)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                 ?17, ?18, ?19, ?20, ?21)",
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
            state.from_disk,
            state.class,
            state.presence.name(),
            state.presence_since_ms,
            state.report_seconds,
            state.unmet,
        ])
        .map(|_| ())
}

/// A lease whose numbers are no addresses is as if it were not there.
fn lease(row: &Row<'_>) -> rusqlite::Result<Option<Lease>> {
    let (Some(ip), Some(mac)) = (address(row, "ip")?, mac(row.get("mac")?)) else {
        return Ok(None);
    };
    let state = match row.get::<_, String>("state")?.as_str() {
        "released" => LeaseState::Released,
        "declined" => LeaseState::Declined,
        _ => LeaseState::Bound,
    };
    Ok(Some(Lease {
        ip,
        mac,
        expires_ms: row.get("expires_ms")?,
        hostname: row.get("hostname")?,
        state,
        place: Place {
            network: row.get("network")?,
            relay: address(row, "relay")?,
            circuit: row.get("circuit")?,
            remote: row.get("remote")?,
        },
    }))
}

pub(super) fn write_lease(transaction: &Transaction<'_>, lease: &Lease) -> rusqlite::Result<()> {
    let state = match lease.state {
        LeaseState::Bound => "bound",
        LeaseState::Released => "released",
        LeaseState::Declined => "declined",
    };
    let [a, b, c, d, e, f] = lease.mac.0;
    transaction
        .prepare_cached(
            "INSERT INTO lease
                 (ip, mac, expires_ms, state, hostname, network, relay, circuit, remote)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            lease.ip.to_bits(),
            i64::from_be_bytes([0, 0, a, b, c, d, e, f]),
            lease.expires_ms,
            state,
            lease.hostname,
            lease.place.network,
            lease.place.relay.map(Ipv4Addr::to_bits),
            lease.place.circuit,
            lease.place.remote,
        ])
        .map(|_| ())
}

fn address(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Ipv4Addr>> {
    let number: Option<i64> = row.get(column)?;
    let number = number.and_then(|number| u32::try_from(number).ok());
    Ok(number.map(Ipv4Addr::from_bits))
}

fn mac(number: i64) -> Option<Mac> {
    match number.to_be_bytes() {
        [0, 0, a, b, c, d, e, f] => Some(Mac([a, b, c, d, e, f])),
        _ => None,
    }
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
