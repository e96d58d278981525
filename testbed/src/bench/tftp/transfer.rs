//! A client's side of one transfer: what it makes of a datagram (RFC 1350, 2347, 2348, 2349,
//! 7440). No socket, no clock. What comes is compared with the file, byte for byte.
//!
//! * The last block of each window is acknowledged, and the last of the file; no other.
//! * At a gap, the last block in order is acknowledged once. The rest of the broken window says
//!   nothing; when block numbers go back, the server is sending again, and may leave another gap.
//! * The block that was acknowledged last, coming again, is acknowledged again: the
//!   acknowledgement was lost. Other blocks that come again are counted only.

use std::sync::Arc;

const DATA: u8 = 3;
const ACK: u8 = 4;
const ERROR: u8 = 5;
const OACK: u8 = 6;

/// What a client asks for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) file: String,
    /// What the file should be.
    pub(super) content: Arc<[u8]>,
    /// `blksize`, bytes.
    pub(super) block: u16,
    /// `windowsize`, blocks.
    pub(super) window: u16,
    /// `timeout`, seconds.
    pub(super) timeout: Option<u8>,
}

/// A block size that needs no option.
const PLAIN_BLOCK: u16 = 512;

impl Wanted {
    /// The read request.
    pub(super) fn request(&self) -> Vec<u8> {
        let mut packet = vec![0, 1];
        let mut text = |it: &str| {
            packet.extend(it.as_bytes());
            packet.push(0);
        };
        text(&self.file);
        text("octet");
        if self.block != PLAIN_BLOCK {
            text("blksize");
            text(&self.block.to_string());
        }
        if let Some(seconds) = self.timeout {
            text("timeout");
            text(&seconds.to_string());
        }
        if self.window != 1 {
            text("windowsize");
            text(&self.window.to_string());
        }
        packet
    }
}

/// What happened, over many transfers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Bytes in order.
    pub(super) bytes: u64,
    /// Blocks in order.
    pub(super) blocks: u64,
    /// Blocks that were there already.
    pub(super) duplicates: u64,
    /// Blocks after a gap.
    pub(super) gaps: u64,
}

/// What to do about a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Nothing; the timer goes on.
    Ignore,
    /// Nothing, but the timer starts again: there is progress.
    Progress,
    /// Acknowledge this block; the timer starts again. Whether there is progress.
    Acknowledge(u16, bool),
    /// Acknowledge this block: it was the last one.
    Finish(u16),
    /// It is over, for this reason.
    Fail(String),
}

/// One transfer.
#[derive(Debug)]
pub(super) struct Transfer {
    /// `false` until the first answer.
    answered: bool,
    block: usize,
    window: u64,
    /// The block that is expected, from 1; numbers on the wire are its last 16 bits.
    next: u64,
    /// The last one acknowledged.
    acknowledged: u64,
    /// The last one seen beyond a gap.
    beyond: Option<u64>,
    offset: usize,
}

impl Transfer {
    pub(super) fn new() -> Self {
        Transfer {
            answered: false,
            block: PLAIN_BLOCK.into(),
            window: 1,
            next: 1,
            acknowledged: 0,
            beyond: None,
            offset: 0,
        }
    }

    /// Whether the server has answered.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// The window that the server granted.
    pub(super) fn window(&self) -> usize {
        usize::try_from(self.window).unwrap_or(usize::MAX)
    }

    /// The timer is over: what to acknowledge again.
    pub(super) fn again(&mut self) -> u16 {
        self.beyond = None;
        self.acknowledge(self.next - 1)
    }

    fn acknowledge(&mut self, block: u64) -> u16 {
        self.acknowledged = block;
        wire(block)
    }

    /// Takes a datagram of the server.
    pub(super) fn handle(
        &mut self,
        packet: &[u8],
        wanted: &Wanted,
        counts: &mut Counts,
    ) -> Reaction {
        match packet {
            [0, DATA, high, low, data @ ..] => {
                self.answered = true;
                let number = u16::from_be_bytes([*high, *low]);
                self.data(number, data, wanted, counts)
            }
            [0, OACK, options @ ..] => self.options(options, wanted, counts),
            [0, ERROR, _, code, text @ ..] => {
                let text = String::from_utf8_lossy(text);
                Reaction::Fail(format!("ERROR {code} {}", text.trim_end_matches('\0')))
            }
            _ => Reaction::Ignore,
        }
    }

    fn options(&mut self, options: &[u8], wanted: &Wanted, counts: &mut Counts) -> Reaction {
        if !self.answered {
            if let Err(reason) = self.grant(options, wanted) {
                return Reaction::Fail(reason);
            }
            self.answered = true;
        } else if self.next == 1 {
            counts.duplicates += 1;
        } else {
            return Reaction::Ignore;
        }
        Reaction::Acknowledge(self.acknowledge(0), true)
    }

    /// Takes the options that the server grants: each no more than was asked for.
    fn grant(&mut self, options: &[u8], wanted: &Wanted) -> Result<(), String> {
        let mut texts = options.split(|it| *it == 0).map(String::from_utf8_lossy);
        while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
            let name = name.to_ascii_lowercase();
            let granted: Option<u16> = value.parse().ok();
            let wrong = || format!("{name} {value} granted");
            match (name.as_str(), granted) {
                ("blksize", Some(block)) if (8..=wanted.block).contains(&block) => {
                    self.block = block.into();
                }
                ("windowsize", Some(window)) if (1..=wanted.window).contains(&window) => {
                    self.window = window.into();
                }
                ("timeout", Some(seconds)) if Some(seconds) == wanted.timeout.map(u16::from) => {}
                _ => return Err(wrong()),
            }
        }
        Ok(())
    }

    fn data(&mut self, number: u16, data: &[u8], wanted: &Wanted, counts: &mut Counts) -> Reaction {
        let ahead = number.wrapping_sub(wire(self.next));
        if ahead == 0 {
            return self.in_order(data, wanted, counts);
        }
        // More than half of all numbers ahead is behind.
        if ahead < 0x8000 {
            return self.after_gap(self.next + u64::from(ahead), counts);
        }
        counts.duplicates += 1;
        let last = self.next - 1;
        if number == wire(last) && self.acknowledged == last {
            return Reaction::Acknowledge(self.acknowledge(last), false);
        }
        Reaction::Ignore
    }

    fn in_order(&mut self, data: &[u8], wanted: &Wanted, counts: &mut Counts) -> Reaction {
        if data.len() > self.block {
            return Reaction::Fail("a block longer than agreed".into());
        }
        let end = self.offset + data.len();
        if wanted.content.get(self.offset..end) != Some(data) {
            return Reaction::Fail("content differs".into());
        }
        counts.blocks += 1;
        counts.bytes += u64::try_from(data.len()).unwrap_or(0);
        self.offset = end;
        self.beyond = None;
        let block = self.next;
        self.next += 1;
        if data.len() < self.block {
            if end != wanted.content.len() {
                return Reaction::Fail("the file is too short".into());
            }
            return Reaction::Finish(self.acknowledge(block));
        }
        if block - self.acknowledged >= self.window {
            return Reaction::Acknowledge(self.acknowledge(block), true);
        }
        Reaction::Progress
    }

    fn after_gap(&mut self, block: u64, counts: &mut Counts) -> Reaction {
        counts.gaps += 1;
        let again = self.beyond.is_none_or(|beyond| block <= beyond);
        self.beyond = Some(block);
        if again {
            return Reaction::Acknowledge(self.acknowledge(self.next - 1), false);
        }
        Reaction::Ignore
    }
}

/// A block's number on the wire: after 65,535 comes 0.
fn wire(block: u64) -> u16 {
    u16::try_from(block & 0xffff).unwrap_or(0)
}

/// An acknowledgement.
pub(super) fn ack(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, ACK, high, low]
}

/// An ERROR without a number of its own: the load stops.
pub(super) const STOP: &[u8] = b"\0\x05\0\0the load ends\0";

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            file: "f".into(),
            content: (0..35).collect(),
            block: 8,
            window: 2,
            timeout: Some(1),
        }
    }

    fn data(number: u16) -> Vec<u8> {
        let wanted = wanted();
        let begin = usize::from(number - 1) * 8;
        let end = (begin + 8).min(wanted.content.len());
        let mut packet = vec![0, DATA];
        packet.extend(number.to_be_bytes());
        packet.extend(&wanted.content[begin..end]);
        packet
    }

    struct Talk(Transfer, Counts);

    impl Talk {
        fn hear(&mut self, packet: &[u8]) -> Reaction {
            self.0.handle(packet, &wanted(), &mut self.1)
        }
    }

    fn begun() -> Talk {
        let mut talk = Talk(Transfer::new(), Counts::default());
        let reaction = talk.hear(b"\0\x06blksize\x008\0windowsize\x002\0timeout\x001\0");
        assert_eq!(reaction, Reaction::Acknowledge(0, true));
        talk
    }

    #[test]
    fn windows_are_acknowledged_at_their_end() {
        assert_eq!(
            wanted().request(),
            b"\0\x01f\0octet\0blksize\x008\0timeout\x001\0windowsize\x002\0"
        );
        let mut talk = begun();
        let reactions: Vec<_> = (1..=5).map(|it| talk.hear(&data(it))).collect();
        let expected = [
            Reaction::Progress,
            Reaction::Acknowledge(2, true),
            Reaction::Progress,
            Reaction::Acknowledge(4, true),
            Reaction::Finish(5),
        ];
        assert_eq!(reactions, expected);
        let expected = Counts {
            bytes: 35,
            blocks: 5,
            ..Counts::default()
        };
        assert_eq!(talk.1, expected);
    }

    #[test]
    fn a_gap_is_told_once_and_again_when_the_server_goes_back() {
        let mut talk = begun();
        assert_eq!(talk.hear(&data(2)), Reaction::Acknowledge(0, false));
        assert_eq!(talk.hear(&data(3)), Reaction::Ignore);
        assert_eq!(talk.hear(&data(2)), Reaction::Acknowledge(0, false));
        assert_eq!(talk.hear(&data(1)), Reaction::Progress);
        assert_eq!(talk.hear(&data(2)), Reaction::Acknowledge(2, true));
        assert_eq!(talk.hear(&data(1)), Reaction::Ignore);
        assert_eq!(talk.hear(&data(2)), Reaction::Acknowledge(2, false));
        assert_eq!((talk.1.gaps, talk.1.duplicates), (3, 2));
        assert_eq!(talk.0.again(), 2);
    }

    #[test]
    fn what_is_wrong_fails() {
        let mut talk = begun();
        let mut wrong = data(1);
        wrong[9] ^= 1;
        assert_eq!(talk.hear(&wrong), Reaction::Fail("content differs".into()));
        let short = &data(1)[..10];
        let mut talk = begun();
        let reaction = talk.hear(short);
        assert_eq!(reaction, Reaction::Fail("the file is too short".into()));
        let mut talk = begun();
        let reaction = talk.hear(b"\0\x05\0\x01gone\0");
        assert_eq!(reaction, Reaction::Fail("ERROR 1 gone".into()));
        for oack in [&b"\0\x06blksize\x009\0"[..], b"\0\x06tsize\x0035\0"] {
            let mut talk = Talk(Transfer::new(), Counts::default());
            assert!(matches!(talk.hear(oack), Reaction::Fail(_)));
        }
    }

    #[test]
    fn numbers_wrap_to_zero() {
        let wanted = Wanted {
            content: vec![7; 8 * 65_536 + 3].into(),
            block: 8,
            window: 1,
            ..wanted()
        };
        let mut talk = Talk(Transfer::new(), Counts::default());
        talk.0.handle(b"\0\x06blksize\x008\0", &wanted, &mut talk.1);
        let mut last = Reaction::Ignore;
        for block in 1..=65_537_u64 {
            let mut packet = vec![0, DATA];
            packet.extend(wire(block).to_be_bytes());
            packet.extend(&[7; 8][..if block == 65_537 { 3 } else { 8 }]);
            last = talk.0.handle(&packet, &wanted, &mut talk.1);
        }
        assert_eq!(last, Reaction::Finish(1));
    }
}
