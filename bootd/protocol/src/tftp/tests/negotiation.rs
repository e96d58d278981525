//! Options asked for, options agreed to.

use std::time::Duration;

use super::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

#[test]
fn options_are_answered() {
    let table: &[(Pairs<'_>, Pairs<'_>)] = &[
        (&[], &[]),
        // Within the limits: as asked, in the order of the request.
        (
            &[("tsize", "0"), ("blksize", "1024"), ("windowsize", "4")],
            &[("tsize", "5000"), ("blksize", "1024"), ("windowsize", "4")],
        ),
        (&[("BlkSize", "512")], &[("blksize", "512")]),
        (&[("blksize", "8")], &[("blksize", "8")]),
        // Above: the cap.
        (&[("blksize", "65464")], &[("blksize", "1468")]),
        (&[("blksize", "70000")], &[("blksize", "1468")]),
        (&[("windowsize", "65535")], &[("windowsize", "64")]),
        // Out of range or no number: left out.
        (&[("blksize", "7")], &[]),
        (&[("blksize", "+99")], &[]),
        (&[("blksize", "")], &[]),
        (&[("blksize", "99999999999999999999999")], &[]),
        (&[("windowsize", "0")], &[]),
        (&[("tsize", "x")], &[]),
        // As asked or not at all (RFC 2349).
        (&[("timeout", "1")], &[("timeout", "1")]),
        (&[("timeout", "8")], &[("timeout", "8")]),
        (&[("timeout", "9")], &[]),
        (&[("timeout", "0")], &[]),
        // Unknown ones and second mentions.
        (&[("multicast", ""), ("tsize", "0")], &[("tsize", "5000")]),
        (
            &[("blksize", "600"), ("blksize", "700")],
            &[("blksize", "600")],
        ),
    ];
    for (asked, expected) in table {
        let wire = option_list(asked);
        let (_, answer) =
            Agreed::answer(Options::from_wire(&wire), Some(5_000), &Limits::default());
        assert_eq!(answer, option_list(expected), "{asked:?}");
    }
}

#[test]
fn what_is_answered_holds() {
    let wire = option_list(&[
        ("blksize", "9000"),
        ("windowsize", "16"),
        ("timeout", "2"),
        ("tsize", "0"),
    ]);
    let (agreed, _) = Agreed::answer(Options::from_wire(&wire), Some(77), &Limits::default());
    assert_eq!(
        agreed,
        Agreed {
            block_size: 1_468,
            window: 16,
            timeout: Some(Duration::from_secs(2)),
            size: Some(77),
        }
    );
    let (agreed, _) = Agreed::answer(Options::default(), Some(77), &Limits::default());
    assert_eq!(agreed, Agreed::default());
}

#[test]
fn the_largest_block_can_be_allowed() {
    let limits = Limits {
        block_size: MAX_BLOCK_SIZE,
        ..Limits::default()
    };
    let wire = option_list(&[("blksize", "65464")]);
    let (agreed, _) = Agreed::answer(Options::from_wire(&wire), Some(77), &limits);
    assert_eq!(agreed.block_size, MAX_BLOCK_SIZE);
}
