//! The task of one client: usually one transfer; after an abort, the next from the same port.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bootd_protocol::tftp::{Admission, Command, ReadRequest, Refusal, Repeat, Transfer, admit};
use tokio::time::{Sleep, sleep_until};
use tracing::{debug, error, warn};

use super::outlet::{Outlet, SendError, lost};
use super::server::Shared;
use super::table::Seat;
use super::{Counters, Ending, Event, Source, Stage};

/// Longest datagram from a client that matters, bytes: an ERROR with its message.
const MAX_ANSWER: usize = 516;

/// Datagrams of a client taken in one go, so that a flood cannot keep the thread.
const BUDGET: usize = 64;

/// Serves a client's request, and those that come from the same port meanwhile.
pub(super) async fn serve(mut seat: Seat, mut request: Vec<u8>, shared: Arc<Shared>) {
    loop {
        let next = answer(&mut seat, &request, &shared).await;
        match next.or_else(|| seat.next_or_leave()) {
            Some(next) => request = next,
            None => return,
        }
    }
}

/// Answers one request; gives back the one that has superseded it.
async fn answer(seat: &mut Seat, request: &[u8], shared: &Arc<Shared>) -> Option<Vec<u8>> {
    let client = seat.client;
    let outlet = match Outlet::connect(client.local, client.peer) {
        Ok(outlet) => outlet,
        Err(error) => {
            warn!(peer = %client.peer, local = %client.local, %error, "no socket for a TFTP transfer");
            return None;
        }
    };
    match admit(request) {
        Admission::Read(read) => match open(seat, &read, shared).await {
            Ok(source) => {
                let session = Session::new(seat, outlet, source, request, &read, shared);
                session.run().await
            }
            Err(refusal) => refuse(seat, &outlet, read.name, refusal, shared).await,
        },
        Admission::Refuse(refusal) => refuse(seat, &outlet, "", refusal, shared).await,
        Admission::Ignore(_) => None,
    }
}

/// Opening may read a directory, a database or a whole file: not on the event loop.
async fn open(seat: &Seat, read: &ReadRequest<'_>, shared: &Shared) -> Result<Source, Refusal> {
    let (files, name, peer) = (
        Arc::clone(&shared.files),
        read.name.to_owned(),
        seat.client.peer,
    );
    let opened = tokio::task::spawn_blocking(move || files.open(&name, peer)).await;
    opened.unwrap_or_else(|panic| {
        error!(%panic, name = read.name, "opening a file for TFTP has failed");
        Err(Refusal::Unreadable)
    })
}

/// One ERROR, not repeated: a client that misses it asks again.
async fn refuse(
    seat: &Seat,
    outlet: &Outlet,
    file: &str,
    refusal: Refusal,
    shared: &Shared,
) -> Option<Vec<u8>> {
    let sent = outlet.send(&refusal.to_bytes()).await.unwrap_or(0);
    shared.counters.bytes_sent.fetch_add(sent, Relaxed);
    Counters::add(&shared.counters.refused);
    shared.observer.observe(&Event {
        peer: seat.client.peer,
        file,
        stage: Stage::Refused(refusal),
    });
    None
}

/// One transfer.
struct Session<'a> {
    seat: &'a mut Seat,
    outlet: Outlet,
    source: Source,
    file: &'a str,
    transfer: Transfer,
    told: u64,
    shared: &'a Shared,
}

/// One way of taking a datagram from the transfer's socket.
type Receive = fn(&Outlet, &mut [u8]) -> io::Result<usize>;

/// What woke the task.
enum Wake {
    Request(Vec<u8>),
    Datagrams,
    Timer,
}

impl<'a> Session<'a> {
    fn new(
        seat: &'a mut Seat,
        outlet: Outlet,
        source: Source,
        request: &[u8],
        read: &ReadRequest<'a>,
        shared: &'a Shared,
    ) -> Self {
        let limits = &shared.config.limits;
        let now = shared.now();
        Session {
            transfer: Transfer::new(request, read.options, source.len(), limits, now),
            seat,
            outlet,
            source,
            file: read.name,
            told: 0,
            shared,
        }
    }

    async fn run(mut self) -> Option<Vec<u8>> {
        let shared = self.shared;
        let _active = shared.counters.begin();
        self.tell(Stage::Started {
            total: self.source.len(),
        });
        let (ending, next) = self.converse().await;
        shared.counters.count_end(&ending);
        self.tell(Stage::Ended {
            bytes: self.transfer.acknowledged(),
            total: self.source.len(),
            ending,
        });
        next
    }

    /// Does what the machine says until it is done.
    async fn converse(&mut self) -> (Ending, Option<Vec<u8>>) {
        let mut next = None;
        let mut sleep = pin!(sleep_until(self.shared.instant(self.shared.now())));
        loop {
            match self.perform().await {
                Ok(None) => {}
                Ok(Some(ending)) => return (ending, next),
                Err(failure) => return (self.fail(failure).await, next),
            }
            self.tell_progress();
            match self.wait(sleep.as_mut()).await {
                Wake::Timer => self.transfer.handle_timeout(self.shared.now()),
                Wake::Datagrams => {
                    if self.take_datagrams(Outlet::receive).is_err() {
                        return (Ending::Unreachable, next);
                    }
                }
                Wake::Request(request) => {
                    // The client's ERROR may lie in the socket: it was sent before this request.
                    // If the port was closed meanwhile, the request shows that it is open again.
                    let _ = self.take_datagrams(Outlet::receive_unreported);
                    let now = self.shared.now();
                    match self.transfer.handle_request(&request, now) {
                        Repeat::Same => {}
                        Repeat::New => next = Some(request),
                    }
                }
            }
        }
    }

    /// Carries out the machine's commands; gives back the ending, if that is among them.
    async fn perform(&mut self) -> Result<Option<Ending>, SendError> {
        while let Some(command) = self.transfer.next_command() {
            let sent = match command {
                Command::Send(bytes) => self.outlet.send(&bytes).await?,
                Command::SendData(run) => self.outlet.send_run(&self.source, run).await?,
                Command::Done(outcome) => return Ok(Some(Ending::Finished(outcome))),
            };
            self.shared.counters.bytes_sent.fetch_add(sent, Relaxed);
        }
        Ok(None)
    }

    /// The timer is set anew only when it must ring earlier: mostly an ACK comes first, and a
    /// timer that rings too early costs less than one that is moved for every ACK.
    async fn wait(&mut self, mut sleep: Pin<&mut Sleep>) -> Wake {
        if let Some(due) = self.transfer.poll_timeout() {
            let due = self.shared.instant(due);
            if due < sleep.deadline() || sleep.is_elapsed() {
                sleep.as_mut().reset(due);
            }
        }
        tokio::select! {
            biased;
            Some(request) = self.seat.mailbox.recv() => Wake::Request(request),
            _ = self.outlet.socket.readable() => Wake::Datagrams,
            () = sleep => Wake::Timer,
        }
    }

    /// Hands the machine what lies in the socket. An error means that the client's port is closed.
    fn take_datagrams(&mut self, receive: Receive) -> Result<(), SendError> {
        let mut buffer = [0; MAX_ANSWER];
        for _ in 0..BUDGET {
            match receive(&self.outlet, &mut buffer) {
                Ok(len) => self
                    .transfer
                    .handle_packet(&buffer[..len], self.shared.now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => lost(&error)?,
            }
        }
        Ok(())
    }

    async fn fail(&self, failure: SendError) -> Ending {
        match failure {
            SendError::Unreachable => Ending::Unreachable,
            SendError::Unreadable(error) => {
                warn!(file = self.file, %error, "a file cannot be read for TFTP");
                let _ = self.outlet.send(&Refusal::Unreadable.to_bytes()).await;
                Ending::Unreadable
            }
        }
    }

    fn tell_progress(&mut self) {
        let bytes = self.transfer.acknowledged();
        if bytes - self.told >= self.shared.config.progress_every {
            self.told = bytes;
            let total = self.source.len();
            self.tell(Stage::Progress { bytes, total });
        }
    }

    fn tell(&self, stage: Stage) {
        let peer = self.seat.client.peer;
        debug!(%peer, file = self.file, ?stage, "TFTP");
        self.shared.observer.observe(&Event {
            peer,
            file: self.file,
            stage,
        });
    }
}
