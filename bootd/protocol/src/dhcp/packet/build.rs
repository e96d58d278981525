//! Building packets, both directions.

use std::net::Ipv4Addr;

use dhcproto::Encoder;
use dhcproto::error::EncodeResult;
use dhcproto::v4::{OptionCode, encode_long_opt_bytes};

use super::{
    AnswerKind, BOOT_REPLY, BOOT_REQUEST, ETHERNET, HEADER_LEN, Kind, MAGIC, MIN_LEN, Request, code,
};
use crate::identity::Mac;

const END: u8 = 255;
const IP_AND_UDP: usize = 28;

/// Every client takes a datagram of this size, IP header included (RFC 2131, section 2).
const EVERYONE_TAKES: u16 = 576;

/// The longest datagram that an Ethernet frame carries whole.
const ETHERNET_TAKES: u16 = 1500;

/// A packet in the making. Options are written in the order they come, so the most important
/// first: where the client's limit (option 57) is reached, those that no longer fit are left
/// out, and [`Built::left_out`] names them.
#[derive(Debug, Clone)]
pub struct Builder {
    op: u8,
    xid: u32,
    secs: u16,
    flags: u16,
    mac: Mac,
    addresses: [Ipv4Addr; 4],
    server_name: String,
    boot_file: String,
    options: Vec<(u8, Vec<u8>)>,
    relay_agent: Vec<u8>,
    limit: usize,
}

/// A finished packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// Codes of the options for which the client's limit left no room.
    pub left_out: Vec<u8>,
}

impl Builder {
    /// A client's packet.
    ///
    /// A [`Kind::Bootp`] has no option 53.
    #[must_use]
    pub fn request(kind: Kind, xid: u32, mac: Mac) -> Self {
        let builder = Builder {
            op: BOOT_REQUEST,
            xid,
            secs: 0,
            flags: 0,
            mac,
            addresses: [Ipv4Addr::UNSPECIFIED; 4],
            server_name: String::new(),
            boot_file: String::new(),
            options: Vec::new(),
            relay_agent: Vec::new(),
            limit: limit(None),
        };
        match kind {
            Kind::Bootp => builder,
            Kind::Discover => builder.option(code::MESSAGE_TYPE, [1]),
            Kind::Request => builder.option(code::MESSAGE_TYPE, [3]),
            Kind::Decline => builder.option(code::MESSAGE_TYPE, [4]),
            Kind::Release => builder.option(code::MESSAGE_TYPE, [7]),
            Kind::Inform => builder.option(code::MESSAGE_TYPE, [8]),
        }
    }

    /// A server's packet in answer to `request`: transaction, flags, hardware address, relay
    /// and option 82 are the client's (RFC 2131, section 4.3.1, table 3; RFC 3046, section 2.2).
    #[must_use]
    pub fn answer(kind: AnswerKind, request: &Request, server: Ipv4Addr) -> Self {
        let mut builder = Builder {
            op: BOOT_REPLY,
            flags: request.flags,
            relay_agent: request.relay_agent.clone().unwrap_or_default(),
            limit: limit(request.max_message_size),
            ..Builder::request(Kind::Bootp, request.xid, request.mac)
        };
        builder.addresses[3] = request.giaddr;
        builder
            .option(code::MESSAGE_TYPE, [kind.code()])
            .option(code::SERVER_ID, server.octets())
    }

    /// The address that the client uses.
    #[must_use]
    pub fn ciaddr(mut self, address: Ipv4Addr) -> Self {
        self.addresses[0] = address;
        self
    }

    /// The address that the client gets.
    #[must_use]
    pub fn yiaddr(mut self, address: Ipv4Addr) -> Self {
        self.addresses[1] = address;
        self
    }

    /// The server to load the boot file from.
    #[must_use]
    pub fn siaddr(mut self, address: Ipv4Addr) -> Self {
        self.addresses[2] = address;
        self
    }

    /// Asks for answers by broadcast (RFC 2131, section 4.1).
    #[must_use]
    pub fn broadcast(mut self) -> Self {
        self.flags |= 0x8000;
        self
    }

    /// Seconds since the client began.
    #[must_use]
    pub fn secs(mut self, secs: u16) -> Self {
        self.secs = secs;
        self
    }

    /// The `sname` field (64 bytes): left empty if it does not fit with its NUL.
    #[must_use]
    pub fn server_name(mut self, name: &str) -> Self {
        if name.len() < 64 {
            name.clone_into(&mut self.server_name);
        }
        self
    }

    /// Option 67, and the `file` field (128 bytes) as well if it fits with its NUL.
    #[must_use]
    pub fn boot_file(mut self, file: &str) -> Self {
        if file.len() < 128 {
            file.clone_into(&mut self.boot_file);
        }
        self.option(code::BOOT_FILE, file)
    }

    /// An option; an empty one is not written.
    #[must_use]
    pub fn option(mut self, code: u8, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        if !content.is_empty() {
            self.options.push((code, content.to_vec()));
        }
        self
    }

    /// An option that is a list of addresses; an empty list is not written.
    #[must_use]
    pub fn addresses(self, code: u8, addresses: &[Ipv4Addr]) -> Self {
        let content: Vec<u8> = addresses.iter().flat_map(Ipv4Addr::octets).collect();
        self.option(code, content)
    }

    /// The packet: options in order, option 82 last, padded to [`MIN_LEN`].
    #[must_use]
    pub fn build(&self) -> Built {
        let mut bytes = self.header();
        let mut left_out = Vec::new();
        let tail = self.tail();
        for (code, content) in &self.options {
            let option = long_option(*code, content);
            if bytes.len() + option.len() + tail.len() <= self.limit {
                bytes.extend(option);
            } else {
                left_out.push(*code);
            }
        }
        bytes.extend(tail);
        bytes.resize(bytes.len().max(MIN_LEN), 0);
        Built { bytes, left_out }
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MIN_LEN);
        encoded(&mut bytes, |encoder| {
            encoder.write([self.op, ETHERNET, 6, 0])?;
            encoder.write_u32(self.xid)?;
            encoder.write_u16(self.secs)?;
            encoder.write_u16(self.flags)?;
            for address in self.addresses {
                encoder.write(address.octets())?;
            }
            encoder.write_fill_bytes(&self.mac.0, 16)?;
            encoder.write_fill_bytes(self.server_name.as_bytes(), 64)?;
            encoder.write_fill_bytes(self.boot_file.as_bytes(), 128)?;
            encoder.write(MAGIC)
        });
        debug_assert_eq!(bytes.len(), HEADER_LEN);
        bytes
    }

    /// Option 82 byte for byte as it came, and the end.
    fn tail(&self) -> Vec<u8> {
        let mut tail = long_option(code::RELAY_AGENT, &self.relay_agent);
        tail.push(END);
        tail
    }
}

/// One option; above 255 bytes in several pieces (RFC 3396).
fn long_option(code: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 2);
    encoded(&mut bytes, |encoder| {
        encode_long_opt_bytes(OptionCode::from(code), content, encoder)
    });
    bytes
}

/// Encodes into `bytes`. dhcproto's encoder fails only where a field is too long for its
/// place or a position overflows, which the fields above cannot.
fn encoded(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Encoder<'_>) -> EncodeResult<()>) {
    let result = write(&mut Encoder::new(bytes));
    debug_assert!(result.is_ok(), "{result:?}");
}

/// Room for the UDP payload, given option 57: never below what every client must take, never
/// above what Ethernet carries unfragmented, for ROMs do not reassemble.
fn limit(max_message_size: Option<u16>) -> usize {
    let datagram = max_message_size
        .unwrap_or(EVERYONE_TAKES)
        .clamp(EVERYONE_TAKES, ETHERNET_TAKES);
    usize::from(datagram) - IP_AND_UDP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Request {
        let packet = Builder::request(Kind::Discover, 7, Mac([2, 0, 0, 0, 0, 1])).build();
        Request::parse(&packet.bytes).unwrap()
    }

    #[test]
    fn pads_to_what_bootp_wants() {
        let built = Builder::answer(AnswerKind::Nak, &client(), Ipv4Addr::LOCALHOST).build();
        assert_eq!(built.bytes.len(), MIN_LEN);
        assert_eq!(
            built.bytes[240..252],
            [53, 1, 6, 54, 4, 127, 0, 0, 1, 255, 0, 0]
        );
        assert!(built.left_out.is_empty());
    }

    #[test]
    fn relay_information_goes_back_unchanged_and_last() {
        let relay = vec![9; 300];
        let request = Request {
            relay_agent: Some(relay.clone()),
            max_message_size: Some(1500),
            ..client()
        };
        let built = Builder::answer(AnswerKind::Ack, &request, Ipv4Addr::LOCALHOST)
            .option(code::DNS, [8; 4])
            .build();
        let mut expected = vec![53, 1, 5, 54, 4, 127, 0, 0, 1, 6, 4, 8, 8, 8, 8, 82, 255];
        expected.extend(&relay[..255]);
        expected.extend([82, 45]);
        expected.extend(&relay[255..]);
        expected.push(255);
        assert_eq!(built.bytes[240..], expected);
    }

    #[test]
    fn leaves_out_what_the_client_cannot_take() {
        let request = Request {
            max_message_size: Some(100),
            ..client()
        };
        let built = Builder::answer(AnswerKind::Ack, &request, Ipv4Addr::LOCALHOST)
            .option(code::VENDOR_OPTIONS, vec![1; 400])
            .option(code::DNS, [8; 4])
            .build();
        assert_eq!(built.left_out, [code::VENDOR_OPTIONS]);
        assert!(built.bytes.len() <= 548);
        assert_eq!(built.bytes[249..255], [6, 4, 8, 8, 8, 8]);
    }

    #[test]
    fn fields_take_what_fits_with_its_nul() {
        let file = "f".repeat(128);
        let built = Builder::answer(AnswerKind::Ack, &client(), Ipv4Addr::LOCALHOST)
            .server_name(&"s".repeat(63))
            .boot_file(&file)
            .build();
        assert_eq!(built.bytes[44..108], [[b's'; 63].as_slice(), &[0]].concat());
        assert_eq!(built.bytes[108..236], [0; 128]);
        assert_eq!(built.bytes[249..251], [67, 128]);
    }
}
