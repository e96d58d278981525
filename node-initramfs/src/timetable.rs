//! How long each part of a boot took.

use std::fmt;
use std::time::{Duration, Instant};

/// The part that is the network's time and not init's.
pub const DHCP: &str = "DHCP";

/// The parts of a boot in order, each with the time it took.
#[derive(Debug, Clone)]
pub struct Timetable {
    last: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl Timetable {
    /// Begins to count.
    #[must_use]
    pub fn new(origin: Instant) -> Self {
        Timetable {
            last: origin,
            parts: Vec::new(),
        }
    }

    /// A part is over.
    pub fn passed(&mut self, part: &'static str) {
        let now = Instant::now();
        self.parts.push((part, now - self.last));
        self.last = now;
    }

    /// The time of all parts but DHCP's exchange.
    #[must_use]
    pub fn own(&self) -> Duration {
        self.parts
            .iter()
            .filter(|(part, _)| *part != DHCP)
            .map(|(_, time)| *time)
            .sum()
    }
}

impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (part, time)) in self.parts.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{part} {}", time.as_millis())?;
        }
        Ok(())
    }
}
