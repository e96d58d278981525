//! The server's side of one read (RFC 1350 §6, RFC 1123 §4.2, RFC 2347, RFC 7440 §4).

use std::collections::VecDeque;
use std::time::Duration;

use super::clock::RoundTrip;
use super::{Agreed, ErrorCode, Limits, Mode, Options, Packet, ReadRequest};

/// A client that was heard so short a time ago has not started anew in the same words.
const RECENT: Duration = Duration::from_millis(500);

/// Silent waits that are followed by the whole window.
const WHOLE_REPEATS: u32 = 3;

/// Longest part of a client's error message that is kept, characters.
const MAX_MESSAGE: usize = 80;

/// What the edge is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send these bytes: an OACK.
    Send(Vec<u8>),
    /// Send these blocks of the file.
    SendData(Run),
    /// The transfer is over; nothing follows.
    Done(Outcome),
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The client has acknowledged the last block.
    Completed,
    /// The client has sent an ERROR.
    Aborted {
        /// Its code.
        code: ErrorCode,
        /// Its message, shortened, without control characters.
        message: String,
    },
    /// The client has asked anew from the same port: it is done with this transfer.
    Superseded,
    /// The client has answered none of [`Limits::silent_waits`] or [`Limits::unheard_waits`] repetitions.
    Silent,
    /// The client answers, but [`Limits::vain_sends`] repetitions have not got it any further.
    Stalled,
}

/// Consecutive blocks to send, each in a datagram of its own behind
/// [`data_header`](super::data_header).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Number of the first block as on the wire; the ones behind it count up and wrap.
    pub block: u16,
    /// Blocks in the run; at least 1.
    pub count: u16,
    /// Where the first block starts in the file, bytes.
    pub offset: u64,
    /// Length of every block but the last, bytes.
    pub block_size: u16,
    /// Length of the last block, bytes: shorter if the file ends in it, down to 0.
    pub last_len: u16,
}

impl Run {
    /// Wire number, offset in the file and length of the run's block `index` (from 0).
    #[must_use]
    pub fn block(&self, index: u16) -> (u16, u64, u16) {
        let is_last = index + 1 >= self.count;
        (
            self.block.wrapping_add(index),
            self.offset + u64::from(index) * u64::from(self.block_size),
            if is_last {
                self.last_len
            } else {
                self.block_size
            },
        )
    }

    /// Bytes of the file in all of its blocks.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let whole = usize::from(self.count) - 1;
        usize::from(self.block_size) * whole + usize::from(self.last_len)
    }

    /// The first `count` blocks at most, which are at least one.
    #[must_use]
    pub fn first(&self, count: u16) -> Run {
        let count = count.clamp(1, self.count);
        Run {
            count,
            last_len: self.block(count - 1).2,
            ..*self
        }
    }

    /// The run without its first `count` blocks; none if nothing is left.
    #[must_use]
    pub fn skip(&self, count: u16) -> Option<Run> {
        let left = self.count.checked_sub(count).filter(|&left| left > 0)?;
        let (block, offset, _) = self.block(count);
        Some(Run {
            block,
            count: left,
            offset,
            ..*self
        })
    }
}

/// What a repeated request means to a transfer that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The same request again: it belongs to this transfer, which has dealt with it.
    Same,
    /// A new session of the client: this transfer has ended, the request wants a new one.
    New,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// OACK sent, ACK 0 awaited.
    Offering,
    Sending,
    Ended,
}

/// The server's side of one read request that has been admitted. Holds no byte of the file.
#[derive(Debug)]
pub struct Transfer {
    request: Box<[u8]>,
    agreed: Agreed,
    /// The OACK; empty if the client asked for nothing.
    offer: Vec<u8>,
    limits: Limits,
    size: u64,
    phase: Phase,
    /// Number of the last block of the file; blocks count from 1 and do not wrap here.
    last: u64,
    /// Highest block acknowledged; 0: none yet.
    acked: u64,
    /// Highest block sent.
    sent: u64,
    /// Blocks up to here may be on their way twice: signals about them may be echoes.
    echo_through: u64,
    /// A loss signal that may be an echo is held.
    doubt: bool,
    /// The block whose acknowledgement measures the round trip, and when it was sent.
    timed: Option<(u64, Duration)>,
    last_sent: Duration,
    last_heard: Option<Duration>,
    deadline: Duration,
    silent: u32,
    vain: u32,
    repeats: u64,
    trip: RoundTrip,
    commands: VecDeque<Command>,
}

impl Transfer {
    /// Starts the transfer of a file that has `size` bytes on the wire. `request` is the whole
    /// datagram, `read` what it says.
    #[must_use]
    pub fn new(
        request: &[u8],
        read: &ReadRequest<'_>,
        size: u64,
        limits: &Limits,
        now: Duration,
    ) -> Self {
        let told = (read.mode == Mode::Octet).then_some(size);
        let (agreed, answer) = Agreed::answer(read.options, told, limits);
        let offer = if answer.is_empty() {
            answer
        } else {
            Packet::OptionAck(Options::from_wire(&answer)).to_bytes()
        };
        let mut transfer = Transfer {
            request: request.into(),
            agreed,
            offer,
            limits: *limits,
            size,
            phase: Phase::Sending,
            // RFC 1350 §6: a block shorter than the others ends the file, if need be an empty one.
            last: size / u64::from(agreed.block_size) + 1,
            acked: 0,
            sent: 0,
            echo_through: 0,
            doubt: false,
            timed: None,
            last_sent: now,
            last_heard: None,
            deadline: now,
            silent: 0,
            vain: 0,
            repeats: 0,
            trip: RoundTrip::new(limits, &agreed),
            commands: VecDeque::new(),
        };
        transfer.open(now);
        transfer
    }

    fn open(&mut self, now: Duration) {
        if self.offer.is_empty() {
            self.send_next_window(now);
        } else {
            self.phase = Phase::Offering;
            self.send_offer(now);
            self.timed = Some((0, now));
        }
    }

    /// What holds for this transfer.
    #[must_use]
    pub const fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Bytes of the file that the client has acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let bytes = self.acked.saturating_mul(self.agreed.block_size.into());
        bytes.min(self.size)
    }

    /// Datagrams that were to be sent again, so far.
    #[must_use]
    pub const fn repeats(&self) -> u64 {
        self.repeats
    }

    /// The commands given so far could be carried out only now: no answer could come earlier.
    pub fn handle_delay(&mut self, now: Duration) {
        self.timed = None;
        self.mark_sent(now);
    }

    /// The next thing to do; ask until there is none.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether there is a next thing to do.
    #[must_use]
    pub fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// When [`Transfer::handle_timeout`] wants to be called; none once the transfer is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Ended => None,
            Phase::Offering | Phase::Sending if self.doubt => {
                Some(self.deadline.min(self.last_sent + self.trip.trip()))
            }
            Phase::Offering | Phase::Sending => Some(self.deadline),
        }
    }

    /// Takes a datagram from the client, sent to this transfer's port. Total: what is no ACK or
    /// ERROR, or acknowledges what was never sent, changes nothing.
    pub fn handle_packet(&mut self, datagram: &[u8], now: Duration) {
        if self.phase == Phase::Ended {
            return;
        }
        match Packet::parse(datagram) {
            Ok(Packet::Ack { block }) => self.handle_ack(block, now),
            Ok(Packet::Error { code, message }) => self.end(Outcome::Aborted {
                code,
                message: printable(message),
            }),
            Ok(Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::OptionAck(_))
            | Err(_) => {}
        }
    }

    /// Does what is due; calling too early does nothing.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        if now < self.deadline {
            return self.resend(self.agreed.window, now);
        }
        self.silent += 1;
        let patience = self
            .last_heard
            .map_or(self.limits.unheard_waits, |_| self.limits.silent_waits);
        if self.silent > patience {
            return self.end(Outcome::Silent);
        }
        self.trip.back_off();
        // A receiver that has part of the window says nothing until it has the rest, so that less
        // than the whole would not help it. Then halved each time: a silent client costs a few
        // windows and a few blocks, no more.
        let burst = self.agreed.window >> self.silent.saturating_sub(WHOLE_REPEATS).min(15);
        self.resend(burst.max(1), now);
    }

    /// Takes a further request that has come from this transfer's client address and port to
    /// the well-known port. On [`Repeat::New`] this transfer has ended: take its commands, then
    /// start another.
    pub fn handle_request(&mut self, datagram: &[u8], now: Duration) -> Repeat {
        let same = datagram == &*self.request;
        // A client that has just been heard from cannot have started anew with the very same
        // request: this one is late or doubled.
        let heard = self.last_heard.map(|at| now < at + RECENT);
        match (self.phase, same, heard) {
            (Phase::Ended, _, _) => Repeat::New,
            (Phase::Offering | Phase::Sending, true, None) => {
                self.resend(self.agreed.window, now);
                Repeat::Same
            }
            (Phase::Offering | Phase::Sending, true, Some(true)) => Repeat::Same,
            (Phase::Offering | Phase::Sending, _, _) => {
                self.end(Outcome::Superseded);
                Repeat::New
            }
        }
    }

    fn handle_ack(&mut self, number: u16, now: Duration) {
        if self.phase == Phase::Offering {
            if number == 0 {
                self.phase = Phase::Sending;
                self.progress(0, now);
                self.send_next_window(now);
            }
            return;
        }
        // The number is the low half of a block between the last acknowledged and the last
        // sent, or it is stale. Windows are far shorter than 65,536, so there is no doubt.
        let ahead = u64::from(number.wrapping_sub(low_half(self.acked)));
        if ahead == 0 {
            self.signal(now);
        } else if ahead <= self.sent - self.acked {
            self.advance(self.acked + ahead, now);
        }
    }

    fn advance(&mut self, block: u64, now: Duration) {
        self.progress(block, now);
        if block == self.last {
            self.end(Outcome::Completed);
        } else if block == self.sent {
            self.send_next_window(now);
        } else {
            self.signal(now);
        }
    }

    fn progress(&mut self, block: u64, now: Duration) {
        self.acked = block;
        self.silent = 0;
        self.vain = 0;
        self.doubt = false;
        self.last_heard = Some(now);
        if let Some((_, at)) = self.timed.take_if(|(timed, _)| *timed <= block) {
            self.trip.measured(now.saturating_sub(at));
        }
        self.deadline = now + self.trip.wait();
    }

    /// The client says that it lacks the block behind the acknowledged one.
    fn signal(&mut self, now: Duration) {
        // In lock step a repeated ACK is never a reason to send (RFC 1123 §4.2.3.1).
        if self.agreed.window > 1 && self.acked > self.echo_through {
            return self.resend(self.agreed.window, now);
        }
        self.doubt = true;
        // If it was an echo, this keeps the flow going; if not, the client repeats itself.
        let end = (self.acked + u64::from(self.agreed.window)).min(self.last);
        if end > self.sent {
            self.send_blocks(self.sent + 1, end, now);
        }
    }

    /// Sends what is owed once more: the OACK, or the first `burst` blocks of the window.
    fn resend(&mut self, burst: u16, now: Duration) {
        self.vain += 1;
        if self.vain > self.limits.vain_sends {
            return self.end(Outcome::Stalled);
        }
        self.doubt = false;
        self.timed = None;
        self.echo_through = self.sent;
        if self.phase == Phase::Offering {
            self.repeats += 1;
            self.send_offer(now);
        } else {
            let end = (self.acked + u64::from(burst)).min(self.last);
            self.repeats += self.sent.min(end) - self.acked;
            self.send_blocks(self.acked + 1, end, now);
        }
    }

    fn send_next_window(&mut self, now: Duration) {
        let end = (self.acked + u64::from(self.agreed.window)).min(self.last);
        self.send_blocks(self.acked + 1, end, now);
        self.timed = Some((end, now));
    }

    fn send_offer(&mut self, now: Duration) {
        self.commands.push_back(Command::Send(self.offer.clone()));
        self.mark_sent(now);
    }

    fn send_blocks(&mut self, first: u64, end: u64, now: Duration) {
        let block_size = self.agreed.block_size;
        let offset = (first - 1) * u64::from(block_size);
        let rest = self.size.saturating_sub((end - 1) * u64::from(block_size));
        self.commands.push_back(Command::SendData(Run {
            block: low_half(first),
            count: low_half(end + 1 - first),
            offset,
            block_size,
            last_len: u16::try_from(rest).map_or(block_size, |rest| rest.min(block_size)),
        }));
        self.sent = self.sent.max(end);
        self.mark_sent(now);
    }

    fn mark_sent(&mut self, now: Duration) {
        self.last_sent = now;
        self.deadline = now + self.trip.wait();
    }

    fn end(&mut self, outcome: Outcome) {
        self.phase = Phase::Ended;
        self.commands
            .retain(|command| matches!(command, Command::Done(_)));
        self.commands.push_back(Command::Done(outcome));
    }
}

/// A block's number on the wire.
fn low_half(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

fn printable(message: &[u8]) -> String {
    String::from_utf8_lossy(message)
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_MESSAGE)
        .collect()
}
