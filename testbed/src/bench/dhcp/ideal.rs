//! The limit of this machine: answers DISCOVER and REQUEST and does nothing else. It has no
//! leases: an address follows from the transaction id. With a journal it does what a durable
//! lease costs at least: one record for each ACK, one fdatasync(2) for each batch, before its
//! ACKs leave.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::packet::{FIXED, Kind, SHORTEST, option, parse};
use crate::bench::wire::{self, BATCH, Inbox, Outbox};

/// The first address given, and how many there are.
const FIRST: u32 = u32::from_be_bytes([10, 77, 1, 0]);
const POOL: u32 = 64_000;
/// Bytes written for each lease.
const RECORD: usize = 64;
/// Between two looks at whether to stop.
const WAIT: Duration = Duration::from_millis(100);

/// A bare server.
pub(in crate::bench) struct Ideal {
    socket: UdpSocket,
    own: Ipv4Addr,
    journal: Option<File>,
}

impl Ideal {
    /// At an address of its own; with a journal, durable.
    ///
    /// # Errors
    /// It is taken.
    pub(in crate::bench) fn new(at: SocketAddrV4, journal: Option<File>) -> Result<Self> {
        let socket = wire::socket(at, WAIT)?;
        let own = *at.ip();
        Ok(Ideal {
            socket,
            own,
            journal,
        })
    }

    #[cfg(test)]
    pub(super) fn address(&self) -> std::io::Result<SocketAddrV4> {
        wire::v4(self.socket.local_addr()?)
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// The socket or the journal fails.
    pub(in crate::bench) fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let (mut inbox, mut outbox) = (Inbox::new(1500), Outbox::new());
        while !stop.load(Ordering::Relaxed) {
            let came = inbox.receive(&self.socket, BATCH)?;
            let mut leases = 0;
            for index in 0..came {
                let (packet, from) = inbox.datagram(index);
                leases += usize::from(self.answer(packet, from, &mut outbox) == Some(Kind::Ack));
            }
            if let Some(journal) = self.journal.as_mut().filter(|_| leases > 0) {
                journal.write_all(&[b'.'; RECORD * BATCH][..RECORD * leases])?;
                journal.sync_data()?;
            }
            outbox.flush(&self.socket)?;
        }
        Ok(())
    }

    fn answer(
        &self,
        packet: &[u8],
        from: Option<SocketAddrV4>,
        outbox: &mut Outbox,
    ) -> Option<Kind> {
        let asked = parse(packet)?;
        let kind = match asked.kind {
            Kind::Discover => Kind::Offer,
            Kind::Request => Kind::Ack,
            Kind::Offer | Kind::Ack | Kind::Nak => return None,
        };
        let address = Ipv4Addr::from(FIRST + asked.transaction % POOL);
        let answer = outbox.push(Some(from?));
        answer.extend_from_slice(&packet[..FIXED]);
        answer[0] = 2;
        answer[16..20].copy_from_slice(&address.octets());
        answer[20..24].copy_from_slice(&self.own.octets());
        answer[108..116].copy_from_slice(b"boot.efi");
        option(answer, 53, &[kind.code()]);
        option(answer, 54, &self.own.octets());
        option(answer, 51, &43_200_u32.to_be_bytes());
        option(answer, 1, &[255, 255, 0, 0]);
        answer.push(255);
        answer.resize(SHORTEST, 0);
        Some(kind)
    }
}
