//! DHCPv4 packets: the fixed header and options (RFC 2131, section 2), read and built.
//!
//! Reading is total: any bytes give a value or a [`PacketError`]. dhcproto walks the options;
//! what it takes on trust is checked here first: the hardware address length (it panics above
//! 16), the magic cookie, option overload.

mod answer;
mod build;
mod options;
mod relay;
mod request;

pub use answer::{Answer, AnswerKind};
pub use build::{Builder, Built};
pub use relay::{RelayAgent, location_text};
pub use request::{Kind, Request};

use dhcproto::v4::borrowed::Message;
use options::Options;

use crate::identity::{Mac, SystemUuid};

/// Length of everything before the options, magic cookie included.
pub const HEADER_LEN: usize = 240;

/// Shortest packet we send: BOOTP relays and clients drop shorter ones (RFC 1542, section 2.1).
pub const MIN_LEN: usize = 300;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const ETHERNET: u8 = 1;
const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;

/// The option codes (RFC 2132, RFC 3004, RFC 3011, RFC 3046, RFC 4578, and iPXE's own 175) that
/// we read or write.
pub mod code {
    #![expect(missing_docs, reason = "the names are those of the RFCs")]
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const VENDOR_OPTIONS: u8 = 43;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_SECONDS: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETER_LIST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    pub const T1_SECONDS: u8 = 58;
    pub const T2_SECONDS: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    pub const USER_CLASS: u8 = 77;
    pub const RELAY_AGENT: u8 = 82;
    pub const CLIENT_ARCH: u8 = 93;
    pub const NETWORK_INTERFACE: u8 = 94;
    pub const MACHINE_ID: u8 = 97;
    pub const SUBNET_SELECTION: u8 = 118;
    pub const IPXE: u8 = 175;
}

/// Why a packet was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than [`HEADER_LEN`].
    #[error("packet of {0} bytes is shorter than a DHCP header")]
    TooShort(usize),
    /// A server got a reply, or a client a request.
    #[error("packet has op {0}, which is for the other side")]
    WrongDirection(u8),
    /// Not Ethernet.
    #[error("hardware type {0} is not Ethernet")]
    HardwareType(u8),
    /// An Ethernet address has 6 bytes.
    #[error("hardware address of {0} bytes is not an Ethernet address")]
    HardwareLength(u8),
    /// All zero, or a group address: no station has it.
    #[error("{0} is no station's address")]
    NoStation(Mac),
    /// The options do not begin with 99.130.83.99.
    #[error("magic cookie {0:02x?} is not that of DHCP")]
    MagicCookie([u8; 4]),
    /// A message type that nobody, or only the other side, sends.
    #[error("message type {0} is not for this side")]
    MessageType(u8),
    /// An option that matters has another length than its RFC says.
    #[error("option {code} has an impossible length of {length} bytes")]
    OptionLength {
        /// Its code.
        code: u8,
        /// Its length in bytes.
        length: usize,
    },
    /// An option without which the packet means nothing.
    #[error("option {0} is missing")]
    OptionMissing(u8),
}

/// The content of option 97: type 0 and the UUID in the byte order of SMBIOS (RFC 4578, section
/// 2.3); the swap is its own inverse.
#[must_use]
pub fn machine_id(uuid: SystemUuid) -> Vec<u8> {
    [&[0], SystemUuid::from_smbios(uuid.0).0.as_slice()].concat()
}

/// A packet whose header has been checked.
struct Checked<'a> {
    header: Message<'a>,
    mac: Mac,
    /// Whether the options begin with the magic cookie; plain BOOTP need not have it.
    has_cookie: bool,
    options: Options,
}

fn check(bytes: &[u8], direction: u8) -> Result<Checked<'_>, PacketError> {
    let header = Message::new(bytes).map_err(|_| PacketError::TooShort(bytes.len()))?;
    let [op, htype, hlen] = [bytes[0], bytes[1], bytes[2]];
    if op != direction {
        return Err(PacketError::WrongDirection(op));
    }
    if htype != ETHERNET {
        return Err(PacketError::HardwareType(htype));
    }
    // Before anything calls `Message::chaddr`, which panics above 16.
    if hlen != 6 {
        return Err(PacketError::HardwareLength(hlen));
    }
    let cookie = [bytes[236], bytes[237], bytes[238], bytes[239]];
    let has_cookie = cookie == MAGIC;
    if !has_cookie && direction == BOOT_REPLY {
        return Err(PacketError::MagicCookie(cookie));
    }
    let mac = station(header.chaddr())?;
    // Without the cookie the vendor area is some vendor's own (RFC 951, section 3).
    let options = if has_cookie {
        Options::read(bytes, &header)
    } else {
        Options::default()
    };
    Ok(Checked {
        header,
        mac,
        has_cookie,
        options,
    })
}

fn station(chaddr: &[u8]) -> Result<Mac, PacketError> {
    let mac = <[u8; 6]>::try_from(chaddr)
        .map(Mac)
        .map_err(|_| PacketError::HardwareLength(6))?;
    let group = mac.0[0] & 1 == 1;
    if group || mac.0 == [0; 6] {
        return Err(PacketError::NoStation(mac));
    }
    Ok(mac)
}
