//! What the service manager is told (sd_notify(3)), and whether every part is alive.
//!
//! Each part that serves has a [`Pulse`] and beats at least once a second, from the loop that does
//! its work. While all of them do, the watchdog hears of it; when one stops, it does not, and the
//! service manager starts the master anew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::{debug, error};

/// How often a part must beat, at least.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// The parts of the master. Clones share them.
#[derive(Debug, Clone)]
pub struct Life {
    since: Instant,
    parts: Arc<Mutex<Vec<(&'static str, Pulse)>>>,
}

/// One part's pulse. Clones share it.
#[derive(Debug, Clone)]
pub struct Pulse {
    since: Instant,
    /// Milliseconds from `since` to the last beat.
    last: Arc<AtomicU64>,
}

impl Default for Life {
    fn default() -> Self {
        Life {
            since: Instant::now(),
            parts: Arc::default(),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Life {
    /// A new part, which has just beaten.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Pulse {
        let pulse = Pulse {
            since: self.since,
            last: Arc::default(),
        };
        pulse.beat();
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push((name, pulse.clone()));
        pulse
    }

    /// The parts that have not beaten for `longest`, at the time `now`.
    #[must_use]
    pub fn silent(&self, longest: Duration, now: Instant) -> Vec<&'static str> {
        let now = millis(now.saturating_duration_since(self.since));
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = parts.iter().filter(|(_, pulse)| {
            now.saturating_sub(pulse.last.load(Ordering::Relaxed)) > millis(longest)
        });
        silent.map(|(name, _)| *name).collect()
    }

    /// Tells the watchdog, where there is one, as long as all parts beat. Never returns.
    pub async fn watch(&self) {
        let Some(period) = sd_notify::watchdog_enabled() else {
            return std::future::pending().await;
        };
        // Half of the period may pass without a beat, and a quarter between two looks.
        let mut look = tokio::time::interval(period / 4);
        let mut complained = false;
        loop {
            look.tick().await;
            let silent = self.silent(period / 2, Instant::now());
            if silent.is_empty() {
                tell(&[NotifyState::Watchdog]);
            } else if !complained {
                error!(
                    "no sign of life from {}: the watchdog is not told any more",
                    silent.join(", ")
                );
            }
            complained = !silent.is_empty();
        }
    }
}

impl Pulse {
    /// This part is alive.
    pub fn beat(&self) {
        self.last
            .store(millis(self.since.elapsed()), Ordering::Relaxed);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Nobody listens where no service manager has started us.
    if let Err(error) = sd_notify::notify(states) {
        debug!("the service manager was not told: {error}");
    }
}

/// The master serves.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The master ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_does_not_beat_is_named() {
        let life = Life::default();
        let http = life.part("http");
        let _dhcp = life.part("dhcp");
        let later = Instant::now() + Duration::from_secs(10);
        let longest = Duration::from_secs(5);
        assert_eq!(life.silent(longest, Instant::now()), Vec::<&str>::new());
        assert_eq!(life.silent(longest, later), ["http", "dhcp"]);
        http.last.store(8_000, Ordering::Relaxed);
        assert_eq!(life.silent(longest, later), ["dhcp"]);
    }
}
