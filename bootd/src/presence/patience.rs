//! How long a node may be silent before it counts as absent.

use std::time::Duration;

use bootd_protocol::verify::message::{Action, Receipt, Stage, Verdict};
use catalog::state::Presence as There;

/// Firmware, the load of a boot image, the writing of a slot: nobody says anything meanwhile.
pub(super) const BOOTING: Duration = Duration::from_secs(180);
/// How many reports in a row may be missing.
const MISSED: u32 = 3;
/// The last of them is said again for so long.
const LAST_TRY: Duration = Duration::from_secs(7);

/// How long to wait for the next word of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// So long.
    For(Duration),
    /// No word is to be expected: an init of version 1 is silent while it runs.
    Unknown,
    /// As long as before: what was heard says nothing of whether it goes on.
    AsBefore,
}

impl Patience {
    /// After an answer to a question in this version of the protocol.
    pub(super) fn after_verdict(version: u8, verdict: &Verdict) -> Self {
        match verdict.action {
            Action::Run if version < 2 => Patience::Unknown,
            Action::Run => Patience::For(reports(&Receipt::default())),
            Action::Install { .. }
            | Action::Hold { .. }
            | Action::Restart
            | Action::Test { .. } => Patience::For(BOOTING),
        }
    }

    /// After an answer to a report.
    pub(super) fn after_report(version: u8, stage: Stage, receipt: &Receipt) -> Self {
        match stage {
            Stage::Running | Stage::Failed if version < 2 => Patience::Unknown,
            Stage::Running | Stage::Failed => Patience::For(reports(receipt)),
            Stage::Netboot
            | Stage::Holding
            | Stage::Preparing
            | Stage::Fetching
            | Stage::Writing
            | Stage::Restarting => Patience::For(BOOTING),
        }
    }

    /// What a node is that was just heard.
    pub(super) fn presence(self, before: There) -> There {
        match self {
            Patience::For(_) => There::Present,
            Patience::Unknown => There::Unknown,
            Patience::AsBefore => before,
        }
    }
}

fn reports(receipt: &Receipt) -> Duration {
    Duration::from_secs(u64::from(receipt.next_report)) * MISSED + LAST_TRY
}
