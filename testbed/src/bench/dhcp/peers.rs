//! The DHCP servers that are compared, each set up for the same network.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::json;

use super::load::mac;
use crate::bench::debian::{self, Peer, Program};
use crate::bench::{part, population};

/// The server's own address; a relay's.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The server's end of the cable.
pub(super) const INTERFACE: &str = "v0";
/// The first address that is given, and how many there are: to 10.77.250.255.
const FIRST: u32 = u32::from_be_bytes([10, 77, 1, 0]);
const POOL: usize = 64_000;
/// Seconds.
const LEASE: u64 = 43_200;
/// Clients whose leases are written beforehand have these numbers, and none of the load.
pub(super) const STANDING: u32 = 0x0100_0000;

/// Which server.
#[derive(Debug, Clone)]
pub(super) enum Server {
    Kea(Program),
    Dnsmasq(Program),
    Isc(Program),
    Ideal {
        durable: bool,
    },
    /// With a catalog to be copied.
    Bootd(PathBuf),
}

impl Server {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Server::Kea(_) => "Kea",
            Server::Dnsmasq(_) => "dnsmasq",
            Server::Isc(_) => "ISC dhcpd",
            Server::Ideal { durable: false } => "ideal",
            Server::Ideal { durable: true } => "ideal, durable",
            Server::Bootd(_) => crate::bench::table::BOOTD,
        }
    }

    /// Makes its files in `dir`, with so many leases; the command that starts it.
    pub(super) fn prepare(&self, dir: &Path, leases: usize) -> Result<Command> {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir)?;
        let file = dir.join("leases");
        match self {
            Server::Kea(program) => {
                fs::write(&file, kea_leases(leases)?)?;
                kea(program, dir)
            }
            Server::Dnsmasq(program) => {
                fs::write(&file, dnsmasq_leases(leases)?)?;
                Ok(dnsmasq(program, dir))
            }
            Server::Isc(program) => {
                fs::write(&file, isc_leases(leases)?)?;
                isc(program, dir)
            }
            Server::Ideal { durable } => {
                let mut command = part::command("ideal-dhcp", (SERVER, 67))?;
                if *durable {
                    command.arg("--journal").arg(&file);
                }
                Ok(command)
            }
            Server::Bootd(catalog) => {
                let state = dir.join("state");
                crate::bench::process::copy(catalog, &state)?;
                population::bootd(&state)
            }
        }
    }
}

/// The peers that can be had; `leave_out` is told of the others.
pub(super) fn find(work_dir: &Path, leave_out: impl FnMut(&str, &anyhow::Error)) -> Vec<Server> {
    let peers: [Peer<Server>; 3] = [
        (
            "Kea",
            &["kea-dhcp4-server", "kea-common"],
            "usr/sbin/kea-dhcp4",
            Server::Kea,
        ),
        (
            "dnsmasq",
            &["dnsmasq-base"],
            "usr/sbin/dnsmasq",
            Server::Dnsmasq,
        ),
        (
            "ISC dhcpd",
            &["isc-dhcp-server"],
            "usr/sbin/dhcpd",
            Server::Isc,
        ),
    ];
    debian::find(work_dir, peers, leave_out)
}

fn kea(program: &Program, dir: &Path) -> Result<Command> {
    let config = json!({"Dhcp4": {
        "interfaces-config": {"interfaces": [INTERFACE], "dhcp-socket-type": "raw"},
        // As it comes: every lease is appended, none is flushed.
        "lease-database": {"type": "memfile", "persist": true, "name": dir.join("leases"), "lfc-interval": 0},
        "valid-lifetime": LEASE,
        "multi-threading": {"enable-multi-threading": false},
        "subnet4": [{
            "subnet": "10.77.0.0/16", "next-server": SERVER.to_string(), "boot-file-name": "boot.efi",
            "pools": [{"pool": "10.77.1.0 - 10.77.250.255"}],
        }],
        "loggers": [{"name": "kea-dhcp4", "severity": "WARN",
                     "output_options": [{"output": dir.join("log")}]}],
    }});
    let file = dir.join("kea.json");
    fs::write(&file, config.to_string())?;
    let mut command = program.command();
    command
        .env("KEA_PIDFILE_DIR", dir)
        .env("KEA_LOCKFILE_DIR", dir);
    command.arg("-c").arg(file);
    Ok(command)
}

fn dnsmasq(program: &Program, dir: &Path) -> Command {
    let mut command = program.command();
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        &format!("--interface={INTERFACE}"),
        "--bind-interfaces",
        "--dhcp-range=10.77.1.0,10.77.250.255,255.255.0.0,12h",
        "--dhcp-lease-max=70000",
        "--no-ping",
        "--dhcp-authoritative",
        "--dhcp-boot=boot.efi",
        "--quiet-dhcp",
        "--pid-file=",
        "--user=root",
    ]);
    command.arg(format!("--dhcp-leasefile={}", dir.join("leases").display()));
    command.arg(format!("--log-facility={}", dir.join("log").display()));
    command
}

fn isc(program: &Program, dir: &Path) -> Result<Command> {
    let config = dir.join("dhcpd.conf");
    fs::write(
        &config,
        format!(
            "ping-check false;\nauthoritative;\nddns-update-style none;\n\
             default-lease-time {LEASE};\nmax-lease-time {LEASE};\n\
             subnet 10.77.0.0 netmask 255.255.0.0 {{\n  range 10.77.1.0 10.77.250.255;\n  \
             next-server {SERVER};\n  filename \"boot.efi\";\n}}\n"
        ),
    )?;
    let mut command = program.command();
    command.args(["-4", "-f", "-q", "-cf"]).arg(config);
    command.arg("-lf").arg(dir.join("leases"));
    command.arg("-pf").arg(dir.join("pid")).arg(INTERFACE);
    Ok(command)
}

/// Leases of the standing clients, scattered over the pool as a server's hash does it.
fn standing(count: usize) -> Vec<(String, Ipv4Addr)> {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut taken = vec![false; POOL];
    let mut leases = Vec::with_capacity(count);
    for client in (STANDING..).take(count.min(POOL)) {
        let mut at = rng.usize(..POOL);
        while taken[at] {
            at = (at + 1) % POOL;
        }
        taken[at] = true;
        let offset = u32::try_from(at).unwrap_or(0);
        let mac = bootd_protocol::identity::Mac(mac(client)).to_string();
        leases.push((mac, Ipv4Addr::from(FIRST + offset)));
    }
    leases
}

/// When leases end that begin now, in Unix seconds.
fn end() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + LEASE - 200)
}

fn dnsmasq_leases(count: usize) -> Result<String> {
    let (mut text, end) = (String::new(), end()?);
    for (mac, ip) in standing(count) {
        writeln!(text, "{end} {mac} {ip} * *")?;
    }
    Ok(text)
}

fn kea_leases(count: usize) -> Result<String> {
    let end = end()?;
    let mut text = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,\
                    hostname,state,user_context\n"
        .to_owned();
    for (mac, ip) in standing(count) {
        writeln!(text, "{ip},{mac},,{LEASE},{end},1,0,0,,0,")?;
    }
    Ok(text)
}

/// Times as seconds since 1970 (`epoch`, dhcpd.leases(5)).
fn isc_leases(count: usize) -> Result<String> {
    let end = end()?;
    let begin = end - LEASE;
    let mut text = "authoring-byte-order little-endian;\n".to_owned();
    for (mac, ip) in standing(count) {
        writeln!(
            text,
            "lease {ip} {{\n  starts epoch {begin};\n  ends epoch {end};\n  cltt epoch {begin};\n  \
             binding state active;\n  next binding state free;\n  hardware ethernet {mac};\n}}"
        )?;
    }
    Ok(text)
}
