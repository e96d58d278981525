//! Kea's perfdhcp: a thousand clients in two seconds, behind a relay that it plays itself.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};

use super::place::{CARD, Link, Station};
use super::programs::Programs;
use crate::e2e::bench::{Bench, say};
use crate::lab::ip;

/// The network of its clients, and the relay in it.
const NETWORK: &str = "crowd";
const SUBNET: &str = "10.79.0.0/16";
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);
/// The least that it has to send.
const MANY: u64 = 900;

pub(super) fn check(bench: &Bench, programs: &Programs) -> Result<()> {
    let link = Link::new(6)?;
    let relay = Station::new(&link.name(), 14)?;
    for address in [link.address(2), RELAY] {
        relay.address(CARD, address)?;
    }
    ip(&format!("route add {SUBNET} via {}", link.address(2)))?;
    bench.edit(&format!(
        "INSERT INTO network (name, subnet, pool_first, pool_last)
         VALUES ('{NETWORK}', '{SUBNET}', '10.79.1.0', '10.79.15.255')"
    ))?;
    let before = counted(bench)?;
    let mut command = programs.perfdhcp.command();
    // By lot, but with this seed always the same ones, and none twice.
    command.args(["-4", "-r", "500", "-p", "2", "-R", "1000000", "-s", "1"]);
    // Each OFFER comes half a second after its DISCOVER, when nobody has answered the probe of its
    // address: it waits a second for the last ones, and takes none for lost before three.
    command.args(["-W", "1000000", "-d", "3", "-l", &RELAY.to_string()]);
    command.arg(link.address(1).to_string());
    let ran = programs.run(&relay, &mut command)?;
    let report = || format!("perfdhcp: {}", ran.said);
    ensure!(ran.good, report());
    let exchanges = Exchanges::parse(&ran.said).with_context(report)?;
    let Exchanges { offers, acks } = exchanges;
    ensure!(offers == acks && acks >= MANY, report());
    let leases = bench.master.bound(NETWORK)?;
    ensure!(leases == acks, "{leases} leases for {acks} ACKs");
    let (counted, expected) = (
        counted(bench)?,
        [before[0] + offers, before[1] + acks, before[2]],
    );
    ensure!(counted == expected, "counted {counted:?}, not {expected:?}");
    say(format!(
        "perfdhcp: {acks} clients in two seconds, nothing lost, every lease written"
    ));
    Ok(())
}

/// OFFERs, ACKs and NAKs so far.
fn counted(bench: &Bench) -> Result<[u64; 3]> {
    bench.counted()?;
    let of = |name| bench.master.counter(name);
    Ok([of("dhcp_offers")?, of("dhcp_acks")?, of("dhcp_naks")?])
}

/// How many exchanges of each kind came to their end; of the others there are none.
#[derive(Debug, PartialEq, Eq)]
struct Exchanges {
    offers: u64,
    acks: u64,
}

impl Exchanges {
    /// Reads perfdhcp's report.
    fn parse(report: &str) -> Option<Self> {
        let answered = |kind: &str| -> Option<u64> {
            let (_, section) = report.split_once(&format!("***Statistics for: {kind}***"))?;
            let section = section.split("***").next()?;
            let number = |name: &str| -> Option<u64> {
                let mut lines = section.lines().filter_map(|it| it.split_once(": "));
                lines.find_map(|(key, value)| (key == name).then(|| value.parse().ok())?)
            };
            let sent = number("sent packets")?;
            let is_whole = number("received packets")? == sent
                && ["drops", "orphans", "rejected leases"]
                    .iter()
                    .all(|name| number(name) == Some(0));
            is_whole.then_some(sent)
        };
        Some(Exchanges {
            offers: answered("DISCOVER-OFFER")?,
            acks: answered("REQUEST-ACK")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(drops: u64) -> String {
        let section = |kind: &str, sent: u64| {
            format!(
                "***Statistics for: {kind}***\nsent packets: {sent}\nreceived packets: {}\n\
                 drops: {drops}\ndrops ratio: 0 %\norphans: 0\nrejected leases: 0\n\
                 non unique addresses: 0\n\nmin delay: 500.108 ms\n\n",
                sent - drops
            )
        };
        let (offers, acks) = (section("DISCOVER-OFFER", 999), section("REQUEST-ACK", 998));
        format!("***Malformed Packets***\nMalformed packets: 0\n{offers}{acks}")
    }

    #[test]
    fn a_report_is_read() {
        let (offers, acks) = (999, 998);
        assert_eq!(
            Exchanges::parse(&report(0)),
            Some(Exchanges { offers, acks })
        );
        assert_eq!(Exchanges::parse(&report(1)), None);
        assert_eq!(Exchanges::parse("perfdhcp: no such host"), None);
    }
}
