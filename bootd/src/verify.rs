//! The edge of the verify protocol: one thread, one socket, the master's machine.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Instant;

use bootd_protocol::verify::MAX_LEN;
use bootd_protocol::verify::header::Drop as Dropped;
use bootd_protocol::verify::key::{PublicKey, SecretKey};
use bootd_protocol::verify::master::{
    Command, Fact, Gate, Master, Observation, Standing, Wanted, Wishes,
};
use bootd_protocol::verify::message::{Ask, Identity, Order, Receipt, Report, Sequence};
use catalog::snapshot::Node;
use catalog::state::{KeyReplay, Record};
use tracing::{debug, info};

use crate::counters::Counters;
use crate::desired::Desired;
use crate::locations::Locations;
use crate::orders::Orders;
use crate::presence::Presence;
use crate::recorder::Recorder;
use crate::registrar::Registrar;
use crate::supervision::{BEAT_INTERVAL, Pulse};
use crate::unwanted::Unwanted;
use crate::wishes::{Wisher, located, verify_identity};

/// What the edge works with.
pub struct Verify {
    /// Where datagrams come in.
    pub socket: UdpSocket,
    /// The catalog in force.
    pub desired: Desired,
    /// Where what is seen is written.
    pub recorder: Recorder,
    /// Where the catalog is edited.
    pub registrar: Registrar,
    /// Where it is told how nodes are doing.
    pub presence: Presence,
    /// Orders to many nodes.
    pub orders: Orders,
    /// Where machines were when DHCP heard of them.
    pub locations: Locations,
    /// Its numbers.
    pub counters: Arc<Counters>,
    /// Its sign of life.
    pub pulse: Pulse,
}

/// The master's machine, knowing what an earlier run has seen.
#[must_use]
pub fn machine(seed: &[u8; 32], epoch: u64, http_port: u16, replays: &[KeyReplay]) -> Master {
    let mut machine = Master::new(SecretKey::from_seed(seed), epoch, http_port);
    for replay in replays {
        if let Some(key) = PublicKey::from_bytes(&replay.key) {
            let datagram = u32::try_from(replay.seq).unwrap_or(u32::MAX);
            machine.restore(
                key.id(),
                Sequence {
                    boot: replay.boot,
                    datagram,
                },
            );
        }
    }
    machine
}

/// The catalog, and the orders that nodes are under.
struct Asked<'a> {
    wisher: Wisher<'a>,
    orders: &'a Orders,
}

impl Wishes for Asked<'_> {
    fn standing(&self, who: &Identity) -> Standing {
        self.wisher.standing(who)
    }

    fn gate(&self, name: &str, ask: &Ask, version: u8) -> Gate {
        self.orders.gate(name, ask, version)
    }

    fn trial(&self, name: &str, ask: &Ask) -> Option<Wanted> {
        let (_, wanted) = self.orders.trial(self.wisher.view, name, ask)?;
        Some(wanted)
    }

    fn receipt(&self, name: &str, report: &Report) -> Receipt {
        let restart = self.orders.restart(name, report);
        Receipt {
            next_report: self.wisher.presence.next_report(),
            order: restart.as_ref().map_or(Order::None, |_| Order::Restart),
            reason: restart.unwrap_or_default(),
        }
    }
}

/// Whether a node says of itself what its row does not: else the catalog is left alone, which
/// even an edit that changes nothing would lock.
fn is_news(row: &Node, says: &Identity) -> bool {
    row.mac.is_none()
        || row.arch.is_none()
        || row.firmware.is_none()
        || row.uuid.is_none() && says.uuid.is_usable()
}

impl Verify {
    /// Serves for ever.
    ///
    /// # Errors
    /// The socket fails.
    pub fn run(self, mut machine: Master) -> io::Result<()> {
        let mut buffer = [0; MAX_LEN + 1];
        let mut unwanted = Unwanted::new(Instant::now());
        self.socket.set_read_timeout(Some(BEAT_INTERVAL))?;
        loop {
            self.pulse.beat();
            let (len, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                // ICMP's answer to an answer of ours: its receiver is gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                // Nothing to do.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let view = self.desired.view();
            let wisher = Wisher {
                view: &view,
                presence: &self.presence,
                locations: &self.locations,
            };
            let asked = Asked {
                wisher,
                orders: &self.orders,
            };
            if let Err(reason) = machine.handle_datagram(from, &buffer[..len], &asked) {
                debug!(%from, "verify datagram dropped: {reason}");
            }
            while let Some(command) = machine.next_command() {
                self.obey(command, &mut unwanted);
            }
            self.count(&machine);
        }
    }

    fn obey(&self, command: Command, unwanted: &mut Unwanted) {
        match command {
            Command::Send { to, datagram } => {
                if let Err(error) = self.socket.send_to(&datagram, to) {
                    debug!(%to, "verify answer not sent: {error}");
                }
            }
            Command::Enrol(identity) => {
                self.registrar.enrol(located(&identity, &self.locations));
            }
            Command::BindKey(identity) => {
                let key = *identity.key.as_bytes();
                self.registrar.bind_key(verify_identity(&identity), key);
            }
            Command::Ignored { machine, reason } => {
                unwanted.tell(&machine, &reason, &self.recorder);
            }
            Command::Observe(observation) => self.observe(&observation),
        }
    }

    fn observe(&self, observation: &Observation) {
        let Observation {
            name,
            identity,
            sequence,
            fact,
            ..
        } = observation;
        if let (Some(name), Fact::Asked { ask, verdict, .. }) = (name, fact) {
            let manifest = ask.manifest.short();
            info!(node = name, manifest, action = ?verdict.action, reason = verdict.reason, "asked");
            let view = self.desired.view();
            if view
                .snapshot
                .node(name)
                .is_none_or(|row| is_news(row, identity))
            {
                self.registrar
                    .learn(name.clone(), verify_identity(identity));
            }
        }
        if !matches!(fact, Fact::KeyOffered { .. }) && identity.key_is_kept {
            let key = *identity.key.as_bytes();
            let (boot, seq) = (sequence.boot, u64::from(sequence.datagram));
            self.recorder
                .record(Record::Replay(KeyReplay { key, boot, seq }));
        }
        self.presence.observed(observation);
        self.orders.observed(observation);
    }

    fn count(&self, machine: &Master) {
        let (counters, seen) = (&self.counters, machine.counters());
        counters.verify_received.set(seen.received);
        counters.verify_answered.set(seen.answered);
        counters.verify_reports.set(seen.reports);
        for (reason, count) in seen.by_reason() {
            let counter = match reason {
                Dropped::Garbage => &counters.verify_garbage,
                Dropped::Malformed => &counters.verify_malformed,
                Dropped::Version => &counters.verify_version,
                Dropped::Kind => &counters.verify_kind,
                Dropped::Signature => &counters.verify_signature,
                Dropped::Replayed => &counters.verify_replayed,
                Dropped::Ignored => &counters.verify_ignored,
                Dropped::Unasked | Dropped::PastEpoch => continue,
            };
            counter.set(count);
        }
    }
}
