mod networks;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::boot_choice::{BootPolicy, Client, Place};
use crate::dhcp::packet::{Answer, AnswerKind, Builder, Kind, code};
use crate::digest::Digest;
use crate::identity::Mac;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
// The pool has two addresses; A's search begins at the first, B's at the second.
const A: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xc]);

const ARRIVAL: Arrival = Arrival {
    interface: 3,
    local: SERVER,
    broadcast: true,
    port: 67,
    from_port: 68,
};

/// A catalog of reservations; every client is to boot the image of all zeros.
#[derive(Default)]
struct Catalog(BTreeMap<Mac, Ipv4Addr>);

impl Wishes for Catalog {
    fn wish(&self, client: &Client) -> Wish<'_> {
        let reason = "test".into();
        let offer = if client.mac == Mac([6; 6]) {
            Offer::Ignore { reason }
        } else {
            Offer::Boot {
                uki: Digest::NONE,
                reason,
            }
        };
        let ip = self.0.get(&client.mac).copied();
        Wish {
            known: ip.is_some(),
            ip,
            ..Wish::offer_only(offer)
        }
    }

    fn reserved_for(&self, ip: Ipv4Addr) -> Option<Mac> {
        self.0
            .iter()
            .find_map(|(mac, it)| (*it == ip).then_some(*mac))
    }
}

struct World {
    server: Server,
    catalog: Catalog,
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, last)
}

fn config() -> Config {
    let network = Network {
        name: "lan".into(),
        subnet: ip(0),
        prefix_len: 24,
        server: Some(SERVER),
        pool: Some((ip(100), ip(101))),
        router: Some(ip(254)),
        dns: vec![ip(253)],
        lease_seconds: 1000,
        mode: Mode::Full,
        bootp: Bootp::Reserved,
        probe: false,
        boot: BootPolicy::default(),
        options: vec![],
    };
    Config::new(vec![network], 4068, 4080)
}

impl World {
    fn new() -> Self {
        World {
            server: Server::new(config()).0,
            catalog: Catalog::default(),
        }
    }

    /// All that comes of one packet at this second, a line for each command.
    fn tell(&mut self, seconds: u64, packet: &Builder) -> Vec<String> {
        self.tell_bytes(seconds, &packet.build().bytes)
    }

    fn tell_bytes(&mut self, seconds: u64, bytes: &[u8]) -> Vec<String> {
        let now = Duration::from_secs(seconds);
        self.server
            .handle_packet(bytes, &ARRIVAL, now, &self.catalog);
        std::iter::from_fn(|| self.server.next_command())
            .map(|command| line(&command))
            .collect()
    }

    /// A client takes `last` at this second, whatever comes of it.
    fn lease(&mut self, seconds: u64, mac: Mac, last: u8) {
        self.tell(seconds, &discover(mac));
        let lines = self.tell(seconds, &select(mac, last));
        assert!(lines.iter().any(|line| line.contains("ACK")), "{lines:?}");
    }
}

/// Everything of a command but what only the golden packets can show.
fn line(command: &Command) -> String {
    let sent = |datagram: &Datagram| {
        let Datagram {
            interface,
            source,
            destination,
            link,
            bytes,
        } = datagram;
        let answer = Answer::parse(bytes).unwrap();
        let kind = match answer.kind {
            AnswerKind::Offer => "OFFER",
            AnswerKind::Ack => "ACK",
            AnswerKind::Nak => "NAK",
        };
        let lease = answer.lease_seconds;
        let lease = lease.map_or(String::new(), |it| format!(" for {it} s"));
        format!(
            "{kind} {}{lease}, {source} to {destination}{} at {interface}",
            answer.yiaddr,
            link.map_or(String::new(), |mac| format!(" ({mac})"))
        )
    };
    match command {
        Command::Persist { ticket, lease } => {
            let Lease {
                ip,
                mac,
                hostname: _,
                state,
                until,
                place: _,
            } = lease;
            format!("write {ticket}: {ip} {mac} {state:?} until {until:?}")
        }
        Command::Send(datagram) => sent(datagram),
        Command::SendAfterCommit { ticket, datagram } => {
            format!("after {ticket}: {}", sent(datagram))
        }
        Command::Probe { ip, interface } => format!("probe {ip} at {interface:?}"),
        Command::Report(event) => match event {
            Event::InUse { ip, until } => format!("in use {ip} until {until:?}"),
            Event::ForeignServer {
                server, network, ..
            } => format!("foreign server {server} on {network}"),
            Event::Offered { client, ip, why } => format!("offered {} {ip}: {why}", client.mac),
            Event::Leased {
                client,
                ip,
                until,
                why,
            } => format!("leased {} {ip} until {until:?}: {why}", client.mac),
            Event::Informed { client, ip, why } => format!("informed {} {ip}: {why}", client.mac),
            Event::Refused { mac, ip, why } => format!("refused {mac} {ip}: {why}"),
            Event::Released { mac, ip } => format!("released {mac} {ip}"),
            Event::Declined { mac, ip, until } => format!("declined {mac} {ip} until {until:?}"),
            Event::ReservationBusy { mac, ip } => format!("reservation busy {mac} {ip}"),
            Event::LeftOut { mac, codes } => format!("left out {mac} {codes:?}"),
            Event::Dropped { mac: None, why } => format!("dropped: {why}"),
            Event::Dropped {
                mac: Some(mac),
                why,
            } => format!("dropped {mac}: {why}"),
        },
    }
}

fn packet(kind: Kind, mac: Mac) -> Builder {
    Builder::request(kind, 7, mac).broadcast()
}

fn discover(mac: Mac) -> Builder {
    packet(Kind::Discover, mac)
}

fn reboot(mac: Mac, last: u8) -> Builder {
    packet(Kind::Request, mac).option(code::REQUESTED_ADDRESS, ip(last).octets())
}

fn select(mac: Mac, last: u8) -> Builder {
    reboot(mac, last).option(code::SERVER_ID, SERVER.octets())
}

fn renew(mac: Mac, last: u8) -> Builder {
    packet(Kind::Request, mac).ciaddr(ip(last))
}

const ALL: &str = "10.1.0.1:67 to 255.255.255.255:68 at 3";
const PLAIN: &str = "no boot file: the client asks for an address only";

fn granted(ticket: u64, mac: Mac, last: u8, until: u64, to: &str) -> Vec<String> {
    let ip = ip(last);
    vec![
        format!("write {ticket}: {ip} {mac} Bound until {until}s"),
        format!("after {ticket}: ACK {ip} for 1000 s, {to}"),
        format!("leased {mac} {ip} until {until}s: {PLAIN}"),
    ]
}

fn offered(mac: Mac, last: u8) -> Vec<String> {
    let ip = ip(last);
    vec![
        format!("OFFER {ip} for 1000 s, {ALL}"),
        format!("offered {mac} {ip}: {PLAIN}"),
    ]
}

fn refused(mac: Mac, ip: Ipv4Addr, why: &str) -> Vec<String> {
    vec![
        format!("NAK 0.0.0.0, {ALL}"),
        format!("refused {mac} {ip}: {why}"),
    ]
}

#[test]
fn from_discover_to_release() {
    let mut world = World::new();
    assert_eq!(world.tell(0, &discover(A)), offered(A, 100));
    assert_eq!(
        world.tell(1, &select(A, 100)),
        granted(1, A, 100, 1001, ALL)
    );
    let unicast = "10.1.0.1:67 to 10.1.0.100:68 at 3";
    assert_eq!(
        world.tell(500, &renew(A, 100)),
        granted(2, A, 100, 1500, unicast)
    );
    assert_eq!(
        world.tell(600, &reboot(A, 100)),
        granted(3, A, 100, 1600, ALL)
    );
    let release = packet(Kind::Release, A)
        .ciaddr(ip(100))
        .option(code::SERVER_ID, SERVER.octets());
    assert_eq!(
        world.tell(700, &release),
        [
            format!("write 4: 10.1.0.100 {A} Released until 700s"),
            format!("released {A} 10.1.0.100"),
        ]
    );
    assert_eq!(
        world.tell(700, &release),
        [format!(
            "dropped {A}: no record of 10.1.0.100 for this client"
        )]
    );
    assert_eq!(world.tell(5000, &discover(A)), offered(A, 100));
    let counters = world.server.counters();
    assert_eq!(
        (counters.received, counters.offers, counters.acks),
        (7, 2, 3)
    );
    assert_eq!(counters.dropped, BTreeMap::from([("no_record", 1)]));
}

#[test]
fn a_request_means_what_its_addresses_say() {
    let other = Ipv4Addr::new(10, 1, 0, 2);
    let away = Ipv4Addr::new(192, 168, 0, 9);
    let select_away = packet(Kind::Request, B)
        .option(code::REQUESTED_ADDRESS, away.octets())
        .option(code::SERVER_ID, SERVER.octets());
    let cases = [
        (select(B, 101), granted(2, B, 101, 1010, ALL)),
        (select(B, 100), refused(B, ip(100), "it is in use")),
        (
            select(B, 50),
            refused(
                B,
                ip(50),
                "it is neither in the pool nor reserved for this client",
            ),
        ),
        (select_away, refused(B, away, "it is not of this network")),
        (
            renew(B, 101),
            vec![format!(
                "dropped {B}: no record of 10.1.0.101 for this client"
            )],
        ),
        (
            reboot(B, 101),
            vec![format!(
                "dropped {B}: no record of 10.1.0.101 for this client"
            )],
        ),
        (renew(B, 100), refused(B, ip(100), "it is in use")),
        (
            reboot(A, 101),
            refused(A, ip(101), "the client's lease is for another address"),
        ),
        (
            renew(A, 101),
            refused(A, ip(101), "the client's lease is for another address"),
        ),
        (
            reboot(B, 101).option(code::SERVER_ID, other.octets()),
            vec![
                "foreign server 10.1.0.2 on lan".into(),
                format!("dropped {B}: the client has chosen server 10.1.0.2"),
            ],
        ),
        (
            packet(Kind::Request, B),
            vec![format!(
                "dropped {B}: the message's addresses make no sense together"
            )],
        ),
        (
            reboot(B, 101).ciaddr(ip(101)),
            vec![format!(
                "dropped {B}: the message's addresses make no sense together"
            )],
        ),
    ];
    for (packet, expected) in cases {
        let mut world = World::new();
        world.lease(5, A, 100);
        assert_eq!(world.tell(10, &packet), expected, "{packet:?}");
    }
}

#[test]
fn what_is_not_served() {
    let mut world = World::new();
    assert_eq!(
        world.tell(0, &packet(Kind::Bootp, A)),
        [format!(
            "dropped {A}: plain BOOTP is not served without a reserved address (network.bootp)"
        )]
    );
    let mut relayed = discover(A).build().bytes;
    relayed[24..28].copy_from_slice(&[10, 9, 0, 1]);
    assert_eq!(
        world.tell_bytes(0, &relayed),
        [format!(
            "dropped {A}: 10.9.0.1 is of no network of the catalog"
        )]
    );
    assert_eq!(
        world.tell(0, &discover(Mac([6; 6]))),
        ["dropped 06:06:06:06:06:06: ignored: test"]
    );
    assert_eq!(
        world.tell_bytes(0, b"GET / HTTP/1.1"),
        ["dropped: malformed: packet of 14 bytes is shorter than a DHCP header"]
    );
    let dropped = [
        ("bootp", 1),
        ("ignored", 1),
        ("malformed", 1),
        ("no_network", 1),
    ];
    assert_eq!(world.server.counters().dropped, BTreeMap::from(dropped));
}

#[test]
fn a_declined_address_rests() {
    let mut world = World::new();
    world.lease(0, A, 100);
    let decline = |mac| {
        packet(Kind::Decline, mac)
            .option(code::REQUESTED_ADDRESS, ip(100).octets())
            .option(code::SERVER_ID, SERVER.octets())
    };
    assert_eq!(
        world.tell(10, &decline(B)),
        [format!(
            "dropped {B}: no record of 10.1.0.100 for this client"
        )]
    );
    assert_eq!(
        world.tell(10, &decline(A)),
        [
            format!("write 2: 10.1.0.100 {A} Declined until 610s"),
            format!("declined {A} 10.1.0.100 until 610s"),
        ]
    );
    assert_eq!(world.tell(20, &discover(A)), offered(A, 101));
    assert_eq!(
        world.tell(21, &select(A, 100)),
        refused(A, ip(100), "it is in use")
    );
    world.lease(22, A, 101);
    assert_eq!(world.tell(700, &discover(B)), offered(B, 100));
}

#[test]
fn a_full_pool_is_said_and_passes() {
    let mut world = World::new();
    world.lease(0, A, 100);
    world.lease(0, B, 101);
    let third = Mac([2, 0, 0, 0, 0, 0xe]);
    let full = [format!(
        "dropped {third}: the pool 10.1.0.100 to 10.1.0.101 is full"
    )];
    assert_eq!(world.tell(10, &discover(third)), full);
    assert_eq!(world.tell(999, &discover(third)), full);
    assert_eq!(world.tell(1000, &discover(third)), offered(third, 100));
    // A's lease has ended, but as long as nobody took the address, A has it again.
    assert_eq!(
        world.tell(1031, &renew(A, 100)),
        granted(3, A, 100, 2031, "10.1.0.1:67 to 10.1.0.100:68 at 3")
    );
}

#[test]
fn offers_are_kept_for_their_client_and_bounded() {
    let mut config = config();
    config.max_offers = 1;
    let mut world = World {
        server: Server::new(config).0,
        catalog: Catalog::default(),
    };
    assert_eq!(world.tell(0, &discover(A)), offered(A, 100));
    assert_eq!(world.tell(1, &discover(A)), offered(A, 100));
    assert_eq!(
        world.tell(2, &discover(B)),
        [format!("dropped {B}: too many offers outstanding")]
    );
    assert_eq!(
        world.tell(3, &select(B, 100)),
        refused(B, ip(100), "it is in use")
    );
    assert_eq!(world.tell(31, &discover(B)), offered(B, 101));
}

#[test]
fn reservations_come_first() {
    let mut world = World::new();
    world.lease(0, A, 100);
    world.catalog.0 = BTreeMap::from([(A, ip(50)), (B, ip(101))]);
    // A runs on what it has, and changes at its next boot.
    assert_eq!(
        world.tell(10, &renew(A, 100)),
        granted(2, A, 100, 1010, "10.1.0.1:67 to 10.1.0.100:68 at 3")
    );
    assert_eq!(
        world.tell(20, &reboot(A, 100)),
        refused(A, ip(100), "10.1.0.50 is reserved for this client")
    );
    assert_eq!(world.tell(30, &discover(A)), offered(A, 50));
    let mut expected = vec![format!("write 3: 10.1.0.100 {A} Released until 30s")];
    expected.extend(granted(4, A, 50, 1030, ALL));
    assert_eq!(world.tell(30, &select(A, 50)), expected);
    // Nobody else gets what is reserved.
    assert_eq!(
        world.tell(40, &select(A, 101)),
        refused(A, ip(101), &format!("it is reserved for {B}"))
    );
    // Reserved for B, whose record it is, though B never had it.
    assert_eq!(
        world.tell(50, &reboot(B, 101)),
        granted(5, B, 101, 1050, ALL)
    );
}

#[test]
fn a_reserved_address_in_use_is_reported() {
    let mut world = World::new();
    world.lease(0, A, 100);
    world.catalog.0 = BTreeMap::from([(B, ip(100))]);
    let mut expected = vec![format!("reservation busy {B} 10.1.0.100")];
    expected.extend(offered(B, 101));
    assert_eq!(world.tell(10, &discover(B)), expected);
    // The one who has it is told at its next renewal.
    assert_eq!(
        world.tell(20, &renew(A, 100)),
        refused(A, ip(100), &format!("it is reserved for {B}"))
    );
}

#[test]
fn inform_tells_the_rest() {
    let mut world = World::new();
    let inform = |address| packet(Kind::Inform, A).ciaddr(address);
    assert_eq!(
        world.tell(0, &inform(ip(9))),
        [
            "ACK 0.0.0.0, 10.1.0.1:67 to 10.1.0.9:68 at 3".to_owned(),
            format!("informed {A} 10.1.0.9: {PLAIN}"),
        ]
    );
    let senseless = [format!(
        "dropped {A}: the message's addresses make no sense together"
    )];
    let victim = Ipv4Addr::new(192, 0, 2, 1);
    assert_eq!(world.tell(0, &inform(victim)), senseless);
    assert_eq!(world.tell(0, &inform(Ipv4Addr::UNSPECIFIED)), senseless);
}

#[test]
fn restored_leases_hold() {
    let mut world = World::new();
    world.server.restore([Lease {
        ip: ip(100),
        mac: A,
        hostname: None,
        state: LeaseState::Bound,
        until: Duration::from_secs(50),
        place: Place::default(),
    }]);
    assert_eq!(
        world.tell(0, &reboot(A, 100)),
        granted(1, A, 100, 1000, ALL)
    );
    assert_eq!(world.tell(1, &discover(B)), offered(B, 101));
}

#[test]
fn networks_change_while_leases_stay() {
    let mut world = World::new();
    world.lease(0, A, 100);
    let none = Config {
        networks: vec![],
        ..config()
    };
    assert_eq!(world.server.reconfigure(none), []);
    assert_eq!(
        world.tell(1, &renew(A, 100)),
        [format!(
            "dropped {A}: 10.1.0.1 is of no network of the catalog"
        )]
    );
    let mut bad = config();
    bad.networks[0].prefix_len = 40;
    bad.networks.extend(config().networks);
    assert_eq!(world.server.reconfigure(bad).len(), 1);
    assert_eq!(
        world.tell(2, &renew(A, 100)),
        granted(2, A, 100, 1002, "10.1.0.1:67 to 10.1.0.100:68 at 3")
    );
}
