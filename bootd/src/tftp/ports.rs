//! Sockets: the well-known ones, and those that transfers share.
//!
//! RFC 1350 §4 has a server answer from a port of its own choice, so that the pair of ports
//! names the transfer. It need not be a port that nobody else uses: the client's address and
//! port tell transfers at one port of ours apart. So a few ports serve all clients, and one
//! system call takes or gives the datagrams of many.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};

use super::outbox::Letter;
use super::table::Seat;

/// Ports for the transfers of one well-known port. One would do but for what is late: see
/// [`Table::next_port`](super::table::Table::next_port).
pub(super) const PORTS: usize = 4;

/// Room in the kernel for datagrams that wait, bytes: a thousand clients that are switched on
/// at the same time.
const ROOM: usize = 4 << 20;

/// A socket at a well-known port, ready to be served.
pub(super) struct WellKnown {
    pub(super) socket: UdpSocket,
    /// Our address where the kernel does not say which was asked; port 0.
    pub(super) local: SocketAddr,
}

impl WellKnown {
    /// Has the kernel say which address each datagram was sent to (ip(7) `IP_PKTINFO`,
    /// RFC 3542 §6.2): the answer must leave from there.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let mut local = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        match local {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
        widen(&socket);
        local.set_port(0);
        Ok(WellKnown { socket, local })
    }

    /// The ports for its transfers.
    pub(super) fn ports(&self) -> io::Result<Vec<Port>> {
        (0..PORTS).map(|_| Port::new(self.local)).collect()
    }
}

/// A socket that transfers share.
pub(super) struct Port {
    pub(super) socket: UdpSocket,
    /// Sessions that want to send, the next one first.
    pub(super) ready: VecDeque<Seat>,
    /// Answers that belong to no session.
    pub(super) loose: Vec<Letter>,
    /// The kernel takes no more for now.
    pub(super) blocked: bool,
}

impl Port {
    fn new(local: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        // ICMP errors: a client that has gone.
        match local {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
        }
        widen(&socket);
        Ok(Port {
            socket,
            ready: VecDeque::new(),
            loose: Vec::new(),
            blocked: false,
        })
    }

    /// The next client that an ICMP error tells of, and whether its port is closed.
    pub(super) fn next_error(&self) -> Option<(Option<SocketAddr>, bool)> {
        let mut control = nix::cmsg_space!([u8; 128]);
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_ERRQUEUE);
        let told = recvmsg::<SockaddrStorage>(fd, &mut [], Some(&mut control), flags).ok()?;
        let closed = told
            .cmsgs()
            .is_ok_and(|mut notes| notes.any(|it| is_closed(&it)));
        Some((told.address.as_ref().and_then(address), closed))
    }
}

/// More room than the kernel gives unasked; as much as it allows if we are not root.
fn widen(socket: &UdpSocket) {
    if setsockopt(socket, sockopt::RcvBufForce, &ROOM).is_err() {
        let _ = setsockopt(socket, sockopt::RcvBuf, &ROOM);
    }
    if setsockopt(socket, sockopt::SndBufForce, &ROOM).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &ROOM);
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's control messages, of which two matter"
)]
fn is_closed(note: &ControlMessageOwned) -> bool {
    match note {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            let icmp =
                [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin);
            let number = i32::try_from(error.ee_errno).unwrap_or(0);
            icmp && Errno::from_raw(number) == Errno::ECONNREFUSED
        }
        _ => false,
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|&it| SocketAddr::V4(it.into()));
    v4.or_else(|| {
        storage
            .as_sockaddr_in6()
            .map(|&it| SocketAddr::V6(it.into()))
    })
}
