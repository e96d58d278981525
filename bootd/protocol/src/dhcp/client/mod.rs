//! The node's DHCP client (RFC 2131, section 4.4).
//!
//! | state | waits for | then |
//! |---|---|---|
//! | selecting | an offer; one that names a master is taken at once, another only when no better one comes before the next packet is due | requesting |
//! | requesting | the chosen server's ACK | bound; selecting after 4 packets |
//! | rebooting | an ACK for the address of the last boot | bound; after 2 packets the remembered lease is used as it is, for a node boots without its master |
//! | informing | an answer that names a master: the lease's server did not, and none is remembered; a boot server beside it may | bound; after 2 packets bound without |
//! | bound | T1 | renewing |
//! | renewing | its server's ACK, until T2 | rebinding |
//! | rebinding | any server's ACK, until the lease ends | selecting |
//! | pausing | the end of the pause after a NAK or a conflict | selecting |

mod lease;
mod question;
mod timing;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

pub use lease::LeaseInfo;

use super::hint::MasterHint;
use super::packet::{Answer, AnswerKind};
use crate::identity::{Arch, Firmware, Mac, SystemUuid};
use question::Question;
use timing::Random;

/// Packets in the requesting state before the client begins anew.
const REQUESTS: u32 = 4;

/// Packets for the address of the last boot before the remembered lease is used.
const REBOOTS: u32 = 2;

/// Packets that ask for a master before the client does without.
const INFORMS: u32 = 2;

/// Pause after a NAK.
const AFTER_NAK: Duration = Duration::from_secs(1);

/// Pause after a conflict (RFC 2131, section 3.1, step 5).
const AFTER_CONFLICT: Duration = Duration::from_secs(10);

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Hardware address of the interface.
    pub mac: Mac,
    /// System UUID, if the board has a usable one.
    pub uuid: Option<SystemUuid>,
    /// Processor architecture and firmware.
    pub machine: (Arch, Firmware),
}

/// What the edge is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send this payload from port 68 to 255.255.255.255, port 67. Before the interface has
    /// an address, the source is 0.0.0.0.
    SendBroadcast(Vec<u8>),
    /// Send this payload from the leased address, port 68, to this server, port 67.
    SendUnicast(Ipv4Addr, Vec<u8>),
    /// Configure the interface like this, in the place of what it has. Comes again with every
    /// renewal.
    Configure(LeaseInfo),
    /// The interface has what it is to have, and this is all that is known. Comes after every
    /// [`Command::Configure`], at once or when it is known where the master is.
    Settled(LeaseInfo),
    /// Take the address off the interface: the lease has ended or was refused.
    Deconfigure,
}

#[derive(Debug)]
enum State {
    Selecting { fallback: Option<Answer> },
    Requesting { chosen: Answer },
    Rebooting { remembered: LeaseInfo },
    Informing { lease: LeaseInfo },
    Bound { lease: LeaseInfo },
    Renewing { lease: LeaseInfo },
    Rebinding { lease: LeaseInfo },
    Pausing,
}

/// The client's machine.
#[derive(Debug)]
pub struct Client {
    config: Config,
    random: Random,
    state: State,
    /// Transaction of the present exchange.
    xid: u32,
    /// Packets sent in the present state.
    attempts: u32,
    /// When the present state was entered: a lease counts from then.
    began: Duration,
    /// When the client began to ask for an address.
    since: Duration,
    /// When the present state times out.
    wake: Duration,
    ignored: u64,
    commands: VecDeque<Command>,
}

impl Client {
    /// A client that knows of no lease; it asks for one at once. Clients with the same `seed`
    /// choose the same transactions and waits: draw it.
    #[must_use]
    pub fn new(config: Config, seed: u32, now: Duration) -> Self {
        let mut client = Client {
            config,
            random: Random::new(seed),
            state: State::Pausing,
            xid: 0,
            attempts: 0,
            began: now,
            since: now,
            wake: now,
            ignored: 0,
            commands: VecDeque::new(),
        };
        client.discover(now);
        client
    }

    /// A client that remembers the lease of its last boot ([`LeaseInfo::obtained`] in terms of
    /// this run's `now`); it asks to have it again. One that has ended counts for nothing.
    #[must_use]
    pub fn with_remembered(
        config: Config,
        seed: u32,
        remembered: LeaseInfo,
        now: Duration,
    ) -> Self {
        let mut client = Client::new(config, seed, now);
        if now < remembered.ends_at() {
            client.commands.clear();
            client.begin(State::Rebooting { remembered }, now);
        }
        client
    }

    /// Takes one datagram that came to port 68. What is not an answer to the present question
    /// is counted and changes nothing.
    pub fn handle_packet(&mut self, bytes: &[u8], now: Duration) {
        // Most of what a rack broadcasts is for somebody else: look at the transaction first.
        let answer = (bytes.get(4..8) == Some(&self.xid.to_be_bytes()))
            .then(|| Answer::parse(bytes).ok())
            .flatten()
            .filter(|answer| answer.mac == self.config.mac);
        let taken = answer.is_some_and(|answer| self.take(answer, now));
        if !taken {
            self.ignored += 1;
        }
    }

    /// Does what is due by `now`; nothing before [`Client::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Duration) {
        if now < self.wake {
            return;
        }
        match std::mem::replace(&mut self.state, State::Pausing) {
            State::Selecting {
                fallback: Some(offer),
            } => self.begin(State::Requesting { chosen: offer }, now),
            state @ State::Selecting { fallback: None } => self.ask_again(state, now),
            State::Requesting { .. } if self.attempts >= REQUESTS => self.discover(now),
            state @ State::Requesting { .. } => self.ask_again(state, now),
            State::Rebooting { remembered } if self.attempts >= REBOOTS => {
                self.use_remembered(remembered, now);
            }
            state @ State::Rebooting { .. } => self.ask_again(state, now),
            State::Informing { lease } if self.attempts >= INFORMS => self.settle(lease),
            state @ State::Informing { .. } => self.ask_again(state, now),
            State::Bound { lease } => self.begin(State::Renewing { lease }, now),
            State::Renewing { lease } if now >= lease.rebind_at() => {
                self.begin(State::Rebinding { lease }, now);
            }
            state @ State::Renewing { .. } => self.ask_again(state, now),
            State::Rebinding { lease } if now >= lease.ends_at() => {
                self.commands.push_back(Command::Deconfigure);
                self.discover(now);
            }
            state @ State::Rebinding { .. } => self.ask_again(state, now),
            State::Pausing => self.discover(now),
        }
    }

    /// The edge found (RFC 5227) that somebody else uses the leased address: it is declined,
    /// and another one is asked for after 10 seconds. Nothing if there is no lease.
    pub fn handle_conflict(&mut self, now: Duration) {
        let Some(lease) = self.lease() else {
            return;
        };
        let question = Question::Decline {
            server: lease.server,
            ip: lease.address,
        };
        self.commands.push_back(Command::Deconfigure);
        self.xid = self.random.next_u32();
        let packet = question.packet(&self.config, self.xid, 0);
        self.commands.push_back(Command::SendBroadcast(packet));
        self.pause(AFTER_CONFLICT, now);
    }

    /// The next thing to do.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`Client::handle_timeout`]; `None` for a lease that never ends.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        (self.wake != Duration::MAX).then_some(self.wake)
    }

    /// The lease that is in use.
    #[must_use]
    pub fn lease(&self) -> Option<&LeaseInfo> {
        match &self.state {
            State::Informing { lease }
            | State::Bound { lease }
            | State::Renewing { lease }
            | State::Rebinding { lease } => Some(lease),
            State::Selecting { .. }
            | State::Requesting { .. }
            | State::Rebooting { .. }
            | State::Pausing => None,
        }
    }

    /// Datagrams that were no answer to the question of their time.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Whether `answer` was one to the present question.
    fn take(&mut self, answer: Answer, now: Duration) -> bool {
        match (&mut self.state, answer.kind) {
            (State::Selecting { fallback }, AnswerKind::Offer) => {
                if LeaseInfo::from_answer(&answer, now).is_none() {
                    return false;
                }
                if answer.master.is_some() {
                    self.begin(State::Requesting { chosen: answer }, now);
                } else {
                    fallback.get_or_insert(answer);
                }
                true
            }
            (State::Requesting { chosen }, kind) => {
                let theirs = answer.server_id == chosen.server_id;
                let ip = chosen.yiaddr;
                theirs && self.conclude(kind, &answer, (ip, None), now)
            }
            (State::Rebooting { remembered }, kind) => {
                let had = (remembered.address, remembered.master);
                self.conclude(kind, &answer, had, now)
            }
            (State::Informing { lease }, AnswerKind::Ack) if answer.master.is_some() => {
                lease.master = answer.master;
                let lease = lease.clone();
                self.settle(lease);
                true
            }
            (State::Renewing { lease }, kind) => {
                let theirs = answer.server_id == lease.server;
                let had = (lease.address, lease.master);
                theirs && self.conclude(kind, &answer, had, now)
            }
            (State::Rebinding { lease }, kind) => {
                let had = (lease.address, lease.master);
                self.conclude(kind, &answer, had, now)
            }
            (
                State::Selecting { .. }
                | State::Informing { .. }
                | State::Bound { .. }
                | State::Pausing,
                _,
            ) => false,
        }
    }

    /// An ACK of the address binds, a NAK ends; anything else is no answer. `had` is the address
    /// that was asked for, and the master that an earlier lease named: a server that is not ours
    /// says nothing of one.
    fn conclude(
        &mut self,
        kind: AnswerKind,
        answer: &Answer,
        had: (Ipv4Addr, Option<MasterHint>),
        now: Duration,
    ) -> bool {
        let (ip, master) = had;
        match kind {
            AnswerKind::Offer => false,
            AnswerKind::Ack => match LeaseInfo::from_answer(answer, self.began) {
                Some(mut lease) if lease.address == ip => {
                    lease.master = lease.master.or(master);
                    self.commands.push_back(Command::Configure(lease.clone()));
                    if lease.master.is_some() {
                        self.settle(lease);
                    } else {
                        self.begin(State::Informing { lease }, now);
                    }
                    true
                }
                Some(_) | None => false,
            },
            AnswerKind::Nak => {
                if self.lease().is_some() {
                    self.commands.push_back(Command::Deconfigure);
                }
                self.pause(AFTER_NAK, now);
                true
            }
        }
    }

    fn settle(&mut self, lease: LeaseInfo) {
        self.commands.push_back(Command::Settled(lease.clone()));
        self.wake = lease.renew_at();
        self.state = State::Bound { lease };
    }

    fn discover(&mut self, now: Duration) {
        self.begin(State::Selecting { fallback: None }, now);
    }

    /// The master is silent, but the lease has not ended: the node uses it and asks on
    /// (RFC 2131, section 3.2, step 4).
    fn use_remembered(&mut self, remembered: LeaseInfo, now: Duration) {
        self.commands
            .push_back(Command::Configure(remembered.clone()));
        self.commands
            .push_back(Command::Settled(remembered.clone()));
        self.begin(State::Rebinding { lease: remembered }, now);
    }

    fn pause(&mut self, pause: Duration, now: Duration) {
        self.state = State::Pausing;
        self.wake = now.saturating_add(pause);
    }

    /// Enters a state that asks. An offer is taken up in its own transaction
    /// (RFC 2131, section 4.4.1); every other exchange has a new one.
    fn begin(&mut self, state: State, now: Duration) {
        if !matches!(state, State::Requesting { .. }) {
            self.xid = self.random.next_u32();
            self.since = now;
        }
        self.attempts = 0;
        self.began = now;
        self.ask_again(state, now);
    }

    fn ask_again(&mut self, state: State, now: Duration) {
        let patience = timing::backoff(self.attempts, &mut self.random);
        let soon = now.saturating_add(patience);
        let (question, server, wake) = match &state {
            State::Selecting { .. } => (Question::Discover, None, soon),
            State::Requesting { chosen } => {
                let (server, ip) = (chosen.server_id, chosen.yiaddr);
                (Question::Select { server, ip }, None, soon)
            }
            State::Rebooting { remembered } => {
                let ip = remembered.address;
                (Question::Reboot { ip }, None, soon)
            }
            State::Informing { lease } => (Question::Inform { ip: lease.address }, None, soon),
            State::Renewing { lease } => {
                let ip = lease.address;
                let wake = timing::again(now, lease.rebind_at());
                (Question::Extend { ip }, Some(lease.server), wake)
            }
            State::Rebinding { lease } => {
                let ip = lease.address;
                (
                    Question::Extend { ip },
                    None,
                    timing::again(now, lease.ends_at()),
                )
            }
            // Neither asks.
            State::Bound { .. } | State::Pausing => return,
        };
        let secs = now.saturating_sub(self.since).as_secs();
        let secs = u16::try_from(secs).unwrap_or(u16::MAX);
        let packet = question.packet(&self.config, self.xid, secs);
        self.commands.push_back(match server {
            Some(server) => Command::SendUnicast(server, packet),
            None => Command::SendBroadcast(packet),
        });
        self.attempts += 1;
        self.wake = wake;
        self.state = state;
    }
}

#[cfg(test)]
mod tests;
