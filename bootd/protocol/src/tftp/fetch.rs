//! The client's side of one read (RFC 1350 §6, RFC 2347 to 2349, RFC 7440 §4).

use std::collections::VecDeque;
use std::time::Duration;

use super::options::push;
use super::{Agreed, DEFAULT_BLOCK_SIZE, ErrorCode, MIN_BLOCK_SIZE, Options, Packet, Request};

/// What to fetch, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPlan {
    /// File name; must hold no NUL.
    pub name: String,
    /// `blksize` to ask for, bytes.
    pub block_size: Option<u16>,
    /// `windowsize` to ask for, blocks.
    pub window: Option<u16>,
    /// Whether to ask for the file's size.
    pub size: bool,
    /// End with ERROR 8 as soon as the size is known: the probe that EDK2 makes before it reads.
    pub probe: bool,
    /// Wait for an answer before repeating oneself; doubled each time, up to eight-fold.
    pub wait: Duration,
    /// Waits in a row after which the server is given up.
    pub tries: u32,
}

impl Default for FetchPlan {
    fn default() -> Self {
        FetchPlan {
            name: String::new(),
            block_size: Some(1_468),
            window: None,
            size: true,
            probe: false,
            wait: Duration::from_secs(1),
            tries: 6,
        }
    }
}

/// What the edge is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchCommand {
    /// Send these bytes: to the well-known port until the first answer has come, then to the
    /// port that it came from (RFC 1350 §4).
    Send(Vec<u8>),
    /// The fetch is over. Datagrams may still be handed in: a repeated last block is
    /// acknowledged again (RFC 1350 §6, "dallying").
    Done(FetchOutcome),
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchOutcome {
    /// The whole file was received.
    Completed {
        /// Its length, bytes.
        len: u64,
    },
    /// The size probe has its answer.
    Probed {
        /// The size that the server gave, bytes.
        size: Option<u64>,
    },
    /// The server has sent an ERROR.
    Refused(ErrorCode),
    /// The server has broken the protocol: a block above the agreed size, or options that were
    /// not asked for.
    Broken,
    /// The server has not answered for [`FetchPlan::tries`] waits.
    Silent,
}

/// A part of the file, borrowed from the datagram. Pieces come in order, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Where it belongs in the file, bytes.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asking,
    Receiving,
    Dallying,
    Ended,
}

/// The client's side of one read request.
#[derive(Debug)]
pub struct Fetch {
    plan: FetchPlan,
    agreed: Agreed,
    phase: Phase,
    /// Blocks received in order; they count from 1 and do not wrap here.
    received: u64,
    len: u64,
    /// Blocks received since the last acknowledgement.
    unacked: u16,
    /// Blocks that were not the next one, since the last acknowledgement.
    strays: u16,
    silent: u32,
    deadline: Duration,
    commands: VecDeque<FetchCommand>,
}

impl Fetch {
    /// Starts a fetch: the first command is the request.
    #[must_use]
    pub fn new(plan: FetchPlan, now: Duration) -> Self {
        let mut fetch = Fetch {
            deadline: now,
            plan,
            agreed: Agreed::default(),
            phase: Phase::Asking,
            received: 0,
            len: 0,
            unacked: 0,
            strays: 0,
            silent: 0,
            commands: VecDeque::new(),
        };
        fetch.repeat(now);
        fetch
    }

    /// What the server has agreed to; what RFC 1350 says, before its answer has come.
    #[must_use]
    pub const fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// The next thing to do; ask until there is none.
    pub fn next_command(&mut self) -> Option<FetchCommand> {
        self.commands.pop_front()
    }

    /// When [`Fetch::handle_timeout`] wants to be called; none once the fetch is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Asking | Phase::Receiving => Some(self.deadline),
            Phase::Dallying | Phase::Ended => None,
        }
    }

    /// Repeats the last word if the server has been silent; calling too early does nothing.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        self.silent += 1;
        if self.silent > self.plan.tries {
            return self.end(FetchOutcome::Silent);
        }
        self.repeat(now);
    }

    /// Takes a datagram of the server. Total: bytes that are no fitting packet change nothing.
    pub fn handle_packet<'a>(&mut self, datagram: &'a [u8], now: Duration) -> Option<Piece<'a>> {
        let packet = Packet::parse(datagram).ok()?;
        match (self.phase, packet) {
            (Phase::Ended, _) => None,
            (Phase::Asking | Phase::Receiving, Packet::Error { code, .. }) => {
                self.end(FetchOutcome::Refused(code));
                None
            }
            (Phase::Asking, Packet::OptionAck(options)) => {
                self.settle(options, now);
                None
            }
            // The answer to an OACK was lost.
            (Phase::Receiving, Packet::OptionAck(_)) if self.received == 0 => {
                self.acknowledge(now);
                None
            }
            (_, Packet::Data { block, payload }) => self.handle_data(block, payload, now),
            (
                _,
                Packet::Read(_)
                | Packet::Write(_)
                | Packet::Ack { .. }
                | Packet::Error { .. }
                | Packet::OptionAck(_),
            ) => None,
        }
    }

    fn settle(&mut self, options: Options<'_>, now: Duration) {
        let Some(agreed) = self.judge(options) else {
            return self.fail(ErrorCode::OptionsRefused, FetchOutcome::Broken);
        };
        self.agreed = agreed;
        if self.plan.probe {
            let outcome = FetchOutcome::Probed { size: agreed.size };
            return self.fail(ErrorCode::OptionsRefused, outcome);
        }
        self.phase = Phase::Receiving;
        self.acknowledge(now);
    }

    /// A server may answer less than was asked for, never more (RFC 2348, RFC 7440).
    fn judge(&self, options: Options<'_>) -> Option<Agreed> {
        let within = |name: &str, asked: Option<u16>, least: u16, unsaid: u16| {
            let Some(value) = options.number(name) else {
                return Some(unsaid);
            };
            let value = u16::try_from(value).ok()?;
            (least..=asked?).contains(&value).then_some(value)
        };
        Some(Agreed {
            block_size: within(
                "blksize",
                self.plan.block_size,
                MIN_BLOCK_SIZE,
                DEFAULT_BLOCK_SIZE,
            )?,
            window: within("windowsize", self.plan.window, 1, 1)?,
            timeout: None,
            size: options.number("tsize"),
        })
    }

    fn handle_data<'a>(
        &mut self,
        number: u16,
        payload: &'a [u8],
        now: Duration,
    ) -> Option<Piece<'a>> {
        let [.., high, low] = (self.received + 1).to_be_bytes();
        if number != u16::from_be_bytes([high, low]) || self.phase == Phase::Dallying {
            self.stray(now);
            return None;
        }
        if payload.len() > usize::from(self.agreed.block_size) {
            self.fail(ErrorCode::IllegalOperation, FetchOutcome::Broken);
            return None;
        }
        let offset = self.len;
        self.received += 1;
        self.len += u64::try_from(payload.len()).unwrap_or(u64::MAX);
        self.unacked += 1;
        self.strays = 0;
        self.silent = 0;
        self.phase = Phase::Receiving;
        self.deadline = now + self.plan.wait;
        if payload.len() < usize::from(self.agreed.block_size) {
            self.acknowledge(now);
            self.phase = Phase::Dallying;
            let outcome = FetchOutcome::Completed { len: self.len };
            self.commands.push_back(FetchCommand::Done(outcome));
        } else if self.unacked >= self.agreed.window {
            self.acknowledge(now);
        }
        Some(Piece {
            offset,
            bytes: payload,
        })
    }

    /// A block that is not the next one: something was lost, or comes twice. Say at once what is
    /// missing (RFC 7440 §4), but once per window, not once per block.
    fn stray(&mut self, now: Duration) {
        if self.phase == Phase::Asking {
            return;
        }
        let due = self.strays.is_multiple_of(self.agreed.window);
        if due || self.phase == Phase::Dallying {
            self.acknowledge(now);
        }
        self.strays = self.strays.wrapping_add(1);
    }

    fn acknowledge(&mut self, now: Duration) {
        let [.., high, low] = self.received.to_be_bytes();
        let block = u16::from_be_bytes([high, low]);
        self.unacked = 0;
        self.send(Packet::Ack { block }.to_bytes(), now);
    }

    fn repeat(&mut self, now: Duration) {
        if self.phase == Phase::Asking {
            let request = self.request();
            self.send(request, now);
        } else {
            self.acknowledge(now);
        }
    }

    fn request(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        if self.plan.size || self.plan.probe {
            push(&mut wire, "tsize", 0);
        }
        if let Some(block_size) = self.plan.block_size {
            push(&mut wire, "blksize", block_size.into());
        }
        if let Some(window) = self.plan.window {
            push(&mut wire, "windowsize", window.into());
        }
        Packet::Read(Request {
            name: self.plan.name.as_bytes(),
            mode: b"octet",
            options: Options::from_wire(&wire),
        })
        .to_bytes()
    }

    fn send(&mut self, bytes: Vec<u8>, now: Duration) {
        self.commands.push_back(FetchCommand::Send(bytes));
        self.deadline = now + self.plan.wait * (1 << self.silent.min(3));
    }

    fn fail(&mut self, code: ErrorCode, outcome: FetchOutcome) {
        let message = b"User aborted the transfer";
        let error = Packet::Error { code, message }.to_bytes();
        self.commands.push_back(FetchCommand::Send(error));
        self.end(outcome);
    }

    fn end(&mut self, outcome: FetchOutcome) {
        self.phase = Phase::Ended;
        self.commands.push_back(FetchCommand::Done(outcome));
    }
}
