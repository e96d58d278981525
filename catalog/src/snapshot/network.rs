//! Networks: what the schema cannot check of addresses.

use std::net::Ipv4Addr;
use std::time::Duration;

use rusqlite::{Connection, Row};

use super::option::Options;
use super::read::{RowResult, good_rows, parsed, row_try, word};
use super::{
    BootBy, Bootp, Mode, Network, Node, Problem, Scope, Snapshot, Subnet, UefiLoader, Unknown,
    Word as _,
};

/// All networks that make sense; of two that overlap, the first by name.
pub(super) fn read(
    db: &Connection,
    options: &mut Options,
    problems: &mut Vec<Problem>,
) -> rusqlite::Result<Vec<Network>> {
    let all = good_rows(
        db,
        "network",
        "SELECT * FROM network ORDER BY name",
        problems,
        |row| Ok(network(row, options)?.and_then(checked)),
    )?;
    let mut networks: Vec<Network> = Vec::new();
    for network in all {
        match networks.iter().find(|other| overlap(&network, other)) {
            None => networks.push(network),
            Some(other) => problems.push(Problem {
                text: format!(
                    "{} overlaps {} ({})",
                    network.subnet, other.name, other.subnet
                ),
                scope: Scope::Row {
                    table: "network",
                    name: network.name,
                },
            }),
        }
    }
    Ok(networks)
}

fn network(row: &Row<'_>, options: &mut Options) -> rusqlite::Result<RowResult<Network>> {
    let name: String = row.get("name")?;
    let subnet: String = row.get("subnet")?;
    let pool_first = row_try!(parsed(row, "pool_first")?);
    let pool_last = row_try!(parsed(row, "pool_last")?);
    let lease: u32 = row.get("lease_seconds")?;
    Ok(Ok(Network {
        options: options.take("network", &name),
        name,
        subnet: row_try!(parse_subnet(&subnet)),
        pool: pool_first.zip(pool_last),
        router: row_try!(parsed(row, "router")?),
        dns: row_try!(addresses(&row.get::<_, String>("dns")?)),
        lease: Duration::from_secs(lease.into()),
        server: row_try!(parsed(row, "server")?),
        mode: row_try!(word(row, "mode", Mode::ALL, Mode::name)?).unwrap_or_default(),
        bootp: row_try!(word(row, "bootp", Bootp::ALL, Bootp::name)?).unwrap_or_default(),
        probe: row.get("probe")?,
        boot_by: row_try!(word(row, "boot_by", BootBy::ALL, BootBy::name)?),
        uefi_loader: row_try!(word(row, "uefi_loader", UefiLoader::ALL, UefiLoader::name)?),
        unknown: row_try!(word(row, "unknown", Unknown::ALL, Unknown::name)?).unwrap_or_default(),
    }))
}

fn parse_subnet(text: &str) -> RowResult<Subnet> {
    let parts = text.split_once('/').and_then(|(address, prefix)| {
        Some((
            address.parse::<Ipv4Addr>().ok()?,
            prefix.parse::<u8>().ok()?,
        ))
    });
    let Some((address, prefix @ 1..=30)) = parts else {
        return Err(format!("subnet {text:?} is not like 10.0.0.0/24"));
    };
    let mut subnet = Subnet { address, prefix };
    subnet.address = address & subnet.mask();
    if subnet.address != address {
        return Err(format!("subnet {text} has host bits set: write {subnet}"));
    }
    Ok(subnet)
}

fn addresses(text: &str) -> RowResult<Vec<Ipv4Addr>> {
    text.split([',', ' '])
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.parse()
                .map_err(|_| format!("dns {part:?} is not an IPv4 address"))
        })
        .collect()
}

fn checked(network: Network) -> RowResult<Network> {
    let subnet = network.subnet;
    if let Some((first, last)) = network.pool {
        if first > last {
            return Err(format!("pool_first {first} comes after pool_last {last}"));
        }
        for address in [first, last] {
            if !subnet.is_host(address) {
                return Err(format!(
                    "pool address {address} is not a machine's address in {subnet}"
                ));
            }
        }
    }
    match network.router {
        Some(router) if !subnet.is_host(router) => Err(format!(
            "router {router} is not a machine's address in {subnet}"
        )),
        Some(_) | None => Ok(network),
    }
}

/// Reserved addresses that no machine can be given. Their nodes stay.
pub(super) fn reservations(snapshot: &Snapshot) -> Vec<Problem> {
    if snapshot.networks.is_empty() {
        return Vec::new();
    }
    let problem = |node: &Node| {
        Some(Problem {
            text: impossible(snapshot, node.ip?)?,
            scope: Scope::Row {
                table: "node",
                name: node.name.clone(),
            },
        })
    };
    snapshot.nodes.iter().filter_map(problem).collect()
}

fn impossible(snapshot: &Snapshot, ip: Ipv4Addr) -> Option<String> {
    let Some(network) = snapshot.network_of(ip) else {
        return Some(format!(
            "its address {ip} is in none of the networks, so it is never given"
        ));
    };
    let whose = match ip {
        _ if !network.subnet.is_host(ip) => "no machine's address",
        _ if network.router == Some(ip) => "the router's",
        _ if network.server == Some(ip) => "the server's",
        _ => return None,
    };
    let name = &network.name;
    Some(format!(
        "its address {ip} is {whose} in network {name}, so it is never given"
    ))
}

fn overlap(a: &Network, b: &Network) -> bool {
    a.subnet.contains(b.subnet.address) || b.subnet.contains(a.subnet.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_in_words() {
        assert_eq!(
            parse_subnet("10.1.0.0/16").unwrap().to_string(),
            "10.1.0.0/16"
        );
        for (text, problem) in [
            (
                "10.0.0.1/24",
                "subnet 10.0.0.1/24 has host bits set: write 10.0.0.0/24",
            ),
            (
                "10.0.0.0/31",
                "subnet \"10.0.0.0/31\" is not like 10.0.0.0/24",
            ),
            (
                "300.0.0.0/8",
                "subnet \"300.0.0.0/8\" is not like 10.0.0.0/24",
            ),
            ("10.0.0.0", "subnet \"10.0.0.0\" is not like 10.0.0.0/24"),
        ] {
            assert_eq!(parse_subnet(text).unwrap_err(), problem);
        }
    }

    #[test]
    fn a_subnet_knows_its_machines() {
        let subnet = parse_subnet("10.0.0.0/30").unwrap();
        assert_eq!(subnet.mask(), Ipv4Addr::new(255, 255, 255, 252));
        let hosts: Vec<bool> = (0..5)
            .map(|n| subnet.is_host(Ipv4Addr::new(10, 0, 0, n)))
            .collect();
        assert_eq!(hosts, [false, true, true, false, false]);
    }
}
