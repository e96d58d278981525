//! DHCP as the load speaks it: what a network card's UEFI firmware sends (RFC 2131, 4578), and as
//! much of an answer as has to be checked. Written apart from bootd's own code, which is what is
//! measured.

use std::net::Ipv4Addr;

/// The fixed part and the magic cookie (RFC 2131, section 2).
pub(super) const FIXED: usize = 240;
/// No message is shorter (RFC 1542, section 2.1).
pub(super) const SHORTEST: usize = 300;

const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// What a message is (option 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Discover,
    Offer,
    Request,
    Ack,
    Nak,
}

impl Kind {
    pub(super) fn code(self) -> u8 {
        match self {
            Kind::Discover => 1,
            Kind::Offer => 2,
            Kind::Request => 3,
            Kind::Ack => 5,
            Kind::Nak => 6,
        }
    }

    fn of(code: u8) -> Option<Self> {
        let all = [
            Kind::Discover,
            Kind::Offer,
            Kind::Request,
            Kind::Ack,
            Kind::Nak,
        ];
        all.into_iter().find(|it| it.code() == code)
    }
}

/// The relay between client and server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relay {
    pub(super) address: Ipv4Addr,
    /// Circuit id (RFC 3046, section 3.1), if the relay says one.
    pub(super) circuit: Option<String>,
}

/// A client's message.
pub(super) struct Message<'a> {
    /// Discover or Request.
    pub(super) kind: Kind,
    pub(super) transaction: u32,
    pub(super) mac: [u8; 6],
    /// What a request asks for: the address offered, and the server's.
    pub(super) accepted: Option<(Ipv4Addr, Ipv4Addr)>,
    pub(super) relay: Option<&'a Relay>,
}

/// What PXE firmware wants to know (option 55).
const WANTED: [u8; 24] = [
    1, 3, 6, 12, 13, 15, 17, 26, 28, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129, 130, 134,
    135,
];
/// UEFI on x86-64 (option 93), its network interface UNDI 3.16 (option 94).
const VENDOR: &[u8] = b"PXEClient:Arch:00007:UNDI:003016";

impl Message<'_> {
    /// Appends the message.
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        let begin = into.len();
        into.extend([1, 1, 6, u8::from(self.relay.is_some())]);
        into.extend(self.transaction.to_be_bytes());
        // No seconds; to a client on the link the answer is broadcast (RFC 2131, section 2).
        let flags = if self.relay.is_some() { 0 } else { 0x80 };
        into.extend([0, 0, flags, 0]);
        into.resize(begin + 24, 0);
        let relay = self.relay.map_or(Ipv4Addr::UNSPECIFIED, |it| it.address);
        into.extend(relay.octets());
        into.extend(self.mac);
        into.resize(begin + FIXED - COOKIE.len(), 0);
        into.extend(COOKIE);
        self.options(into);
        into.push(255);
        if into.len() < begin + SHORTEST {
            into.resize(begin + SHORTEST, 0);
        }
    }

    fn options(&self, into: &mut Vec<u8>) {
        option(into, 53, &[self.kind.code()]);
        option(into, 57, &1472_u16.to_be_bytes());
        if let Some((address, server)) = self.accepted {
            option(into, 50, &address.octets());
            option(into, 54, &server.octets());
        }
        option(into, 55, &WANTED);
        let mut machine = [0xA5; 17];
        machine[0] = 0;
        machine[11..].copy_from_slice(&self.mac);
        option(into, 97, &machine);
        option(into, 94, &[1, 3, 16]);
        option(into, 93, &[0, 7]);
        option(into, 60, VENDOR);
        if let Some(circuit) = self.relay.and_then(|it| it.circuit.as_deref()) {
            let mut value = Vec::new();
            option(&mut value, 1, circuit.as_bytes());
            option(into, 82, &value);
        }
    }
}

pub(super) fn option(into: &mut Vec<u8>, code: u8, value: &[u8]) {
    into.extend([code, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
    into.extend(value);
}

/// What counts in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) kind: Kind,
    pub(super) transaction: u32,
    pub(super) mac: [u8; 6],
    /// `yiaddr`.
    pub(super) address: Ipv4Addr,
    pub(super) server: Option<Ipv4Addr>,
    /// Whether a boot file is named, in the fixed part or as an option.
    pub(super) has_file: bool,
}

/// Reads a message; `None` if it is none, or its options overrun.
pub(super) fn parse(packet: &[u8]) -> Option<Parsed> {
    if packet.get(FIXED - COOKIE.len()..FIXED)? != COOKIE {
        return None;
    }
    let (mut kind, mut server, mut has_file) = (None, None, packet[108] != 0);
    let mut rest = &packet[FIXED..];
    while let [code, tail @ ..] = rest {
        rest = tail;
        match code {
            0 => continue,
            255 => break,
            _ => {}
        }
        let (len, tail) = rest.split_first()?;
        let (value, tail) = tail.split_at_checked(usize::from(*len))?;
        rest = tail;
        match (code, value) {
            (53, [code]) => kind = Kind::of(*code),
            (54, _) => server = address(value),
            (67, _) => has_file = true,
            _ => {}
        }
    }
    Some(Parsed {
        kind: kind?,
        transaction: u32::from_be_bytes(packet[4..8].try_into().ok()?),
        mac: packet[28..34].try_into().ok()?,
        address: address(&packet[16..20])?,
        server,
        has_file,
    })
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

/// Length of the Ethernet, IPv4 and UDP headers of [`frame`].
pub(super) const HEADERS: usize = 14 + 20 + 8;

/// Puts the headers of a client without address before its message: from its own card to all,
/// from 0.0.0.0 port 68 to 255.255.255.255 port 67. `into` begins with [`HEADERS`] free bytes.
pub(super) fn frame(into: &mut [u8], mac: [u8; 6]) {
    let len = |below: usize| u16::try_from(into.len() - below).unwrap_or(u16::MAX);
    let (ip_len, udp_len) = (len(14).to_be_bytes(), len(34).to_be_bytes());
    let (headers, _) = into.split_at_mut(HEADERS);
    headers.fill(0);
    headers[..6].fill(0xff);
    headers[6..12].copy_from_slice(&mac);
    headers[12..14].copy_from_slice(&[8, 0]);
    // Version 4, five words, TTL 64, UDP.
    headers[14] = 0x45;
    headers[16..18].copy_from_slice(&ip_len);
    (headers[22], headers[23]) = (64, 17);
    headers[30..34].fill(0xff);
    let sum = checksum(&headers[14..34]).to_be_bytes();
    headers[24..26].copy_from_slice(&sum);
    (headers[35], headers[37]) = (68, 67);
    headers[38..40].copy_from_slice(&udp_len);
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|it| match it {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let sum: u32 = words.sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    let folded = (folded >> 16) + (folded & 0xffff);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// The message in a frame that goes to a client's port.
pub(super) fn unframe(frame: &[u8]) -> Option<&[u8]> {
    let ip = frame
        .strip_prefix(frame.get(..12)?)?
        .strip_prefix(&[8, 0])?;
    let header = usize::from(*ip.first()? & 15) * 4;
    if *ip.get(9)? != 17 {
        return None;
    }
    let udp = ip.get(header..)?;
    (udp.get(2..4)? == [0, 68]).then(|| udp.get(8..)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0x50, 1, 2, 3, 4];

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let relay = Relay {
            address: Ipv4Addr::new(10, 77, 0, 2),
            circuit: Some("port-7".into()),
        };
        let (ip, server) = (Ipv4Addr::new(10, 77, 1, 9), Ipv4Addr::new(10, 77, 0, 1));
        let mut packet = Vec::new();
        let message = Message {
            kind: Kind::Request,
            transaction: 0x0102_0304,
            mac: MAC,
            accepted: Some((ip, server)),
            relay: Some(&relay),
        };
        message.write(&mut packet);
        let expected = Parsed {
            kind: Kind::Request,
            transaction: 0x0102_0304,
            mac: MAC,
            address: Ipv4Addr::UNSPECIFIED,
            server: Some(server),
            has_file: false,
        };
        assert_eq!(parse(&packet), Some(expected));
        assert_eq!(packet[24..28], [10, 77, 0, 2]);
        assert!(packet.ends_with(b"\x52\x08\x01\x06port-7\xff"));
        // bootd's own reader takes it too.
        assert!(bootd_protocol::dhcp::packet::Request::parse(&packet).is_ok());
        for cut in 0..FIXED {
            assert_eq!(parse(&packet[..cut]), None);
        }
    }

    #[test]
    fn a_frame_carries_its_message() {
        let mut bytes = vec![0; HEADERS];
        let message = Message {
            kind: Kind::Discover,
            transaction: 1,
            mac: MAC,
            accepted: None,
            relay: None,
        };
        message.write(&mut bytes);
        frame(&mut bytes, MAC);
        // The sum over a header with its checksum is zero.
        assert_eq!(checksum(&bytes[14..34]), 0);
        assert_eq!(unframe(&bytes), None, "it goes to a server");
        bytes[37] = 68;
        assert_eq!(unframe(&bytes), Some(&bytes[HEADERS..]));
        assert_eq!(unframe(&bytes[..20]), None);
    }
}
