//! Bytes out: heads and what is in memory by writing, files by `sendfile`, which copies nothing.

use std::fs::File;
use std::io::{self, IoSlice};
use std::time::Duration;

use rustix::fs::sendfile;
use rustix::net::{SendFlags, send};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::crowd::Place;
use super::reply::{Content, Reply};

/// Most bytes of a file handed to the kernel before others have their turn.
const TURN: u64 = 2 * 1024 * 1024;

/// Where the answers to one client go.
pub(super) struct Outlet<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) place: &'a Place,
    /// How long it may take no byte.
    pub(super) stall: Duration,
}

impl Outlet<'_> {
    /// Sends an answer whole. `progress` is called with the number of body bytes that the kernel
    /// has taken, now and then and at the end.
    ///
    /// # Errors
    /// The connection failed, the client takes nothing any more or has to make room, or the file
    /// ended early: either way the connection is of no more use.
    pub(super) async fn send(
        &self,
        head: &[u8],
        reply: &Reply,
        progress: impl FnMut(u64),
    ) -> io::Result<()> {
        match &reply.content {
            Content::Text(text) => {
                let body = part(text.as_bytes(), reply);
                self.send_bytes(head, body, progress).await
            }
            Content::Manifest(encoded) => {
                let body = part(&encoded.bytes, reply);
                self.send_bytes(head, body, progress).await
            }
            Content::File { .. } if reply.count == 0 => self.send_bytes(head, &[], progress).await,
            Content::File { file, start, .. } => {
                self.send_head(head).await?;
                let first = start + reply.first;
                self.send_file(file, first, reply.count, progress).await
            }
        }
    }

    /// Sends head and body together.
    async fn send_bytes(
        &self,
        head: &[u8],
        body: &[u8],
        mut progress: impl FnMut(u64),
    ) -> io::Result<()> {
        let mut slices = [IoSlice::new(head), IoSlice::new(body)];
        let mut left = &mut slices[..];
        while left.iter().any(|it| !it.is_empty()) {
            let sent = self.push(|| self.stream.try_write_vectored(left)).await?;
            IoSlice::advance_slices(&mut left, sent);
        }
        progress(u64::try_from(body.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Sends a head that the kernel keeps until what follows fills a packet.
    async fn send_head(&self, mut head: &[u8]) -> io::Result<()> {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        while !head.is_empty() {
            let sent = self
                .try_push(|| Ok(send(self.stream, head, flags)?))
                .await?;
            head = &head[sent..];
        }
        Ok(())
    }

    async fn send_file(
        &self,
        file: &File,
        first: u64,
        count: u64,
        mut progress: impl FnMut(u64),
    ) -> io::Result<()> {
        let mut sent = 0;
        while sent < count {
            let turn = usize::try_from(TURN.min(count - sent)).map_err(io::Error::other)?;
            let mut offset = first + sent;
            let pushed = self
                .try_push(|| Ok(sendfile(self.stream, file, Some(&mut offset), turn)?))
                .await?;
            if pushed == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            sent += u64::try_from(pushed).map_err(io::Error::other)?;
            progress(sent);
            if sent < count {
                yield_now().await;
            }
        }
        Ok(())
    }

    /// As [`Outlet::push`], for a system call that tokio does not know.
    async fn try_push(&self, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        self.push(|| self.stream.try_io(Interest::WRITABLE, &mut call))
            .await
    }

    /// Calls until the kernel has taken something.
    async fn push(&self, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        loop {
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.room().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                taken => return taken,
            }
        }
    }

    /// Waits until the kernel would take something.
    async fn room(&self) -> io::Result<()> {
        self.place.waits_for_room();
        let room = tokio::select! {
            room = timeout(self.stall, self.stream.writable()) => room.map_err(|_| io::ErrorKind::TimedOut.into()),
            () = self.place.must_leave() => Err(io::Error::other("had to make room")),
        };
        self.place.is_served();
        room.flatten()
    }
}

/// The part of `content` that is sent.
fn part<'a>(content: &'a [u8], reply: &Reply) -> &'a [u8] {
    let first = usize::try_from(reply.first).unwrap_or(usize::MAX);
    let count = usize::try_from(reply.count).unwrap_or(usize::MAX);
    let part = content.get(first..first.saturating_add(count));
    part.unwrap_or_default()
}
