//! What a node has been leased.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::dhcp::INFINITE_SECONDS;
use crate::dhcp::hint::MasterHint;
use crate::dhcp::packet::Answer;

/// A lease, and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInfo {
    /// The node's address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix_len: u8,
    /// Default router.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The node's name.
    pub hostname: Option<String>,
    /// The server that leased it.
    pub server: Ipv4Addr,
    /// Where the master is; `None` if the server is not bootd.
    pub master: Option<MasterHint>,
    /// When the lease began, since the origin of `now`.
    pub obtained: Duration,
    /// From then on: when to renew it; [`Duration::MAX`] is never.
    pub renew_after: Duration,
    /// From then on: when to ask any server.
    pub rebind_after: Duration,
    /// From then on: when it ends.
    pub lease_time: Duration,
}

impl LeaseInfo {
    /// What `answer` leases, if it says all that a lease needs. A lease counts from when it was
    /// asked for (RFC 2131, section 4.4.1). Times that are out of order are replaced by a half
    /// and seven eighths (section 4.4.5).
    pub(super) fn from_answer(answer: &Answer, obtained: Duration) -> Option<Self> {
        let seconds = answer.lease_seconds.filter(|it| *it > 0)?;
        let no_host = answer.yiaddr.is_unspecified()
            || answer.yiaddr.is_broadcast()
            || answer.yiaddr.is_multicast()
            || answer.yiaddr.is_loopback();
        if no_host {
            return None;
        }
        let (renew_after, rebind_after, lease_time) = times(seconds, answer.t1, answer.t2);
        Some(LeaseInfo {
            address: answer.yiaddr,
            prefix_len: answer.prefix_len?,
            router: answer.router,
            dns: answer.dns.clone(),
            hostname: answer.hostname.clone(),
            server: answer.server_id,
            master: answer.master,
            obtained,
            renew_after,
            rebind_after,
            lease_time,
        })
    }

    /// When to renew it.
    #[must_use]
    pub fn renew_at(&self) -> Duration {
        self.obtained.saturating_add(self.renew_after)
    }

    /// When to ask any server.
    #[must_use]
    pub fn rebind_at(&self) -> Duration {
        self.obtained.saturating_add(self.rebind_after)
    }

    /// When it ends.
    #[must_use]
    pub fn ends_at(&self) -> Duration {
        self.obtained.saturating_add(self.lease_time)
    }
}

fn times(
    seconds: u32,
    t1: Option<Duration>,
    t2: Option<Duration>,
) -> (Duration, Duration, Duration) {
    if seconds == INFINITE_SECONDS {
        return (Duration::MAX, Duration::MAX, Duration::MAX);
    }
    let lease = Duration::from_secs(seconds.into());
    let renew = t1.unwrap_or(lease / 2);
    let rebind = t2.unwrap_or(lease * 7 / 8);
    if Duration::ZERO < renew && renew <= rebind && rebind <= lease {
        (renew, rebind, lease)
    } else {
        (lease / 2, lease * 7 / 8, lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_put_in_order() {
        let s = Duration::from_secs;
        for (seconds, t1, t2, expected) in [
            (80, None, None, (s(40), s(70), s(80))),
            (80, Some(s(10)), Some(s(20)), (s(10), s(20), s(80))),
            (80, Some(s(30)), Some(s(20)), (s(40), s(70), s(80))),
            (80, Some(s(0)), None, (s(40), s(70), s(80))),
            (80, None, Some(s(90)), (s(40), s(70), s(80))),
            (
                INFINITE_SECONDS,
                Some(s(1)),
                None,
                (Duration::MAX, Duration::MAX, Duration::MAX),
            ),
        ] {
            assert_eq!(times(seconds, t1, t2), expected, "{seconds} {t1:?} {t2:?}");
        }
    }
}
