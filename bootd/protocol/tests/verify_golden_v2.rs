//! The bytes of verify version 2, frozen.
//!
//! If a test here fails, do not change the test or its files: nodes in the field speak these
//! bytes. What must change is a new version (see the rules in `verify`).

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::smbios::Smbios;
use bootd_protocol::verify::QUESTION_LEN;
use bootd_protocol::verify::header::{Envelope, Header, Kind, seal};
use bootd_protocol::verify::key::SecretKey;
use bootd_protocol::verify::message::{
    Action, Ask, BootedFrom, Identity, Order, Receipt, Report, Sequence, Stage, Verdict,
};

fn node_key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn master_key() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

fn header(kind: Kind) -> Header {
    Header {
        version: 2,
        kind,
        epoch: 0x0102_0304_0506_0708,
        node: node_key().public().id(),
        nonce: *b"0123456789abcdef",
    }
}

fn identity() -> Identity {
    Identity {
        key: node_key().public(),
        mac: Mac([0x52, 0x54, 0, 1, 2, 3]),
        uuid: SystemUuid([9; 16]),
        arch: Arch::X86_64,
        firmware: Firmware::Uefi,
        key_is_kept: true,
        smbios: Smbios {
            product: "Standard PC".into(),
            vendor: "QEMU".into(),
            serial: "CZ1234567".into(),
            chassis: "CZ7654321".into(),
            slot: "Slot 05".into(),
        },
    }
}

const SEQUENCE: Sequence = Sequence {
    boot: 7,
    datagram: 2,
};

fn check(name: &str, frozen: &str, datagram: &[u8]) {
    let hex: String = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
    let frozen: String = frozen.split_whitespace().collect();
    assert_eq!(hex, frozen, "bytes of {name} have changed");
}

/// Seals `body`, compares it with what is frozen, and gives back what a reader finds in it.
fn sealed(name: &str, kind: Kind, body: &[u8], frozen: &str) -> Vec<u8> {
    let from_node = matches!(kind, Kind::Ask | Kind::Report);
    let (key, len) = if from_node {
        (node_key(), QUESTION_LEN)
    } else {
        (master_key(), 0)
    };
    let datagram = seal(&header(kind), body, len, &key);
    check(name, frozen, &datagram);
    let Ok(envelope) = Envelope::parse(&datagram) else {
        panic!("{name} does not parse")
    };
    assert_eq!(envelope.header, header(kind));
    assert_eq!(envelope.check(&key.public()), Ok(()));
    envelope.body.to_vec()
}

#[test]
fn ask_and_report() {
    let ask = Ask {
        identity: identity(),
        sequence: SEQUENCE,
        booted_from: BootedFrom::SlotB,
        manifest: Digest::of(b"manifest"),
        failed: Digest::NONE,
    };
    let frozen = include_str!("golden/verify-v2/ask.hex");
    let body = sealed("ask", Kind::Ask, &ask.to_body(2), frozen);
    assert_eq!(Ask::from_body(&body, 2), Ok(ask));

    let report = Report {
        identity: identity(),
        sequence: SEQUENCE,
        stage: Stage::Running,
        manifest: Digest::of(b"manifest"),
        done: 1 << 33,
        total: 1 << 34,
        text: "all processes run again".into(),
    };
    let frozen = include_str!("golden/verify-v2/report.hex");
    let body = sealed("report", Kind::Report, &report.to_body(2), frozen);
    assert_eq!(Report::from_body(&body, 2), Ok(report));
}

#[test]
fn verdicts() {
    let (manifest, size, http_port) = (Digest::of(b"m"), 4242, 4080);
    let install = Action::Install {
        manifest,
        size,
        http_port,
    };
    let test = Action::Test {
        manifest,
        size,
        http_port,
    };
    let hold = Action::Hold { retry_after: 5 };
    let all = [
        (
            Action::Run,
            "",
            include_str!("golden/verify-v2/verdict-run.hex"),
        ),
        (
            install,
            "an edit",
            include_str!("golden/verify-v2/verdict-install.hex"),
        ),
        (
            hold,
            "3 of 5 are ready",
            include_str!("golden/verify-v2/verdict-hold.hex"),
        ),
        (
            Action::Restart,
            "all are ready",
            include_str!("golden/verify-v2/verdict-restart.hex"),
        ),
        (
            test,
            "test 4",
            include_str!("golden/verify-v2/verdict-test.hex"),
        ),
    ];
    for (action, reason, frozen) in all {
        let verdict = Verdict {
            action,
            hostname: "n1".into(),
            reason: reason.into(),
        };
        let name = format!("{:?}", verdict.action);
        let body = sealed(&name, Kind::Verdict, &verdict.to_body(), frozen);
        assert_eq!(Verdict::from_body(&body), Ok(verdict));
    }
}

#[test]
fn receipts() {
    let all = [
        (
            Order::None,
            "",
            include_str!("golden/verify-v2/receipt.hex"),
        ),
        (
            Order::Restart,
            "preparation 4",
            include_str!("golden/verify-v2/receipt-restart.hex"),
        ),
    ];
    for (order, reason, frozen) in all {
        let receipt = Receipt {
            next_report: 300,
            order,
            reason: reason.into(),
        };
        let body = sealed(order.name(), Kind::Receipt, &receipt.to_body(), frozen);
        assert_eq!(Receipt::from_body(&body), Ok(receipt));
    }
}
