//! The well-known port: who asked, and which of our addresses was asked.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket as StdSocket};
use std::os::fd::AsRawFd as _;

use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A datagram that came to the well-known port.
pub(super) struct Arrival {
    /// Its length, bytes.
    pub(super) len: usize,
    /// Who sent it.
    pub(super) peer: SocketAddr,
    /// Our address that it was sent to, with port 0: what the transfer's socket binds to. On a
    /// machine with several addresses any other would make the client drop the answer.
    pub(super) local: SocketAddr,
}

/// A socket at the well-known port.
pub(super) struct Listener {
    socket: UdpSocket,
    bound: SocketAddr,
}

/// Has the kernel say which address each datagram was sent to (ip(7) `IP_PKTINFO`,
/// RFC 3542 §6.2).
pub(super) fn prepare(socket: &StdSocket) -> io::Result<SocketAddr> {
    let bound = socket.local_addr()?;
    socket.set_nonblocking(true)?;
    match bound {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    Ok(bound)
}

impl Listener {
    /// Takes over a socket that has been through [`prepare`]. Needs a tokio runtime.
    pub(super) fn new(socket: StdSocket) -> io::Result<Self> {
        Ok(Listener {
            bound: socket.local_addr()?,
            socket: UdpSocket::from_std(socket)?,
        })
    }

    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let take = || self.take(buffer);
        self.socket.async_io(Interest::READABLE, take).await
    }

    fn take(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let peer = message.address.as_ref().and_then(socket_addr);
        let peer = peer.ok_or(io::ErrorKind::InvalidData)?;
        let local = message.cmsgs()?.find_map(|note| local_addr(&note));
        let mut fallback = self.bound;
        fallback.set_port(0);
        Ok(Arrival {
            len: message.bytes,
            peer,
            local: local.unwrap_or(fallback),
        })
    }
}

fn socket_addr(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|&addr| SocketAddr::V4(addr.into()));
    v4.or_else(|| {
        storage
            .as_sockaddr_in6()
            .map(|&addr| SocketAddr::V6(addr.into()))
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's control messages, of which two matter"
)]
fn local_addr(note: &ControlMessageOwned) -> Option<SocketAddr> {
    match note {
        // The local address of the packet's route: right for a broadcast, too.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let ip = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), 0))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let scope = if ip.is_unicast_link_local() {
                info.ipi6_ifindex
            } else {
                0
            };
            Some(SocketAddr::V6(SocketAddrV6::new(ip, 0, 0, scope)))
        }
        _ => None,
    }
}
