//! HTTP/1.1 GET (RFC 9110, RFC 9112), as much of it as the master speaks: an address instead of
//! a name, one connection that is kept, bodies of a known length, ranges from an offset.
//!
//! Its own and not a library's for two reasons: a body that stalls is noticed after
//! [`STALL_TIMEOUT`] however long it is, and init stays within its size
//! (`docs/decisions/0007-node-http-client.md` has the figures).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a byte for this long a connection counts as cut.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of an answer, in bytes.
const MAX_HEAD: u64 = 16 * 1024;
const MAX_HEADERS: usize = 32;

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection failed or was cut.
    #[error("{0}")]
    Cut(#[from] io::Error),
    /// The server refuses; its words.
    #[error("status {status}: {text}")]
    Status {
        /// The status code.
        status: u16,
        /// The beginning of the body.
        text: String,
    },
    /// Not an answer that this client understands.
    #[error("not an HTTP answer: {0}")]
    Malformed(&'static str),
}

/// A connection to one server, made when it is needed and kept while it lasts.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Length of the body, in bytes.
    pub length: u64,
    /// Where the body begins in the resource, in bytes.
    pub start: u64,
    /// Whether nothing follows the body.
    pub closes: bool,
}

/// A body on its way: read it to its end, or the connection is of no more use.
pub struct Body<'a> {
    client: &'a mut Client,
    left: u64,
    closes: bool,
}

impl Client {
    /// A client of the server at this address.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Client {
            server,
            connection: None,
        }
    }

    /// Gets `path` from byte `from` on. The body has exactly the bytes from there to the end.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or does not understand ranges.
    pub fn get(&mut self, path: &str, from: u64) -> Result<Body<'_>, HttpError> {
        let kept = self.connection.is_some();
        match self.try_get(path, from) {
            // A kept connection may have been closed by the server meanwhile: once more.
            Err(HttpError::Cut(_)) if kept => self.try_get(path, from)?,
            other => other?,
        }
        .into_body(self, from)
    }

    fn try_get(&mut self, path: &str, from: u64) -> Result<Head, HttpError> {
        // Whatever goes wrong from here on, the connection is put back only when it is whole.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let range = if from > 0 {
            format!("Range: bytes={from}-\r\n")
        } else {
            String::new()
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{range}\r\n",
            self.server
        );
        connection.get_mut().write_all(request.as_bytes())?;
        let head = read_head(&mut connection)?;
        self.connection = Some(connection);
        Ok(head)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.server, CONNECT_TIMEOUT)?;
        stream.set_read_timeout(Some(STALL_TIMEOUT))?;
        stream.set_write_timeout(Some(STALL_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::with_capacity(64 * 1024, stream))
    }
}

impl Head {
    fn into_body(self, client: &mut Client, from: u64) -> Result<Body<'_>, HttpError> {
        let Head {
            status,
            length,
            start,
            closes,
        } = self;
        let mut body = Body {
            client,
            left: length,
            closes,
        };
        match status {
            200 if from == 0 => Ok(body),
            206 if start == from => Ok(body),
            200 | 206 => {
                body.client.connection = None;
                Err(HttpError::Malformed(
                    "the server sends another range than was asked for",
                ))
            }
            _ => {
                let mut text = Vec::new();
                body.by_ref().take(200).read_to_end(&mut text)?;
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                body.client.connection = None;
                Err(HttpError::Status { status, text })
            }
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let Some(connection) = &mut self.client.connection else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let result = connection.read(&mut buffer[..room]);
        match result {
            Ok(len) if len > 0 => {
                self.left -= u64::try_from(len).unwrap_or(0);
                if self.left == 0 && self.closes {
                    self.client.connection = None;
                }
                Ok(len)
            }
            cut => {
                self.client.connection = None;
                cut.and_then(|_| Err(io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.client.connection = None;
        }
    }
}

/// Reads the head of an answer, and no byte behind it.
///
/// # Errors
/// [`HttpError::Cut`], [`HttpError::Malformed`].
pub fn read_head(connection: &mut impl BufRead) -> Result<Head, HttpError> {
    let mut bytes = Vec::new();
    let mut limited = connection.take(MAX_HEAD);
    while !bytes.ends_with(b"\r\n\r\n") {
        if limited.read_until(b'\n', &mut bytes)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    parse_head(&bytes)
}

fn parse_head(bytes: &[u8]) -> Result<Head, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let whole = response.parse(bytes).is_ok_and(|it| it.is_complete());
    let status = response
        .code
        .filter(|_| whole)
        .ok_or(HttpError::Malformed("its head"))?;
    let field = |name: &str| {
        let mut fields = response.headers.iter();
        let found = fields.find(|it| it.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let length = field("content-length").and_then(|it| it.parse().ok());
    let start = field("content-range")
        .and_then(|it| it.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    Ok(Head {
        status,
        length: length.ok_or(HttpError::Malformed("it has no length"))?,
        start: start.unwrap_or(0),
        closes: field("connection").is_some_and(|it| it.eq_ignore_ascii_case("close")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let head = parse_head(b"HTTP/1.1 206 Partial Content\r\ncontent-length: 6\r\nContent-Range: bytes 4-9/10\r\n\r\n");
        assert_eq!(
            head.unwrap(),
            Head {
                status: 206,
                length: 6,
                start: 4,
                closes: false
            }
        );
        let head =
            parse_head(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert_eq!(
            head.unwrap(),
            Head {
                status: 404,
                length: 0,
                start: 0,
                closes: true
            }
        );
        for bad in [
            "",
            "HTTP/1.1 200 OK\r\n\r\n",
            "220 smtp\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        ] {
            assert!(
                matches!(parse_head(bad.as_bytes()), Err(HttpError::Malformed(_))),
                "{bad:?}"
            );
        }
    }
}
