//! Sockets, and the errors people really get when they cannot be had.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

/// A socket that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{what} on port {port}: {cause}{advice}", advice = advice(cause, *port))]
pub struct SocketError {
    what: &'static str,
    port: u16,
    /// Told above, and so no source that is told again.
    cause: io::Error,
}

fn advice(error: &io::Error, port: u16) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        format!("; another program has it: `ss -lpn 'sport = :{port}'` names it")
    } else if kind == io::ErrorKind::PermissionDenied {
        "; run as root, or give bootd CAP_NET_BIND_SERVICE".to_owned()
    } else {
        String::new()
    }
}

fn named<T>(what: &'static str, port: u16, result: io::Result<T>) -> Result<T, SocketError> {
    result.map_err(|cause| SocketError { what, port, cause })
}

/// A UDP socket on every address of this machine that tells for each datagram where it came in
/// (`IP_PKTINFO`, ip(7)), and may broadcast.
///
/// # Errors
/// The port is taken, or not for us.
pub fn udp_with_arrival(what: &'static str, port: u16) -> Result<OwnedFd, SocketError> {
    let open = || -> nix::Result<OwnedFd> {
        let fd = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&fd, sockopt::Broadcast, &true)?;
        let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &address)?;
        Ok(fd)
    };
    named(what, port, open().map_err(io::Error::from))
}

/// A UDP socket on every address of this machine.
///
/// # Errors
/// The port is taken, or not for us.
pub fn udp(what: &'static str, port: u16) -> Result<UdpSocket, SocketError> {
    named(what, port, UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
}

/// A listening TCP socket on every address of this machine.
///
/// # Errors
/// The port is taken, or not for us.
pub fn tcp(what: &'static str, port: u16) -> Result<TcpListener, SocketError> {
    let open = || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        notice_silence(&listener)?;
        Ok(listener)
    };
    named(what, port, open())
}

/// A node whose power is cut never closes its connection: the kernel asks, and drops those that
/// do not answer within a minute. What is accepted inherits this (tcp(7)).
fn notice_silence(listener: &TcpListener) -> nix::Result<()> {
    setsockopt(listener, sockopt::KeepAlive, &true)?;
    setsockopt(listener, sockopt::TcpKeepIdle, &30)?;
    setsockopt(listener, sockopt::TcpKeepInterval, &10)?;
    setsockopt(listener, sockopt::TcpKeepCount, &3)?;
    // For data that nobody acknowledges, in milliseconds.
    setsockopt(listener, sockopt::TcpUserTimeout, &60_000)
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;

    use super::*;

    #[test]
    fn connections_of_machines_that_are_gone_end() {
        let listener = tcp("HTTP", 0).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        drop(client);
        assert!(getsockopt(&accepted, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(&accepted, sockopt::TcpKeepIdle).unwrap(), 30);
        assert_eq!(
            getsockopt(&accepted, sockopt::TcpUserTimeout).unwrap(),
            60_000
        );
    }
}
