//! Machines whose init has spoken and that get no answer: told of once, not for each datagram.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bootd_protocol::identity::Mac;
use bootd_protocol::smbios::{Smbios, meant};
use bootd_protocol::verify::message::Identity;
use tracing::warn;

use crate::recorder::Recorder;

/// Machines that are still there are told of again after this long.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// So much is told in that time: a flood of made-up machines fills no log.
const MAX_TOLD: usize = 1000;

/// What was told of machines.
#[derive(Debug)]
pub(crate) struct Unwanted {
    /// Why each gets no answer.
    told: HashMap<Mac, String>,
    times: usize,
    since: Instant,
}

impl Unwanted {
    pub(crate) fn new(now: Instant) -> Self {
        Unwanted {
            told: HashMap::new(),
            times: 0,
            since: now,
        }
    }

    /// To the log, and as an event.
    pub(crate) fn tell(&mut self, machine: &Identity, reason: &str, recorder: &Recorder) {
        if !self.is_news(machine.mac, reason, Instant::now()) {
            return;
        }
        let (mac, says) = (machine.mac, says(machine));
        warn!(%mac, "gets no answer: {reason}; it says {says}");
        let text = format!("{mac} gets no answer: {reason}; it says {says}");
        recorder.event(None, "unwanted", text);
    }

    /// Whether this has not been told yet.
    fn is_news(&mut self, mac: Mac, reason: &str, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= AGAIN {
            *self = Unwanted::new(now);
        }
        let is_told = self.told.get(&mac).is_some_and(|told| told == reason);
        if is_told || self.times >= MAX_TOLD {
            return false;
        }
        self.times += 1;
        self.told.insert(mac, reason.to_owned());
        true
    }
}

/// What rules go by that DHCP does not tell, such that no byte of it can disturb a terminal.
fn says(machine: &Identity) -> String {
    let Smbios {
        product,
        vendor,
        serial,
        chassis,
        slot,
    } = &machine.smbios;
    let mut text = format!("arch {}, firmware {}", machine.arch, machine.firmware);
    for (name, says) in [
        ("product", product),
        ("vendor", vendor),
        ("serial", serial),
        ("chassis", chassis),
        ("slot", slot),
    ] {
        match meant(says) {
            "" => text += &format!(", no {name}"),
            says => text += &format!(", {name} {says:?}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use bootd_protocol::identity::{Arch, Firmware, SystemUuid};
    use bootd_protocol::verify::key::SecretKey;

    use super::*;

    #[test]
    fn what_is_told_is_told_once() {
        let now = Instant::now();
        let mut unwanted = Unwanted::new(now);
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        assert!(unwanted.is_news(mac, "no rule", now));
        assert!(!unwanted.is_news(mac, "no rule", now + AGAIN / 2));
        // An edit of the rules.
        assert!(unwanted.is_news(mac, "rule x ignores it", now));
        assert!(!unwanted.is_news(mac, "rule x ignores it", now));
        assert!(unwanted.is_news(mac, "rule x ignores it", now + AGAIN));
    }

    #[test]
    fn a_flood_fills_no_log() {
        let now = Instant::now();
        let machine = |number: u16| {
            let [high, low] = number.to_be_bytes();
            Mac([2, 0, 0, 0, high, low])
        };
        let mut unwanted = Unwanted::new(now);
        let told = (0..5000).filter(|it| unwanted.is_news(machine(*it), "no rule", now));
        assert_eq!(told.count(), MAX_TOLD);
        assert!(unwanted.is_news(machine(5000), "no rule", now + AGAIN));
        // One that says something else each time.
        let mut unwanted = Unwanted::new(now);
        let told = (0..5000).filter(|it| unwanted.is_news(machine(0), &it.to_string(), now));
        assert_eq!(told.count(), MAX_TOLD);
    }

    #[test]
    fn it_says_what_rules_go_by() {
        let machine = Identity {
            key: SecretKey::from_seed(&[1; 32]).public(),
            mac: Mac([2; 6]),
            uuid: SystemUuid([0; 16]),
            arch: Arch::X86_64,
            firmware: Firmware::Bios,
            key_is_kept: false,
            smbios: Smbios {
                product: "R640".into(),
                vendor: "Default string".into(),
                serial: "a\"b".into(),
                ..Smbios::default()
            },
        };
        assert_eq!(
            says(&machine),
            r#"arch x86_64, firmware bios, product "R640", no vendor, serial "a\"b", no chassis, no slot"#
        );
    }
}
