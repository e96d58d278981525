//! The sockets of DHCP, and how packets go through them: as many as there are with each system
//! call.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use bootd_protocol::dhcp::server::{Arrival, Datagram};
use bootd_protocol::dhcp::{PROXY_PORT, SERVER_PORT};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg,
};
use tracing::warn;

use super::frame::Frames;
use super::probe::Probes;
use crate::sockets::{SocketError, udp_with_arrival};

/// The largest datagram that is looked at: no DHCP client sends more than its link carries.
const MAX_DATAGRAM: usize = 2048;

/// Packets taken or sent with one system call.
const BATCH: usize = 64;

/// Room for what one system call receives, kept from call to call.
pub(super) struct Inbox {
    storage: Vec<[u8; MAX_DATAGRAM]>,
    headers: MultiHeaders<SockaddrIn>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        let control = cmsg_space!(nix::libc::in_pktinfo);
        Inbox {
            storage: vec![[0; MAX_DATAGRAM]; BATCH],
            headers: MultiHeaders::preallocate(BATCH, Some(control)),
        }
    }
}

/// The sockets.
pub struct Sockets {
    /// Port 67, and port 4011 for boot servers.
    ports: [(u16, OwnedFd); 2],
    frames: Option<Frames>,
    unsent_told: AtomicBool,
    pub(super) probes: Probes,
}

/// Where something has come.
#[derive(Debug, Default)]
pub(super) struct Ready {
    ports: [bool; 2],
    pub(super) probes: bool,
}

impl Sockets {
    /// Opens all of them. Those that need `CAP_NET_RAW` may be missing: answers to clients
    /// without an address are then broadcast, and addresses are offered unprobed.
    ///
    /// # Errors
    /// A port is taken, or not for us.
    pub fn open() -> Result<Self, SocketError> {
        let open = |port| Ok((port, udp_with_arrival("DHCP", port)?));
        let frames = Frames::open();
        if let Err(error) = &frames {
            warn!("no packet socket ({error}): answers to new clients are broadcast");
        }
        Ok(Sockets {
            ports: [open(SERVER_PORT)?, open(PROXY_PORT)?],
            frames: frames.ok(),
            unsent_told: AtomicBool::new(false),
            probes: Probes::open(),
        })
    }

    /// Waits until a packet is there, or this long; gives back where.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn wait(&self, pause: PollTimeout) -> io::Result<Ready> {
        let ports = self.ports.iter().map(|(_, socket)| socket.as_fd());
        let mut fds: Vec<PollFd<'_>> = ports
            .chain(self.probes.sockets())
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, pause) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = fds.iter().map(|fd| fd.any().unwrap_or(true));
        let mut next = || ready.next().unwrap_or(false);
        Ok(Ready {
            ports: [next(), next()],
            probes: ready.any(|it| it),
        })
    }

    /// Gives `take` what has come at the ports that are ready, at most a batch from each.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn receive(
        &self,
        ready: &Ready,
        inbox: &mut Inbox,
        mut take: impl FnMut(&[u8], Arrival),
    ) -> io::Result<()> {
        for ((port, socket), ready) in self.ports.iter().zip(ready.ports) {
            if ready {
                receive(*port, socket, inbox, &mut take)?;
            }
        }
        Ok(())
    }

    /// Sends; what cannot be sent is as if it were lost on the way.
    pub(super) fn send(&self, datagrams: &[Datagram]) {
        let mut groups: BTreeMap<(u32, SocketAddrV4), Vec<&Datagram>> = BTreeMap::new();
        for datagram in datagrams {
            match (&self.frames, datagram.link) {
                (Some(frames), Some(station)) => frames.send(datagram, station),
                (None, Some(_)) | (_, None) => {
                    let key = (leaves_by(datagram), datagram.source);
                    groups.entry(key).or_default().push(datagram);
                }
            }
        }
        for ((interface, source), group) in groups {
            for some in group.chunks(BATCH) {
                self.send_group(interface, source, some);
            }
        }
    }

    /// All of these leave by the same interface and from the same address.
    fn send_group(&self, interface: u32, source: SocketAddrV4, group: &[&Datagram]) {
        let socket = &self.ports[usize::from(source.port() == PROXY_PORT)].1;
        let to: Vec<Option<SockaddrIn>> = group
            .iter()
            .map(|datagram| Some(SockaddrIn::from(destination(datagram))))
            .collect();
        let parts: Vec<[IoSlice<'_>; 1]> = group
            .iter()
            .map(|datagram| [IoSlice::new(&datagram.bytes)])
            .collect();
        let info = packet_info(interface, *source.ip());
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let mut done = 0;
        while done < group.len() {
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(
                group.len() - done,
                Some(cmsg_space!(nix::libc::in_pktinfo)),
            );
            let sent = sendmmsg(
                socket.as_raw_fd(),
                &mut headers,
                &parts[done..],
                &to[done..],
                control,
                MsgFlags::MSG_DONTWAIT,
            );
            match sent.map(Iterator::count) {
                Ok(count) if count > 0 => done += count,
                Ok(_) => return,
                Err(error) => {
                    self.warn_unsent(group[done], error);
                    done += 1;
                }
            }
        }
    }

    fn warn_unsent(&self, datagram: &Datagram, error: Errno) {
        // A network that is gone says so with every packet.
        if !self.unsent_told.swap(true, Ordering::Relaxed) {
            let to = datagram.destination;
            warn!(%to, "DHCP answer not sent: {error} (told once)");
        }
    }
}

/// Without a packet socket a client that has no address is reached by broadcast alone.
fn destination(datagram: &Datagram) -> SocketAddrV4 {
    match datagram.link {
        Some(_) => SocketAddrV4::new(Ipv4Addr::BROADCAST, datagram.destination.port()),
        None => datagram.destination,
    }
}

/// The interface that a datagram must leave by: a broadcast is for the link its question came in
/// by; what has an address of its own goes where the routes say (0).
fn leaves_by(datagram: &Datagram) -> u32 {
    match *destination(datagram).ip() {
        Ipv4Addr::BROADCAST => datagram.interface,
        _ => 0,
    }
}

fn receive(
    port: u16,
    socket: &OwnedFd,
    inbox: &mut Inbox,
    take: &mut impl FnMut(&[u8], Arrival),
) -> io::Result<()> {
    let mut parts: Vec<[IoSliceMut<'_>; 1]> = inbox
        .storage
        .iter_mut()
        .map(|buffer| [IoSliceMut::new(buffer)])
        .collect();
    let received = recvmmsg(
        socket.as_raw_fd(),
        &mut inbox.headers,
        &mut parts,
        MsgFlags::MSG_DONTWAIT,
        None,
    );
    let messages = match received {
        Ok(messages) => messages,
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for message in messages {
        let Some(from) = message.address else {
            continue;
        };
        let arrival = message.cmsgs()?.find_map(|control| {
            let ControlMessageOwned::Ipv4PacketInfo(info) = control else {
                return None;
            };
            let address = |it: nix::libc::in_addr| Ipv4Addr::from(u32::from_be(it.s_addr));
            let (local, sent_to) = (address(info.ipi_spec_dst), address(info.ipi_addr));
            Some(Arrival {
                interface: u32::try_from(info.ipi_ifindex).unwrap_or(0),
                local,
                broadcast: sent_to != local,
                port,
                from_port: from.port(),
            })
        });
        if let (Some(arrival), Some(bytes)) = (arrival, message.iovs().next()) {
            take(bytes, arrival);
        }
    }
    Ok(())
}

fn packet_info(interface: u32, source: Ipv4Addr) -> nix::libc::in_pktinfo {
    nix::libc::in_pktinfo {
        ipi_ifindex: i32::try_from(interface).unwrap_or(0),
        ipi_spec_dst: nix::libc::in_addr {
            s_addr: u32::from(source).to_be(),
        },
        ipi_addr: nix::libc::in_addr { s_addr: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One system call sends with one interface: a unicast beside it must not take a broadcast
    /// off its link.
    #[test]
    fn broadcasts_stay_on_their_link() {
        let to = |ip: [u8; 4], link| Datagram {
            interface: 3,
            source: SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 1), 67),
            destination: SocketAddrV4::new(ip.into(), 68),
            link,
            bytes: vec![],
        };
        let station = Some(bootd_protocol::identity::Mac([2; 6]));
        for (datagram, expected) in [
            (to([255; 4], None), 3),
            (to([10, 1, 0, 9], None), 0),
            (to([10, 1, 0, 9], station), 3),
        ] {
            assert_eq!(leaves_by(&datagram), expected, "{datagram:?}");
        }
    }
}
