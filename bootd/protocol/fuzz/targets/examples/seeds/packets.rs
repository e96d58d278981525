//! DHCP, TFTP, the verify protocol.

use std::net::Ipv4Addr;

use bootd_protocol::dhcp::packet::{AnswerKind, Builder, Kind, Request, code};
use bootd_protocol::identity::Mac;
use bootd_protocol::tftp::{Options, Packet, Request as TftpRequest};

use super::{Seed, from_hex, piece, repository};

const FIXTURES: [&str; 9] = [
    "ipxe-discover",
    "ipxe-request",
    "ovmf-pxe-discover",
    "ovmf-pxe-request",
    "ovmf-http-discover",
    "ovmf-http-request",
    "init-discover",
    "init-request",
    "init-renew",
];

const RELAY: &[u8] =
    b"\x01\x05eth/3\x02\x06\x00\x04\x52\x54\xaa\x01\x05\x04\x0a\x02\0\0\x0b\x04\x0a\x02\0\x01";

pub(crate) fn seeds() -> Vec<Seed> {
    [dhcp(), dhcp_machines(), tftp(), verify()].concat()
}

fn fixture(name: &str) -> Vec<u8> {
    from_hex(&repository(&format!(
        "bootd/protocol/tests/fixtures/dhcp/{name}.hex"
    )))
}

/// A machine for which the catalog has what `last` says.
fn asks(kind: Kind, last: u8) -> Builder {
    Builder::request(kind, 7, Mac([2, 0, 0, 0, 0, last]))
}

fn dhcp() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for name in FIXTURES {
        seeds.push(("dhcp_request", name.to_owned(), fixture(name)));
    }
    let answer = fixture("ovmf-pxe-discover.answer");
    seeds.push(("dhcp_request", "answer".to_owned(), answer));
    let bootp = asks(Kind::Bootp, 1).build().bytes;
    let mut no_cookie = bootp.clone();
    no_cookie[236..240].fill(0);
    seeds.push(("dhcp_request", "bootp".to_owned(), bootp));
    seeds.push(("dhcp_request", "bootp-without-cookie".to_owned(), no_cookie));
    let mut overloaded = asks(Kind::Discover, 1)
        .option(code::OVERLOAD, [3])
        .build()
        .bytes;
    overloaded[44..48].copy_from_slice(b"\x0c\x02nn");
    overloaded[108..116].copy_from_slice(b"\x43\x04file\xff\0");
    seeds.push(("dhcp_request", "overload".to_owned(), overloaded));
    let relayed = asks(Kind::Discover, 1).option(code::RELAY_AGENT, RELAY);
    let large = relayed
        .clone()
        .option(code::RELAY_AGENT, [9; 700])
        .build()
        .bytes;
    seeds.push(("dhcp_request", "relayed".to_owned(), relayed.build().bytes));
    seeds.push(("dhcp_request", "relayed-large".to_owned(), large));
    seeds.push(("dhcp_relay", "all".to_owned(), RELAY.to_vec()));
    seeds.push(("dhcp_relay", "cut".to_owned(), RELAY[..5].to_vec()));
    seeds.push(("dhcp_relay", "two-pieces".to_owned(), [RELAY; 12].concat()));
    seeds
}

/// Where it comes in, how long after the last, what.
fn step(how: u8, wait: u8, packet: &[u8]) -> Vec<u8> {
    [vec![how, wait], piece(packet)].concat()
}

const BROADCAST: u8 = 4;
const PROXY: u8 = 8 | 16;

fn dhcp_machines() -> Vec<Seed> {
    let firmware = FIXTURES[..8].chunks(2).map(|pair| {
        let discover = step(BROADCAST, 0, &fixture(pair[0]));
        let request = step(BROADCAST, 10, &fixture(pair[1]));
        (pair[0], [vec![1], discover, request].concat())
    });
    let everybody = (0..16).map(|last| says(BROADCAST, &asks(Kind::Discover, last * 16 + last)));
    let full: Vec<Vec<u8>> = [vec![0]].into_iter().chain(everybody).collect();
    let beside = [
        vec![16],
        step(2 | BROADCAST, 1, &fixture("ovmf-pxe-discover")),
        step(2 | BROADCAST, 1, &fixture("ovmf-pxe-request")),
        step(2 | PROXY, 1, &fixture("ovmf-pxe-request")),
        step(3 | BROADCAST, 1, &fixture("ipxe-discover")),
    ];
    let cases = [
        ("full-pool", full.concat()),
        ("life", life()),
        ("probed", probed()),
        ("relayed", behind_relays()),
        ("proxy", beside.concat()),
    ];
    let server = firmware.chain(cases);
    let server = server.map(|(name, steps)| ("dhcp_server", name.to_owned(), steps));
    server.chain(dhcp_client()).collect()
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, last)
}

fn wants(packet: Builder, last: u8) -> Builder {
    packet.option(code::REQUESTED_ADDRESS, ip(last).octets())
}

fn chooses(packet: Builder) -> Builder {
    packet.option(code::SERVER_ID, ip(1).octets())
}

fn says(how: u8, packet: &Builder) -> Vec<u8> {
    step(how, 1, &packet.build().bytes)
}

/// All that a client says, and what it had better not.
fn life() -> Vec<u8> {
    let asks = |kind| asks(kind, 1);
    let owns = |kind| asks(kind).ciaddr(ip(105));
    [
        vec![1],
        says(BROADCAST, &wants(asks(Kind::Discover), 105)),
        says(BROADCAST, &chooses(wants(asks(Kind::Request), 105))),
        says(0, &owns(Kind::Request)),
        says(BROADCAST, &wants(asks(Kind::Request), 105)),
        says(0, &owns(Kind::Inform)),
        says(0, &chooses(owns(Kind::Release))),
        says(BROADCAST, &chooses(wants(asks(Kind::Decline), 105))),
        says(BROADCAST, &wants(asks(Kind::Request), 9)),
    ]
    .concat()
}

/// Two addresses that are probed, one of them in use.
fn probed() -> Vec<u8> {
    [
        vec![8 | 1],
        says(BROADCAST, &wants(asks(Kind::Discover, 1), 105)),
        step(0, 1, &ip(105).octets()),
        says(BROADCAST, &wants(asks(Kind::Discover, 2), 106)),
        step(BROADCAST, 10, b""),
    ]
    .concat()
}

fn behind_relays() -> Vec<u8> {
    let relayed = |packet: Builder| {
        let mut bytes = packet.option(code::RELAY_AGENT, RELAY).build().bytes;
        bytes[24..28].copy_from_slice(&[10, 2, 0, 1]);
        step(1, 1, &bytes)
    };
    [
        vec![0],
        relayed(asks(Kind::Discover, 1)),
        relayed(wants(asks(Kind::Request, 1), 105)),
        relayed(asks(Kind::Bootp, 3)),
        says(0, &asks(Kind::Bootp, 9)),
    ]
    .concat()
}

fn dhcp_client() -> Vec<Seed> {
    let server = Ipv4Addr::new(10, 1, 0, 1);
    let asked = asks(Kind::Discover, 1).build().bytes;
    let request = Request::parse(&asked).unwrap();
    let answer = |kind| {
        Builder::answer(kind, &request, server)
            .yiaddr(Ipv4Addr::new(10, 1, 0, 105))
            .option(code::SUBNET_MASK, [255, 255, 255, 0])
            .option(code::LEASE_SECONDS, 300_u32.to_be_bytes())
            .option(
                code::VENDOR_OPTIONS,
                b"\x01\x04\x0a\x01\0\x01\x02\x02\x0f\xe4\x03\x02\x0f\xf0",
            )
            .build()
            .bytes
    };
    let [offer, ack, nak] = [AnswerKind::Offer, AnswerKind::Ack, AnswerKind::Nak].map(answer);
    let step = |how, wait, packet: &[u8]| [vec![how, wait], piece(packet)].concat();
    let bound = [vec![0, 0], step(0, 1, &offer), step(0, 1, &ack)].concat();
    let renewed = [bound.clone(), vec![1 | 2, 53], step(0, 1, &ack)].concat();
    let refused = [bound.clone(), vec![1 | 2, 53], step(0, 1, &nak)].concat();
    let lost = [bound.clone(), vec![3, 60, 3, 60, 3, 60, 3, 60]].concat();
    let conflict = [bound.clone(), vec![1, 1], vec![3, 60]].concat();
    let cases = [
        ("bound", bound),
        ("renewed", renewed),
        ("refused", refused),
        ("lost", lost),
        ("conflict", conflict),
    ];
    let seed = |(name, steps): (&str, Vec<u8>)| ("dhcp_client", name.to_owned(), steps);
    cases.map(seed).to_vec()
}

const ASKED: [(&str, &[u8]); 6] = [
    ("plain", b""),
    ("probe", b"tsize\x000\0"),
    ("edk2", b"tsize\x000\0blksize\x001468\0windowsize\x004\0"),
    ("ipxe", b"blksize\x001432\0tsize\x000\0"),
    (
        "large",
        b"BLKSIZE\x0065464\0windowsize\x0065535\0timeout\x00255\0",
    ),
    (
        "odd",
        b"blksize\x008\0blksize\x009\0timeout\x001\0tsize\0\0x",
    ),
];

fn tftp() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let digest = "0".repeat(64);
    let name = format!("boot/{digest}.efi");
    for (what, options) in ASKED {
        let read = Packet::Read(TftpRequest {
            name: name.as_bytes(),
            mode: b"octet",
            options: Options::from_wire(options),
        });
        seeds.push(("tftp_request", what.to_owned(), read.to_bytes()));
        // A file of 64 KiB, acknowledged, stopped, lost and repeated.
        let to_end = [0; 40].as_slice();
        let lossy = b"\0\x01\0\x01\x04\x01\0\x01\0\x40\0\x40\x02\x01\0\x01\0\x30";
        let ended = b"\x01\x01\x04\0\0\x05\0\x08\x03\x01\x02\0\0\x01";
        for (kind, steps) in [("whole", to_end), ("lossy", lossy), ("ended", ended)] {
            let start = [&[0, 2, 7][..], &piece(options)].concat();
            let steps = [start, steps.to_vec()].concat();
            seeds.push(("tftp_transfer", format!("{what}-{kind}"), steps));
        }
    }
    let text = [piece(b"dos\r\n\r"), b"\nunix\n\0\r\0".to_vec()].concat();
    seeds.push(("netascii", "lines".to_owned(), text));
    let others: [(&str, &[u8]); 7] = [
        ("shortest", b"\0\x02\0\0"),
        ("write", b"\0\x02file\0octet\0"),
        ("mail", b"\0\x01file\0mail\0"),
        ("netascii", b"\0\x01file\0NETASCII\0"),
        ("climbs", b"\0\x01/a/../../b\0octet\0"),
        ("error", b"\0\x05\0\x08User aborted the transfer\0"),
        ("oack", b"\0\x06blksize\x001468\0"),
    ];
    seeds.extend(others.map(|(name, bytes)| ("tftp_request", name.to_owned(), bytes.to_vec())));
    seeds.extend(tftp_fetch());
    seeds
}

fn tftp_fetch() -> Vec<Seed> {
    let step = |packet: Packet<'_>| [vec![1], piece(&packet.to_bytes())].concat();
    let data = |block, len| {
        let payload = vec![b'x'; len];
        step(Packet::Data {
            block,
            payload: &payload,
        })
    };
    let oack = step(Packet::OptionAck(Options::from_wire(
        b"blksize\x0016\0windowsize\x002\0tsize\x0040\0",
    )));
    let whole = [vec![7], oack.clone(), data(1, 16), data(2, 16), data(3, 8)].concat();
    let lossy = [
        vec![7],
        oack.clone(),
        data(1, 16),
        data(3, 8),
        data(2, 16),
        data(2, 16),
    ]
    .concat();
    let cases = [
        ("whole", whole),
        ("lossy", lossy),
        ("probe", [vec![15], oack].concat()),
        (
            "plain",
            [vec![0], data(1, 512), data(2, 0), data(2, 0)].concat(),
        ),
        ("silent", [vec![0], [200, 0, 0].repeat(8)].concat()),
    ];
    let seed = |(name, steps): (&str, Vec<u8>)| ("tftp_fetch", name.to_owned(), steps);
    cases.map(seed).to_vec()
}

fn verify() -> Vec<Seed> {
    let golden = |name: &str| {
        from_hex(&repository(&format!(
            "bootd/protocol/tests/golden/{name}.hex"
        )))
    };
    let body = |datagram: &[u8]| {
        let len = usize::from(u16::from_be_bytes([datagram[6], datagram[7]]));
        datagram[48..48 + len].to_vec()
    };
    let mut seeds = Vec::new();
    for (name, signed) in [("ask", 0x81), ("report", 0x83)] {
        let mut body = body(&golden(&format!("verify-v2/{name}")));
        body[37] = 2 + 8 + 32;
        let steps = [vec![signed], piece(&body)].concat();
        seeds.push(("verify_master", format!("{name}-2"), steps));
    }
    for name in ["ask", "report"] {
        let datagram = golden(&format!("verify-v1/{name}"));
        let signed = if name == "ask" { 1 } else { 3 };
        let raw = [vec![0], piece(&datagram)].concat();
        seeds.push(("verify_master", name.to_owned(), raw));
        // Who asks is the last byte of the hardware address, at 37 of the body.
        for who in [
            0,
            1,
            2,
            2 + 8 + 32,
            2 + 16,
            2 + 64,
            4 + 1,
            4 + 2 + 8 + 32 + 64,
        ] {
            let mut body = body(&datagram);
            body[37] = who;
            let steps = [vec![signed], piece(&body)].concat();
            let twice = [steps.clone(), steps].concat();
            seeds.push(("verify_master", format!("{name}-of-{who}"), twice));
        }
    }
    for name in [
        "verdict-run",
        "verdict-install",
        "verdict-hold",
        "verdict-restart",
        "verdict-test",
        "receipt",
    ] {
        let datagram = golden(&format!("verify-v2/{name}"));
        let how = if name == "receipt" { 8 } else { 0 };
        let asked = if name == "receipt" { 1 } else { 0 };
        let signed = [vec![3 | how | 16, 1], piece(&body(&datagram))].concat();
        let forged = [vec![3 | how | 64, 1], piece(&body(&datagram))].concat();
        let raw = [vec![2, 1], piece(&datagram)].concat();
        let steps = [
            vec![asked, 0],
            raw,
            forged,
            signed.clone(),
            signed,
            vec![asked, 90],
        ];
        seeds.push(("verify_node", name.to_owned(), steps.concat()));
    }
    // It runs; its reports are answered: go on, restart.
    let answered = |name: &str| {
        let datagram = golden(&format!("verify-v2/{name}"));
        [vec![3 | 8 | 16, 101], piece(&body(&datagram))].concat()
    };
    let beats = [
        vec![7, 0],
        answered("receipt"),
        answered("receipt"),
        answered("receipt-restart"),
    ];
    seeds.push(("verify_node", "beats".to_owned(), beats.concat()));
    let silent = vec![0, 0, 1, 0].into_iter().chain([2, 60, 0, 0].repeat(12));
    seeds.push(("verify_node", "silent".to_owned(), silent.collect()));
    seeds
}
