//! A transfer's own socket, and how blocks leave through it.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::os::fd::AsRawFd as _;

use bootd_protocol::tftp::{DATA_HEADER_LEN, Run, data_header};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, recv, sendmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::Source;

/// Most datagrams that one system call may carry (the kernel's `UDP_MAX_SEGMENTS`, udp(7)).
const MAX_SEGMENTS: u16 = 64;

/// Most bytes that one system call may carry: below the largest UDP payload.
const MAX_BATCH: u16 = 65_000;

thread_local! {
    /// Where blocks from a disk are read to on their way out: one per thread, not per client.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why blocks could not be sent.
pub(super) enum SendError {
    /// The client's port is closed.
    Unreachable,
    /// The file cannot be read.
    Unreadable(io::Error),
}

/// A socket connected to one client.
pub(super) struct Outlet {
    pub(super) socket: UdpSocket,
    /// Whether the kernel cuts a batch into datagrams (UDP_SEGMENT, udp(7)); given up at the
    /// first sign that this path cannot: blocks above its MTU, or a card without checksums.
    segments: bool,
}

impl Outlet {
    /// A socket at `local`, any port, connected to `peer`.
    pub(super) fn connect(local: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        let socket = StdSocket::bind(local)?;
        socket.connect(peer)?;
        socket.set_nonblocking(true)?;
        Ok(Outlet {
            socket: UdpSocket::from_std(socket)?,
            segments: true,
        })
    }

    /// Takes a datagram that the event loop has reported.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.try_recv(buffer)
    }

    /// Takes a datagram that the event loop may not have heard of yet.
    pub(super) fn receive_unreported(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(
            self.socket.as_raw_fd(),
            buffer,
            MsgFlags::MSG_DONTWAIT,
        )?)
    }

    /// Sends one datagram. What the network does not take is lost, as on the wire.
    pub(super) async fn send(&self, bytes: &[u8]) -> Result<u64, SendError> {
        match self.socket.send(bytes).await {
            Ok(len) => Ok(u64::try_from(len).unwrap_or(0)),
            Err(error) => lost(&error).map(|()| 0),
        }
    }

    /// Sends all blocks of `run`; gives back the bytes sent, headers included.
    pub(super) async fn send_run(&mut self, source: &Source, run: Run) -> Result<u64, SendError> {
        let mut sent = 0;
        let mut left = Some(run);
        while let Some(run) = left {
            let batch = self.batch(&run);
            let attempt = SCRATCH.with_borrow_mut(|scratch| {
                let payload = source
                    .bytes(run.offset, payload_len(&run, batch), scratch)
                    .map_err(SendError::Unreadable)?;
                let give = || self.give(&run, batch, payload);
                Ok(self.socket.try_io(Interest::WRITABLE, give))
            })?;
            match attempt {
                Ok(len) => sent += u64::try_from(len).unwrap_or(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // An error here is reported by the next attempt.
                    let _ = self.socket.writable().await;
                    continue;
                }
                Err(error) if batch > 1 && cannot_segment(&error) => {
                    self.segments = false;
                    continue;
                }
                Err(error) => lost(&error)?,
            }
            left = run.skip(batch);
        }
        Ok(sent)
    }

    /// How many of the run's blocks go into the next system call.
    fn batch(&self, run: &Run) -> u16 {
        if !self.segments {
            return 1;
        }
        let datagram = run.block_size.saturating_add(4);
        run.count.min(MAX_SEGMENTS).min(MAX_BATCH / datagram).max(1)
    }

    fn give(&self, run: &Run, batch: u16, mut payload: &[u8]) -> io::Result<usize> {
        let mut headers = [[0; DATA_HEADER_LEN]; MAX_SEGMENTS as usize];
        let headers = &mut headers[..usize::from(batch)];
        for (header, index) in headers.iter_mut().zip(0..) {
            *header = data_header(run.block(index).0);
        }
        let mut parts = Vec::with_capacity(headers.len() * 2);
        for header in &*headers {
            let (block, rest) = payload.split_at(payload.len().min(run.block_size.into()));
            parts.extend([IoSlice::new(header), IoSlice::new(block)]);
            payload = rest;
        }
        let size = run.block_size.saturating_add(4);
        let segments = [ControlMessage::UdpGsoSegments(&size)];
        let control = if batch > 1 { &segments[..] } else { &[] };
        let socket = self.socket.as_raw_fd();
        let to = None::<&SockaddrStorage>;
        Ok(sendmsg(socket, &parts, control, MsgFlags::empty(), to)?)
    }
}

/// Bytes of the file in the first `batch` blocks of `run`.
fn payload_len(run: &Run, batch: u16) -> usize {
    let (_, _, last) = run.block(batch - 1);
    usize::from(run.block_size) * usize::from(batch - 1) + usize::from(last)
}

fn cannot_segment(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(
        number,
        Some(Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::EOPNOTSUPP)
    )
}

/// A full queue, a firewall, a route that comes and goes: the timer will send again. Only a
/// closed port is final.
pub(super) fn lost(error: &io::Error) -> Result<(), SendError> {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return Err(SendError::Unreachable);
    }
    Ok(())
}
