//! What this master has done, in numbers; written to `state.db` every second.

use std::sync::atomic::{AtomicU64, Ordering};

use catalog::state::Record;

use crate::recorder::Recorder;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Sets it, where another part keeps count.
    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: usize) {
        let value = u64::try_from(value).unwrap_or(u64::MAX);
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes the structs and their lists of names and values. The line of documentation is also what
/// `/metrics` says of a number.
macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+ now { $($(#[doc = $now_help:literal])+ $now:ident,)+ }) => {
        /// All numbers.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $help])+ pub $name: Counter,)+
            /// How things are now.
            pub now: Gauges,
        }

        /// Numbers that say how things are now; those of other parts are set every second.
        #[derive(Debug, Default)]
        pub struct Gauges { $($(#[doc = $now_help])+ pub $now: Gauge,)+ }

        impl Counters {
            /// Every name with its value.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }

            /// Every name with what it means, and its value.
            #[must_use]
            pub fn described(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($help),+), self.$name.get()),)+]
            }
        }

        impl Gauges {
            /// Every name with what it means, and its value.
            #[must_use]
            pub fn described(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($now), concat!($($now_help),+), self.$now.get()),)+]
            }
        }
    };
}

counters! {
    /// DHCP packets received.
    dhcp_received,
    /// DHCPOFFERs sent.
    dhcp_offers,
    /// DHCPACKs sent.
    dhcp_acks,
    /// DHCPNAKs sent.
    dhcp_naks,
    /// DHCP packets that deserved no answer.
    dhcp_dropped,
    /// Plain BOOTP requests answered.
    dhcp_bootp,
    /// Verify datagrams received.
    verify_received,
    /// Verify datagrams answered.
    verify_answered,
    /// Verify: answered datagrams that were reports, not questions.
    verify_reports,
    /// Verify: not of this protocol.
    verify_garbage,
    /// Verify: truncated or malformed.
    verify_malformed,
    /// Verify: of a version this master does not speak.
    verify_version,
    /// Verify: of a kind that nodes do not send.
    verify_kind,
    /// Verify: wrongly signed.
    verify_signature,
    /// Verify: seen before.
    verify_replayed,
    /// Verify: from machines that are not ours.
    verify_ignored,
    /// HTTP requests.
    http_requests,
    /// HTTP requests refused unread: malformed, too long, or too slow in coming.
    http_refused,
    /// HTTP connections turned away because everybody was busy.
    http_turned_away,
    /// Bytes of HTTP bodies sent.
    http_bytes,
    /// Blobs that were asked for and are missing or rotten.
    blobs_refused,
    /// TFTP transfers begun.
    tftp_transfers,
    /// TFTP transfers that came to their end.
    tftp_completed,
    /// TFTP transfers given up, by either side.
    tftp_aborted,
    /// TFTP requests refused with an ERROR.
    tftp_refused,
    /// Configurations for PXELINUX and U-Boot made for nodes, by TFTP.
    tftp_configs,
    /// TFTP requests left unanswered: too many transfers, in all or to one address.
    tftp_over_limit,
    /// TFTP transfers given up because the client fell silent or got nowhere.
    tftp_timed_out,
    /// TFTP blocks and OACKs sent again.
    tftp_repeated,
    /// Seconds this master has served.
    uptime_seconds,
    /// Bytes of TFTP data sent.
    tftp_bytes,
    now {
        /// Addresses that DHCP has on record.
        dhcp_leases,
        /// HTTP connections open.
        http_connections,
        /// HTTP requests being answered.
        http_transfers,
        /// TFTP transfers under way.
        tftp_running,
    }
}

/// Writes what has changed since `last`.
pub fn flush(counters: &Counters, last: &mut Vec<(&'static str, u64)>, recorder: &Recorder) {
    let now = counters.list();
    for (name, value) in now.iter().filter(|entry| !last.contains(entry)) {
        recorder.record(Record::Counter(name, *value));
    }
    *last = now;
}
