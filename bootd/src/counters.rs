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

/// Makes the struct and its list of names and values.
macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident,)+) => {
        /// All numbers.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$meta])* pub $name: Counter,)+ }

        impl Counters {
            /// Every name with its value.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
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
    /// Verify datagrams received.
    verify_received,
    /// Verify datagrams answered.
    verify_answered,
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
    /// TFTP requests left unanswered: too many transfers, in all or to one address.
    tftp_over_limit,
    /// TFTP transfers given up because the client fell silent or got nowhere.
    tftp_timed_out,
    /// TFTP blocks and OACKs sent again.
    tftp_repeated,
    /// TFTP transfers under way.
    tftp_active,
    /// Seconds this master has served.
    uptime_seconds,
    /// Bytes of TFTP data sent.
    tftp_bytes,
}

/// Writes what has changed since `last`.
pub fn flush(counters: &Counters, last: &mut Vec<(&'static str, u64)>, recorder: &Recorder) {
    let now = counters.list();
    for (name, value) in now.iter().filter(|entry| !last.contains(entry)) {
        recorder.record(Record::Counter(name, *value));
    }
    *last = now;
}
