//! Many datagrams in one system call (recvmmsg(2), sendmmsg(2)), for both ends of a measurement:
//! neither the load nor an ideal server may be what limits it.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrStorage, recvmmsg, sendmmsg,
    setsockopt, sockopt,
};

/// Datagrams in one system call.
pub(super) const BATCH: usize = 64;

/// A UDP socket whose queue holds what a burst brings; it waits for so long at most.
pub(super) fn socket(at: SocketAddrV4, wait: Duration) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    widen(&socket, 16 << 20)?;
    socket.set_read_timeout(Some(wait))?;
    Ok(socket)
}

/// Makes room for `bytes` in the socket's queue: beyond the system's limit as root, else up to
/// it.
pub(super) fn widen(socket: &impl std::os::fd::AsFd, bytes: usize) -> io::Result<()> {
    let forced = setsockopt(socket, sockopt::RcvBufForce, &bytes);
    Ok(forced.or_else(|_| setsockopt(socket, sockopt::RcvBuf, &bytes))?)
}

/// Datagrams that have come.
pub(super) struct Inbox {
    headers: MultiHeaders<SockaddrStorage>,
    buffers: Vec<Vec<u8>>,
    filled: Vec<(usize, Option<SocketAddrV4>)>,
}

impl Inbox {
    /// Room for [`BATCH`] datagrams of up to `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        Inbox {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: vec![vec![0; size]; BATCH],
            filled: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what is there, at most so many; waits for the first if the socket does. How many
    /// came: none if the wait was over, or a signal or a closed port was reported.
    pub(super) fn receive(&mut self, socket: &impl AsRawFd, at_most: usize) -> io::Result<usize> {
        self.filled.clear();
        let buffers = self.buffers.iter_mut().take(at_most);
        let mut parts: Vec<_> = buffers.map(|it| [IoSliceMut::new(it)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let fd = socket.as_raw_fd();
        match recvmmsg(fd, &mut self.headers, parts.iter_mut(), flags, None) {
            Ok(results) => self.filled.extend(results.map(|it| {
                let from = it.address.as_ref().and_then(|it| it.as_sockaddr_in());
                (
                    it.bytes,
                    from.map(|it| SocketAddrV4::new(it.ip(), it.port())),
                )
            })),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(self.filled.len())
    }

    /// One of those received, and where it came from.
    pub(super) fn datagram(&self, index: usize) -> (&[u8], Option<SocketAddrV4>) {
        let (len, from) = self.filled[index];
        (&self.buffers[index][..len], from)
    }
}

/// Datagrams that leave together.
pub(super) struct Outbox {
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<Vec<u8>>,
    to: Vec<Option<SockaddrIn>>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Outbox {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: vec![Vec::new(); BATCH],
            to: Vec::with_capacity(BATCH),
        }
    }

    /// Whether the next one has no room.
    pub(super) fn is_full(&self) -> bool {
        self.to.len() == BATCH
    }

    /// Another datagram, to be filled in; without `to` it goes where the socket is tied to.
    ///
    /// # Panics
    /// When full.
    pub(super) fn push(&mut self, to: Option<SocketAddrV4>) -> &mut Vec<u8> {
        let buffer = &mut self.buffers[self.to.len()];
        self.to.push(to.map(SockaddrIn::from));
        buffer.clear();
        buffer
    }

    /// Sends all. What the network does not take is lost, as on a wire.
    pub(super) fn flush(&mut self, socket: &impl AsRawFd) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.to.len() {
            let buffers = self.buffers[sent..self.to.len()].iter();
            let parts: Vec<_> = buffers.map(|it| [IoSlice::new(it)]).collect();
            let none: [ControlMessage<'_>; 0] = [];
            let (fd, to) = (socket.as_raw_fd(), &self.to[sent..]);
            let flags = MsgFlags::empty();
            sent += match sendmmsg(fd, &mut self.headers, parts.iter(), to, none, flags) {
                Ok(results) => results.count().max(1),
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED | Errno::ENOBUFS) => 1,
                Err(errno) => return Err(errno.into()),
            };
        }
        self.to.clear();
        Ok(())
    }
}

/// An IPv4 address and port.
pub(super) fn v4(address: SocketAddr) -> io::Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}
