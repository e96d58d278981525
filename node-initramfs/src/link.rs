//! The line to the master: the verify machine on a UDP socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bootd_protocol::digest::Digest;
use bootd_protocol::verify::MAX_LEN;
use bootd_protocol::verify::message::{Stage, Verdict};
use bootd_protocol::verify::node::{Command, Config, News, Node, Question};

/// Progress of a stage is told this often.
const NEWS_INTERVAL: Duration = Duration::from_millis(400);
/// How long the last news before a restart may take to arrive.
const LAST_NEWS_TIMEOUT: Duration = Duration::from_secs(2);

/// More datagrams than a node sends before it starts the kernel of a test.
const AFTER_KEXEC: u32 = 1 << 24;

/// What came of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The master has spoken.
    Verdict(Verdict),
    /// No master answers; asking goes on.
    Silence,
}

/// The line.
pub struct Link {
    socket: UdpSocket,
    master: SocketAddr,
    node: Node,
    origin: Instant,
    epoch: Option<u64>,
    last_news: Option<(Stage, Duration)>,
    reported: bool,
    order: Option<String>,
}

impl Link {
    /// A line to the master at this address and port; `origin` is the origin of all times.
    ///
    /// # Errors
    /// No socket.
    pub fn open(master: Ipv4Addr, port: u16, config: Config, origin: Instant) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        Ok(Link {
            socket,
            master: (master, port).into(),
            node: Node::new(config),
            origin,
            epoch: None,
            last_news: None,
            reported: true,
            order: None,
        })
    }

    /// The socket, to wait on.
    #[must_use]
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// The epoch to remember, once for each new one.
    pub fn take_epoch(&mut self) -> Option<u64> {
        self.epoch.take()
    }

    /// Goes on counting where the kernel before this one cannot have come to in the same boot.
    pub fn go_on_counting(&mut self) {
        self.node.count_from(AFTER_KEXEC);
    }

    /// Why the master orders this node to restart, once for each order.
    pub fn take_order(&mut self) -> Option<String> {
        self.order.take()
    }

    /// The node runs from now on: it asks no more, reports regularly, and takes orders.
    pub fn run(&mut self, manifest: Digest) {
        self.node.run(manifest, self.now());
    }

    /// The node's key is on its disk now: from here on it may be bound.
    pub fn keep_key(&mut self) {
        self.node.keep_key();
    }

    /// When to call [`Link::pump`] again, measured from the origin.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.node.poll_timeout()
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Begins to ask; [`Link::wait`] waits for the answer.
    pub fn begin(&mut self, question: Question) {
        self.node.ask(question, self.now());
    }

    /// Asks, and waits until the master has spoken or counts as silent.
    ///
    /// # Errors
    /// The socket fails.
    pub fn ask(&mut self, question: Question) -> io::Result<Answer> {
        self.begin(question);
        self.wait()
    }

    /// Waits on for the answer to the open question.
    ///
    /// # Errors
    /// The socket fails.
    pub fn wait(&mut self) -> io::Result<Answer> {
        loop {
            if let Some(answer) = self.pump()? {
                return Ok(answer);
            }
            self.receive(self.node.poll_timeout())?;
        }
    }

    /// Tells the master: at once if the stage is new, else now and then.
    pub fn report(&mut self, stage: Stage, manifest: Digest, progress: (u64, u64), text: &str) {
        let now = self.now();
        let soon = |(last, at): (Stage, Duration)| last == stage && now < at + NEWS_INTERVAL;
        if self.last_news.is_some_and(soon) {
            return;
        }
        self.last_news = Some((stage, now));
        self.reported = false;
        let (done, total) = progress;
        let text = text.to_owned();
        self.node.report(
            News {
                stage,
                manifest,
                done,
                total,
                text,
            },
            now,
        );
        // News is a courtesy: an installation does not fail for want of a listener.
        let _ = self.pump();
    }

    /// Gives the last news a moment to arrive.
    pub fn flush(&mut self) {
        let deadline = self.now() + LAST_NEWS_TIMEOUT;
        while !self.reported && self.now() < deadline {
            let due = self
                .node
                .poll_timeout()
                .map_or(deadline, |due| due.min(deadline));
            if self.receive(Some(due)).and_then(|()| self.pump()).is_err() {
                return;
            }
        }
    }

    /// Takes what has come, sends what is due.
    ///
    /// # Errors
    /// The socket fails.
    pub fn pump(&mut self) -> io::Result<Option<Answer>> {
        self.socket.set_nonblocking(true)?;
        self.take_datagrams()?;
        if self
            .node
            .poll_timeout()
            .is_some_and(|due| due <= self.now())
        {
            self.node.handle_timeout(self.now());
        }
        let mut answer = None;
        while let Some(command) = self.node.next_command() {
            match command {
                // Whatever keeps a datagram from leaving now is like its loss on the way.
                Command::Send(datagram) => drop(self.socket.send_to(&datagram, self.master)),
                Command::Decide(verdict) => answer = Some(Answer::Verdict(verdict)),
                Command::Silence => answer = Some(Answer::Silence),
                Command::RememberEpoch(epoch) => self.epoch = Some(epoch),
                Command::Reported => self.reported = true,
                Command::Restart(reason) => self.order = Some(reason),
            }
        }
        Ok(answer)
    }

    fn take_datagrams(&mut self) -> io::Result<()> {
        let mut buffer = [0; MAX_LEN];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((len, _)) => {
                    // The signature says who speaks, not the address; what is dropped is noise.
                    let _ = self
                        .node
                        .handle_datagram(&buffer[..len], self.origin.elapsed());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // An ICMP answer to something sent earlier: the master is not up.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a datagram until `due`.
    fn receive(&mut self, due: Option<Duration>) -> io::Result<()> {
        let pause = due.map_or(Duration::from_secs(1), |due| due.saturating_sub(self.now()));
        self.socket.set_nonblocking(false)?;
        self.socket
            .set_read_timeout(Some(pause.max(Duration::from_millis(1))))?;
        match self.socket.peek_from(&mut [0]) {
            Err(error)
                if !is_timeout(&error) && error.kind() != io::ErrorKind::ConnectionRefused =>
            {
                Err(error)
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
