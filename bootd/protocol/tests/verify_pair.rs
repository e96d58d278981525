//! Node and master face to face: whole lists of outputs, and every reason to stay silent.
#![allow(
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests may panic"
)]

use std::net::SocketAddr;
use std::time::Duration;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::smbios::Smbios;
use bootd_protocol::verify::header::{Drop, Envelope, Header, Kind, seal};
use bootd_protocol::verify::key::{PublicKey, SecretKey};
use bootd_protocol::verify::master::{
    Command as FromMaster, Fact, Gate, KnownNode, Master, Standing, Wanted, Wishes,
};
use bootd_protocol::verify::message::{
    Action, Ask, BootedFrom, Identity, Order, Receipt, Report, Stage, Verdict,
};
use bootd_protocol::verify::node::{Command, Config, News, Node, Question};
use bootd_protocol::verify::{MAX_LEN, QUESTION_LEN};
use proptest::prelude::*;

const START: Duration = Duration::from_secs(100);
const EPOCH: u64 = 3;

struct Fixed(Standing);

impl Wishes for Fixed {
    fn standing(&self, _: &Identity) -> Standing {
        self.0.clone()
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn from() -> SocketAddr {
    ([10, 0, 0, 9], 4068).into()
}

fn identity() -> Identity {
    Identity {
        key: key(1).public(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        uuid: SystemUuid([7; 16]),
        arch: Arch::X86_64,
        firmware: Firmware::Bios,
        key_is_kept: true,
        smbios: Smbios::default(),
    }
}

fn config() -> Config {
    Config {
        key: key(1),
        identity: identity(),
        trust: vec![key(2).public()],
        boot: 1,
        epoch: 0,
        seed: [5; 32],
    }
}

fn master() -> Master {
    Master::new(key(2), EPOCH, 4080)
}

fn known(bound: Option<PublicKey>, wanted: Digest) -> KnownNode {
    KnownNode {
        name: "n1".into(),
        enrol: false,
        key: bound,
        keys_are_open: true,
        wanted: Ok(Wanted {
            manifest: wanted,
            size: 10,
            in_ram: false,
        }),
    }
}

fn wishes(node: KnownNode) -> Fixed {
    Fixed(Standing::Known(Box::new(node)))
}

fn question(manifest: Digest) -> Question {
    Question {
        booted_from: BootedFrom::SlotA,
        manifest,
        failed: Digest::NONE,
    }
}

fn node_commands(node: &mut Node) -> Vec<Command> {
    std::iter::from_fn(|| node.next_command()).collect()
}

fn master_commands(master: &mut Master) -> Vec<FromMaster> {
    std::iter::from_fn(|| master.next_command()).collect()
}

/// A node's first datagram when it asks about `manifest`.
fn asked(node: &mut Node, manifest: Digest) -> Vec<u8> {
    node.ask(question(manifest), START);
    let commands = node_commands(node);
    let [Command::Send(datagram)] = commands.as_slice() else {
        panic!("expected one datagram: {commands:?}")
    };
    datagram.clone()
}

/// What the master sends for `datagram`.
fn answered(master: &mut Master, datagram: &[u8], wishes: &Fixed) -> Vec<u8> {
    assert_eq!(master.handle_datagram(from(), datagram, wishes), Ok(()));
    let sent = master_commands(master)
        .into_iter()
        .find_map(|command| match command {
            FromMaster::Send { to, datagram } => Some((to, datagram)),
            FromMaster::Enrol(_)
            | FromMaster::BindKey(_)
            | FromMaster::Ignored { .. }
            | FromMaster::Observe(_) => None,
        });
    let (to, answer) = sent.expect("an answer");
    assert_eq!(to, from());
    assert!(
        answer.len() <= datagram.len(),
        "an answer is never larger than its question"
    );
    answer
}

fn verdict(standing: &Fixed, manifest: Digest) -> Verdict {
    let (mut node, mut master) = (Node::new(config()), master());
    let datagram = asked(&mut node, manifest);
    let answer = answered(&mut master, &datagram, standing);
    assert_eq!(node.handle_datagram(&answer, START), Ok(()));
    match node_commands(&mut node).as_slice() {
        [Command::Decide(verdict), Command::RememberEpoch(EPOCH)] => verdict.clone(),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn good_path_is_one_datagram_each_way() {
    let (mut node, mut master) = (Node::new(config()), master());
    let has = Digest::of(b"what it has");
    let standing = wishes(known(Some(key(1).public()), has));
    let datagram = asked(&mut node, has);
    assert_eq!(datagram.len(), QUESTION_LEN);
    assert_eq!(master.handle_datagram(from(), &datagram, &standing), Ok(()));

    let commands = master_commands(&mut master);
    let run = Verdict {
        action: Action::Run,
        hostname: "n1".into(),
        reason: String::new(),
    };
    let [
        FromMaster::Send {
            datagram: answer, ..
        },
        FromMaster::Observe(observation),
    ] = commands.as_slice()
    else {
        panic!("unexpected {commands:?}")
    };
    assert_eq!(observation.name.as_deref(), Some("n1"));
    assert!(matches!(&observation.fact, Fact::Asked { verdict, .. } if *verdict == run));

    assert_eq!(node.handle_datagram(answer, START), Ok(()));
    let expected = [Command::Decide(run), Command::RememberEpoch(EPOCH)];
    assert_eq!(node_commands(&mut node), expected);
    assert_eq!(node.poll_timeout(), None);
}

#[test]
fn verdicts() {
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    let bound = Some(key(1).public());
    let install = Action::Install {
        manifest: new,
        size: 10,
        http_port: 4080,
    };
    assert_eq!(verdict(&wishes(known(bound, new)), old).action, install);
    assert_eq!(
        verdict(&wishes(known(None, new)), Digest::NONE).action,
        install
    );

    let broken = KnownNode {
        wanted: Err("no package".into()),
        ..known(bound, new)
    };
    let answer = verdict(&wishes(broken.clone()), old);
    assert_eq!(
        (answer.action, answer.reason.as_str()),
        (Action::Run, "no new manifest: no package")
    );
    let hold = Action::Hold { retry_after: 5 };
    assert_eq!(verdict(&wishes(broken), Digest::NONE).action, hold);

    let stranger = wishes(known(Some(key(9).public()), new));
    let answer = verdict(&stranger, old);
    assert_eq!(answer.action, hold);
    assert!(
        answer.reason.contains("WHERE name='n1'"),
        "{}",
        answer.reason
    );

    let closed = wishes(KnownNode {
        keys_are_open: false,
        ..known(None, new)
    });
    assert!(verdict(&closed, old).reason.contains("waits for approval"));

    let held = Fixed(Standing::Held {
        name: None,
        key: None,
        enrol: false,
        reason: "no rule".into(),
    });
    assert_eq!(verdict(&held, old).reason, "no rule");
}

#[test]
fn an_image_that_did_not_boot_is_not_sent_again() {
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    let (mut node, mut master) = (Node::new(config()), master());
    node.ask(
        Question {
            failed: new,
            ..question(old)
        },
        START,
    );
    let commands = node_commands(&mut node);
    let [Command::Send(datagram)] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    let answer = answered(&mut master, datagram, &wishes(known(None, new)));
    node.handle_datagram(&answer, START).unwrap();
    let commands = node_commands(&mut node);
    assert!(
        matches!(&commands[0], Command::Decide(verdict) if verdict.action == Action::Run),
        "{commands:?}"
    );
}

#[test]
fn first_contact_enrols_and_binds_once() {
    let mut master = master();
    let fresh = wishes(KnownNode {
        enrol: true,
        ..known(None, Digest::NONE)
    });
    let datagram = asked(&mut Node::new(config()), Digest::NONE);
    assert_eq!(master.handle_datagram(from(), &datagram, &fresh), Ok(()));
    let commands = master_commands(&mut master);
    assert!(
        matches!(
            commands.as_slice(),
            [
                FromMaster::Enrol(_),
                FromMaster::BindKey(_),
                FromMaster::Send { .. },
                FromMaster::Observe(_)
            ]
        ),
        "{commands:?}"
    );

    // The catalog does not show the binding yet; another key is refused all the same.
    let thief = Config {
        key: key(8),
        identity: Identity {
            key: key(8).public(),
            ..identity()
        },
        ..config()
    };
    let datagram = asked(&mut Node::new(thief), Digest::NONE);
    let answer = answered(&mut master, &datagram, &fresh);
    let body = Envelope::parse(&answer).unwrap();
    assert!(
        Verdict::from_body(body.body)
            .unwrap()
            .reason
            .contains("another key")
    );
}

#[test]
fn a_key_that_is_not_kept_yet_is_answered_but_not_bound() {
    let mut master = master();
    let fresh = wishes(known(None, Digest::of(b"wanted")));
    let passing = Identity {
        key_is_kept: false,
        ..identity()
    };
    let datagram = asked(
        &mut Node::new(Config {
            identity: passing,
            ..config()
        }),
        Digest::NONE,
    );
    for _ in 0..2 {
        assert_eq!(master.handle_datagram(from(), &datagram, &fresh), Ok(()));
        let commands = master_commands(&mut master);
        assert!(
            matches!(
                commands.as_slice(),
                [FromMaster::Send { .. }, FromMaster::Observe(_)]
            ),
            "{commands:?}"
        );
    }
}

#[test]
fn what_deserves_no_answer_gets_none() {
    let standing = wishes(known(Some(key(1).public()), Digest::NONE));
    let mut master = master();
    let good = asked(&mut Node::new(config()), Digest::NONE);
    let patched = |at: usize, value: u8| {
        let mut datagram = good.clone();
        datagram[at] = value;
        datagram
    };
    let answer = answered(&mut master, &good, &standing);
    let mut unsigned = good.clone();
    unsigned[400] ^= 1;
    let cases = [
        (b"".to_vec(), Drop::Garbage),
        (b"hello, world".to_vec(), Drop::Garbage),
        (patched(4, 3), Drop::Version),
        (patched(4, 0), Drop::Version),
        (patched(5, 77), Drop::Kind),
        (good[..60].to_vec(), Drop::Malformed),
        (good[..511].to_vec(), Drop::Malformed),
        ([good.clone(), vec![0; MAX_LEN]].concat(), Drop::Malformed),
        (patched(6, 0xff), Drop::Malformed),
        (patched(16, good[16] ^ 1), Drop::Signature),
        (unsigned, Drop::Signature),
        (good.clone(), Drop::Replayed),
        (answer, Drop::Malformed),
    ];
    let mut expected = master.counters().clone();
    for (datagram, reason) in &cases {
        assert_eq!(
            master.handle_datagram(from(), datagram, &standing),
            Err(*reason)
        );
        assert_eq!(master_commands(&mut master), []);
    }
    expected.received += 13;
    assert_eq!(master.counters().received, expected.received);
    assert_eq!(master.counters().answered, 1);
    assert_eq!(master.counters().dropped(Drop::Malformed), 5);

    let ignored = Fixed(Standing::Ignored {
        reason: "no rule".into(),
    });
    let datagram = asked(
        &mut Node::new(Config {
            boot: 9,
            ..config()
        }),
        Digest::NONE,
    );
    assert_eq!(
        master.handle_datagram(from(), &datagram, &ignored),
        Err(Drop::Ignored)
    );
    let told = FromMaster::Ignored {
        machine: Box::new(config().identity),
        reason: "no rule".into(),
    };
    assert_eq!(master_commands(&mut master), [told]);
}

#[test]
fn a_node_believes_its_master_alone_and_no_past_epoch() {
    let standing = wishes(known(None, Digest::NONE));
    let mut node = Node::new(Config {
        epoch: 2,
        ..config()
    });
    let datagram = asked(&mut node, Digest::NONE);

    let mut impostor = Master::new(key(66), 99, 4080);
    let answer = answered(&mut impostor, &datagram, &standing);
    assert_eq!(node.handle_datagram(&answer, START), Err(Drop::Signature));

    let mut deposed = Master::new(key(2), 1, 4080);
    let answer = answered(&mut deposed, &datagram, &standing);
    assert_eq!(node.handle_datagram(&answer, START), Err(Drop::PastEpoch));

    let answer = answered(&mut master(), &datagram, &standing);
    assert_eq!(node.handle_datagram(&answer, START), Ok(()));
    assert_eq!(
        node.handle_datagram(&answer, START),
        Err(Drop::Unasked),
        "each answer counts once"
    );
    assert_eq!(node.handle_datagram(&datagram, START), Err(Drop::Kind));

    // Now that epoch 3 has spoken, a master of epoch 2 is too late.
    node_commands(&mut node);
    let datagram = asked(&mut node, Digest::NONE);
    let mut late = Master::new(key(2), 2, 4080);
    let answer = answered(&mut late, &datagram, &standing);
    assert_eq!(node.handle_datagram(&answer, START), Err(Drop::PastEpoch));
}

#[test]
fn silence_is_told_once_and_asking_goes_on() {
    let mut node = Node::new(config());
    node.ask(question(Digest::NONE), START);
    let mut log = Vec::new();
    for _ in 0..9 {
        for command in node_commands(&mut node) {
            let millis = node
                .poll_timeout()
                .unwrap()
                .saturating_sub(START)
                .as_millis();
            log.push(match command {
                Command::Send(datagram) => {
                    assert_eq!(Envelope::parse(&datagram).unwrap().header.kind, Kind::Ask);
                    format!("send, next at {millis}")
                }
                Command::Silence => "silence".into(),
                other => panic!("unexpected {other:?}"),
            });
        }
        node.handle_timeout(node.poll_timeout().unwrap());
    }
    assert_eq!(
        log,
        [
            "send, next at 250",
            "send, next at 750",
            "send, next at 1750",
            "send, next at 2750",
            "send, next at 4750",
            "send, next at 6750",
            "silence",
            "send, next at 36750",
            "send, next at 66750",
            "send, next at 96750",
        ]
    );
}

#[test]
fn a_held_node_asks_again_with_a_new_nonce() {
    let held = Fixed(Standing::Held {
        name: Some("n1".into()),
        key: None,
        enrol: false,
        reason: "held".into(),
    });
    let (mut node, mut master) = (Node::new(config()), master());
    let first = asked(&mut node, Digest::NONE);
    let answer = answered(&mut master, &first, &held);
    node.handle_datagram(&answer, START).unwrap();
    node_commands(&mut node);
    let due = node.poll_timeout().unwrap();
    assert_eq!(due, START + Duration::from_secs(5));
    node.handle_timeout(due);
    let commands = node_commands(&mut node);
    let [Command::Send(second)] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    let nonce = |datagram| Envelope::parse(datagram).unwrap().header.nonce;
    assert_ne!(nonce(&first), nonce(second));
}

#[test]
fn a_machine_that_a_rule_holds_gets_a_row() {
    let held = |enrol| {
        Fixed(Standing::Held {
            name: None,
            key: None,
            enrol,
            reason: "rule x holds new machines".into(),
        })
    };
    for enrol in [true, false] {
        let (mut node, mut master) = (Node::new(config()), master());
        let datagram = asked(&mut node, Digest::NONE);
        let result = master.handle_datagram(from(), &datagram, &held(enrol));
        assert_eq!(result, Ok(()));
        let commands = master_commands(&mut master);
        let row = FromMaster::Enrol(Box::new(config().identity));
        assert_eq!(commands.contains(&row), enrol, "{commands:?}");
        assert_eq!(commands.len(), 2 + usize::from(enrol), "{commands:?}");
    }
}

#[test]
fn what_a_board_says_at_length_fits_into_a_question() {
    let long = || "é".repeat(100);
    let smbios = Smbios {
        product: long(),
        vendor: long(),
        serial: long(),
        chassis: long(),
        slot: long(),
    };
    let mut config = config();
    config.identity.smbios = smbios;
    let mut node = Node::new(config);
    let datagram = asked(&mut node, Digest::NONE);
    assert_eq!(datagram.len(), QUESTION_LEN);
    let ask = Ask::from_body(Envelope::parse(&datagram).unwrap().body, 2).unwrap();
    let Smbios {
        product,
        vendor,
        serial,
        chassis,
        slot,
    } = ask.identity.smbios;
    let cut = [product, vendor, serial, chassis, slot].map(|it| it.len());
    assert_eq!(cut, [48, 28, 24, 24, 16]);
    let news = News {
        stage: Stage::Failed,
        manifest: Digest::of(b"m"),
        done: 1,
        total: 2,
        text: long(),
    };
    node.report(news, START);
    let commands = node_commands(&mut node);
    let [Command::Send(datagram)] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert_eq!(datagram.len(), QUESTION_LEN);
    let envelope = Envelope::parse(datagram).unwrap();
    // Room that is left: header and signature have 112.
    assert_eq!(QUESTION_LEN - 112 - envelope.body.len(), 16);
    let report = Report::from_body(envelope.body, 2).unwrap();
    assert_eq!(report.text.len(), 120);
}

#[test]
fn reports_are_received_from_bound_keys_only() {
    let news = News {
        stage: Stage::Fetching,
        manifest: Digest::of(b"m"),
        done: 1,
        total: 2,
        text: "x".into(),
    };
    let (mut node, mut master) = (Node::new(config()), master());
    node.report(news, START);
    let commands = node_commands(&mut node);
    let [Command::Send(datagram)] = commands.as_slice() else {
        panic!("{commands:?}")
    };

    let other = wishes(known(Some(key(9).public()), Digest::NONE));
    let held = |key: Option<PublicKey>| {
        Fixed(Standing::Held {
            name: Some("n1".into()),
            key: key.map(Box::new),
            enrol: false,
            reason: "held".into(),
        })
    };
    for stranger in [other, held(None), held(Some(key(9).public()))] {
        let result = master.handle_datagram(from(), datagram, &stranger);
        assert_eq!(result, Err(Drop::Ignored));
    }
    // A node that is held may run still.
    let mut again = self::master();
    answered(&mut again, datagram, &held(Some(key(1).public())));

    let receipt = answered(
        &mut master,
        datagram,
        &wishes(known(Some(key(1).public()), Digest::NONE)),
    );
    node.handle_datagram(&receipt, START).unwrap();
    let expected = [Command::Reported, Command::RememberEpoch(EPOCH)];
    assert_eq!(node_commands(&mut node), expected);
    assert_eq!(node.poll_timeout(), None);
}

/// A catalog that lets nobody run, and orders whoever reports to restart.
struct Strict(Standing, Gate);

impl Wishes for Strict {
    fn standing(&self, _: &Identity) -> Standing {
        self.0.clone()
    }

    fn gate(&self, name: &str, ask: &Ask, version: u8) -> Gate {
        assert_eq!((name, ask.sequence.boot), ("n1", 1));
        assert!((1..=2).contains(&version));
        self.1.clone()
    }

    fn receipt(&self, _: &str, report: &Report) -> Receipt {
        Receipt {
            next_report: 40,
            order: match report.stage {
                Stage::Running => Order::Restart,
                _ => Order::None,
            },
            reason: "because".into(),
        }
    }
}

fn strict(gate: Gate) -> Strict {
    let node = known(Some(key(1).public()), Digest::of(b"m"));
    Strict(Standing::Known(Box::new(node)), gate)
}

/// What the master sends for `datagram`.
fn sent(master: &mut Master, datagram: &[u8], wishes: &impl Wishes) -> Vec<u8> {
    assert_eq!(master.handle_datagram(from(), datagram, wishes), Ok(()));
    let sent = master_commands(master)
        .into_iter()
        .find_map(|command| match command {
            FromMaster::Send { datagram, .. } => Some(datagram),
            _ => None,
        });
    sent.expect("an answer")
}

#[test]
fn who_has_what_it_should_waits_or_restarts_where_the_gate_says_so() {
    let gates = [
        (Gate::Open, Action::Run),
        (Gate::Shut("why".into()), Action::Hold { retry_after: 5 }),
        (Gate::Restart("why".into()), Action::Restart),
    ];
    for (gate, action) in gates {
        let wishes = strict(gate);
        let (mut node, mut master) = (Node::new(config()), master());
        let datagram = asked(&mut node, Digest::of(b"m"));
        let answer = sent(&mut master, &datagram, &wishes);
        node.handle_datagram(&answer, START).unwrap();
        let commands = node_commands(&mut node);
        assert!(
            matches!(&commands[0], Command::Decide(verdict) if verdict.action == action),
            "{commands:?}"
        );

        // The question as version 1 asks it is answered in version 1, which knows no restart.
        let envelope = Envelope::parse(&datagram).unwrap();
        let old = Header {
            version: 1,
            ..envelope.header
        };
        let mut ask = Ask::from_body(envelope.body, 2).unwrap();
        ask.sequence.datagram += 1;
        let datagram = seal(&old, &ask.to_body(1), QUESTION_LEN, &key(1));
        let answer = sent(&mut master, &datagram, &wishes);
        let envelope = Envelope::parse(&answer).unwrap();
        assert_eq!(envelope.header.version, 1);
        let told = Verdict::from_body(envelope.body).unwrap().action;
        assert_eq!(told.since(), 1);
        assert_ne!(told, Action::Restart);
        assert_eq!(node.handle_datagram(&answer, START), Err(Drop::Unasked));
    }
}

/// A catalog that has a test for whoever asks.
struct Trying(Standing);

impl Wishes for Trying {
    fn standing(&self, _: &Identity) -> Standing {
        self.0.clone()
    }

    fn trial(&self, _: &str, _: &Ask) -> Option<Wanted> {
        Some(Wanted {
            manifest: Digest::of(b"trial"),
            size: 7,
            in_ram: true,
        })
    }
}

#[test]
fn a_test_is_for_nodes_that_have_something_to_go_back_to() {
    let bound = Some(key(1).public());
    let standing = |in_ram| {
        let mut node = known(bound, Digest::of(b"m"));
        if let Ok(wanted) = &mut node.wanted {
            wanted.in_ram = in_ram;
        }
        Standing::Known(Box::new(node))
    };
    let answer = |wishes: &dyn Fn() -> Standing, trying: bool, has: Digest| {
        let (mut node, mut master) = (Node::new(config()), master());
        let datagram = asked(&mut node, has);
        let answer = match trying {
            true => sent(&mut master, &datagram, &Trying(wishes())),
            false => sent(&mut master, &datagram, &Fixed(wishes())),
        };
        let envelope = Envelope::parse(&answer).unwrap();
        Verdict::from_body(envelope.body).unwrap().action
    };
    let test = |name: &[u8], size| Action::Test {
        manifest: Digest::of(name),
        size,
        http_port: 4080,
    };
    let usual = || standing(false);
    let in_ram = || standing(true);
    assert_eq!(answer(&usual, true, Digest::of(b"m")), test(b"trial", 7));
    let install = answer(&usual, true, Digest::NONE);
    assert!(matches!(install, Action::Install { .. }), "{install:?}");
    // A class that runs from RAM does so whatever is on the disk.
    assert_eq!(answer(&in_ram, false, Digest::of(b"m")), test(b"m", 10));
    assert_eq!(answer(&in_ram, false, Digest::NONE), test(b"m", 10));
}

/// What the master answers to the one datagram that the node sends at its next timeout.
fn beat(node: &mut Node, master: &mut Master, wishes: &impl Wishes) -> Duration {
    let due = node.poll_timeout().expect("it reports again");
    node.handle_timeout(due);
    let commands = node_commands(node);
    let [Command::Send(datagram)] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    let answer = sent(master, datagram, wishes);
    assert_eq!(node.handle_datagram(&answer, due), Ok(()));
    due
}

#[test]
fn a_node_that_runs_says_so_again_and_again() {
    let calm = Fixed(strict(Gate::Open).0);
    let (mut node, mut master) = (Node::new(config()), master());
    let manifest = Digest::of(b"m");
    node.ask(question(manifest), START);
    node.run(manifest, START);
    node_commands(&mut node);
    let mut last = START;
    for _ in 0..20 {
        let due = beat(&mut node, &mut master, &calm);
        let pause = (due - last).as_millis();
        assert!((7_500..=10_000).contains(&pause), "{pause}");
        assert_eq!(node_commands(&mut node)[0], Command::Reported);
        last = due;
    }
    // Other news takes the place of what it says.
    let trouble = News {
        stage: Stage::Failed,
        manifest: Digest::NONE,
        done: 0,
        total: 0,
        text: "process x ended".into(),
    };
    node.report(trouble, last);
    assert_eq!(node_commands(&mut node).len(), 1);
    while node.poll_timeout().unwrap() < last + Duration::from_millis(7_400) {
        node.handle_timeout(node.poll_timeout().unwrap());
    }
    node_commands(&mut node);
    node.handle_timeout(node.poll_timeout().unwrap());
    let commands = node_commands(&mut node);
    let [Command::Send(datagram)] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    let body = Envelope::parse(datagram).unwrap().body.to_vec();
    assert_eq!(Report::from_body(&body, 2).unwrap().text, "process x ended");
}

#[test]
fn an_order_is_obeyed_once_and_by_a_node_that_runs() {
    let wishes = strict(Gate::Open);
    let (mut node, mut master) = (Node::new(config()), master());
    let news = News {
        stage: Stage::Running,
        manifest: Digest::of(b"m"),
        done: 0,
        total: 0,
        text: String::new(),
    };
    node.report(news, START);
    let commands = node_commands(&mut node);
    let [Command::Send(datagram)] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    let answer = sent(&mut master, datagram, &wishes);
    node.handle_datagram(&answer, START).unwrap();
    let expected = [Command::Reported, Command::RememberEpoch(EPOCH)];
    assert_eq!(node_commands(&mut node), expected, "it does not run yet");

    node.run(Digest::of(b"m"), START);
    beat(&mut node, &mut master, &wishes);
    let expected = [Command::Reported, Command::Restart("because".into())];
    assert_eq!(node_commands(&mut node), expected);
    assert_eq!(node.poll_timeout(), None);
}

proptest! {
    #[test]
    fn no_bytes_make_either_side_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 1u8..5) {
        let standing = wishes(known(None, Digest::NONE));
        let mut node = Node::new(config());
        node.ask(question(Digest::NONE), START);
        let _ = master().handle_datagram(from(), &bytes, &standing);
        let _ = node.handle_datagram(&bytes, START);
        // Once more as something that gets past the first look.
        if bytes.len() > 8 {
            bytes[..4].copy_from_slice(b"bvfy");
            (bytes[4], bytes[5], bytes[6]) = (1, kind, 0);
        }
        let _ = master().handle_datagram(from(), &bytes, &standing);
        let _ = node.handle_datagram(&bytes, START);
    }
}
