//! State databases of older versions.

use rusqlite::Transaction;

use super::{Lease, LeaseState, Place, SCHEMA, rows};
use crate::upgrade::rebuild;

/// Version 1 wrote the addresses of leases as text.
pub(super) fn to_version_2(db: &Transaction<'_>) -> rusqlite::Result<()> {
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
