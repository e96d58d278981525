//! What server and client settle on before the first block.

use std::time::Duration;

use super::options::push;
use super::{DEFAULT_BLOCK_SIZE, MAX_BLOCK_SIZE, MIN_BLOCK_SIZE, Options};

/// What a server allows one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest block, bytes. 1,468 fills an Ethernet frame (1,500 - IPv4 20 - UDP 8 - TFTP 4);
    /// more would be cut into IP fragments, which firmware likes badly.
    pub block_size: u16,
    /// Largest window, blocks (RFC 7440).
    pub window: u16,
    /// Longest `timeout` that is agreed to, seconds (RFC 2349); a longer one is ignored.
    pub timeout: u8,
    /// First wait for an answer, before a round trip has been measured.
    pub first_wait: Duration,
    /// Shortest wait, however short the measured round trip. TCP waits 200 ms and more because
    /// its receivers hold acknowledgements back; a TFTP receiver never does, so that there need
    /// be no more than the grain of its own clock: firmware that polls its card does so every
    /// 10 ms (EDK2), and this is two of them.
    pub min_wait: Duration,
    /// Longest wait; each silent one doubles the next up to here.
    pub max_wait: Duration,
    /// Silent waits in a row that are followed by a repetition; one more and the client is given
    /// up.
    pub silent_waits: u32,
    /// The same for a client that has never been heard since its request, whose address may be
    /// somebody else's.
    pub unheard_waits: u32,
    /// Repeated sends without progress, for whatever reason, after which the client is given up:
    /// one that answers but never gets on is not fed for ever.
    pub vain_sends: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            block_size: 1_468,
            window: 64,
            timeout: 8,
            first_wait: Duration::from_millis(100),
            min_wait: Duration::from_millis(20),
            max_wait: Duration::from_secs(4),
            silent_waits: 11,
            unheard_waits: 5,
            vain_sends: 16,
        }
    }
}

/// The result of a negotiation. What was not asked for has the value RFC 1350 gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Bytes in a block.
    pub block_size: u16,
    /// Blocks in a window (RFC 7440); 1 is lock step.
    pub window: u16,
    /// Retransmission time that the client asked for, whole seconds (RFC 2349). What is lost is
    /// repeated after that time at the latest, or sooner where the measured round trip says so.
    pub timeout: Option<Duration>,
    /// Size of the file, bytes, if the `tsize` option is in use (RFC 2349).
    pub size: Option<u64>,
}

impl Default for Agreed {
    fn default() -> Self {
        Agreed {
            block_size: DEFAULT_BLOCK_SIZE,
            window: 1,
            timeout: None,
            size: None,
        }
    }
}

impl Agreed {
    /// The server's answer to a request's options: what holds from now on, and the option list
    /// of the OACK, empty if none must be sent. Unknown options, values out of range and second
    /// mentions are left out, which tells the client that they do not hold (RFC 2347).
    ///
    /// `file_size` is none where `tsize` is not to be told: as with other servers, in `netascii`.
    #[must_use]
    pub fn answer(asked: Options<'_>, file_size: Option<u64>, limits: &Limits) -> (Self, Vec<u8>) {
        let mut agreed = Agreed::default();
        let mut wire = Vec::new();
        for (name, _) in &asked {
            agreed.consider(name, asked, file_size, limits, &mut wire);
        }
        (agreed, wire)
    }

    fn consider(
        &mut self,
        name: &[u8],
        asked: Options<'_>,
        file_size: Option<u64>,
        limits: &Limits,
        wire: &mut Vec<u8>,
    ) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let (known, value) = if is("blksize") {
            ("blksize", self.block_size(asked, limits))
        } else if is("windowsize") {
            ("windowsize", self.window(asked, limits))
        } else if is("timeout") {
            ("timeout", self.timeout(asked, limits))
        } else if is("tsize") {
            ("tsize", self.size(asked, file_size))
        } else {
            return;
        };
        let said = Options::from_wire(wire).number(known).is_some();
        if let (Some(value), false) = (value, said) {
            push(wire, known, value);
        }
    }

    /// A size above the range of RFC 2348 is answered with the cap: answering less is allowed,
    /// and the client plainly wants large blocks.
    fn block_size(&mut self, asked: Options<'_>, limits: &Limits) -> Option<u64> {
        let cap = limits.block_size.clamp(MIN_BLOCK_SIZE, MAX_BLOCK_SIZE);
        let asked = asked.number("blksize")?;
        if asked < u64::from(MIN_BLOCK_SIZE) {
            return None;
        }
        self.block_size = u16::try_from(asked).map_or(cap, |asked| asked.min(cap));
        Some(self.block_size.into())
    }

    fn window(&mut self, asked: Options<'_>, limits: &Limits) -> Option<u64> {
        let cap = limits.window.max(1);
        let asked = asked.number("windowsize").filter(|&asked| asked > 0)?;
        self.window = u16::try_from(asked).map_or(cap, |asked| asked.min(cap));
        Some(self.window.into())
    }

    /// The value is agreed to as it is or not at all (RFC 2349).
    fn timeout(&mut self, asked: Options<'_>, limits: &Limits) -> Option<u64> {
        let seconds = asked.number("timeout")?;
        if !(1..=u64::from(limits.timeout)).contains(&seconds) {
            return None;
        }
        self.timeout = Some(Duration::from_secs(seconds));
        Some(seconds)
    }

    fn size(&mut self, asked: Options<'_>, file_size: Option<u64>) -> Option<u64> {
        asked.number("tsize")?;
        self.size = file_size;
        file_size
    }
}
