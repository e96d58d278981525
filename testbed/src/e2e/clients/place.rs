//! Links of bootd, and stations on them: each a network namespace of its own.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::Result;
use bootd_protocol::identity::Mac;

use crate::bench::netns::Netns;
use crate::lab::ip;

/// The card of every station.
pub(in crate::e2e) const CARD: &str = "eth0";

/// A bridge on which bootd has the address 10.78.NUMBER.1, until it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    number: u8,
}

impl Link {
    pub(super) fn new(number: u8) -> Result<Self> {
        let link = Link { number };
        let name = link.name();
        ip(&format!(
            "link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        ))?;
        ip(&format!("address add {}/24 dev {name}", link.address(1)))?;
        ip(&format!("link set {name} up"))?;
        Ok(link)
    }

    /// Its name, as interface and as network of the catalog.
    pub(super) fn name(&self) -> String {
        format!("link{}", self.number)
    }

    /// The address of its host number `host`.
    pub(super) fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, self.number, host)
    }

    /// The edit that makes it a network, with a pool from host `first` to `last`, and this mode.
    pub(super) fn row(&self, first: u8, last: u8, mode: &str) -> String {
        format!(
            "INSERT INTO network (name, subnet, pool_first, pool_last, mode)
             VALUES ('{}', '{}/24', '{}', '{}', '{mode}')",
            self.name(),
            self.address(0),
            self.address(first),
            self.address(last)
        )
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Otherwise it goes with the lab.
        let _ = ip(&format!("link delete {}", self.name()));
    }
}

/// A machine on a link, until it is dropped.
#[derive(Debug)]
pub(in crate::e2e) struct Station {
    name: String,
    pub(super) netns: Netns,
    pub(super) mac: Mac,
}

impl Station {
    /// Number `number` of all stations, on the bridge of this name.
    pub(in crate::e2e) fn new(bridge: &str, number: u8) -> Result<Self> {
        let station = Self::unplugged(number)?;
        let (name, port) = (&station.name, format!("port{number}"));
        ip(&format!(
            "link add {port} type veth peer name {CARD} netns {name}"
        ))?;
        ip(&format!("link set {port} master {bridge} up"))?;
        station.start_card()?;
        Ok(station)
    }

    /// Number `number` of all stations, at the other end of a cable from the card `card` of
    /// another one.
    pub(super) fn behind(other: &Station, card: &str, number: u8) -> Result<Self> {
        let station = Self::unplugged(number)?;
        other.netns.ip(&format!(
            "link add {card} type veth peer name {CARD} netns {}",
            station.name
        ))?;
        other.netns.ip(&format!("link set {card} up"))?;
        station.start_card()?;
        Ok(station)
    }

    fn unplugged(number: u8) -> Result<Self> {
        let name = format!("station{number}");
        Ok(Station {
            netns: Netns::new(&name)?,
            name,
            mac: Mac([0x02, 0x62, 0x74, 0x64, 0, number]),
        })
    }

    fn start_card(&self) -> Result<()> {
        self.netns
            .ip(&format!("link set {CARD} address {} up", self.mac))?;
        // Packets are for it before it has an address.
        self.set("conf/all/rp_filter", "0")?;
        self.set(&format!("conf/{CARD}/rp_filter"), "0")
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives a card an address by hand.
    pub(in crate::e2e) fn address(&self, card: &str, address: Ipv4Addr) -> Result<()> {
        self.netns
            .ip(&format!("address add {address}/24 dev {card}"))
    }

    /// Sets one of the kernel's values for IPv4.
    pub(super) fn set(&self, what: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/ipv4/{what}");
        // That is the network of the thread that opens it.
        self.netns.inside(None, || Ok(fs::write(&path, value)?))
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        // Otherwise it goes with the lab.
        let _ = ip(&format!("netns delete {}", self.name));
    }
}
