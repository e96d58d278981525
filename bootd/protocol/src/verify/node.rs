//! The node's side: asks, asks again, believes one master, reports.

use std::collections::VecDeque;
use std::time::Duration;

use super::header::{Drop, Envelope, Header, Kind, Nonce, seal};
use super::key::{PublicKey, SecretKey};
use super::message::{
    Action, Ask, BootedFrom, Identity, Order, REPORT_SECS, Receipt, Report, Sequence, Stage,
    Verdict,
};
use super::{CURRENT_VERSION, QUESTION_LEN};
use crate::digest::{Digest, Hasher};

/// Pauses before an unanswered datagram is sent again, in milliseconds. After the last one the
/// master counts as silent.
const RETRY_MS: [u64; 6] = [250, 500, 1000, 1000, 2000, 2000];

/// Pause between questions to a silent master.
const SILENT_RETRY: Duration = Duration::from_secs(30);

/// What a node knows when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its secret key; the public half must be `identity.key`.
    pub key: SecretKey,
    /// Who it is.
    pub identity: Identity,
    /// The keys of masters it believes.
    pub trust: Vec<PublicKey>,
    /// The number of this boot: larger than any before it with this key.
    pub boot: u64,
    /// The highest epoch it has heard of.
    pub epoch: u64,
    /// 32 random bytes: the nonces grow from them.
    pub seed: [u8; 32],
}

/// What a node asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Where its kernel came from.
    pub booted_from: BootedFrom,
    /// The manifest it has, or [`Digest::NONE`].
    pub manifest: Digest,
    /// The manifest whose boot image did not come up, or [`Digest::NONE`].
    pub failed: Digest,
}

/// What a node tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// What it is doing.
    pub stage: Stage,
    /// The manifest it is doing it with, or [`Digest::NONE`].
    pub manifest: Digest,
    /// Bytes done of this stage.
    pub done: u64,
    /// Bytes in all of this stage; 0 if it has no measure.
    pub total: u64,
    /// For people.
    pub text: String,
}

/// What the edge has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send this to the master.
    Send(Vec<u8>),
    /// The master has spoken.
    Decide(Verdict),
    /// No master answers; the machine goes on asking slowly.
    Silence,
    /// Keep this epoch across restarts: answers of lower ones are void from now on.
    RememberEpoch(u64),
    /// The last report has arrived.
    Reported,
    /// The master orders this node, which runs, to restart; why, for people.
    Restart(String),
}

/// A datagram that waits for its answer.
#[derive(Debug)]
struct Exchange<T> {
    content: T,
    nonce: Nonce,
    sends: usize,
    due: Duration,
}

/// What a node that runs says again and again.
#[derive(Debug)]
struct Heartbeat {
    news: News,
    interval: Duration,
    due: Duration,
}

/// The machine.
#[derive(Debug)]
pub struct Node {
    config: Config,
    datagrams: u32,
    nonces: u64,
    ask: Option<Exchange<Question>>,
    report: Option<Exchange<News>>,
    heartbeat: Option<Heartbeat>,
    commands: VecDeque<Command>,
}

impl Node {
    /// A node that has said nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Node {
            config,
            datagrams: 0,
            nonces: 0,
            ask: None,
            report: None,
            heartbeat: None,
            commands: VecDeque::new(),
        }
    }

    /// Goes on counting datagrams after this number: another program of this boot has counted before.
    pub fn count_from(&mut self, datagrams: u32) {
        self.datagrams = datagrams;
    }

    /// Begins to ask; a question that is open is dropped for this one.
    pub fn ask(&mut self, question: Question, now: Duration) {
        let nonce = self.next_nonce();
        self.ask = Some(Exchange {
            content: question,
            nonce,
            sends: 0,
            due: now,
        });
        self.handle_timeout(now);
    }

    /// The node runs `manifest` from now on: it asks no more, and says regularly that it runs, or
    /// else what its last news was. Orders count from here on.
    pub fn run(&mut self, manifest: Digest, now: Duration) {
        self.ask = None;
        let news = News {
            stage: Stage::Running,
            manifest,
            done: 0,
            total: 0,
            text: String::new(),
        };
        let interval = Duration::from_secs(u64::from(REPORT_SECS));
        let due = now + self.jittered(interval);
        self.heartbeat = Some(Heartbeat {
            news,
            interval,
            due,
        });
    }

    /// Tells the master; news that has not arrived yet is dropped for this.
    pub fn report(&mut self, news: News, now: Duration) {
        if let Some(mut heartbeat) = self.heartbeat.take() {
            heartbeat.news = news.clone();
            heartbeat.due = now + self.jittered(heartbeat.interval);
            self.heartbeat = Some(heartbeat);
        }
        let nonce = self.next_nonce();
        self.report = Some(Exchange {
            content: news,
            nonce,
            sends: 0,
            due: now,
        });
        self.handle_timeout(now);
    }

    /// The node's key is on its disk now: from here on it says so.
    pub fn keep_key(&mut self) {
        self.config.identity.key_is_kept = true;
    }

    /// When to call [`Node::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let ask = self.ask.as_ref().map(|it| it.due);
        let report = self.report.as_ref().map(|it| it.due);
        let heartbeat = self.heartbeat.as_ref().map(|it| it.due);
        ask.into_iter().chain(report).chain(heartbeat).min()
    }

    /// The next thing to do.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Sends again what is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        if let Some(mut exchange) = self.ask.take_if(|it| it.due <= now) {
            if exchange.sends == RETRY_MS.len() {
                self.commands.push_back(Command::Silence);
            }
            let pause = retry_pause(exchange.sends).unwrap_or(SILENT_RETRY);
            self.send_ask(&exchange);
            exchange.sends += 1;
            exchange.due = now + pause;
            self.ask = Some(exchange);
        }
        if let Some(mut exchange) = self.report.take_if(|it| it.due <= now) {
            // News is worth a few tries; the next news or the next boot tells it better.
            if let Some(pause) = retry_pause(exchange.sends) {
                self.send_report(&exchange);
                exchange.sends += 1;
                exchange.due = now + pause;
                self.report = Some(exchange);
            }
        }
        let beats = self.heartbeat.as_ref().filter(|it| it.due <= now);
        if let Some(news) = beats.map(|it| it.news.clone()) {
            self.report(news, now);
        }
    }

    /// Takes a datagram from the network.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_datagram(&mut self, datagram: &[u8], now: Duration) -> Result<(), Drop> {
        let envelope = Envelope::parse(datagram)?;
        let expected = match envelope.header.kind {
            Kind::Verdict => self.ask.as_ref().map(|it| it.nonce),
            Kind::Receipt => self.report.as_ref().map(|it| it.nonce),
            Kind::Ask | Kind::Report => return Err(Drop::Kind),
        };
        if expected != Some(envelope.header.nonce)
            || envelope.header.node != self.config.identity.key.id()
        {
            return Err(Drop::Unasked);
        }
        if !self
            .config
            .trust
            .iter()
            .any(|key| envelope.check(key).is_ok())
        {
            return Err(Drop::Signature);
        }
        if envelope.header.epoch < self.config.epoch {
            return Err(Drop::PastEpoch);
        }
        if envelope.header.version != CURRENT_VERSION {
            return Err(Drop::Version);
        }
        if envelope.header.kind == Kind::Receipt {
            let receipt = Receipt::from_body(envelope.body).map_err(|_| Drop::Malformed)?;
            self.obey(receipt, now);
        } else {
            let verdict = Verdict::from_body(envelope.body).map_err(|_| Drop::Malformed)?;
            self.decide(verdict, now);
        }
        self.hear_epoch(envelope.header.epoch);
        Ok(())
    }

    fn decide(&mut self, verdict: Verdict, now: Duration) {
        let question = self.ask.take();
        if let (Action::Hold { retry_after }, Some(exchange)) = (&verdict.action, question) {
            // A new question, not the old one again: its nonce has been answered.
            let due = now + Duration::from_secs(u64::from((*retry_after).max(1)));
            let nonce = self.next_nonce();
            self.ask = Some(Exchange {
                content: exchange.content,
                nonce,
                sends: 0,
                due,
            });
        }
        self.commands.push_back(Command::Decide(verdict));
    }

    /// The report has arrived. An order is for a node that runs; one that boots does what its
    /// verdict says.
    fn obey(&mut self, receipt: Receipt, now: Duration) {
        self.report = None;
        self.commands.push_back(Command::Reported);
        let Some(mut heartbeat) = self.heartbeat.take() else {
            return;
        };
        if receipt.order == Order::Restart {
            self.commands.push_back(Command::Restart(receipt.reason));
            return;
        }
        heartbeat.interval = Duration::from_secs(u64::from(receipt.next_report.max(1)));
        heartbeat.due = now + self.jittered(heartbeat.interval);
        self.heartbeat = Some(heartbeat);
    }

    fn hear_epoch(&mut self, epoch: u64) {
        if epoch > self.config.epoch {
            self.config.epoch = epoch;
            self.commands.push_back(Command::RememberEpoch(epoch));
        }
    }

    fn send_ask(&mut self, exchange: &Exchange<Question>) {
        let Question {
            booted_from,
            manifest,
            failed,
        } = exchange.content;
        let identity = self.config.identity.clone();
        let sequence = self.next_sequence();
        let body = Ask {
            identity,
            sequence,
            booted_from,
            manifest,
            failed,
        }
        .to_body(CURRENT_VERSION);
        self.send(Kind::Ask, exchange.nonce, &body);
    }

    fn send_report(&mut self, exchange: &Exchange<News>) {
        let News {
            stage,
            manifest,
            done,
            total,
            text,
        } = exchange.content.clone();
        let identity = self.config.identity.clone();
        let sequence = self.next_sequence();
        let report = Report {
            identity,
            sequence,
            stage,
            manifest,
            done,
            total,
            text,
        };
        self.send(
            Kind::Report,
            exchange.nonce,
            &report.to_body(CURRENT_VERSION),
        );
    }

    fn send(&mut self, kind: Kind, nonce: Nonce, body: &[u8]) {
        let header = Header {
            version: CURRENT_VERSION,
            kind,
            epoch: self.config.epoch,
            node: self.config.identity.key.id(),
            nonce,
        };
        let datagram = seal(&header, body, QUESTION_LEN, &self.config.key);
        self.commands.push_back(Command::Send(datagram));
    }

    fn next_sequence(&mut self) -> Sequence {
        self.datagrams += 1;
        Sequence {
            boot: self.config.boot,
            datagram: self.datagrams,
        }
    }

    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = Nonce::default();
        nonce.copy_from_slice(&self.next_random()[..16]);
        nonce
    }

    fn next_random(&mut self) -> [u8; 32] {
        self.nonces += 1;
        let mut hasher = Hasher::new();
        hasher.update(&self.config.seed);
        hasher.update(&self.nonces.to_be_bytes());
        *hasher.finish().as_bytes()
    }

    /// Three quarters of `interval` to all of it: nodes that start at one moment do not go on
    /// speaking at one moment.
    fn jittered(&mut self, interval: Duration) -> Duration {
        let [byte, ..] = self.next_random();
        interval - interval / 4 * u32::from(byte) / 256
    }
}

fn retry_pause(sends: usize) -> Option<Duration> {
    RETRY_MS.get(sends).copied().map(Duration::from_millis)
}
