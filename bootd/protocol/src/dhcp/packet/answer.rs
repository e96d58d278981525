//! What a server sends, as far as a client needs it.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::request::text;
use super::{BOOT_REPLY, PacketError, check, code};
use crate::dhcp::hint::MasterHint;
use crate::identity::Mac;

/// What a server says (RFC 2131, section 3.1, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnswerKind {
    /// You may have this address.
    Offer,
    /// You have this address.
    Ack,
    /// You may not use that address.
    Nak,
}

impl AnswerKind {
    /// The value of option 53.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            AnswerKind::Offer => 2,
            AnswerKind::Ack => 5,
            AnswerKind::Nak => 6,
        }
    }
}

/// A server's packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it says (option 53).
    pub kind: AnswerKind,
    /// The transaction that it answers.
    pub xid: u32,
    /// The client that it is for.
    pub mac: Mac,
    /// The client's address.
    pub yiaddr: Ipv4Addr,
    /// The server (option 54).
    pub server_id: Ipv4Addr,
    /// Option 51 in seconds; [`INFINITE_SECONDS`](crate::dhcp::INFINITE_SECONDS) is for ever.
    pub lease_seconds: Option<u32>,
    /// Option 58.
    pub t1: Option<Duration>,
    /// Option 59.
    pub t2: Option<Duration>,
    /// Option 1 as a prefix length; `None` if absent or not contiguous.
    pub prefix_len: Option<u8>,
    /// The first of option 3.
    pub router: Option<Ipv4Addr>,
    /// Option 6.
    pub dns: Vec<Ipv4Addr>,
    /// Option 12.
    pub hostname: Option<String>,
    /// Option 43, if it is bootd's.
    pub master: Option<MasterHint>,
}

impl Answer {
    /// Reads a server's packet.
    ///
    /// # Errors
    /// [`PacketError`] for anything that is not an offer, ACK or NAK over Ethernet that
    /// names its server.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let packet = check(bytes, BOOT_REPLY)?;
        let options = &packet.options;
        let kind = match options.fixed::<1>(code::MESSAGE_TYPE)? {
            None => return Err(PacketError::OptionMissing(code::MESSAGE_TYPE)),
            Some([2]) => AnswerKind::Offer,
            Some([5]) => AnswerKind::Ack,
            Some([6]) => AnswerKind::Nak,
            Some([other]) => return Err(PacketError::MessageType(other)),
        };
        let seconds = |code| -> Result<Option<Duration>, PacketError> {
            Ok(options.u32(code)?.map(|it| Duration::from_secs(it.into())))
        };
        Ok(Answer {
            kind,
            xid: packet.header.xid(),
            mac: packet.mac,
            yiaddr: packet.header.yiaddr(),
            server_id: options
                .address(code::SERVER_ID)?
                .ok_or(PacketError::OptionMissing(code::SERVER_ID))?,
            lease_seconds: options.u32(code::LEASE_SECONDS)?,
            t1: seconds(code::T1_SECONDS)?,
            t2: seconds(code::T2_SECONDS)?,
            prefix_len: options.address(code::SUBNET_MASK)?.and_then(prefix_len),
            router: options.addresses(code::ROUTER).first().copied(),
            dns: options.addresses(code::DNS),
            hostname: options
                .raw(code::HOST_NAME)
                .map(text)
                .filter(|name| !name.is_empty()),
            master: options
                .raw(code::VENDOR_OPTIONS)
                .and_then(MasterHint::from_bytes),
        })
    }
}

fn prefix_len(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let contiguous = bits.leading_ones() + bits.trailing_zeros() == u32::BITS;
    contiguous
        .then(|| u8::try_from(bits.leading_ones()).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_must_be_contiguous() {
        for (mask, expected) in [
            ([255, 255, 255, 0], Some(24)),
            ([255, 255, 255, 255], Some(32)),
            ([0, 0, 0, 0], Some(0)),
            ([255, 0, 255, 0], None),
            ([0, 0, 0, 255], None),
        ] {
            assert_eq!(prefix_len(Ipv4Addr::from(mask)), expected, "{mask:?}");
        }
    }
}
