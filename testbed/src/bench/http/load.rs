//! Many downloads at once by HTTP/1.1, each on a connection of its own, compared with the file
//! byte for byte.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::bench::downloads::Downloads;
use crate::bench::figures::count;

/// Between two looks at the time.
const TICK_MS: u8 = 100;
/// Longest head of an answer, bytes.
const HEAD: usize = 4096;
/// Reads of one connection before the others have their turn.
const ROUNDS: usize = 4;

/// What is to be done.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) server: SocketAddrV4,
    pub(super) path: String,
    /// What the file should be.
    pub(super) content: Arc<[u8]>,
    pub(super) transfers: usize,
    pub(super) at_once: usize,
    /// When the whole ends in any case.
    pub(super) limit: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) downloads: Downloads,
    pub(super) bytes: u64,
}

struct Download {
    stream: TcpStream,
    head: Vec<u8>,
    in_body: bool,
    offset: usize,
    begun: Instant,
}

struct Run<'a> {
    load: &'a Load,
    epoll: Epoll,
    downloads: Vec<Option<Download>>,
    started: usize,
    active: usize,
    buffer: Vec<u8>,
    report: Report,
}

/// Loads the server.
///
/// # Errors
/// No connection can be had.
pub(super) fn run(load: &Load) -> Result<Report> {
    let mut run = Run {
        load,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        downloads: (0..load.at_once).map(|_| None).collect(),
        started: 0,
        active: 0,
        buffer: vec![0; 1 << 18],
        report: Report::default(),
    };
    let begun = Instant::now();
    for index in 0..load.at_once.min(load.transfers) {
        run.start(index)?;
    }
    let mut events = vec![EpollEvent::empty(); 256];
    while run.active > 0 && begun.elapsed() < load.limit {
        let ready = match run.epoll.wait(&mut events, TICK_MS) {
            Ok(ready) => ready,
            Err(nix::Error::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        for event in &events[..ready] {
            let index = usize::try_from(event.data())?;
            if let Some(end) = run.read(index) {
                run.end(index, end)?;
            }
        }
    }
    run.report.downloads.unfinished = run.active;
    run.report.downloads.elapsed = begun.elapsed();
    Ok(run.report)
}

impl Run<'_> {
    fn start(&mut self, index: usize) -> Result<()> {
        let begun = Instant::now();
        let to = self.load.server;
        let mut stream = TcpStream::connect(to).with_context(|| format!("connect to {to}"))?;
        stream.set_nodelay(true)?;
        let path = &self.load.path;
        let request = format!("GET {path} HTTP/1.1\r\nHost: master\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, count(index));
        self.epoll.add(&stream, event)?;
        self.downloads[index] = Some(Download {
            stream,
            head: Vec::new(),
            in_body: false,
            offset: 0,
            begun,
        });
        self.started += 1;
        self.active += 1;
        Ok(())
    }

    /// Reads what has come; how the download ended, if it did.
    fn read(&mut self, index: usize) -> Option<Result<(), String>> {
        let download = self.downloads[index].as_mut()?;
        for _ in 0..ROUNDS {
            let len = match download.stream.read(&mut self.buffer) {
                Ok(0) => return Some(Err("the connection ended early".into())),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => return Some(Err(error.to_string())),
            };
            let content = &self.load.content;
            let before = download.offset;
            let taken = download.take(&self.buffer[..len], content);
            self.report.bytes += count(download.offset - before);
            if let Err(reason) = taken {
                return Some(Err(reason));
            }
            if download.in_body && download.offset == content.len() {
                return Some(Ok(()));
            }
        }
        None
    }

    fn end(&mut self, index: usize, end: Result<(), String>) -> Result<()> {
        let ended = self.downloads[index].take();
        self.active -= 1;
        match (end, ended) {
            (Ok(()), Some(download)) => self.report.downloads.finish(download.begun),
            (Err(reason), _) => self.report.downloads.fail(reason),
            (Ok(()), None) => {}
        }
        if self.started < self.load.transfers {
            self.start(index)?;
        }
        Ok(())
    }
}

impl Download {
    fn take(&mut self, bytes: &[u8], content: &[u8]) -> Result<(), String> {
        if self.in_body {
            return self.body(bytes, content);
        }
        self.head.extend(bytes);
        let Some(end) = self.head.windows(4).position(|it| it == b"\r\n\r\n") else {
            return if self.head.len() > HEAD {
                Err("the answer's head is too long".into())
            } else {
                Ok(())
            };
        };
        let body = self.head.split_off(end + 4);
        let head = String::from_utf8_lossy(&self.head);
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            return Err(status.to_owned());
        }
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        });
        if length != Some(content.len()) {
            return Err(format!("a length of {length:?}"));
        }
        self.in_body = true;
        self.body(&body, content)
    }

    fn body(&mut self, bytes: &[u8], content: &[u8]) -> Result<(), String> {
        let end = self.offset + bytes.len();
        if content.get(self.offset..end) != Some(bytes) {
            return Err("content differs".into());
        }
        self.offset = end;
        Ok(())
    }
}
