//! Asking whether an address is in use: by ARP on a link of ours (RFC 5227, section 2.1.1), by
//! ICMP echo (RFC 792) elsewhere.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use bootd_protocol::identity::Mac;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv, sendto,
    socket,
};

use super::frame::{NOBODY, checksum};
use crate::sys::link_address;

const ETHERTYPE_ARP: u16 = 0x0806;
const ARP_REQUEST: u16 = 1;
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
const EVERYBODY: Mac = Mac([0xff; 6]);

/// The sockets for probes; one that could not be had is not asked with.
#[derive(Debug)]
pub(super) struct Probes {
    arp: Option<OwnedFd>,
    icmp: Option<OwnedFd>,
}

impl Probes {
    pub(super) fn open() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let arp = || -> nix::Result<OwnedFd> {
            let fd = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
            // On every interface.
            let all = link_address(0, EVERYBODY, ETHERTYPE_ARP).ok_or(Errno::EINVAL)?;
            bind(fd.as_raw_fd(), &all)?;
            Ok(fd)
        };
        let icmp = socket(
            AddressFamily::Inet,
            SockType::Raw,
            flags,
            SockProtocol::Icmp,
        );
        Probes {
            arp: arp().ok(),
            icmp: icmp.ok(),
        }
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.arp, &self.icmp]
            .into_iter()
            .flatten()
            .map(|fd| fd.as_fd())
    }

    /// Asks on this interface, or wherever the address is.
    ///
    /// # Errors
    /// The question cannot leave.
    pub(super) fn ask(&self, ip: Ipv4Addr, interface: Option<u32>) -> io::Result<()> {
        let none = || io::Error::from(io::ErrorKind::PermissionDenied);
        match interface {
            Some(interface) => {
                let arp = self.arp.as_ref().ok_or_else(none)?;
                let own = own_station(interface)?;
                let to = link_address(interface, EVERYBODY, ETHERTYPE_ARP).ok_or_else(none)?;
                let packet = arp_probe(own, ip);
                sendto(arp.as_raw_fd(), &packet, &to, MsgFlags::MSG_DONTWAIT)?;
            }
            None => {
                let icmp = self.icmp.as_ref().ok_or_else(none)?;
                let to = SockaddrIn::from(SocketAddrV4::new(ip, 0));
                sendto(icmp.as_raw_fd(), &echo(), &to, MsgFlags::MSG_DONTWAIT)?;
            }
        }
        Ok(())
    }

    /// Addresses that somebody has shown to be in use.
    pub(super) fn answered(&self) -> Vec<Ipv4Addr> {
        let mut addresses = Vec::new();
        let mut buffer = [0; 128];
        for (socket, read) in [
            (&self.arp, arp_sender as fn(&[u8]) -> Option<Ipv4Addr>),
            (&self.icmp, echo_sender),
        ] {
            let Some(socket) = socket else { continue };
            while let Ok(len) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                addresses.extend(read(&buffer[..len]));
            }
        }
        addresses
    }
}

/// The hardware address of an interface.
fn own_station(interface: u32) -> io::Result<Mac> {
    let name = nix::net::if_::if_indextoname(interface)?;
    let path = format!("/sys/class/net/{}/address", name.to_string_lossy());
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(io::Error::other)
}

/// A question for `ip` that nobody asks, so that no cache learns from it (RFC 826, RFC 5227).
fn arp_probe(own: Mac, ip: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 0x08, 0, 6, 4];
    packet.extend(ARP_REQUEST.to_be_bytes());
    packet.extend(own.0);
    packet.extend(NOBODY.octets());
    packet.extend([0; 6]);
    packet.extend(ip.octets());
    packet
}

/// Whose address an ARP packet says it is: of a reply, and of a question too.
fn arp_sender(packet: &[u8]) -> Option<Ipv4Addr> {
    let ethernet_ipv4 = packet.get(..6)? == [0, 1, 0x08, 0, 6, 4];
    let sender = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(14..18)?).ok()?);
    (ethernet_ipv4 && sender != NOBODY).then_some(sender)
}

fn echo() -> [u8; 8] {
    let mut packet = [ECHO, 0, 0, 0, b'b', b'd', 0, 1];
    let checksum = checksum(&packet);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// Who sent an echo reply; raw sockets give the IPv4 header with it.
fn echo_sender(packet: &[u8]) -> Option<Ipv4Addr> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let sender = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?);
    (*packet.get(header)? == ECHO_REPLY).then_some(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 7);

    #[test]
    fn a_probe_asks_and_an_answer_tells() {
        let probe = arp_probe(Mac([2, 0, 0, 0, 0, 1]), IP);
        assert_eq!(
            probe,
            b"\0\x01\x08\0\x06\x04\0\x01\x02\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\x0a\x01\0\x07"
        );
        assert_eq!(arp_sender(&probe), None);
        let reply =
            b"\0\x01\x08\0\x06\x04\0\x02\x02\0\0\0\0\x09\x0a\x01\0\x07\x02\0\0\0\0\x01\0\0\0\0";
        assert_eq!(arp_sender(reply), Some(IP));
        assert_eq!(arp_sender(&reply[..17]), None);
    }

    #[test]
    fn an_echo_comes_back() {
        assert_eq!(checksum(&echo()), 0);
        let mut reply = vec![0x45; 20];
        reply[12..16].copy_from_slice(&IP.octets());
        reply.extend([0, 0, 0, 0]);
        assert_eq!(echo_sender(&reply), Some(IP));
        reply[20] = ECHO;
        assert_eq!(echo_sender(&reply), None);
        assert_eq!(echo_sender(&[]), None);
    }
}
