//! DHCP and BOOTP, both sides.

mod catalog;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bootd_protocol::boot_choice;
use bootd_protocol::dhcp::client;
use bootd_protocol::dhcp::packet::{
    Answer, AnswerKind, Builder, Kind, MIN_LEN, RelayAgent, Request, code,
};
use bootd_protocol::dhcp::server::{Arrival, Command, Datagram, LeaseState, Server};
use bootd_protocol::dhcp::{CLIENT_PORT, PROXY_PORT, SERVER_PORT};
use bootd_protocol::identity::{Arch, Firmware, Mac};

use crate::input::Input;
use catalog::{Catalog, LOCAL, config};

const IP_AND_UDP: usize = 28;

/// The longest answer that may be sent to `request`, in bytes of UDP payload (RFC 2131,
/// section 2; RFC 2132, section 9.10).
fn longest(request: &Request) -> usize {
    let said = request.max_message_size.unwrap_or(0);
    usize::from(said.clamp(576, 1500)) - IP_AND_UDP
}

pub(crate) fn request(data: &[u8]) {
    let _ = Answer::parse(data);
    let Ok(request) = Request::parse(data) else {
        return;
    };
    let _ = boot_choice::Client::of(&request, &"lan".into());
    for kind in [AnswerKind::Offer, AnswerKind::Ack, AnswerKind::Nak] {
        let built = Builder::answer(kind, &request, LOCAL[0])
            .yiaddr(LOCAL[0])
            .option(code::VENDOR_OPTIONS, [7; 600])
            .option(code::DNS, LOCAL[0].octets())
            .build();
        assert!((MIN_LEN..=longest(&request)).contains(&built.bytes.len()));
        let answer = Answer::parse(&built.bytes);
        let answer = answer.unwrap_or_else(|error| panic!("our own answer: {error}"));
        assert_eq!((answer.kind, answer.xid), (kind, request.xid));
        assert_eq!((answer.mac, answer.server_id), (request.mac, LOCAL[0]));
    }
    let built = Builder::bootp_answer(&request).yiaddr(LOCAL[0]).build();
    // Its relay takes off what is more: option 82.
    let echo = request.relay_agent.map_or(0, |it| 2 * it.raw.len());
    assert!((MIN_LEN..=MIN_LEN + echo).contains(&built.bytes.len()));
}

pub(crate) fn relay(data: &[u8]) {
    let agent = RelayAgent::parse(data);
    assert_eq!(agent.raw, data);
    for name in [&agent.circuit, &agent.remote].into_iter().flatten() {
        assert!(name.len() <= 2 + 2 * data.len() && name.is_ascii());
    }
    let asked = Builder::request(Kind::Discover, 7, Mac([2, 0, 0, 0, 0, 1]));
    let asked = asked.option(code::RELAY_AGENT, data).build();
    let Ok(request) = Request::parse(&asked.bytes) else {
        return;
    };
    if !asked.left_out.is_empty() {
        return;
    }
    assert_eq!(request.relay_agent, (!data.is_empty()).then_some(agent));
    let built = Builder::answer(AnswerKind::Ack, &request, LOCAL[0]).build();
    assert!(built.bytes.len() <= longest(&request));
    check_echo(&request, &built.bytes);
}

/// Option 82 goes back byte for byte, and last (RFC 3046, section 2.2).
fn check_echo(request: &Request, answer: &[u8]) {
    let Some(agent) = request.relay_agent.as_ref().filter(|_| request.has_cookie) else {
        return;
    };
    let mut expected = Vec::new();
    for piece in agent.raw.chunks(255) {
        expected.extend([code::RELAY_AGENT, u8::try_from(piece.len()).unwrap_or(0)]);
        expected.extend(piece);
    }
    expected.push(255);
    let end = answer.iter().rposition(|byte| *byte != 0);
    let answer = &answer[..end.map_or(0, |it| it + 1)];
    assert!(answer.ends_with(&expected), "option 82 is not echoed");
}

pub(crate) fn server(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut server, errors) = Server::new(config(input.u8()));
    assert_eq!(errors, []);
    let mut held = Held::default();
    let mut now = Duration::from_secs(1_000_000);
    let mut packets = 0;
    while !input.is_empty() {
        let (how, wait) = (input.u8(), input.u8());
        let arrival = arrival(how);
        // From nothing to some hours, an offer's, a lease's and a quarantine's time between.
        now += Duration::from_millis(u64::from(wait).pow(3));
        if server.poll_timeout().is_some_and(|due| due <= now) {
            server.handle_timeout(now, &Catalog);
            assert!(server.poll_timeout().is_none_or(|due| due > now));
            // What waited was asked by somebody else; where it may go has been checked there.
            while let Some(command) = server.next_command() {
                held.note(&command, now);
            }
        }
        let packet = input.piece();
        if let Ok(ip) = <[u8; 4]>::try_from(packet) {
            server.handle_in_use(ip.into(), now, &Catalog);
            while let Some(command) = server.next_command() {
                held.note(&command, now);
            }
            continue;
        }
        server.handle_packet(packet, &arrival, now, &Catalog);
        packets += 1;
        check_answer(&mut server, &mut held, packet, &arrival, now);
        assert!(server.leases() <= 2 * packets);
    }
}

/// Where a packet comes in.
fn arrival(how: u8) -> Arrival {
    Arrival {
        interface: 3,
        local: LOCAL[usize::from(how & 3)],
        broadcast: how & 4 != 0,
        port: if how & 8 == 0 {
            SERVER_PORT
        } else {
            PROXY_PORT
        },
        from_port: if how & 16 == 0 { CLIENT_PORT } else { 2011 },
    }
}

fn check_answer(
    server: &mut Server,
    held: &mut Held,
    packet: &[u8],
    arrival: &Arrival,
    now: Duration,
) {
    let request = Request::parse(packet);
    let (mut commands, mut datagrams) = (0, 0);
    while let Some(command) = server.next_command() {
        commands += 1;
        held.note(&command, now);
        match &command {
            Command::Send(datagram) | Command::SendAfterCommit { datagram, .. } => {
                datagrams += 1;
                let request = request.as_ref();
                let request = request.unwrap_or_else(|error| panic!("answered, though {error}"));
                check_datagram(request, arrival, datagram);
            }
            Command::Probe { .. } => datagrams += 1,
            Command::Persist { .. } => assert!(request.is_ok()),
            Command::Report(_) => {}
        }
    }
    assert!(datagrams <= 1, "{datagrams} datagrams for one");
    assert!(commands <= 8, "{commands} commands for one packet");
}

fn check_datagram(request: &Request, arrival: &Arrival, datagram: &Datagram) {
    let len = datagram.bytes.len();
    assert!((MIN_LEN..=longest(request)).contains(&len), "{len} bytes");
    check_echo(request, &datagram.bytes);
    let to = *datagram.destination.ip();
    if request.giaddr.is_unspecified() {
        let near = to.is_broadcast() || catalog::is_served(to);
        assert!(near, "{to} is a third party");
        assert_eq!(datagram.interface, arrival.interface);
    } else {
        assert_eq!((to, datagram.interface), (request.giaddr, 0));
        assert_eq!(datagram.link, None);
    }
    let port = match arrival.port {
        PROXY_PORT => arrival.from_port,
        _ if request.giaddr.is_unspecified() => CLIENT_PORT,
        _ => SERVER_PORT,
    };
    assert_eq!(datagram.destination.port(), port);
    if request.kind != Kind::Bootp {
        let answer = Answer::parse(&datagram.bytes);
        let answer = answer.unwrap_or_else(|error| panic!("our own answer: {error}"));
        assert_eq!((answer.xid, answer.mac), (request.xid, request.mac));
    }
}

/// Who has which address until when, as it was written down.
#[derive(Default)]
struct Held(BTreeMap<Ipv4Addr, (Mac, Duration)>);

impl Held {
    fn note(&mut self, command: &Command, now: Duration) {
        let Command::Persist { lease, .. } = command else {
            return;
        };
        let ip = lease.ip;
        if let Some((mac, until)) = self.0.remove(&ip) {
            let free = mac == lease.mac || until <= now || lease.state == LeaseState::Declined;
            assert!(free, "{ip} of {mac} is given to {}", lease.mac);
        }
        if lease.state == LeaseState::Bound {
            assert!(catalog::is_served(ip), "{ip} is of no network");
            self.0.insert(ip, (lease.mac, lease.until));
        }
    }
}

pub(crate) fn client(data: &[u8]) {
    let mut input = Input::new(data);
    let config = client::Config {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        uuid: None,
        machine: (Arch::X86_64, Firmware::Uefi),
    };
    let mut now = Duration::from_secs(1000);
    let seed = u32::from(input.u16());
    let mut client = client::Client::new(config, seed, now);
    let mut xid = [0; 4];
    while !input.is_empty() {
        let (how, wait) = (input.u8(), input.u8());
        now += Duration::from_millis(u64::from(wait).pow(3));
        // Renewing, rebinding and the end may all be past.
        for wakes in 0.. {
            if client.poll_timeout().is_none_or(|due| due > now) {
                break;
            }
            assert!(wakes < 4, "it wakes without end");
            client.handle_timeout(now);
        }
        say(&mut client, &mut xid);
        if how & 1 == 0 {
            let mut packet = input.piece().to_vec();
            if let (Some(place), 0) = (packet.get_mut(4..8), how & 2) {
                place.copy_from_slice(&xid);
            }
            client.handle_packet(&packet, now);
        } else if how & 2 == 0 {
            client.handle_conflict(now);
        }
        say(&mut client, &mut xid);
    }
}

/// Looks at what the client says; keeps its transaction.
fn say(client: &mut client::Client, xid: &mut [u8; 4]) {
    let mut commands = 0;
    while let Some(command) = client.next_command() {
        commands += 1;
        match command {
            client::Command::SendBroadcast(bytes) | client::Command::SendUnicast(_, bytes) => {
                assert!((MIN_LEN..=548).contains(&bytes.len()));
                assert!(Request::parse(&bytes).is_ok(), "our own question");
                xid.copy_from_slice(&bytes[4..8]);
            }
            client::Command::Configure(lease) => {
                let address = lease.address;
                assert!(!address.is_unspecified() && lease.prefix_len <= 32);
                assert!(lease.renew_at() <= lease.rebind_at());
                assert!(lease.rebind_at() <= lease.ends_at());
            }
            client::Command::Settled(_) | client::Command::Deconfigure => {}
        }
    }
    assert!(commands <= 8, "{commands} commands at once");
}
