//! The life of one connection: requests in, answers out, in order, until either side ends it.
//!
//! What a client can make us hold is bounded: a head of 8 KiB, no body, one open file. How long it
//! can make us wait is bounded by [`Limits`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::crowd::Place;
use super::reply::{Reply, Status};
use super::request::{self, Bad, MAX_HEAD, Method, Request};
use super::transmit::Outlet;
use super::{Http, routes};

/// A buffer for heads grows by so much, in bytes: most heads fit at once.
const PIECE: usize = 1024;
/// What a client that we refuse may still send before it is cut off, in bytes and time.
const LINGER: (usize, Duration) = (64 * 1024, Duration::from_secs(2));
/// Between two reports of how far a boot image has come.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Between its connecting, or the first byte of a later request, and the end of the head.
    pub head: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
    /// Without taking a byte of an answer.
    pub stall: Duration,
    /// Connections at one time.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(60),
            connections: 4096,
        }
    }
}

/// A connection.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) http: Arc<Http>,
    pub(super) limits: Limits,
    pub(super) place: Place,
    /// What has come and was not yet looked at.
    pub(super) buffer: Vec<u8>,
}

/// Why there is no further request.
enum End {
    /// The client is gone, or has to go.
    Gone,
    /// It says something that cannot be answered otherwise, and is not understood any further.
    Bad(Bad),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        End::Gone
    }
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn run(mut self) {
        let mut until = Instant::now() + self.limits.head;
        loop {
            let request = self.next_request(until).await;
            self.place.is_served();
            match request {
                Ok(request) if self.answer(&request).await => {}
                Ok(_) | Err(End::Gone) => return,
                Err(End::Bad(bad)) => return self.refuse(bad).await,
            }
            self.place.waits_for_request();
            until = Instant::now() + self.limits.idle;
        }
    }

    /// Answers; whether the connection stays.
    async fn answer(&mut self, request: &Request) -> bool {
        self.http.counters.http_requests.add(1);
        let mut reply = routes::answer(&self.http, request, &self.stream, self.peer).await;
        let get = request.method == Method::Get;
        if !get {
            reply = reply.without_body_of(request.method);
        }
        // A body that nobody reads would be taken for the next request.
        let keep = request.keep_alive && !request.body;
        let loads = (get && routes::is_boot_image(&request.path)).then_some(self.peer.ip());
        let head = reply.head(SystemTime::now(), keep, request.old);
        let sent = self.send(&head, &reply, loads).await;
        if keep || !sent {
            return sent;
        }
        if request.body || !self.buffer.is_empty() {
            self.linger().await;
        }
        false
    }

    /// Refuses what cannot be understood, and everything after it.
    async fn refuse(&mut self, Bad { status, why }: Bad) {
        self.http.counters.http_refused.add(1);
        let reply = Reply::text(status, why);
        let head = reply.head(SystemTime::now(), false, false);
        if self.send(&head, &reply, None).await {
            self.linger().await;
        }
    }

    /// Sends an answer; whether all of it went. `loads` is who loads its boot image.
    async fn send(&self, head: &str, reply: &Reply, loads: Option<IpAddr>) -> bool {
        let outlet = Outlet {
            stream: &self.stream,
            place: &self.place,
            stall: self.limits.stall,
        };
        let mut progress = Progress::new(&self.http, reply, loads);
        let sent = outlet.send(head.as_bytes(), reply, |sent| progress.at(sent));
        if let Err(error) = sent.await {
            debug!(peer = %self.peer, "HTTP answer cut: {error}");
            // What the client does not take must not stay in the kernel's buffers.
            let _ = self.stream.set_zero_linger();
            return false;
        }
        true
    }

    /// Waits for the next head. `until` bounds the wait for its first byte, [`Limits::head`] the
    /// rest.
    async fn next_request(&mut self, mut until: Instant) -> Result<Request, End> {
        let mut seen = 0;
        loop {
            if seen == 0 {
                self.buffer.drain(..request::blank(&self.buffer));
            }
            if let Some(len) = request::head_len(&self.buffer, seen) {
                let request = request::parse(&self.buffer[..len]);
                self.buffer.drain(..len);
                if self.buffer.is_empty() {
                    // Thousands of idle connections need no buffers.
                    self.buffer = Vec::new();
                }
                return request.map_err(End::Bad);
            }
            if self.buffer.len() >= MAX_HEAD {
                return Err(End::Bad(request::too_long(&self.buffer)));
            }
            let begun = !self.buffer.is_empty();
            seen = self.buffer.len();
            self.read(until).await?;
            if !begun {
                until = until.min(Instant::now() + self.limits.head);
            }
        }
    }

    /// Reads what has come into the buffer, at least one byte.
    async fn read(&mut self, until: Instant) -> Result<(), End> {
        loop {
            tokio::select! {
                ready = self.stream.readable() => ready?,
                () = self.place.must_leave() => return Err(End::Gone),
                () = sleep_until(until) => {
                    return Err(if self.buffer.is_empty() {
                        End::Gone
                    } else {
                        let why = "the request does not come to its end";
                        End::Bad(Bad { status: Status::RequestTimeout, why })
                    });
                }
            }
            self.buffer.reserve(PIECE);
            match self.stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Err(End::Gone),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lets the client read the answer although it has more to say: a close with unread bytes is
    /// a reset, which takes the answer with it (RFC 9112, section 9.6).
    async fn linger(&mut self) {
        self.place.waits_for_request();
        let (mut left, time) = LINGER;
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write);
        let (stream, sink) = (&self.stream, &mut self.buffer);
        let drain = async {
            while stream.readable().await.is_ok() {
                sink.clear();
                sink.reserve(PIECE);
                match stream.try_read_buf(sink) {
                    Ok(0) => return,
                    Ok(len) if len < left => left -= len,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(_) | Err(_) => return,
                }
            }
        };
        tokio::select! {
            _ = timeout(time, drain) => {}
            () = self.place.must_leave() => {}
        }
    }
}

/// How far an answer has come, told to those who want to know.
struct Progress<'a> {
    http: &'a Http,
    /// Bytes of the body counted so far.
    counted: u64,
    /// The machine that loads its boot image: first byte of what it is sent, and length of all.
    loads: Option<(Ipv4Addr, u64, u64)>,
    /// Last byte to be sent.
    count: u64,
    told: Instant,
}

impl<'a> Progress<'a> {
    fn new(http: &'a Http, reply: &Reply, loads: Option<IpAddr>) -> Self {
        let loads = match loads {
            Some(IpAddr::V4(from)) => Some((from, reply.first, reply.content.len())),
            Some(IpAddr::V6(_)) | None => None,
        };
        let told = Instant::now();
        Progress {
            http,
            counted: 0,
            loads: loads.filter(|_| reply.is_content()),
            count: reply.count,
            told,
        }
    }

    fn at(&mut self, sent: u64) {
        self.http.counters.http_bytes.add(sent - self.counted);
        let first = self.counted == 0;
        self.counted = sent;
        let Some((from, begin, total)) = self.loads else {
            return;
        };
        if first || sent == self.count || self.told.elapsed() >= REPORT_INTERVAL {
            self.told = Instant::now();
            self.http.presence.saw_boot_image(from, begin + sent, total);
        }
    }
}
