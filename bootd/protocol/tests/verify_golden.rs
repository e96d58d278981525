//! The bytes of verify version 1, frozen.
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
    Action, Ask, BootedFrom, Identity, Report, Sequence, Stage, Verdict,
};

fn node_key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn master_key() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

fn header(kind: Kind) -> Header {
    Header {
        version: 1,
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
            ..Smbios::default()
        },
    }
}

const SEQUENCE: Sequence = Sequence {
    boot: 7,
    datagram: 2,
};

fn ask() -> Ask {
    Ask {
        identity: identity(),
        sequence: SEQUENCE,
        booted_from: BootedFrom::SlotB,
        manifest: Digest::of(b"manifest"),
        failed: Digest::NONE,
    }
}

fn report() -> Report {
    Report {
        identity: identity(),
        sequence: SEQUENCE,
        stage: Stage::Fetching,
        manifest: Digest::of(b"manifest"),
        done: 1 << 33,
        total: 1 << 34,
        text: "libssl.so.3".into(),
    }
}

fn verdicts() -> [(&'static str, Verdict); 3] {
    let install = Action::Install {
        manifest: Digest::of(b"m"),
        size: 4242,
        http_port: 4080,
    };
    let hold = Action::Hold { retry_after: 5 };
    [
        ("run", Action::Run, ""),
        ("install", install, "an edit"),
        ("hold", hold, "key waits"),
    ]
    .map(|(name, action, reason)| {
        (
            name,
            Verdict {
                action,
                hostname: "n1".into(),
                reason: reason.into(),
            },
        )
    })
}

fn check(name: &str, frozen: &str, datagram: &[u8]) {
    let hex: String = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
    let frozen: String = frozen.split_whitespace().collect();
    assert_eq!(hex, frozen, "bytes of {name} have changed");
}

#[test]
fn ask_and_report() {
    let key = node_key();
    let datagram = seal(&header(Kind::Ask), &ask().to_body(1), QUESTION_LEN, &key);
    check("ask", include_str!("golden/verify-v1/ask.hex"), &datagram);
    let envelope = Envelope::parse(&datagram).unwrap();
    assert_eq!(envelope.header, header(Kind::Ask));
    assert_eq!(envelope.check(&key.public()), Ok(()));
    assert_eq!(Ask::from_body(envelope.body, 1), Ok(ask()));

    let datagram = seal(
        &header(Kind::Report),
        &report().to_body(1),
        QUESTION_LEN,
        &key,
    );
    check(
        "report",
        include_str!("golden/verify-v1/report.hex"),
        &datagram,
    );
    let envelope = Envelope::parse(&datagram).unwrap();
    assert_eq!(Report::from_body(envelope.body, 1), Ok(report()));
}

#[test]
fn verdict_and_receipt() {
    let key = master_key();
    for (name, verdict) in verdicts() {
        let datagram = seal(&header(Kind::Verdict), &verdict.to_body(), 0, &key);
        let frozen = match name {
            "run" => include_str!("golden/verify-v1/verdict-run.hex"),
            "install" => include_str!("golden/verify-v1/verdict-install.hex"),
            _ => include_str!("golden/verify-v1/verdict-hold.hex"),
        };
        check(name, frozen, &datagram);
        let envelope = Envelope::parse(&datagram).unwrap();
        assert_eq!(envelope.check(&key.public()), Ok(()));
        assert_eq!(Verdict::from_body(envelope.body), Ok(verdict));
    }
    let datagram = seal(&header(Kind::Receipt), &[], 0, &key);
    check(
        "receipt",
        include_str!("golden/verify-v1/receipt.hex"),
        &datagram,
    );
    assert_eq!(
        Envelope::parse(&datagram).unwrap().header,
        header(Kind::Receipt)
    );
}
