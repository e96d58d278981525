//! The verify protocol, both sides: forged datagrams, and well signed ones with any content.

use std::net::SocketAddr;
use std::time::Duration;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::smbios::Smbios;
use bootd_protocol::verify::header::{Drop, Envelope, Header, Kind, Nonce, seal};
use bootd_protocol::verify::key::SecretKey;
use bootd_protocol::verify::master::{Command, Gate, KnownNode, Master, Standing, Wanted, Wishes};
use bootd_protocol::verify::message::{
    Ask, BootedFrom, Identity, Order, Receipt, Report, Stage, Verdict,
};
use bootd_protocol::verify::node::{self, Config, News, Node, Question};
use bootd_protocol::verify::{CURRENT_VERSION, MAX_LEN, MIN_VERSION, QUESTION_LEN};

use crate::input::Input;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// The catalog; the last byte of the hardware address says what it has.
struct Catalog;

impl Wishes for Catalog {
    fn standing(&self, who: &Identity) -> Standing {
        let [.., last] = who.mac.0;
        let long = "n".repeat(if last & 4 == 0 { 4 } else { 300 });
        match last & 3 {
            0 => Standing::Ignored { reason: long },
            1 => Standing::Held {
                name: (last & 8 != 0).then(|| long.clone()),
                key: (last & 16 != 0).then(|| Box::new(key(1).public())),
                enrol: last & 32 != 0,
                reason: long,
            },
            _ => Standing::Known(Box::new(KnownNode {
                name: long.clone(),
                enrol: last & 8 != 0,
                key: (last & 16 != 0).then(|| key(1).public()),
                keys_are_open: last & 32 != 0,
                wanted: if last & 64 == 0 {
                    let manifest = Digest::of(b"manifest");
                    Ok(Wanted {
                        manifest,
                        size: 9,
                        in_ram: last & 128 != 0,
                    })
                } else {
                    Err(long)
                },
            })),
        }
    }

    fn gate(&self, name: &str, ask: &Ask, _: u8) -> Gate {
        match ask.sequence.boot & 3 {
            0 => Gate::Shut(name.repeat(3)),
            1 => Gate::Restart(name.repeat(3)),
            _ => Gate::Open,
        }
    }

    fn trial(&self, name: &str, ask: &Ask) -> Option<Wanted> {
        (ask.sequence.boot & 4 != 0).then(|| Wanted {
            manifest: Digest::of(name.as_bytes()),
            size: 1,
            in_ram: true,
        })
    }

    fn receipt(&self, name: &str, report: &Report) -> Receipt {
        Receipt {
            next_report: u16::from(name.len() > 4),
            order: if report.stage == Stage::Running {
                Order::Restart
            } else {
                Order::None
            },
            reason: name.repeat(3),
        }
    }
}

pub(crate) fn master(data: &[u8]) {
    let mut input = Input::new(data);
    let mut master = Master::new(key(2), 3, 4080);
    let from: SocketAddr = ([10, 0, 0, 9], 4068).into();
    while !input.is_empty() {
        let how = input.u8();
        let piece = input.piece();
        let datagram = if how & 1 == 0 {
            piece.to_vec()
        } else {
            by_a_node(how, piece)
        };
        let result = master.handle_datagram(from, &datagram, &Catalog);
        let (mut sent, mut commands, mut ignored) = (0, 0, false);
        while let Some(command) = master.next_command() {
            commands += 1;
            match command {
                Command::Send { to, datagram } => {
                    assert_eq!(to, from);
                    assert!(Envelope::parse(&datagram).is_ok());
                    sent += datagram.len();
                }
                Command::Enrol(_) | Command::BindKey(_) | Command::Observe(_) => {}
                Command::Ignored { .. } => ignored = true,
            }
        }
        assert_eq!(result == Err(Drop::Ignored) && commands == 1, ignored);
        assert!(sent <= datagram.len(), "{sent} for {}", datagram.len());
        assert!(commands <= 4, "{commands} commands for one datagram");
        assert!(
            result.is_ok() || ignored || commands == 0,
            "dropped, and yet"
        );
    }
}

/// A datagram that one of some nodes signs: what it says is any bytes, but for its own key.
fn by_a_node(how: u8, body: &[u8]) -> Vec<u8> {
    let secret = key(1 + (how >> 2 & 1));
    let public = secret.public();
    let mut body = body[..body.len().min(MAX_LEN - 112)].to_vec();
    if let Some(place) = body.get_mut(..32) {
        place.copy_from_slice(public.as_bytes());
    }
    let header = Header {
        version: MIN_VERSION + (how >> 7 & 1),
        kind: if how & 2 == 0 {
            Kind::Ask
        } else {
            Kind::Report
        },
        epoch: u64::from(how >> 3),
        node: public.id(),
        nonce: [how; 16],
    };
    check_bodies(&body, header.version);
    seal(&header, &body, QUESTION_LEN, &secret)
}

/// What is read is written as it was.
fn check_bodies(body: &[u8], version: u8) {
    if let Ok(ask) = Ask::from_body(body, version) {
        let again = Ask::from_body(&ask.to_body(version), version);
        assert_eq!(again, Ok(ask));
    }
    if let Ok(report) = Report::from_body(body, version) {
        let again = Report::from_body(&report.to_body(version), version);
        assert_eq!(again, Ok(report));
    }
    if let Ok(receipt) = Receipt::from_body(body) {
        assert_eq!(Receipt::from_body(&receipt.to_body()), Ok(receipt));
    }
    if let Ok(verdict) = Verdict::from_body(body) {
        assert_eq!(Verdict::from_body(&verdict.to_body()), Ok(verdict));
    }
}

pub(crate) fn node(data: &[u8]) {
    let mut input = Input::new(data);
    let mut now = Duration::from_secs(1000);
    let mut node = Node::new(config());
    let mut nonce = Nonce::default();
    while !input.is_empty() {
        let (how, wait) = (input.u8(), input.u8());
        now += Duration::from_millis(u64::from(wait).pow(2));
        if node.poll_timeout().is_some_and(|due| due <= now) {
            node.handle_timeout(now);
            let due = node.poll_timeout();
            assert!(due.is_none_or(|due| due > now), "it wakes without end");
        }
        say(&mut node, &mut nonce);
        match how & 7 {
            0 => node.ask(question(), now),
            1 => node.report(news(), now),
            7 => node.run(Digest::of(b"manifest"), now),
            2 => {
                let _ = node.handle_datagram(input.piece(), now);
            }
            _ => {
                let datagram = by_a_master(how, nonce, input.piece());
                let _ = node.handle_datagram(&datagram, now);
            }
        }
        say(&mut node, &mut nonce);
    }
}

/// Looks at what the node says; keeps its last nonce.
fn say(node: &mut Node, nonce: &mut Nonce) {
    let mut commands = 0;
    while let Some(command) = node.next_command() {
        commands += 1;
        match command {
            node::Command::Send(bytes) => {
                assert_eq!(bytes.len(), QUESTION_LEN);
                let envelope = Envelope::parse(&bytes);
                *nonce = envelope.map_or(*nonce, |it| it.header.nonce);
            }
            node::Command::Decide(_)
            | node::Command::Silence
            | node::Command::RememberEpoch(_)
            | node::Command::Restart(_)
            | node::Command::Reported => {}
        }
    }
    assert!(commands <= 4, "{commands} commands at once");
}

/// A datagram that the node's master signs, or one in its place.
fn by_a_master(how: u8, nonce: Nonce, body: &[u8]) -> Vec<u8> {
    let secret = key(if how & 64 == 0 { 2 } else { 3 });
    let header = Header {
        version: CURRENT_VERSION,
        kind: if how & 8 == 0 {
            Kind::Verdict
        } else {
            Kind::Receipt
        },
        epoch: u64::from(how >> 4 & 3),
        node: key(1).public().id(),
        nonce,
    };
    let body = &body[..body.len().min(MAX_LEN - 112)];
    check_bodies(body, CURRENT_VERSION);
    seal(&header, body, 0, &secret)
}

fn config() -> Config {
    Config {
        key: key(1),
        identity: Identity {
            key: key(1).public(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            uuid: SystemUuid([7; 16]),
            arch: Arch::X86_64,
            firmware: Firmware::Bios,
            key_is_kept: true,
            smbios: Smbios {
                product: "Standard PC".into(),
                ..Smbios::default()
            },
        },
        trust: vec![key(2).public()],
        boot: 1,
        epoch: 1,
        seed: [5; 32],
    }
}

fn question() -> Question {
    Question {
        booted_from: BootedFrom::SlotA,
        manifest: Digest::of(b"manifest"),
        failed: Digest::NONE,
    }
}

fn news() -> News {
    News {
        stage: Stage::Fetching,
        manifest: Digest::NONE,
        done: 1,
        total: 2,
        text: "t".repeat(300),
    }
}
