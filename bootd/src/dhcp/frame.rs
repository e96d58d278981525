//! Answers in frames of their own: a client that has no address yet answers no ARP, so the kernel
//! could not reach it; the frame is addressed here (RFC 2131, section 4.1).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use bootd_protocol::dhcp::server::Datagram;
use bootd_protocol::identity::Mac;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};
use tracing::debug;

use crate::sys::link_address;

/// Ethernet type of IPv4.
const ETHERTYPE_IPV4: u16 = 0x0800;
const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;
/// Hops that an answer may go: it leaves for a station on the link.
const HOPS: u8 = 64;

/// A packet socket that only sends.
#[derive(Debug)]
pub(super) struct Frames(OwnedFd);

impl Frames {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Of protocol 0: it receives nothing.
        let fd = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
        Ok(Frames(fd))
    }

    /// Sends to one station; what cannot be sent is as if it were lost on the way.
    pub(super) fn send(&self, datagram: &Datagram, station: Mac) {
        let Some(packet) = packet(datagram) else {
            return;
        };
        let Some(to) = link_address(datagram.interface, station, ETHERTYPE_IPV4) else {
            return;
        };
        if let Err(error) = sendto(self.0.as_raw_fd(), &packet, &to, MsgFlags::MSG_DONTWAIT) {
            debug!(%station, "DHCP answer not sent: {error}");
        }
    }
}

/// The datagram with its IPv4 and UDP headers (RFC 791, RFC 768); `None` if it is longer than a
/// packet can be. UDP's checksum is left out, as IPv4 allows: the frame has one of its own.
fn packet(datagram: &Datagram) -> Option<Vec<u8>> {
    let udp_len = u16::try_from(UDP_HEADER + datagram.bytes.len()).ok()?;
    let total = udp_len.checked_add(u16::try_from(IPV4_HEADER).ok()?)?;
    let mut packet = Vec::with_capacity(total.into());
    packet.extend([0x45, 0]);
    packet.extend(total.to_be_bytes());
    // Identification 0; may not be fragmented.
    packet.extend([0, 0, 0x40, 0, HOPS, UDP, 0, 0]);
    packet.extend(datagram.source.ip().octets());
    packet.extend(datagram.destination.ip().octets());
    let checksum = checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(datagram.source.port().to_be_bytes());
    packet.extend(datagram.destination.port().to_be_bytes());
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend_from_slice(&datagram.bytes);
    Some(packet)
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks_exact(2)
        .map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// The source of probes: nobody.
pub(super) const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddrV4;

    #[test]
    fn a_packet_has_its_headers() {
        let packet = packet(&Datagram {
            interface: 2,
            source: SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 1), 67),
            destination: SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 100), 68),
            link: None,
            bytes: b"boot".to_vec(),
        })
        .unwrap();
        // A checksum over a header with its checksum in it is 0.
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(packet[..4], [0x45, 0, 0, 32]);
        assert_eq!(packet[12..20], [10, 1, 0, 1, 10, 1, 0, 100]);
        assert_eq!(packet[20..], *b"\0\x43\0\x44\0\x0c\0\0boot");
    }
}
