//! Packets that no program at hand sends: of a PXE ROM beside another server, and plain BOOTP.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use bootd_protocol::dhcp::packet::Builder;
use bootd_protocol::dhcp::{CLIENT_PORT, SERVER_PORT};
use socket2::{Domain, Socket, Type};

use super::place::{CARD, Station};
use crate::cluster::wait_for;

const LIMIT: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(500);

/// Broadcasts a question from a station, again and again, until `wanted` takes one of the packets
/// that come back.
pub(super) fn ask<T: Send>(
    station: &Station,
    question: &Builder,
    wanted: impl Fn(&[u8]) -> Option<T> + Sync,
) -> Result<T> {
    let question = question.build().bytes;
    station.netns.inside(None, || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(CARD.as_bytes()))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(AGAIN))?;
        let servers = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
        wait_for("an answer", LIMIT, || {
            socket.send_to(&question, servers)?;
            Ok(answers(&socket).find_map(|it| wanted(&it)))
        })
    })
}

/// What comes until nothing comes for a while.
fn answers(socket: &UdpSocket) -> impl Iterator<Item = Vec<u8>> + '_ {
    std::iter::from_fn(|| {
        let mut buffer = [0; 1500];
        let len = socket.recv(&mut buffer).ok()?;
        Some(buffer[..len].to_vec())
    })
}
