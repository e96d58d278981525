//! The wire format and the judgement at the well-known port.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn packets_are_read_and_written_alike() {
    let options = option_list(&[("blksize", "1468"), ("tsize", "0")]);
    let request = Request {
        name: b"boot/a.efi",
        mode: b"octet",
        options: Options::from_wire(&options),
    };
    let table: &[(Packet<'_>, &[u8])] = &[
        (
            Packet::Read(request),
            b"\0\x01boot/a.efi\0octet\0blksize\x001468\0tsize\x000\0",
        ),
        (
            Packet::Write(request),
            b"\0\x02boot/a.efi\0octet\0blksize\x001468\0tsize\x000\0",
        ),
        (
            Packet::Data {
                block: 0x1234,
                payload: b"abc",
            },
            b"\0\x03\x12\x34abc",
        ),
        (Packet::Ack { block: 65_535 }, b"\0\x04\xff\xff"),
        (
            Packet::Error {
                code: ErrorCode::OptionsRefused,
                message: b"no",
            },
            b"\0\x05\0\x08no\0",
        ),
        (
            Packet::OptionAck(Options::from_wire(&options)),
            b"\0\x06blksize\x001468\0tsize\x000\0",
        ),
    ];
    for (packet, bytes) in table {
        assert_eq!(Packet::parse(bytes).as_ref(), Ok(packet));
        assert_eq!(packet.to_bytes(), *bytes);
    }
}

#[test]
fn what_is_no_packet_is_named() {
    let table: &[(&[u8], ParseError)] = &[
        (b"", ParseError::TooShort),
        (b"\0", ParseError::TooShort),
        (b"\0\x03\0", ParseError::TooShort),
        (b"\0\x04\x01", ParseError::TooShort),
        (b"\0\x05\x01", ParseError::TooShort),
        (b"\0\0\0\0", ParseError::Opcode(0)),
        (b"\0\x07\0\0", ParseError::Opcode(7)),
        (b"\x01\0\0\0", ParseError::Opcode(256)),
        (b"\0\x01name", ParseError::Unterminated),
        (b"\0\x01name\0octet", ParseError::Unterminated),
        (b"\0\x02name\0", ParseError::Unterminated),
    ];
    for (bytes, error) in table {
        assert_eq!(Packet::parse(bytes), Err(*error), "{bytes:?}");
    }
}

#[test]
fn loose_packets_are_read() {
    // A padded ACK, an ERROR without NUL, a broken tail of an option list.
    assert_eq!(
        Packet::parse(b"\0\x04\0\x07\0\0\0\0"),
        Ok(Packet::Ack { block: 7 })
    );
    assert_eq!(
        Packet::parse(b"\0\x05\0\x63gone"),
        Ok(Packet::Error {
            code: ErrorCode::Other(99),
            message: b"gone"
        })
    );
    let broken = [&read_request(&[("tsize", "0")])[..], b"blksize\x0014"].concat();
    assert_eq!(read_of(&broken).options.as_wire(), b"tsize\x000\0");
}

#[test]
fn every_error_code_keeps_its_number() {
    for number in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65_535] {
        assert_eq!(ErrorCode::from(number).number(), number);
    }
}

#[test]
fn the_well_known_port_admits_refuses_and_ignores() {
    let long = [b"\0\x01", &[b'x'; 256][..], b"\0octet\0"].concat();
    let table: &[(&[u8], Result<&str, Refusal>)] = &[
        (b"\0\x01boot/a.efi\0octet\0", Ok("boot/a.efi")),
        (b"\0\x01//boot/a.efi\0OCTET\0", Ok("boot/a.efi")),
        (b"\0\x01a..b\0octet\0", Ok("a..b")),
        (
            b"\0\x01../etc/passwd\0octet\0",
            Err(Refusal::AccessViolation),
        ),
        (b"\0\x01a\\..\\b\0octet\0", Err(Refusal::AccessViolation)),
        (b"\0\x01\0octet\0", Err(Refusal::BadName)),
        (b"\0\x01/\0octet\0", Err(Refusal::BadName)),
        (b"\0\x01a\nb\0octet\0", Err(Refusal::BadName)),
        (b"\0\x01\xff\0octet\0", Err(Refusal::BadName)),
        (&long, Err(Refusal::BadName)),
        (b"\0\x01a\0NetASCII\0", Ok("a")),
        (b"\0\x01a\0mail\0", Err(Refusal::BadMode)),
        (b"\0\x02a\0octet\0", Err(Refusal::ReadOnly)),
        (b"\0\x02a\0\0", Err(Refusal::ReadOnly)),
    ];
    for (datagram, expected) in table {
        let found = match admit(datagram) {
            Admission::Read(read) => Ok(read.name),
            Admission::Refuse(refusal) => Err(refusal),
            Admission::Ignore(error) => panic!("{datagram:?}: {error:?}"),
        };
        assert_eq!(found, *expected, "{datagram:?}");
    }
    let ignored: &[(&[u8], Option<ParseError>)] = &[
        (b"\0\x04\0\0", None),
        (b"\0\x03\0\x01x", None),
        (b"\0\x05\0\0\0", None),
        (b"\0\x06", None),
        (b"\0\x01\0\0", None),
        (b"\0\x02\0\0", None),
        (b"hello", Some(ParseError::Opcode(0x6865))),
    ];
    for (datagram, error) in ignored {
        assert_eq!(admit(datagram), Admission::Ignore(*error));
    }
}

#[test]
fn refusals_carry_their_codes() {
    let table: &[(Refusal, &[u8])] = &[
        (Refusal::NotFound, b"\0\x05\0\x01file not found\0"),
        (Refusal::BadName, b"\0\x05\0\x01not a file name\0"),
        (Refusal::AccessViolation, b"\0\x05\0\x02access violation\0"),
        (Refusal::ReadOnly, b"\0\x05\0\x02this server is read-only\0"),
        (Refusal::BadMode, b"\0\x05\0\x04unknown mode\0"),
        (Refusal::Unreadable, b"\0\x05\0\0file cannot be read\0"),
    ];
    for (refusal, bytes) in table {
        assert_eq!(refusal.to_bytes(), *bytes);
    }
}

proptest! {
    #[test]
    fn no_bytes_upset_the_parser(mut bytes in prop::collection::vec(any::<u8>(), 0..600), opcode in 0_u8..8) {
        let _ = admit(&bytes);
        if let [high, low, ..] = &mut bytes[..] {
            (*high, *low) = (0, opcode);
        }
        let _ = admit(&bytes);
        if let Ok(packet) = Packet::parse(&bytes) {
            let written = packet.to_bytes();
            prop_assert_eq!(Packet::parse(&written), Ok(packet));
        }
    }

    #[test]
    fn no_option_list_upsets_the_negotiation(bytes in "(blksize|BLKSIZE|tsize|timeout|windowsize|x)\0[0-9a]{0,22}\0{0,9}", size: u64) {
        let limits = Limits::default();
        let (agreed, wire) = Agreed::answer(Options::from_wire(bytes.as_bytes()), Some(size), &limits);
        prop_assert!((8..=limits.block_size).contains(&agreed.block_size));
        prop_assert!((1..=limits.window).contains(&agreed.window));
        prop_assert!(wire.len() < 80);
    }

    #[test]
    fn no_datagrams_upset_the_machines(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..40)) {
        let request = read_request(&[("windowsize", "8"), ("blksize", "8")]);
        let limits = Limits::default();
        let mut transfer = Transfer::new(&request, &read_of(&request), 1_000, &limits, Duration::ZERO);
        let mut fetch = Fetch::new(FetchPlan { window: Some(8), ..FetchPlan::default() }, Duration::ZERO);
        for (mut bytes, millis) in packets.into_iter().zip(0..) {
            if let [high, low, number, ..] = &mut bytes[..] {
                (*high, *low, *number) = (0, *low % 8, 0);
            }
            let now = Duration::from_millis(millis * 100);
            transfer.handle_packet(&bytes, now);
            transfer.handle_timeout(now);
            fetch.handle_packet(&bytes, now);
            fetch.handle_timeout(now);
        }
    }
}
