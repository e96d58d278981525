//! Serves one disk over a unix socket; a thread for each connection (QEMU makes one).

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::cache::SECTOR;
use super::disk::{Disk, PowerIsOff, Session};
use super::handshake::{Outcome, negotiate};
use super::wire::{self, Request, command, error};

/// The socket of a disk could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve a disk at {path}")]
pub struct ServeError {
    path: PathBuf,
    source: io::Error,
}

/// A running server. Dropping it closes its socket and its connections.
pub struct NbdServer {
    path: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    disk: Arc<Disk>,
    stopping: AtomicBool,
    connections: Mutex<Vec<(UnixStream, JoinHandle<()>)>>,
}

impl NbdServer {
    /// Serves `disk` at a unix socket that does not exist yet.
    ///
    /// # Errors
    /// The path is taken, too long for a unix socket (107 bytes), or in no directory.
    pub fn serve(disk: Arc<Disk>, path: &Path) -> Result<Self, ServeError> {
        let failed = |source| ServeError {
            path: path.to_owned(),
            source,
        };
        let listener = UnixListener::bind(path).map_err(failed)?;
        let shared = Arc::new(Shared {
            disk,
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let for_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::Builder::new()
            .name("nbd accept".to_owned())
            .spawn(move || for_acceptor.accept_all(&listener))
            .map_err(failed)?;
        Ok(NbdServer {
            path: path.to_owned(),
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// The disk that is served.
    #[must_use]
    pub fn disk(&self) -> &Arc<Disk> {
        &self.shared.disk
    }

    /// The socket's path, for QEMU's `nbd:unix:PATH`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The acceptor waits in accept(): one last connection wakes it.
        let woken = UnixStream::connect(&self.path).is_ok();
        if let Some(acceptor) = self.acceptor.take_if(|_| woken) {
            let _ = acceptor.join();
        }
        for (stream, thread) in self.shared.lock_connections().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Shared {
    fn accept_all(self: &Arc<Self>, listener: &UnixListener) {
        for stream in listener.incoming() {
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            if let Ok(stream) = stream {
                self.lock_connections()
                    .retain(|(_, thread)| !thread.is_finished());
                // Without a thread or a descriptor to spare, the client sees the end of
                // its connection, which QEMU reports.
                let _ = self.start(stream);
            }
        }
    }

    fn start(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let handle = stream.try_clone()?;
        let disk = Arc::clone(&self.disk);
        let thread = std::thread::Builder::new()
            .name("nbd connection".to_owned())
            .spawn(move || {
                // A client that breaks the protocol or goes away ends only itself.
                let _ = serve_connection(&disk, &stream);
                let _ = stream.shutdown(Shutdown::Both);
            })?;
        self.lock_connections().push((handle, thread));
        Ok(())
    }

    fn lock_connections(&self) -> std::sync::MutexGuard<'_, Vec<(UnixStream, JoinHandle<()>)>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve_connection(disk: &Disk, stream: &UnixStream) -> io::Result<()> {
    let session = disk.open();
    let mut both = stream;
    if negotiate(&mut both, disk.size())? == Outcome::Closed {
        return Ok(());
    }
    let mut connection = Connection {
        disk,
        session,
        reader: BufReader::with_capacity(256 << 10, stream),
        writer: stream,
        buffer: Vec::new(),
    };
    loop {
        match connection.serve_one()? {
            Next::Request => {}
            Next::End => return Ok(()),
            Next::Silence => return swallow(&mut connection.reader),
        }
    }
}

/// The power is off: whatever comes is read and not answered, until the machine is gone.
fn swallow(reader: &mut impl Read) -> io::Result<()> {
    io::copy(reader, &mut io::sink()).map(|_| ())
}

/// What follows a request.
enum Next {
    Request,
    End,
    Silence,
}

struct Connection<'a> {
    disk: &'a Disk,
    session: Session,
    reader: BufReader<&'a UnixStream>,
    writer: &'a UnixStream,
    /// A write's payload, or a reply with the data that was read.
    buffer: Vec<u8>,
}

impl Connection<'_> {
    fn serve_one(&mut self) -> io::Result<Next> {
        let mut header = [0; Request::LEN];
        match self.reader.read_exact(&mut header) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Next::End),
            other => other?,
        }
        let request = Request::decode(&header)?;
        if request.command == command::DISCONNECT {
            return Ok(Next::End);
        }
        self.read_payload(&request)?;
        let Ok(error) = self.perform(&request) else {
            return Ok(Next::Silence);
        };
        self.answer(&request, error)?;
        Ok(Next::Request)
    }

    fn read_payload(&mut self, request: &Request) -> io::Result<()> {
        self.buffer.clear();
        if request.command == command::WRITE {
            if request.length > wire::MAX_PAYLOAD {
                return Err(wire::invalid(format!("write of {} bytes", request.length)));
            }
            self.buffer.resize(bytes_of(request), 0);
            self.reader.read_exact(&mut self.buffer)?;
        }
        Ok(())
    }

    /// Does what is asked; the error number for the reply.
    fn perform(&mut self, request: &Request) -> Result<u32, PowerIsOff> {
        let error = refusal(request, self.disk.size());
        if error != error::NONE {
            return Ok(error);
        }
        let force = request.flags & wire::FUA != 0;
        let (session, offset, length) = (self.session, request.offset, bytes_of(request));
        match request.command {
            command::READ => {
                self.buffer.resize(length, 0);
                self.disk.read(session, offset, &mut self.buffer)?;
            }
            command::WRITE => self.disk.write(session, offset, &self.buffer, force)?,
            command::FLUSH => self.disk.flush(session)?,
            // A trimmed range reads as zeros, which the protocol allows and is repeatable.
            command::TRIM | command::WRITE_ZEROES => {
                self.disk.zero(session, offset, length, force)?;
            }
            _ => return Ok(error::INVALID),
        }
        Ok(error::NONE)
    }

    fn answer(&mut self, request: &Request, error: u32) -> io::Result<()> {
        self.writer.write_all(&wire::reply(error, request.cookie))?;
        if request.command == command::READ && error == error::NONE {
            self.writer.write_all(&self.buffer)?;
        }
        Ok(())
    }
}

fn bytes_of(request: &Request) -> usize {
    usize::try_from(request.length).unwrap_or(usize::MAX)
}

/// The error number for a request that is out of bounds, or `error::NONE`.
fn refusal(request: &Request, size: u64) -> u32 {
    if request.command == command::FLUSH {
        return error::NONE;
    }
    let length = u64::from(request.length);
    let sector = SECTOR as u64;
    let beyond = request
        .offset
        .checked_add(length)
        .is_none_or(|end| end > size);
    let torn = !request.offset.is_multiple_of(sector) || !length.is_multiple_of(sector);
    let too_long = request.command == command::READ && request.length > wire::MAX_PAYLOAD;
    match (beyond, torn || too_long) {
        (true, _) if request.command == command::READ => error::INVALID,
        (true, _) => error::NO_SPACE,
        (false, true) => error::INVALID,
        (false, false) => error::NONE,
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
