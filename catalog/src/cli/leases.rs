//! `leases`: which addresses were given, to whom and until when.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use catalog::Catalog;
use catalog::state::{Lease, LeaseState, StateStore};

use super::table::{ago, table};

pub(super) fn leases(catalog: &Catalog) -> Result<()> {
    let leases = match StateStore::read_only(&catalog.state_path())? {
        Some(store) => store.leases()?,
        None => Vec::new(),
    };
    if leases.is_empty() {
        println!("No address was given yet.");
        return Ok(());
    }
    let snapshot = catalog.snapshot()?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let mut table = table(&["ADDRESS", "MAC", "NODE", "NETWORK", "STATE", "UNTIL"]);
    for lease in &leases {
        let node = snapshot.node_by_mac(lease.mac);
        let (state, until) = standing(lease, now);
        table.add_row([
            lease.ip.to_string(),
            lease.mac.to_string(),
            node.map(|node| node.name.clone()).unwrap_or_default(),
            lease.place.network.clone().unwrap_or_default(),
            state.to_owned(),
            until,
        ]);
    }
    println!("{table}");
    Ok(())
}

/// The state of a lease, and until when it lasts.
fn standing(lease: &Lease, now: i64) -> (&'static str, String) {
    let left = lease.expires_ms.saturating_sub(now);
    let until = if left > 0 {
        format!("in {}", ago(left))
    } else {
        format!("{} ago", ago(left.saturating_neg()))
    };
    let state = match lease.state {
        LeaseState::Bound if left > 0 => "bound",
        LeaseState::Bound => "expired",
        LeaseState::Released => "released",
        LeaseState::Declined => "declined",
    };
    (state, until)
}
