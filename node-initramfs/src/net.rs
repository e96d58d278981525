//! The node's network: DHCP on every card, the first answer wins.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use bootd_protocol::dhcp::client::{Client, Command, Config, LeaseInfo};
use bootd_protocol::dhcp::hint::MasterHint;
use bootd_protocol::dhcp::{CLIENT_PORT, SERVER_PORT};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

use crate::kernel::{self, Card};
use crate::rtnetlink;
use crate::store::RememberedLease;

/// A lease remembered from the last boot is taken to last this long: what matters is that the
/// node lives when no server answers, not when the lease would have ended on a clock that
/// nobody set.
const REMEMBERED_TIME: Duration = Duration::from_secs(3600);

/// The largest packet that is looked at.
const MAX_DATAGRAM: usize = 2048;

/// A network that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No Ethernet card, or none whose driver is in the boot image.
    #[error("no network card: none is there, or its driver is not in the boot image")]
    NoCard,
    /// A card does not do as it is told.
    #[error("{card}: cannot {what}: {source}")]
    Card {
        /// Its name.
        card: String,
        /// What was tried.
        what: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}

/// How long a card may take until its link is up; asking begins then in any case. Gigabit
/// Ethernet needs about three seconds to agree with its peer.
const LINK_TIMEOUT: Duration = Duration::from_secs(8);

/// How often links are looked at while none is up.
const LINK_INTERVAL: Duration = Duration::from_millis(10);

/// One card and its DHCP, which begins when the card has a link: packets before that are lost.
struct Line {
    card: Card,
    socket: UdpSocket,
    client: Option<Client>,
}

/// All cards until one is bound, then that one.
pub struct Net {
    lines: Vec<Line>,
    origin: Instant,
    /// When links are no longer waited for.
    link_deadline: Duration,
    remembered: Option<RememberedLease>,
}

/// What this node says of itself to DHCP.
fn config(card: &Card) -> Config {
    let uuid = kernel::system_uuid();
    Config {
        mac: card.mac,
        uuid: uuid.is_usable().then_some(uuid),
        machine: (kernel::arch(), kernel::firmware()),
    }
}

fn failed(card: &Card, what: &'static str) -> impl Fn(io::Error) -> NetError + use<> {
    let card = card.name.clone();
    move |source| NetError::Card {
        card: card.clone(),
        what,
        source,
    }
}

impl Net {
    /// Brings all cards up. Their links come up while something else is done; [`Net::ask`]
    /// begins to ask.
    ///
    /// # Errors
    /// No card, or one that does not come up.
    pub fn raise(origin: Instant) -> Result<Self, NetError> {
        let mut lines = Vec::new();
        for card in kernel::cards() {
            rtnetlink::link_up(card.index).map_err(failed(&card, "be brought up"))?;
            let socket = dhcp_socket(&card).map_err(failed(&card, "be asked on"))?;
            lines.push(Line {
                card,
                socket,
                client: None,
            });
        }
        if lines.is_empty() {
            return Err(NetError::NoCard);
        }
        Ok(Net {
            lines,
            origin,
            link_deadline: origin.elapsed() + LINK_TIMEOUT,
            remembered: None,
        })
    }

    /// Begins to ask, on every card that has a link by now, for the remembered address where
    /// there is one; [`Net::wait`] does so on the others.
    ///
    /// # Errors
    /// A card that cannot be configured.
    pub fn ask(&mut self, remembered: Option<RememberedLease>) -> Result<(), NetError> {
        self.remembered = remembered;
        // Nothing is bound by this: what is sent now has no answer yet.
        self.pump().map(drop)
    }

    fn begin(&mut self) {
        let now = self.origin.elapsed();
        for line in self.lines.iter_mut().filter(|it| it.client.is_none()) {
            if now >= self.link_deadline || kernel::has_link(&line.card.name) {
                line.begin(self.remembered.as_ref(), now);
            }
        }
    }

    /// Waits for the first card to be bound; the others are let go.
    ///
    /// # Errors
    /// A card that cannot be configured.
    pub fn wait(&mut self) -> Result<(Card, LeaseInfo), NetError> {
        loop {
            if let Some((index, lease)) = self.pump()? {
                let line = self.lines.swap_remove(index);
                let card = line.card.clone();
                self.lines = vec![line];
                return Ok((card, lease));
            }
            self.sleep();
        }
    }

    /// When to call [`Net::pump`] again, measured from the origin.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let due = |line: &Line| match &line.client {
            Some(client) => client.poll_timeout(),
            None => Some(self.origin.elapsed() + LINK_INTERVAL),
        };
        self.lines.iter().filter_map(due).min()
    }

    /// The sockets, to wait on.
    pub fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.lines.iter().map(|it| &it.socket)
    }

    /// Takes what has come, sends what is due, configures what was given; which line got which
    /// lease, if one did.
    ///
    /// # Errors
    /// A card that cannot be configured.
    pub fn pump(&mut self) -> Result<Option<(usize, LeaseInfo)>, NetError> {
        self.begin();
        let mut bound = None;
        for (index, line) in self.lines.iter_mut().enumerate() {
            if let Some(lease) = line.pump(self.origin)? {
                bound = Some((index, lease));
            }
        }
        Ok(bound)
    }

    fn sleep(&self) {
        let now = self.origin.elapsed();
        let due = self.poll_timeout().unwrap_or(now + Duration::from_secs(1));
        let mut fds: Vec<PollFd<'_>> = self
            .sockets()
            .map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN))
            .collect();
        // An interrupted wait is one that ends early: the caller looks again.
        let _ = poll(&mut fds, timeout(due.saturating_sub(now)));
    }
}

/// `pause` for poll(2), rounded up so that a timer is due when the wait ends.
#[must_use]
pub fn timeout(pause: Duration) -> PollTimeout {
    let millis = i32::try_from(pause.as_millis())
        .unwrap_or(i32::MAX)
        .saturating_add(1);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

impl Line {
    fn begin(&mut self, remembered: Option<&RememberedLease>, now: Duration) {
        let lease = remembered.filter(|it| it.interface == self.card.name);
        let seed = getrandom::u32().unwrap_or(std::process::id());
        let config = config(&self.card);
        self.client = Some(match lease {
            Some(lease) => Client::with_remembered(config, seed, recalled(lease, now), now),
            None => Client::new(config, seed, now),
        });
    }

    fn pump(&mut self, origin: Instant) -> Result<Option<LeaseInfo>, NetError> {
        let mut buffer = [0; MAX_DATAGRAM];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            if let Some(client) = &mut self.client {
                client.handle_packet(&buffer[..len], origin.elapsed());
            }
        }
        if let Some(client) = &mut self.client {
            client.handle_timeout(origin.elapsed());
        }
        let mut bound = None;
        while let Some(command) = self.client.as_mut().and_then(Client::next_command) {
            match command {
                Command::SendBroadcast(bytes) => self.send(Ipv4Addr::BROADCAST, &bytes),
                Command::SendUnicast(server, bytes) => self.send(server, &bytes),
                Command::Configure(lease) => self.configure(&lease)?,
                Command::Settled(lease) => bound = Some(lease),
                // The address stays until there is another: a node whose server is gone must
                // not lose its network for it.
                Command::Deconfigure => {}
            }
        }
        Ok(bound)
    }

    fn send(&self, to: Ipv4Addr, bytes: &[u8]) {
        // What cannot leave now is like what is lost on the way: the client sends it again.
        let _ = self
            .socket
            .send_to(bytes, SocketAddr::from((to, SERVER_PORT)));
    }

    fn configure(&self, lease: &LeaseInfo) -> Result<(), NetError> {
        let card = &self.card;
        rtnetlink::set_address(card.index, lease.address, lease.prefix_len)
            .map_err(failed(card, "take its address"))?;
        if let Some(router) = lease.router {
            rtnetlink::set_default_route(card.index, router)
                .map_err(failed(card, "take its default route"))?;
        }
        Ok(())
    }
}

fn dhcp_socket(card: &Card) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&fd, sockopt::BindToDevice, &card.name.clone().into())?;
    setsockopt(&fd, sockopt::Broadcast, &true)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, CLIENT_PORT))?;
    Ok(fd.into())
}

/// What to keep of a lease.
#[must_use]
pub fn remember(card: &Card, lease: &LeaseInfo) -> RememberedLease {
    RememberedLease {
        interface: card.name.clone(),
        address: lease.address,
        prefix_len: lease.prefix_len,
        router: lease.router,
        server: lease.server,
        dns: lease.dns.clone(),
        master: lease.master.map(|it| (it.ip, it.verify_port, it.http_port)),
    }
}

fn recalled(lease: &RememberedLease, now: Duration) -> LeaseInfo {
    LeaseInfo {
        address: lease.address,
        prefix_len: lease.prefix_len,
        router: lease.router,
        dns: lease.dns.clone(),
        hostname: None,
        server: lease.server,
        master: lease.master.map(|(ip, verify_port, http_port)| MasterHint {
            ip,
            verify_port,
            http_port,
        }),
        obtained: now,
        renew_after: REMEMBERED_TIME / 2,
        rebind_after: REMEMBERED_TIME / 8 * 7,
        lease_time: REMEMBERED_TIME,
    }
}
