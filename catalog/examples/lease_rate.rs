//! How many leases a second `state.db` takes on this machine, in batches as bootd writes them.
//!
//!     cargo run --release -p catalog --example lease_rate -- [DIRECTORY] [LEASES] [BATCH]

#![expect(clippy::print_stdout, reason = "this is the example's output")]

use std::net::Ipv4Addr;
use std::time::Instant;

use bootd_protocol::identity::Mac;
use catalog::state::{Lease, LeaseState, Place, Record, StateStore};

const ROUND: u32 = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().unwrap_or_else(|| ".".into());
    let standing: u32 = arguments.next().map_or(Ok(50_000), |text| text.parse())?;
    let batch: u32 = arguments.next().map_or(Ok(32), |text| text.parse())?;
    let dir = tempfile::tempdir_in(parent)?;
    let mut store = StateStore::open(&dir.path().join("state.db"))?;

    let all: Vec<Record> = (0..standing).map(record).collect();
    for part in all.chunks(1000) {
        store.write(part)?;
    }
    println!("{standing} leases standing, batches of {batch}");
    let mut seed = 1u32;
    for _ in 0..5 {
        let begun = Instant::now();
        for _ in 0..ROUND {
            let leases: Vec<Record> = (0..batch)
                .map(|_| {
                    // Numerical Recipes' generator: machines renew in no order.
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    record(
                        u32::try_from((u64::from(seed) * u64::from(standing)) >> 32).unwrap_or(0),
                    )
                })
                .collect();
            store.write(&leases)?;
        }
        let took = begun.elapsed().as_secs_f64();
        println!(
            "{:.0} leases/s, {:.0} commits/s",
            f64::from(ROUND * batch) / took,
            f64::from(ROUND) / took
        );
    }
    Ok(())
}

fn record(number: u32) -> Record {
    let [_, b, c, d] = number.to_be_bytes();
    Record::Lease(Lease {
        ip: Ipv4Addr::from_bits(0x0a00_0000 + number),
        mac: Mac([2, 0, 0, b, c, d]),
        expires_ms: 1_700_000_000_000 + i64::from(number),
        hostname: format!("node-{number:06}"),
        state: LeaseState::Bound,
        place: Place {
            network: Some("rack1".into()),
            relay: Some(Ipv4Addr::new(10, 0, 0, 1)),
            circuit: Some("ge-0/0/7".into()),
            remote: None,
        },
    })
}
