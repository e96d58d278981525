//! Building packets, both directions.

use std::net::Ipv4Addr;

use super::{
    AnswerKind, BOOT_REPLY, BOOT_REQUEST, ETHERNET, HEADER_LEN, Kind, MAGIC, MIN_LEN, Request, code,
};
use crate::identity::Mac;

const END: u8 = 255;
const IP_AND_UDP: usize = 28;

/// Bytes of options in a usual answer.
const USUAL: usize = 160;

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
    /// The options as they are sent, one after the other.
    options: Vec<u8>,
    relay_agent: Vec<u8>,
    has_cookie: bool,
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
            options: Vec::with_capacity(USUAL),
            relay_agent: Vec::new(),
            has_cookie: true,
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

    /// A server's packet in answer to `request`: transaction, flags, hardware address, relay,
    /// option 82 and option 61 are the client's (RFC 2131, section 4.3.1, table 3; RFC 3046,
    /// section 2.2; RFC 6842, section 3).
    #[must_use]
    pub fn answer(kind: AnswerKind, request: &Request, server: Ipv4Addr) -> Self {
        Builder {
            limit: limit(request.max_message_size),
            ..Builder::reply(request)
        }
        .option(code::MESSAGE_TYPE, [kind.code()])
        .option(code::SERVER_ID, server.octets())
        .option(
            code::CLIENT_ID,
            request.client_id.as_deref().unwrap_or_default(),
        )
    }

    /// A server's packet in answer to plain BOOTP: 300 bytes, and options only if the client
    /// has the magic cookie (RFC 1533, section 2).
    #[must_use]
    pub fn bootp_answer(request: &Request) -> Self {
        Builder {
            limit: MIN_LEN,
            has_cookie: request.has_cookie,
            ..Builder::reply(request)
        }
    }

    fn reply(request: &Request) -> Self {
        let relay_agent = request.relay_agent.as_ref().map(|it| it.raw.clone());
        let mut builder = Builder {
            op: BOOT_REPLY,
            flags: request.flags,
            relay_agent: relay_agent.unwrap_or_default(),
            ..Builder::request(Kind::Bootp, request.xid, request.mac)
        };
        builder.addresses[3] = request.giaddr;
        builder
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

    /// The `file` field (128 bytes): left empty if it does not fit with its NUL.
    #[must_use]
    pub fn file_field(mut self, file: &str) -> Self {
        if file.len() < 128 {
            file.clone_into(&mut self.boot_file);
        }
        self
    }

    /// Option 67, and the `file` field (128 bytes) as well if it fits with its NUL.
    #[must_use]
    pub fn boot_file(self, file: &str) -> Self {
        self.file_field(file).option(code::BOOT_FILE, file)
    }

    /// An option; an empty one is not written, one above 255 bytes in several pieces
    /// (RFC 3396).
    #[must_use]
    pub fn option(mut self, code: u8, content: impl AsRef<[u8]>) -> Self {
        put_option(&mut self.options, code, content.as_ref());
        self
    }

    /// Whether an option of this code has been added.
    #[must_use]
    pub fn has(&self, code: u8) -> bool {
        whole(&self.options).any(|(it, _)| it == code)
    }

    /// An option in the place of the one with its code; the last if there is none. An empty one is
    /// not written.
    #[must_use]
    pub fn replace(mut self, code: u8, content: &[u8]) -> Self {
        let before = whole(&self.options).take_while(|(it, _)| *it != code);
        let before = before.map(|(_, option)| option.len()).sum();
        let after = self.options.split_off(before);
        put_option(&mut self.options, code, content);
        let others = whole(&after).filter(|(it, _)| *it != code);
        self.options.extend(others.flat_map(|(_, option)| option));
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
        if !self.has_cookie {
            bytes.resize(MIN_LEN, 0);
            let left_out = Vec::new();
            return Built { bytes, left_out };
        }
        bytes.extend(MAGIC);
        let mut left_out = Vec::new();
        let tail = self.tail();
        for (code, option) in whole(&self.options) {
            if bytes.len() + option.len() + tail.len() <= self.limit {
                bytes.extend_from_slice(option);
            } else {
                left_out.push(code);
            }
        }
        bytes.extend(tail);
        bytes.resize(bytes.len().max(MIN_LEN), 0);
        Built { bytes, left_out }
    }

    /// All before the magic cookie (RFC 2131, section 2, figure 1).
    fn header(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USUAL + MIN_LEN);
        bytes.extend([self.op, ETHERNET, 6, 0]);
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        for address in self.addresses {
            bytes.extend(address.octets());
        }
        for (field, end) in [
            (self.mac.0.as_slice(), 44),
            (self.server_name.as_bytes(), 108),
            (self.boot_file.as_bytes(), 236),
        ] {
            bytes.extend_from_slice(field);
            bytes.resize(end, 0);
        }
        debug_assert_eq!(bytes.len(), HEADER_LEN - MAGIC.len());
        bytes
    }

    /// Option 82 byte for byte as it came, and the end.
    fn tail(&self) -> Vec<u8> {
        let mut tail = Vec::with_capacity(self.relay_agent.len() + 3);
        put_option(&mut tail, code::RELAY_AGENT, &self.relay_agent);
        tail.push(END);
        tail
    }
}

fn put_option(bytes: &mut Vec<u8>, code: u8, content: &[u8]) {
    for piece in content.chunks(usize::from(u8::MAX)) {
        // A piece is at most 255 bytes long.
        bytes.extend([code, u8::try_from(piece.len()).unwrap_or(u8::MAX)]);
        bytes.extend_from_slice(piece);
    }
}

/// Each option, and its code.
fn whole(options: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = options;
    std::iter::from_fn(move || {
        let code = *rest.first()?;
        let (option, after) = rest.split_at(option_len(rest));
        rest = after;
        Some((code, option))
    })
}

/// Length of the first of `options`, with all its pieces: only a full piece is continued.
fn option_len(options: &[u8]) -> usize {
    let mut len = 0;
    while let [code, piece, ..] = options[len..] {
        len += 2 + usize::from(piece);
        if piece < u8::MAX || options.get(len) != Some(&code) {
            break;
        }
    }
    len
}

/// Whether an answer holds the echo of an option 82 of `length` bytes beside what no answer can
/// do without: its type (option 53), our address (option 54), the end.
pub(super) fn has_room_for_echo(length: usize, max_message_size: Option<u16>) -> bool {
    let pieces = length.div_ceil(usize::from(u8::MAX));
    HEADER_LEN + 3 + 6 + length + 2 * pieces < limit(max_message_size)
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
    use crate::dhcp::packet::{PacketError, RelayAgent};

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
            relay_agent: Some(RelayAgent::parse(&relay)),
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
    fn relay_information_that_no_answer_can_echo_is_not_taken() {
        let taken = |length, max_message_size: u16| {
            let request = Builder {
                limit: usize::MAX,
                ..Builder::request(Kind::Discover, 7, Mac([2, 0, 0, 0, 0, 1]))
            }
            .option(code::MAX_MESSAGE_SIZE, max_message_size.to_be_bytes())
            .option(code::RELAY_AGENT, vec![9; length])
            .build();
            Request::parse(&request.bytes).map(|request| {
                let built = Builder::answer(AnswerKind::Ack, &request, Ipv4Addr::LOCALHOST);
                built.option(code::DNS, [8; 4]).build().bytes.len()
            })
        };
        let refused = |length| {
            Err(PacketError::OptionLength {
                code: code::RELAY_AGENT,
                length,
            })
        };
        // Two pieces of 2 bytes more than they hold, types, address and end.
        assert_eq!(taken(294, 576), Ok(548));
        assert_eq!(taken(295, 576), refused(295));
        assert_eq!(taken(295, 1500), Ok(240 + 9 + 6 + 299 + 1));
        assert_eq!(taken(1300, 9000), refused(1300));
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
    fn an_option_is_replaced_with_all_its_pieces() {
        let long = [7; 300];
        let built = |builder: Builder| builder.build().bytes;
        let start = || Builder::answer(AnswerKind::Offer, &client(), Ipv4Addr::LOCALHOST);
        let both = || start().option(43, long).option(60, "PXEClient");
        assert!(both().has(43) && !both().has(44));
        assert_eq!(
            built(both().replace(43, &[1])),
            built(start().option(43, [1]).option(60, "PXEClient"))
        );
        assert_eq!(
            built(both().replace(44, &[1])),
            built(both().option(44, [1]))
        );
        let none = both().replace(43, &[]);
        assert_eq!(built(none), built(start().option(60, "PXEClient")));
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
