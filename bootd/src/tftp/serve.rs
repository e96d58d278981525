//! What the loop does with one client: from its request to its end.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bootd_protocol::tftp::{
    Admission, Command, Mode, ReadRequest, Refusal, Repeat, Transfer, admit,
};
use tracing::{debug, warn};

use super::content::Content;
use super::engine::Engine;
use super::helpers::{Job, Opened};
use super::outbox::{Letter, burst_limit};
use super::session::{Running, Session, Stage, Turn};
use super::table::Seat;
use super::{Counters, Ending, Event};

impl Engine {
    /// A datagram has come to the well-known port whose transfers have `ports`.
    pub(super) fn request(
        &mut self,
        datagram: &[u8],
        peer: SocketAddr,
        local: SocketAddr,
        ports: Range<usize>,
    ) {
        let admission = admit(datagram);
        if matches!(admission, Admission::Ignore(_)) {
            return Counters::add(&self.shared.counters.ignored);
        }
        if let Some(seat) = self.table.find(peer, local, ports.clone())
            && self.is_repeat(seat, datagram)
        {
            return;
        }
        let Some(port) = self.table.next_port(peer, ports.start, ports.len()) else {
            return Counters::add(&self.shared.counters.over_limit);
        };
        match admission {
            Admission::Read(read) => self.open(datagram, &read, (peer, local, port)),
            Admission::Refuse(refusal) => {
                self.refuse((peer, local, port), "", refusal, datagram.len());
            }
            Admission::Ignore(_) => {}
        }
    }

    /// Whether a request belongs to this session, which deals with it; otherwise the session has
    /// ended for it.
    fn is_repeat(&mut self, seat: Seat, datagram: &[u8]) -> bool {
        let now = self.now();
        let Some(session) = self.table.get(seat) else {
            return false;
        };
        match &mut session.stage {
            Stage::Opening { request, anew } => {
                if **request != *datagram {
                    (*request, *anew) = (datagram.into(), true);
                }
                true
            }
            Stage::Running(running) => match running.transfer.handle_request(datagram, now) {
                Repeat::Same => {
                    self.queue(seat);
                    true
                }
                Repeat::New => {
                    if let Some(Command::Done(outcome)) = running.transfer.next_command() {
                        self.finish(seat, Ending::Finished(outcome));
                    }
                    false
                }
            },
        }
    }

    fn open(
        &mut self,
        datagram: &[u8],
        read: &ReadRequest<'_>,
        (peer, local, port): (SocketAddr, SocketAddr, usize),
    ) {
        if !self.table.has_room(peer.ip()) {
            return Counters::add(&self.shared.counters.over_limit);
        }
        let seat = self.table.insert(Session {
            peer,
            local,
            port,
            file: read.name.into(),
            stage: Stage::Opening {
                request: datagram.into(),
                anew: false,
            },
            queued: false,
            armed: None,
        });
        self.find_file(seat, read, peer);
    }

    fn find_file(&mut self, seat: Seat, read: &ReadRequest<'_>, peer: SocketAddr) {
        let text = read.mode == Mode::Netascii;
        if !text && let Some(opened) = self.shared.files.open_now(read.name, peer) {
            return self.opened(seat, opened.map(Opened::Plain));
        }
        self.helpers.give(Job::Open {
            seat,
            peer,
            name: read.name.to_owned(),
            text,
        });
    }

    /// A client's file has been looked for.
    pub(super) fn opened(&mut self, seat: Seat, opened: Result<Opened, Refusal>) {
        let Some(session) = self.table.get(seat) else {
            return;
        };
        let Stage::Opening { request, anew } = &mut session.stage else {
            return;
        };
        let (client, request) = ((session.peer, session.local, session.port), request.clone());
        let again = std::mem::take(anew);
        match admit(&request) {
            Admission::Read(read) if again => {
                session.file = read.name.into();
                self.find_file(seat, &read, client.0);
            }
            Admission::Read(read) => match opened.and_then(|opened| self.content(opened)) {
                Ok(content) => self.begin(seat, &request, &read, content),
                Err(refusal) => {
                    self.leave(seat);
                    self.refuse(client, read.name, refusal, request.len());
                }
            },
            Admission::Refuse(refusal) => {
                self.leave(seat);
                self.refuse(client, "", refusal, request.len());
            }
            Admission::Ignore(_) => self.leave(seat),
        }
    }

    fn content(&mut self, opened: Opened) -> Result<Content, Refusal> {
        match opened {
            Opened::Text(text) => Ok(Content::Text(Arc::new(text))),
            Opened::Plain(source) => Content::plain(&source, &mut self.pages).map_err(|error| {
                warn!(%error, "a file cannot be mapped for TFTP");
                Refusal::Unreadable
            }),
        }
    }

    fn begin(&mut self, seat: Seat, request: &[u8], read: &ReadRequest<'_>, content: Content) {
        let (total, now) = (content.len(), self.now());
        let Some(session) = self.table.get(seat) else {
            return;
        };
        let transfer = Transfer::new(request, read, total, &self.shared.config.limits, now);
        session.stage = Stage::Running(Box::new(Running::new(transfer, content)));
        Counters::add(&self.shared.counters.started);
        Counters::add(&self.shared.counters.active);
        self.tell(seat, super::Stage::Started { total });
        self.queue(seat);
    }

    /// One ERROR, no larger than what it answers.
    fn refuse(
        &mut self,
        (peer, local, port): (SocketAddr, SocketAddr, usize),
        file: &str,
        refusal: Refusal,
        room: usize,
    ) {
        Counters::add(&self.shared.counters.refused);
        self.say(port, peer, local, refusal.reply_to(room));
        let stage = super::Stage::Refused(refusal);
        self.shared.observer.observe(&Event { peer, file, stage });
    }

    /// It is this session's turn to send.
    pub(super) fn take_turn(&mut self, seat: Seat) {
        let Some(session) = self.table.get(seat) else {
            return;
        };
        session.queued = false;
        let Stage::Running(running) = &mut session.stage else {
            return;
        };
        let repeats = running.transfer.repeats();
        let repeated = repeats - std::mem::replace(&mut running.counted, repeats);
        if repeated > 0 {
            self.shared.counters.repeated.fetch_add(repeated, Relaxed);
        }
        let helpers = &self.helpers;
        let turn = running.turn(burst_limit, |paged, chunk| {
            helpers.give(Job::BringIn(Arc::clone(paged), chunk));
        });
        match turn {
            Turn::Done(outcome) => return self.finish(seat, Ending::Finished(outcome)),
            Turn::Unreadable(error) => return self.unreadable(seat, &error),
            Turn::Wait => return self.parked.push(seat),
            Turn::Nothing => {}
            Turn::Send { load, more } => {
                self.outbox.push(Letter {
                    seat: Some(seat),
                    to: session.peer,
                    from: session.local,
                    load,
                });
                if more {
                    self.queue(seat);
                }
            }
        }
        self.follow(seat);
    }

    /// After a turn: the timer, and the observer.
    fn follow(&mut self, seat: Seat) {
        let now = self.now();
        let Some(session) = self.table.get(seat) else {
            return;
        };
        let Stage::Running(running) = &mut session.stage else {
            return;
        };
        if running.delayed && !running.is_held_up() {
            running.delayed = false;
            running.transfer.handle_delay(now);
        }
        let (bytes, total) = (running.transfer.acknowledged(), running.content.len());
        let progress = bytes - running.told >= self.shared.config.progress_every;
        if progress {
            running.told = bytes;
        }
        if let Some(due) = running.transfer.poll_timeout() {
            self.arm(seat, due);
        }
        if progress {
            self.tell(seat, super::Stage::Progress { bytes, total });
        }
    }

    /// The file of this session cannot be read any more: the client is told.
    pub(super) fn unreadable(&mut self, seat: Seat, error: &dyn Display) {
        if let Some(session) = self.table.get(seat) {
            let (port, peer, local) = (session.port, session.peer, session.local);
            warn!(file = session.file, %error, "a file cannot be read for TFTP");
            self.say(port, peer, local, Refusal::Unreadable.to_bytes());
        }
        self.finish(seat, Ending::Unreadable);
    }

    /// A transfer has ended.
    pub(super) fn finish(&mut self, seat: Seat, ending: Ending) {
        let Some(session) = self.table.get(seat) else {
            return;
        };
        if let Stage::Running(running) = &session.stage {
            let (bytes, total) = (running.transfer.acknowledged(), running.content.len());
            self.shared.counters.count_end(&ending);
            let ended = super::Stage::Ended {
                bytes,
                total,
                ending,
            };
            self.tell(seat, ended);
        }
        self.leave(seat);
    }

    /// A session gives its seat back.
    pub(super) fn leave(&mut self, seat: Seat) {
        if let Some(session) = self.table.remove(seat)
            && matches!(session.stage, Stage::Running(_))
        {
            self.shared.counters.active.fetch_sub(1, Relaxed);
        }
    }

    fn tell(&mut self, seat: Seat, stage: super::Stage) {
        let Some(session) = self.table.get(seat) else {
            return;
        };
        let (peer, file) = (session.peer, &*session.file);
        debug!(%peer, file, ?stage, "TFTP");
        self.shared.observer.observe(&Event { peer, file, stage });
    }
}
