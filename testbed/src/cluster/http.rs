//! Looking at what a node serves.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const LIMIT: Duration = Duration::from_secs(10);

/// Gets `path` from port 80 of `address`; the body.
///
/// # Errors
/// Nobody answers, or not with status 200.
pub fn get(address: &str, path: &str) -> Result<String> {
    get_from(format!("{address}:80").parse().context("an address")?, path)
}

/// Gets `path` from a server; the body.
///
/// # Errors
/// As [`get`].
pub fn get_from(target: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, LIMIT)
        .with_context(|| format!("connect to {target}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {target}\r\n\r\n")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("read from {target}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => bail!(
            "{target}{path}: {}",
            answer.lines().next().unwrap_or_default()
        ),
    }
}
