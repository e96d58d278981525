//! Network set-up through rtnetlink (rtnetlink(7)): bring a card up, give it an address and a
//! way out. The messages are built by hand: three of them are all that a node needs.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const AF_INET: u8 = 2;
const HEADER_LEN: usize = 16;

/// Brings the card with this index up.
///
/// # Errors
/// What the kernel says.
pub fn link_up(index: u32) -> io::Result<()> {
    request(&up_message(index))
}

/// Gives the card an address, in the place of the same one if it has it.
///
/// # Errors
/// What the kernel says.
pub fn set_address(index: u32, address: Ipv4Addr, prefix_len: u8) -> io::Result<()> {
    request(&address_message(index, address, prefix_len))
}

/// Sends what goes nowhere else through `router`.
///
/// # Errors
/// What the kernel says.
pub fn set_default_route(index: u32, router: Ipv4Addr) -> io::Result<()> {
    request(&route_message(index, router))
}

fn up_message(index: u32) -> Vec<u8> {
    // struct ifinfomsg: family, pad, type (2), index (4), flags (4), change (4).
    let mut body = vec![0; 4];
    for field in [index, IFF_UP, IFF_UP] {
        body.extend_from_slice(&field.to_ne_bytes());
    }
    message(RTM_NEWLINK, 0, &body)
}

fn address_message(index: u32, address: Ipv4Addr, prefix_len: u8) -> Vec<u8> {
    let host_bits = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
    let broadcast = Ipv4Addr::from(u32::from(address) | host_bits);
    // struct ifaddrmsg: family, prefix length, flags, scope (universe), index (4).
    let mut body = vec![AF_INET, prefix_len, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    for (kind, value) in [
        (IFA_LOCAL, address),
        (IFA_ADDRESS, address),
        (IFA_BROADCAST, broadcast),
    ] {
        put_attribute(&mut body, kind, value.octets());
    }
    message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body)
}

fn route_message(index: u32, router: Ipv4Addr) -> Vec<u8> {
    // struct rtmsg: family, destination and source length, TOS, table (main), protocol (boot),
    // scope (universe), type (unicast), flags (4).
    let mut body = vec![AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    put_attribute(&mut body, RTA_GATEWAY, router.octets());
    put_attribute(&mut body, RTA_OIF, index.to_ne_bytes());
    message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &body)
}

fn put_attribute(body: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    body.extend_from_slice(&8u16.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(&value);
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(HEADER_LEN + body.len());
    out.extend_from_slice(&len.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(body);
    out
}

fn request(message: &[u8]) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let family = AddressFamily::Netlink;
    let fd = socket(family, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    sendto(
        fd.as_raw_fd(),
        message,
        &NetlinkAddr::new(0, 0),
        MsgFlags::empty(),
    )?;
    let mut answer = [0; 512];
    let len = recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    acknowledged(answer.get(..len).unwrap_or_default())
}

/// The kernel's answer: an error message whose number 0 means success.
///
/// # Errors
/// What the kernel says, or that this is no answer.
pub fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6) == Some(&NLMSG_ERROR.to_ne_bytes());
    let number = answer
        .get(HEADER_LEN..)
        .and_then(|it| it.first_chunk::<4>());
    match number.map(|it| i32::from_ne_bytes(*it)) {
        Some(0) if kind => Ok(()),
        Some(number) if kind => Err(io::Error::from_raw_os_error(number.wrapping_neg())),
        _ => Err(io::Error::other("unexpected answer from rtnetlink")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_message_has_its_attributes_and_length() {
        let bytes = address_message(2, Ipv4Addr::new(10, 77, 0, 9), 24);
        assert_eq!(bytes.len(), HEADER_LEN + 8 + 3 * 8);
        assert_eq!(bytes[0..4], 48u32.to_ne_bytes());
        assert_eq!(bytes[16..24], [2, 24, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[28..32], [10, 77, 0, 9]);
        assert_eq!(bytes[44..48], [10, 77, 0, 255]);
    }

    #[test]
    fn an_errno_comes_back_as_an_error() {
        let mut answer = message(NLMSG_ERROR, 0, &(-17i32).to_ne_bytes());
        assert_eq!(acknowledged(&answer).unwrap_err().raw_os_error(), Some(17));
        answer[16..20].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert!(acknowledged(&answer).is_err());
        answer[16..20].fill(0);
        assert!(acknowledged(&answer).is_ok());
        assert!(acknowledged(&[]).is_err());
    }
}
