//! The nodes' side of the load: many questions out at once, each answer timed and checked.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bootd_protocol::digest::Digest;
use bootd_protocol::verify::MAX_LEN;
use bootd_protocol::verify::header::{Envelope, Nonce};
use bootd_protocol::verify::message::{Action, BootedFrom};
use bootd_protocol::verify::node::{self, Command, Config, Node};

use super::Bench;

/// When a question counts as lost: as long as a node waits before it asks again.
const LOST: Duration = Duration::from_millis(250);

/// A node that has just booted, and its signed question.
pub(super) struct Question {
    node: Node,
    pub(super) datagram: Vec<u8>,
}

/// What came of a load.
pub(super) struct Outcome {
    /// From question to answer, shortest first.
    pub(super) latencies: Vec<Duration>,
    /// Questions without answer.
    pub(super) lost: usize,
    /// From the first question to the last answer.
    pub(super) elapsed: Duration,
}

impl Outcome {
    /// Answers in each second.
    pub(super) fn rate(&self) -> f64 {
        f64::from(self.answered()) / self.elapsed.as_secs_f64()
    }

    /// The answers.
    pub(super) fn answered(&self) -> u32 {
        u32::try_from(self.latencies.len()).unwrap_or(u32::MAX)
    }

    /// The latency that so many per thousand do not exceed.
    pub(super) fn latency(&self, per_thousand: usize) -> Duration {
        let index = (self.latencies.len() * per_thousand).div_ceil(1000);
        let at = self.latencies.get(index.saturating_sub(1));
        at.copied().unwrap_or_default()
    }
}

impl Bench {
    /// Signs `count` questions beforehand, for `lanes` lanes. The nodes ask in turn; each time
    /// they have booted once more, and each always in the same lane, so that none is a replay.
    pub(super) fn questions(&self, count: usize, lanes: usize) -> Result<Vec<Vec<Question>>> {
        let mut questions: Vec<Vec<Question>> = (0..lanes).map(|_| Vec::new()).collect();
        for number in 0..count {
            let (member, boot) = (number % self.members.len(), number / self.members.len());
            let question = self.question(member, u64::try_from(boot)? + 1)?;
            questions[member % lanes].push(question);
        }
        Ok(questions)
    }

    pub(super) fn question(&self, member: usize, boot: u64) -> Result<Question> {
        let seed = Digest::of(format!("node {member}, boot {boot}").as_bytes());
        let member = &self.members[member];
        let mut node = Node::new(Config {
            key: member.key.clone(),
            identity: member.identity.clone(),
            trust: vec![self.key.public()],
            boot,
            epoch: 0,
            seed: *seed.as_bytes(),
        });
        let question = node::Question {
            booted_from: BootedFrom::SlotA,
            manifest: self.wanted,
            failed: Digest::NONE,
        };
        node.ask(question, Duration::ZERO);
        match node.next_command() {
            Some(Command::Send(datagram)) => Ok(Question { node, datagram }),
            other => bail!("a node that asks sends something, not {other:?}"),
        }
    }
}

/// Asks the questions of each lane one after another, all lanes at once, until all are asked or
/// `limit` is over. Then has the nodes check every answer.
///
/// # Errors
/// A socket fails; an answer is not what its node believes, or not *run*.
pub(super) fn run(to: SocketAddr, lanes: &mut [Vec<Question>], limit: Duration) -> Result<Outcome> {
    let start = Barrier::new(lanes.len());
    let results: Vec<Result<Outcome>> = thread::scope(|scope| {
        let start = &start;
        let threads: Vec<_> = lanes
            .iter_mut()
            .map(|lane| scope.spawn(move || ask(to, lane, start, limit)))
            .collect();
        let join = |it: thread::ScopedJoinHandle<'_, _>| {
            it.join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    let mut all = Outcome {
        latencies: Vec::new(),
        lost: 0,
        elapsed: Duration::ZERO,
    };
    for result in results {
        let lane = result.context("a lane of the load")?;
        all.latencies.extend(lane.latencies);
        all.lost += lane.lost;
        all.elapsed = all.elapsed.max(lane.elapsed);
    }
    all.latencies.sort_unstable();
    Ok(all)
}

fn ask(
    to: SocketAddr,
    questions: &mut [Question],
    start: &Barrier,
    limit: Duration,
) -> Result<Outcome> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| socket.connect(to).map(|()| socket));
    // Whatever has failed, the others wait at the barrier.
    start.wait();
    let (socket, begun) = (socket?, Instant::now());
    socket.set_read_timeout(Some(LOST))?;
    let (mut latencies, mut answers) = (Vec::new(), Vec::new());
    for question in questions {
        if begun.elapsed() >= limit {
            break;
        }
        let sent = Instant::now();
        socket.send(&question.datagram)?;
        let answer = receive(&socket, question)?;
        latencies.extend(answer.is_some().then(|| sent.elapsed()));
        answers.push((question, answer));
    }
    let elapsed = begun.elapsed();
    let asked = answers.len();
    for (question, answer) in answers {
        if let Some(answer) = answer {
            check(question, &answer)?;
        }
    }
    Ok(Outcome {
        lost: asked - latencies.len(),
        latencies,
        elapsed,
    })
}

/// The answer to this question; late ones to questions before it are not.
fn receive(socket: &UdpSocket, question: &Question) -> Result<Option<Vec<u8>>> {
    let asked = nonce(&question.datagram);
    let mut buffer = [0; MAX_LEN];
    loop {
        match socket.recv(&mut buffer) {
            Ok(len) if nonce(&buffer[..len]) == asked => {
                return Ok(Some(buffer[..len].to_vec()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn nonce(datagram: &[u8]) -> Option<Nonce> {
    let envelope = Envelope::parse(datagram).ok()?;
    Some(envelope.header.nonce)
}

fn check(question: &mut Question, answer: &[u8]) -> Result<()> {
    let handled = question.node.handle_datagram(answer, Duration::ZERO);
    ensure!(handled.is_ok(), "an answer was dropped: {handled:?}");
    match question.node.next_command() {
        Some(Command::Decide(verdict)) if verdict.action == Action::Run => Ok(()),
        other => bail!("not told to run but {other:?}"),
    }
}
