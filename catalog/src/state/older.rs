//! State databases of older versions.

use rusqlite::Transaction;

use super::{Lease, LeaseState, Place, SCHEMA, rows};
use crate::upgrade::rebuild;

/// Makes a state of any older version one of today's.
pub(super) fn adapt(db: &Transaction<'_>) -> rusqlite::Result<()> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < 2 {
        from_version_1(db)
    } else {
        // Version 2 had a row for each address; version 3 knew of no presence and no contents.
        rebuild(db, SCHEMA)
    }
}

/// Version 1 wrote the addresses of leases as text.
fn from_version_1(db: &Transaction<'_>) -> rusqlite::Result<()> {
    let leases: Vec<Lease> = db
        .prepare("SELECT ip, mac, expires_ms, hostname FROM lease")?
        .query_map([], |row| {
            let (ip, mac): (String, String) = (row.get(0)?, row.get(1)?);
            let (expires_ms, hostname) = (row.get(2)?, row.get(3)?);
            let parsed = ip.parse().ok().zip(mac.parse().ok());
            Ok(parsed.map(|(ip, mac)| Lease {
                ip,
                mac,
                expires_ms,
                hostname,
                state: LeaseState::Bound,
                place: Place::default(),
            }))
        })?
        .filter_map(Result::transpose)
        .collect::<rusqlite::Result<_>>()?;
    db.execute_batch("DROP TABLE lease")?;
    rebuild(db, SCHEMA)?;
    leases
        .iter()
        .try_for_each(|lease| rows::write_lease(db, lease))
}
