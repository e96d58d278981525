//! Programs of others. DHCP ([`run`]): BusyBox's and ISC's clients, ISC's relay, dnsmasq as the
//! DHCP server of a network where bootd only says what to boot, Kea's perfdhcp; each on a network
//! of its own. TFTP and HTTP: [`downloads()`].

mod crowd;
mod downloads;
mod http;
mod place;
mod programs;
mod sender;
mod tftp;

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bootd_protocol::dhcp::packet::{Answer, AnswerKind, Builder, Kind, code, machine_id};
use bootd_protocol::identity::{Mac, SystemUuid};
use nix::sys::signal::Signal;

use super::bench::{Bench, say};
use crate::cluster::master::LeaseRow;
use crate::cluster::wait_for;
use crate::lab::{Lab, ip};
use place::Link;

pub(super) use downloads::run as downloads;
pub(super) use place::{CARD, Station};
pub(super) use programs::{Programs, fetch};

/// How long bootd may take to write a lease.
const LIMIT: Duration = Duration::from_secs(10);
/// What the network card of a UEFI machine calls itself.
const PXE: &str = "PXEClient:Arch:00007:UNDI:003016";

pub(super) fn run(_lab: &mut Lab, bench: &mut Bench) -> Result<()> {
    let programs = Programs::new(&bench.work_dir, &bench.logs.join("clients"))?;
    let link = Link::new(1)?;
    bench.edit(&link.row(100, 199, "full"))?;
    udhcpc(bench, &programs, &link)?;
    dhclient(bench, &programs, &link)?;
    killed(bench, &programs, &link)?;
    bootp(bench, &link)?;
    taken_addresses(bench, &programs)?;
    relayed(bench, &programs)?;
    beside_another_server(bench, &programs)?;
    crowd::check(bench, &programs)?;
    cards_that_come_and_go(bench, &programs, &link)
}

/// Waits until a station's lease is in this state.
fn lease_is(bench: &Bench, station: &Station, state: &str) -> Result<LeaseRow> {
    let what = format!("the lease of {} is {state}", station.mac);
    wait_for(&what, LIMIT, || {
        let lease = bench.master.lease(station.mac)?;
        Ok(lease.filter(|it| it.state == state))
    })
}

/// A lease is for a station, of this link's pool, from this link's bootd.
fn check_pool(link: &Link, (address, server): (Ipv4Addr, Ipv4Addr)) -> Result<()> {
    ensure!(
        server == link.address(1) && (link.address(100)..=link.address(199)).contains(&address),
        "{address} from {server} on {}",
        link.name()
    );
    Ok(())
}

fn udhcpc(bench: &Bench, programs: &Programs, link: &Link) -> Result<()> {
    let station = Station::new(&link.name(), 1)?;
    let client = programs.udhcpc(&station, &[])?;
    let lease = client.told("bound", 1)?;
    check_pool(link, lease)?;
    let row = lease_is(bench, &station, "bound")?;
    ensure!(row.address == lease.0.to_string(), "{row:?}, not {lease:?}");
    let listed = bench.master.catalog(&["leases".as_ref()])?;
    ensure!(listed.contains(&row.address), "{row:?} is not in {listed}");
    client.signal(Signal::SIGUSR1);
    ensure!(client.told("renew", 1)? == lease, "renewed to another");
    client.signal(Signal::SIGUSR2);
    lease_is(bench, &station, "released")?;
    say(format!("udhcpc: {}, renewed, released", lease.0));
    Ok(())
}

fn dhclient(bench: &Bench, programs: &Programs, link: &Link) -> Result<()> {
    let station = Station::new(&link.name(), 2)?;
    let client = programs.dhclient(&station)?;
    let lease = client.told("BOUND", 1)?;
    check_pool(link, lease)?;
    lease_is(bench, &station, "bound")?;
    programs.dhclient_keeps(&station, lease.0)?;
    client.signal(Signal::SIGKILL);
    drop(client);
    let again = programs.dhclient(&station)?;
    ensure!(again.told("REBOOT", 1)? == lease, "another after a restart");
    programs.dhclient_release(&station)?;
    lease_is(bench, &station, "released")?;
    say(format!(
        "dhclient: {}, the same after its restart, released",
        lease.0
    ));
    Ok(())
}

/// What was acknowledged is written, whatever comes next.
fn killed(bench: &mut Bench, programs: &Programs, link: &Link) -> Result<()> {
    let station = Station::new(&link.name(), 3)?;
    let lease = programs.lease(&station, &[])?;
    bench.master.kill()?;
    bench.master.start()?;
    let row = lease_is(bench, &station, "bound")?;
    ensure!(row.address == lease.0.to_string(), "{row:?}, not {lease:?}");
    ensure!(programs.lease(&station, &[])? == lease, "another address");
    say(format!(
        "{}: still there after kill -9 of bootd right behind the ACK",
        lease.0
    ));
    Ok(())
}

fn bootp(bench: &Bench, link: &Link) -> Result<()> {
    let station = Station::new(&link.name(), 4)?;
    let (mac, reserved) = (station.mac, link.address(7));
    bench.edit(&format!(
        "INSERT INTO node (name, mac, class, ip) VALUES ('old', '{mac}', 'web', '{reserved}')"
    ))?;
    let question = Builder::request(Kind::Bootp, 7, mac).broadcast();
    let (len, address) = sender::ask(&station, &question, |answer| {
        let address: [u8; 4] = answer.get(16..20)?.try_into().ok()?;
        Some((answer.len(), Ipv4Addr::from(address)))
    })?;
    ensure!(
        (len, address) == (300, reserved),
        "{len} bytes for {address}"
    );
    lease_is(bench, &station, "bound")?;
    say(format!(
        "BOOTP: {reserved}, which is reserved, in 300 bytes"
    ));
    Ok(())
}

/// Three of the four addresses of a pool are somebody's; the client asks for one of these.
fn taken_addresses(bench: &Bench, programs: &Programs) -> Result<()> {
    let link = Link::new(2)?;
    let neighbour = Station::new(&link.name(), 5)?;
    for host in 100..=102 {
        neighbour.address(CARD, link.address(host))?;
    }
    bench.edit(&link.row(100, 103, "full"))?;
    let station = Station::new(&link.name(), 6)?;
    let wish = link.address(100).to_string();
    let lease = programs.lease(&station, &["-r", &wish])?;
    ensure!(lease.0 == link.address(103), "{} is offered", lease.0);
    bench.logged(
        &format!("in use by a machine that did not get it from here: kept back ip={wish}"),
        1,
    )?;
    say(format!(
        "addresses that somebody has: not given, but {}",
        lease.0
    ));
    Ok(())
}

/// A network behind a relay that says where its clients are plugged in; which class that means.
fn relayed(bench: &Bench, programs: &Programs) -> Result<()> {
    let (link, below) = (Link::new(3)?, "below");
    let relay = Station::new(&link.name(), 7)?;
    let station = Station::behind(&relay, below, 8)?;
    let far = |host| Ipv4Addr::new(10, 78, 103, host);
    let router = far(1);
    relay.address(CARD, link.address(2))?;
    relay.address(below, router)?;
    relay.set("ip_forward", "1")?;
    relay
        .netns
        .ip(&format!("route add default via {}", link.address(1)))?;
    ip(&format!("route add {}/24 via {}", far(0), link.address(2)))?;
    bench.edit(&format!(
        "INSERT INTO network (name, subnet, pool_first, pool_last, router)
         VALUES ('far', '{}/24', '{}', '{}', '{router}');
         INSERT INTO class (name) VALUES ('far');
         INSERT INTO rule (name, priority, class, relay, circuit)
         VALUES ('far', 1, 'far', '{router}', '{below}')",
        far(0),
        far(100),
        far(199)
    ))?;
    let _relay = programs.relay(&relay, below, link.address(1))?;
    let pxe = pxe_options(station.mac);
    let options: Vec<&str> = pxe.iter().map(String::as_str).collect();
    let client = programs.udhcpc(&station, &options)?;
    let lease = client.told("bound", 1)?;
    let row = lease_is(bench, &station, "bound")?;
    let expected = LeaseRow {
        address: lease.0.to_string(),
        state: "bound".into(),
        relay: Some(router.to_string()),
        circuit: Some(below.into()),
    };
    ensure!(row == expected, "{row:?}, not {expected:?}");
    ensure!((far(100)..=far(199)).contains(&lease.0), "{}", lease.0);
    let class = wait_for("it is a node", LIMIT, || bench.master.class(station.mac))?;
    ensure!(class == "far", "its class is {class}");
    client.signal(Signal::SIGUSR1);
    ensure!(client.told("renew", 1)? == lease, "renewed to another");
    client.signal(Signal::SIGUSR2);
    lease_is(bench, &station, "released")?;
    say(format!(
        "ISC's relay: {}, class {class} by relay {router} and circuit {below}",
        lease.0
    ));
    Ok(())
}

/// What makes udhcpc look like the firmware of a UEFI machine.
fn pxe_options(mac: Mac) -> [String; 6] {
    let id = machine_id(uuid(mac));
    let id: Vec<String> = id.iter().map(|byte| format!("{byte:02x}")).collect();
    [
        "-V",
        PXE,
        "-x",
        "0x5d:0007",
        "-x",
        &format!("0x61:{}", id.concat()),
    ]
    .map(str::to_owned)
}

fn uuid(mac: Mac) -> SystemUuid {
    let mut uuid = [0x44; 16];
    uuid[10..].copy_from_slice(&mac.0);
    SystemUuid(uuid)
}

/// dnsmasq gives the addresses, bootd says what to boot.
fn beside_another_server(bench: &Bench, programs: &Programs) -> Result<()> {
    let link = Link::new(4)?;
    let server = Station::new(&link.name(), 9)?;
    server.address(CARD, link.address(2))?;
    bench.edit(&link.row(100, 199, "proxy"))?;
    let _dnsmasq = programs.dnsmasq(&server, link.address(50), link.address(99))?;
    let plain = Station::new(&link.name(), 10)?;
    let lease = programs.lease(&plain, &[])?;
    ensure!(lease.1 == link.address(2), "{} gave {}", lease.1, lease.0);
    bench.logged(
        &format!("the DHCP server of this network server={}", link.address(2)),
        1,
    )?;
    let firmware = Station::new(&link.name(), 11)?;
    let file = proxy_offer(&link, &firmware)?;
    let none = bench.master.lease(firmware.mac)?;
    ensure!(none.is_none(), "{none:?} on a network of another server");
    say(format!(
        "beside dnsmasq: {} from there, the boot file {file} from here",
        lease.0
    ));
    Ok(())
}

/// The boot file in the offer that a UEFI machine gets from bootd, which gives no address.
fn proxy_offer(link: &Link, firmware: &Station) -> Result<String> {
    let question = Builder::request(Kind::Discover, 8, firmware.mac)
        .broadcast()
        .option(code::VENDOR_CLASS, PXE)
        .option(code::CLIENT_ARCH, [0, 7])
        .option(code::NETWORK_INTERFACE, [1, 3, 16])
        .option(code::MACHINE_ID, machine_id(uuid(firmware.mac)))
        .option(code::PARAMETER_LIST, [code::TFTP_SERVER, code::BOOT_FILE]);
    let (answer, bytes) = sender::ask(firmware, &question, |bytes| {
        let answer = Answer::parse(bytes).ok()?;
        (answer.server_id == link.address(1)).then(|| (answer, bytes.to_vec()))
    })?;
    ensure!(
        answer.kind == AnswerKind::Offer && answer.yiaddr.is_unspecified(),
        "{answer:?}"
    );
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (_, name) = text.split_once("boot/").context("no boot file")?;
    let (name, _) = name.split_once(".efi").context("no boot file for UEFI")?;
    Ok(format!("boot/{}….efi", name.get(..8).unwrap_or(name)))
}

/// A card that bootd has not known when it started, and that goes away again.
fn cards_that_come_and_go(bench: &Bench, programs: &Programs, other: &Link) -> Result<()> {
    let pid = bench.master.pid();
    let link = Link::new(5)?;
    let row = link.row(100, 199, "full");
    let (name, address) = (link.name(), link.address(1));
    drop(link);
    bench.edit(&row)?;
    let alone = format!("DHCP serves network {name} through relays alone");
    bench.logged(&alone, 1)?;
    let link = Link::new(5)?;
    bench.logged(&format!("DHCP serves network {name} address={address}"), 1)?;
    let station = Station::new(&name, 12)?;
    let lease = programs.lease(&station, &[])?;
    check_pool(&link, lease)?;
    drop((station, link));
    bench.logged(&alone, 2)?;
    let station = Station::new(&other.name(), 13)?;
    check_pool(other, programs.lease(&station, &[])?)?;
    ensure!(bench.master.pid() == pid, "bootd was started anew");
    say(format!(
        "{} on a card that came late and went again",
        lease.0
    ));
    Ok(())
}
