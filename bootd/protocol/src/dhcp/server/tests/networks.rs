//! Relays, where answers go, BOOTP, the boot server beside another DHCP server, probes, options,
//! and what a flood leaves.

use std::net::SocketAddrV4;

use super::*;
use crate::boot_choice::BootFile;
use crate::dhcp::hint::MasterHint;
use crate::identity::SystemUuid;

const RELAY: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);

/// A network behind a relay, with three addresses.
fn far() -> Network {
    let address = |last| Ipv4Addr::new(10, 2, 0, last);
    Network {
        name: "far".into(),
        subnet: address(0),
        server: None,
        pool: Some((address(100), address(102))),
        router: Some(RELAY),
        ..config().networks.remove(0)
    }
}

fn world(edit: impl FnOnce(&mut Network)) -> World {
    let mut network = config().networks.remove(0);
    edit(&mut network);
    let (server, errors) = Server::new(Config::new(vec![network, far()], 4068, 4080));
    assert_eq!(errors, []);
    World {
        server,
        catalog: Catalog::default(),
    }
}

/// The packet as a relay passes it on, with this content of option 82.
fn relayed(packet: &Builder, agent: &[u8]) -> Vec<u8> {
    let mut bytes = packet
        .clone()
        .option(code::RELAY_AGENT, agent)
        .build()
        .bytes;
    bytes[24..28].copy_from_slice(&RELAY.octets());
    bytes
}

/// The packets that come of `bytes`, as bytes.
fn answers(world: &mut World, bytes: &[u8]) -> Vec<Datagram> {
    let now = Duration::from_secs(1);
    world
        .server
        .handle_packet(bytes, &ARRIVAL, now, &world.catalog);
    drain(world)
}

fn drain(world: &mut World) -> Vec<Datagram> {
    let commands = std::iter::from_fn(|| world.server.next_command());
    let sent = commands.filter_map(|command| match command {
        Command::Send(datagram) | Command::SendAfterCommit { datagram, .. } => Some(datagram),
        Command::Persist { .. } | Command::Probe { .. } | Command::Report(_) => None,
    });
    sent.collect()
}

fn option(bytes: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut rest = bytes.get(240..)?;
    while let [found, tail @ ..] = rest {
        match (*found, tail) {
            (0, _) => rest = tail,
            (255, _) => return None,
            (_, [length, tail @ ..]) => {
                let (value, tail) = tail.split_at_checked(usize::from(*length))?;
                if *found == code {
                    return Some(value.to_vec());
                }
                rest = tail;
            }
            (_, []) => return None,
        }
    }
    None
}

#[test]
fn a_relayed_client_is_of_its_relays_network() {
    let mut world = world(|_| {});
    let to = "10.1.0.1:67 to 10.2.0.1:67 at 0";
    assert_eq!(
        world.tell_bytes(0, &relayed(&discover(A), b"")),
        [
            format!("OFFER 10.2.0.100 for 1000 s, {to}"),
            format!("offered {A} 10.2.0.100: {PLAIN}")
        ]
    );
    let take = |last| {
        let ip = Ipv4Addr::new(10, 2, 0, last);
        let packet = packet(Kind::Request, A).option(code::REQUESTED_ADDRESS, ip.octets());
        relayed(&packet.option(code::SERVER_ID, SERVER.octets()), b"")
    };
    assert_eq!(
        world.tell_bytes(1, &take(100)),
        [
            format!("write 1: 10.2.0.100 {A} Bound until 1001s"),
            format!("after 1: ACK 10.2.0.100 for 1000 s, {to}"),
            format!("leased {A} 10.2.0.100 until 1001s: {PLAIN}"),
        ]
    );
    // A relay is told to broadcast a refusal: the client cannot be reached at its address.
    let refusal = answers(&mut world, &take(200));
    assert_eq!(refusal[0].destination.to_string(), "10.2.0.1:67");
    assert_eq!(refusal[0].bytes[10..12], [0x80, 0]);
}

/// Renewals come straight from the client, through routers, to us alone.
#[test]
fn a_renewal_from_afar_is_of_its_address() {
    let mut world = world(|_| {});
    let far_ip = Ipv4Addr::new(10, 2, 0, 100);
    world.tell_bytes(0, &relayed(&discover(A), b""));
    let take = packet(Kind::Request, A)
        .option(code::REQUESTED_ADDRESS, far_ip.octets())
        .option(code::SERVER_ID, SERVER.octets());
    world.tell_bytes(0, &relayed(&take, b""));
    let renewal = packet(Kind::Request, A).ciaddr(far_ip).build().bytes;
    let unicast = Arrival {
        broadcast: false,
        ..ARRIVAL
    };
    let now = Duration::from_secs(500);
    let World { server, catalog } = &mut world;
    server.handle_packet(&renewal, &unicast, now, catalog);
    let lines: Vec<String> = std::iter::from_fn(|| server.next_command())
        .map(|command| line(&command))
        .collect();
    assert_eq!(
        lines,
        [
            format!("write 2: 10.2.0.100 {A} Bound until 1500s"),
            "after 2: ACK 10.2.0.100 for 1000 s, 10.1.0.1:67 to 10.2.0.100:68 at 3".into(),
            format!("leased {A} 10.2.0.100 until 1500s: {PLAIN}"),
        ]
    );
    // By broadcast the same question says that the client has moved to our own link.
    assert_eq!(
        world.tell_bytes(501, &renewal),
        refused(A, far_ip, "it is not of this network")
    );
}

#[test]
fn option_82_goes_back_as_it_came_and_last() {
    let mut world = world(|_| {});
    let agent = b"\x01\x04\0\x01\0\x07\x02\x02sw\x99\x01x";
    let offer = answers(&mut world, &relayed(&discover(A), agent));
    let bytes = &offer[0].bytes;
    let tail = [&[82, 13], agent.as_slice(), &[255]].concat();
    let end = bytes.iter().rposition(|it| *it == 255).unwrap();
    assert_eq!(bytes[end + 1 - tail.len()..=end], tail);
}

#[test]
fn link_selection_and_server_override() {
    let mut world = world(|_| {});
    // The relay is of `far`, the client of our own network (RFC 3527); the relay stands for us
    // (RFC 5107).
    let agent = b"\x05\x04\x0a\x01\0\0\x0b\x04\x0a\x02\0\x01";
    let offer = answers(&mut world, &relayed(&discover(A), agent));
    let answer = Answer::parse(&offer[0].bytes).unwrap();
    assert_eq!((answer.yiaddr, answer.server_id), (ip(100), RELAY));
    let select = reboot(A, 100).option(code::SERVER_ID, RELAY.octets());
    let ack = answers(&mut world, &relayed(&select, agent));
    assert_eq!(Answer::parse(&ack[0].bytes).unwrap().kind, AnswerKind::Ack);
    // RFC 3011: the client itself names the network.
    let packet = discover(B).option(code::SUBNET_SELECTION, [10, 1, 0, 0]);
    let offer = answers(&mut world, &relayed(&packet, b""));
    assert_eq!(Answer::parse(&offer[0].bytes).unwrap().yiaddr, ip(101));
}

#[test]
fn a_newcomer_without_broadcast_gets_a_frame_of_its_own() {
    let mut world = World::new();
    let quiet = Builder::request(Kind::Discover, 7, A);
    let offer = answers(&mut world, &quiet.build().bytes);
    let got = (offer[0].destination.to_string(), offer[0].link);
    assert_eq!(got, ("10.1.0.100:68".into(), Some(A)));
    let loud = answers(&mut world, &discover(A).build().bytes);
    let got = (loud[0].destination.to_string(), loud[0].link);
    assert_eq!(got, ("255.255.255.255:68".into(), None));
}

#[test]
fn bootp_gets_300_bytes_and_an_address_for_ever() {
    let mut world = world(|network| network.bootp = Bootp::Dynamic);
    let question = packet(Kind::Bootp, A).build().bytes;
    let answer = answers(&mut world, &question);
    let bytes = &answer[0].bytes;
    assert_eq!((bytes.len(), &bytes[16..20]), (300, &[10, 1, 0, 100][..]));
    assert_eq!(bytes[236..240], [99, 130, 83, 99]);
    assert_eq!(
        option(bytes, code::SUBNET_MASK),
        Some(vec![255, 255, 255, 0])
    );
    for code in [code::MESSAGE_TYPE, code::LEASE_SECONDS, code::SERVER_ID] {
        assert_eq!(option(bytes, code), None, "{code}");
    }
    let lease = world.server.book.lease(ip(100)).unwrap();
    assert_eq!((lease.mac, lease.until), (A, Duration::MAX));
    // Without the cookie nothing of ours stands in the vendor area.
    let mut old = question;
    old[236..].fill(0);
    let answer = answers(&mut world, &old);
    assert!(answer[0].bytes[236..].iter().all(|it| *it == 0));
    assert_eq!(answer[0].bytes.len(), 300);
}

#[test]
fn bootp_is_not_answered_at_an_address_of_somebody_else() {
    let mut world = world(|network| network.bootp = Bootp::Dynamic);
    for (ciaddr, expected) in [
        (ip(150), vec![SocketAddrV4::new(ip(150), 68)]),
        (Ipv4Addr::new(192, 0, 2, 1), vec![]),
        (RELAY, vec![]),
    ] {
        let question = packet(Kind::Bootp, A).ciaddr(ciaddr).build().bytes;
        let sent = answers(&mut world, &question);
        let to: Vec<SocketAddrV4> = sent.iter().map(|it| it.destination).collect();
        assert_eq!(to, expected, "{ciaddr}");
    }
}

#[test]
fn bootp_with_a_reserved_address_only() {
    let mut world = World::new();
    assert_eq!(
        answers(&mut world, &packet(Kind::Bootp, A).build().bytes),
        []
    );
    world.catalog.0.insert(A, ip(50));
    let answer = answers(&mut world, &packet(Kind::Bootp, A).build().bytes);
    assert_eq!(answer[0].bytes[16..20], [10, 1, 0, 50]);
}

fn pxe(kind: Kind) -> Builder {
    packet(kind, A)
        .option(code::VENDOR_CLASS, "PXEClient:Arch:00007:UNDI:003001")
        .option(code::CLIENT_ARCH, [0, 7])
        .option(code::MACHINE_ID, [[0].as_slice(), &[7; 16]].concat())
}

#[test]
fn a_boot_server_gives_files_and_no_addresses() {
    let mut world = world(|network| network.mode = Mode::Proxy);
    let offer = answers(&mut world, &pxe(Kind::Discover).build().bytes);
    let bytes = &offer[0].bytes;
    assert_eq!(offer[0].destination.to_string(), "255.255.255.255:68");
    assert_eq!(
        (&bytes[16..20], &bytes[20..24]),
        (&[0; 4][..], &SERVER.octets()[..])
    );
    assert!(bytes[108..].starts_with(b"boot/"));
    for (code, expected) in [
        (code::VENDOR_CLASS, b"PXEClient".to_vec()),
        (code::VENDOR_OPTIONS, vec![6, 1, 8, 255]),
        (
            code::MACHINE_ID,
            crate::dhcp::packet::machine_id(SystemUuid::from_smbios([7; 16])),
        ),
        (code::SERVER_ID, SERVER.octets().to_vec()),
    ] {
        assert_eq!(option(bytes, code), Some(expected), "{code}");
    }
    assert_eq!(option(bytes, code::LEASE_SECONDS), None);
    // What does not boot is the other server's affair, and so are leases.
    assert_eq!(
        world.tell(0, &discover(B)),
        [format!("dropped {B}: it does not boot from the network")]
    );
    let release = pxe(Kind::Release).ciaddr(ip(9));
    assert_eq!(
        world.tell(0, &release),
        [format!("dropped {A}: it is for the network's DHCP server")]
    );
}

/// iPXE takes an offer without an address only where it says PXEClient.
#[test]
fn a_boot_server_speaks_pxe_to_ipxe_too() {
    let mut world = world(|network| network.mode = Mode::Proxy);
    let ipxe = pxe(Kind::Discover).option(code::USER_CLASS, "iPXE");
    let offer = answers(&mut world, &ipxe.build().bytes);
    let bytes = &offer[0].bytes;
    assert!(bytes[108..].starts_with(b"http://"));
    for (code, expected) in [
        (code::VENDOR_CLASS, b"PXEClient".to_vec()),
        (code::VENDOR_OPTIONS, vec![6, 1, 8, 255]),
    ] {
        assert_eq!(option(bytes, code), Some(expected), "{code}");
    }
}

#[test]
fn a_boot_server_answers_at_its_own_port() {
    let mut world = world(|network| network.mode = Mode::Proxy);
    let arrival = Arrival {
        broadcast: false,
        port: 4011,
        from_port: 4011,
        ..ARRIVAL
    };
    let question = pxe(Kind::Request).ciaddr(ip(9)).build().bytes;
    let World { server, catalog } = &mut world;
    server.handle_packet(&question, &arrival, Duration::ZERO, catalog);
    let sent = drain(&mut world);
    assert_eq!(sent[0].source.to_string(), "10.1.0.1:4011");
    assert_eq!(sent[0].destination.to_string(), "10.1.0.9:4011");
    assert_eq!(Answer::parse(&sent[0].bytes).unwrap().kind, AnswerKind::Ack);
    assert!(sent[0].bytes[108..].starts_with(b"boot/"));
}

#[test]
fn a_foreign_server_is_told_of_once_an_hour() {
    let mut world = world(|network| network.mode = Mode::Proxy);
    let other = Ipv4Addr::new(10, 1, 0, 2);
    let taken = pxe(Kind::Request)
        .option(code::REQUESTED_ADDRESS, ip(9).octets())
        .option(code::SERVER_ID, other.octets());
    let dropped = format!("dropped {A}: the client has chosen server 10.1.0.2");
    let told = "foreign server 10.1.0.2 on lan".to_owned();
    for (seconds, expected) in [
        (10, vec![told.clone(), dropped.clone()]),
        (3609, vec![dropped.clone()]),
        (3610, vec![told, dropped]),
    ] {
        assert_eq!(world.tell(seconds, &taken), expected);
    }
}

#[test]
fn an_address_in_use_is_found_and_left() {
    let mut world = world(|network| network.probe = true);
    assert_eq!(world.tell(0, &discover(A)), ["probe 10.1.0.100 at Some(3)"]);
    assert_eq!(
        world.tell(0, &discover(A)),
        [format!("dropped {A}: 10.1.0.100 is being probed")]
    );
    let World { server, catalog } = &mut world;
    server.handle_in_use(ip(100), Duration::from_millis(10), catalog);
    let lines: Vec<String> = std::iter::from_fn(|| server.next_command())
        .map(|command| line(&command))
        .collect();
    assert_eq!(
        lines,
        [
            format!("write 1: 10.1.0.100 {A} Declined until 600.01s"),
            "in use 10.1.0.100 until 600.01s".into(),
            "probe 10.1.0.101 at Some(3)".into(),
        ]
    );
    assert_eq!(server.poll_timeout(), Some(Duration::from_millis(210)));
    server.handle_timeout(Duration::from_millis(210), catalog);
    let lines: Vec<String> = std::iter::from_fn(|| server.next_command())
        .map(|command| line(&command))
        .collect();
    assert_eq!(lines, offered(A, 101));
    // What the client had is not asked for again.
    world.tell(1, &select(A, 101));
    assert_eq!(world.tell(2, &discover(A)), offered(A, 101));
}

#[test]
fn what_operators_add_is_sent_to_those_who_ask() {
    let added = |code, bytes: &[u8], always| DhcpOption {
        code,
        bytes: bytes.to_vec(),
        always,
    };
    let mut world = world(|network| {
        network.options = vec![
            added(42, &[10, 1, 0, 3], false),
            added(26, &[5, 220], true),
            added(code::ROUTER, &[10, 1, 0, 7], true),
            added(code::SUBNET_MASK, &[255, 255, 255, 128], true),
        ];
    });
    let asks = |list: &[u8]| discover(A).option(code::PARAMETER_LIST, list).build().bytes;
    for (list, ntp) in [(&[1, 3][..], None), (&[1, 42], Some(vec![10, 1, 0, 3]))] {
        let offer = answers(&mut world, &asks(list));
        let bytes = &offer[0].bytes;
        assert_eq!(option(bytes, 42), ntp);
        assert_eq!(option(bytes, 26), Some(vec![5, 220]));
        // In the place of the network's own.
        assert_eq!(option(bytes, code::ROUTER), Some(vec![10, 1, 0, 7]));
        assert_eq!(
            option(bytes, code::SUBNET_MASK),
            Some(vec![255, 255, 255, 128])
        );
    }
}

#[test]
fn a_machine_is_sent_to_its_disk() {
    // What the network has for its telephones does not keep it from there.
    let world = world(|network| {
        network.options = [code::VENDOR_OPTIONS, code::VENDOR_CLASS]
            .map(|code| DhcpOption {
                code,
                bytes: vec![1],
                always: true,
            })
            .into();
    });
    let request = crate::dhcp::packet::Request::parse(&pxe(Kind::Discover).build().bytes).unwrap();
    let question = world
        .server
        .question(request, &[], &ARRIVAL, None, Duration::ZERO, &world.catalog)
        .ok()
        .unwrap();
    let packet = Builder::answer(AnswerKind::Offer, &question.request, SERVER);
    let bytes = reply::configuration(packet, &question, &BootFile::LocalDisk)
        .build()
        .bytes;
    let menu = b"\x06\x01\x03\x09\x07\0\0\x04disk\x0a\x09\0starting\xff";
    assert_eq!(option(&bytes, code::VENDOR_OPTIONS), Some(menu.to_vec()));
    assert_eq!(
        option(&bytes, code::VENDOR_CLASS),
        Some(b"PXEClient".to_vec())
    );
    assert_eq!(bytes[108..236], [0; 128]);
}

#[test]
fn the_hint_names_our_own_address_behind_a_relay() {
    let mut world = world(|_| {});
    let init = discover(A).option(code::VENDOR_CLASS, crate::dhcp::NODE_VENDOR_CLASS);
    let agent = b"\x0b\x04\x0a\x02\0\x01";
    let offer = answers(&mut world, &relayed(&init, agent));
    let hint = MasterHint {
        ip: SERVER,
        verify_port: 4068,
        http_port: 4080,
    };
    assert_eq!(Answer::parse(&offer[0].bytes).unwrap().master, Some(hint));
}

/// A flood of strangers takes neither the last addresses nor the last offers from nodes.
#[test]
fn a_flood_leaves_nodes_their_addresses() {
    let mut network = config().networks.remove(0);
    network.pool = Some((ip(100), ip(139)));
    let config = Config {
        nodes: 5,
        max_offers: 50,
        ..Config::new(vec![network], 4068, 4080)
    };
    let mut world = World {
        server: Server::new(config).0,
        catalog: Catalog::default(),
    };
    let stranger = |number: u8| Mac([2, 9, 9, 9, 9, number]);
    let mut leased = 0;
    for number in 0..200 {
        let mac = stranger(number);
        let lines = world.tell(1, &discover(mac));
        let Some(offer) = lines.iter().find_map(|it| it.strip_prefix("OFFER 10.1.0.")) else {
            continue;
        };
        let last: u8 = offer.split(' ').next().unwrap().parse().unwrap();
        if number % 8 != 0 {
            leased += world.tell(1, &select(mac, last)).len() / 3;
        }
    }
    assert_eq!(leased, 35, "what is kept for nodes is nobody else's");
    for number in 0..5 {
        let node = Mac([2, 1, 1, 1, 1, number]);
        // Known, with an address that is gone: it needs one of the pool.
        world
            .catalog
            .0
            .insert(node, Ipv4Addr::new(10, 9, 9, number));
        let lines = world.tell(2, &discover(node));
        let offer = lines.iter().find_map(|it| it.strip_prefix("OFFER 10.1.0."));
        let last = offer
            .unwrap_or_else(|| panic!("{lines:?}"))
            .split(' ')
            .next();
        let last: u8 = last.unwrap().parse().unwrap();
        assert_eq!(world.tell(2, &select(node, last)).len(), 3);
    }
}
