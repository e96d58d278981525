//! What a client sends, as far as decisions need it.

use std::net::Ipv4Addr;

use super::build::has_room_for_echo;
use super::{BOOT_REQUEST, PacketError, RelayAgent, check, code, options::Options};
use crate::identity::{Mac, SystemUuid};

/// What a client wants (RFC 2131, section 3.1, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Plain BOOTP (RFC 951): no option 53.
    Bootp,
    /// Is there a server?
    Discover,
    /// Give me, or let me keep, this address.
    Request,
    /// Somebody else has the address that you gave me.
    Decline,
    /// I no longer need my address.
    Release,
    /// I have an address; tell me the rest.
    Inform,
}

/// A client's packet. Options that only describe (vendor class, architectures, ...) and do not
/// have the form of their RFC are taken as absent; those that decide make an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it wants (option 53).
    pub kind: Kind,
    /// Transaction.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The flags field; see [`Request::wants_broadcast`].
    pub flags: u16,
    /// The address that the client uses, or 0.0.0.0.
    pub ciaddr: Ipv4Addr,
    /// The relay that passed it on, or 0.0.0.0.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub mac: Mac,
    /// Option 50.
    pub requested_ip: Option<Ipv4Addr>,
    /// Option 54: the server that the client has chosen.
    pub server_id: Option<Ipv4Addr>,
    /// Option 61. Leases go by [`Request::mac`]: ROM, loader and `init` of one machine send
    /// different ones.
    pub client_id: Option<Vec<u8>>,
    /// Option 57: the longest datagram that the client takes, in bytes.
    pub max_message_size: Option<u16>,
    /// Option 55: the options that the client asks for.
    pub parameters: Vec<u8>,
    /// Option 60, as text.
    pub vendor_class: Option<String>,
    /// Option 77, as texts: the list of RFC 3004, or iPXE's one bare text.
    pub user_classes: Vec<String>,
    /// Option 93: every architecture that the client names (RFC 4578, section 2.1).
    pub architectures: Vec<u16>,
    /// Option 97, type 0 (RFC 4578, section 2.3).
    pub machine_id: Option<SystemUuid>,
    /// Option 82: what a relay added (RFC 3046).
    pub relay_agent: Option<RelayAgent>,
    /// Option 118: an address of the network that the client wants to be of (RFC 3011).
    pub subnet_selection: Option<Ipv4Addr>,
    /// Whether the packet has options at all; plain BOOTP need not (RFC 951, section 3).
    pub has_cookie: bool,
}

impl Request {
    /// Reads a client's packet.
    ///
    /// # Errors
    /// [`PacketError`] for anything that is not a client's packet over Ethernet.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let packet = check(bytes, BOOT_REQUEST)?;
        let options = &packet.options;
        let max_message_size = options
            .fixed(code::MAX_MESSAGE_SIZE)?
            .map(u16::from_be_bytes);
        Ok(Request {
            kind: kind(options)?,
            xid: packet.header.xid(),
            secs: packet.header.secs(),
            flags: packet.header.flags().into(),
            ciaddr: packet.header.ciaddr(),
            giaddr: packet.header.giaddr(),
            mac: packet.mac,
            requested_ip: options.address(code::REQUESTED_ADDRESS)?,
            server_id: options.address(code::SERVER_ID)?,
            client_id: options.bytes(code::CLIENT_ID),
            max_message_size,
            parameters: options.bytes(code::PARAMETER_LIST).unwrap_or_default(),
            vendor_class: options.raw(code::VENDOR_CLASS).map(text),
            user_classes: user_classes(options.raw(code::USER_CLASS).unwrap_or_default()),
            architectures: architectures(options),
            machine_id: machine_id(options),
            relay_agent: relay_agent(options, max_message_size)?,
            subnet_selection: options.address(code::SUBNET_SELECTION)?,
            has_cookie: packet.has_cookie,
        })
    }

    /// Whether the client cannot take unicast before it has its address
    /// (RFC 2131, section 4.1).
    #[must_use]
    pub fn wants_broadcast(&self) -> bool {
        self.flags & 0x8000 != 0
    }
}

/// Option 82, if an answer has room for its echo.
fn relay_agent(
    options: &Options,
    max_message_size: Option<u16>,
) -> Result<Option<RelayAgent>, PacketError> {
    let Some(raw) = options.raw(code::RELAY_AGENT) else {
        return Ok(None);
    };
    if !has_room_for_echo(raw.len(), max_message_size) {
        return Err(PacketError::OptionLength {
            code: code::RELAY_AGENT,
            length: raw.len(),
        });
    }
    Ok(Some(RelayAgent::parse(raw)))
}

fn kind(options: &Options) -> Result<Kind, PacketError> {
    match options.fixed::<1>(code::MESSAGE_TYPE)? {
        None => Ok(Kind::Bootp),
        Some([1]) => Ok(Kind::Discover),
        Some([3]) => Ok(Kind::Request),
        Some([4]) => Ok(Kind::Decline),
        Some([7]) => Ok(Kind::Release),
        Some([8]) => Ok(Kind::Inform),
        Some([other]) => Err(PacketError::MessageType(other)),
    }
}

/// Text as firmware writes it: some end it with NUL; what is not UTF-8 is replaced.
pub(super) fn text(content: &[u8]) -> String {
    let end = content.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&content[..end.unwrap_or(content.len())]).into_owned()
}

/// RFC 3004 wants a list of length-prefixed texts, iPXE sends one bare text. Bytes that do
/// not come out even as a list are a bare text.
fn user_classes(content: &[u8]) -> Vec<String> {
    let mut classes = Vec::new();
    let mut rest = content;
    while let [length, tail @ ..] = rest {
        match tail.split_at_checked(usize::from(*length)) {
            Some((class, tail)) if *length > 0 => {
                classes.push(text(class));
                rest = tail;
            }
            Some(_) | None => return vec![text(content)],
        }
    }
    classes
}

fn architectures(options: &Options) -> Vec<u16> {
    let content = options.raw(code::CLIENT_ARCH).unwrap_or_default();
    content
        .chunks_exact(2)
        .map(|two| u16::from_be_bytes([two[0], two[1]]))
        .collect()
}

fn machine_id(options: &Options) -> Option<SystemUuid> {
    let [0, uuid @ ..] = options.fixed::<17>(code::MACHINE_ID).ok()?? else {
        return None;
    };
    Some(SystemUuid::from_smbios(uuid)).filter(SystemUuid::is_usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_class_in_both_forms() {
        let cases: [(&[u8], &[&str]); 5] = [
            (b"iPXE", &["iPXE"]),
            (b"\x04iPXE", &["iPXE"]),
            (b"\x04iPXE\x03lab", &["iPXE", "lab"]),
            (b"\x04iPXE\x00", &["\u{4}iPXE"]),
            (b"", &[]),
        ];
        for (content, expected) in cases {
            assert_eq!(user_classes(content), expected, "{content:?}");
        }
    }

    #[test]
    fn vendor_class_ends_at_nul() {
        assert_eq!(text(b"PXEClient\0\0"), "PXEClient");
        assert_eq!(text(b"\xff"), "\u{fffd}");
    }
}
