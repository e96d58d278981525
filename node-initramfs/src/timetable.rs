//! How long each part of a boot took.

use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// The part that is the network's time and not init's.
pub const DHCP: &str = "DHCP";

/// The parts of a boot in order, each with the time it took.
#[derive(Debug, Clone)]
pub struct Timetable {
    last: Instant,
    parts: Vec<(&'static str, Duration)>,
    began: CpuTime,
}

/// Processor time of this process (getrusage(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTime {
    /// In its own code.
    pub user: Duration,
    /// In the kernel, on its behalf.
    pub system: Duration,
}

impl CpuTime {
    /// Until now; zero where the kernel does not tell.
    #[must_use]
    pub fn now() -> Self {
        let spent = |time: nix::sys::time::TimeVal| {
            let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        };
        getrusage(UsageWho::RUSAGE_SELF).map_or(CpuTime::default(), |usage| CpuTime {
            user: spent(usage.user_time()),
            system: spent(usage.system_time()),
        })
    }
}

impl Timetable {
    /// Begins to count.
    #[must_use]
    pub fn new(origin: Instant) -> Self {
        Timetable {
            last: origin,
            parts: Vec::new(),
            began: CpuTime::now(),
        }
    }

    /// A part is over.
    pub fn passed(&mut self, part: &'static str) {
        let now = Instant::now();
        self.parts.push((part, now - self.last));
        self.last = now;
    }

    /// The processor time since the beginning.
    #[must_use]
    pub fn cpu(&self) -> CpuTime {
        let now = CpuTime::now();
        CpuTime {
            user: now.user.saturating_sub(self.began.user),
            system: now.system.saturating_sub(self.began.system),
        }
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
