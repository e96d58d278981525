//! One preparation and its nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Decision, Progress, RESET_GRACE, Stage};

/// A node in a preparation.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) stage: Stage,
    pub(super) since: Duration,
    pub(super) boot: u64,
    pub(super) reset_at: Option<Duration>,
    pub(super) reset_after: Option<Duration>,
    pub(super) message: String,
}

impl Member {
    pub(super) fn new(stage: Stage, now: Duration) -> Self {
        Member {
            stage,
            since: now,
            boot: 0,
            reset_at: None,
            reset_after: None,
            message: String::new(),
        }
    }

    pub(super) fn restored(progress: Progress) -> (String, Self) {
        let member = Member {
            stage: progress.stage,
            since: progress.since,
            boot: progress.boot,
            reset_at: progress.reset_at,
            reset_after: None,
            message: progress.message,
        };
        (progress.node, member)
    }

    pub(super) fn progress(&self, preparation: i64, node: &str) -> Progress {
        Progress {
            preparation,
            node: node.to_owned(),
            stage: self.stage,
            since: self.since,
            boot: self.boot,
            reset_at: self.reset_at,
            message: self.message.clone(),
        }
    }

    /// When it is to be reset, if it is absent and was not.
    pub(super) fn reset_due(&self) -> Option<Duration> {
        let waits = self.stage == Stage::Absent && self.reset_at.is_none();
        let after = self.reset_after.filter(|_| waits)?;
        Some(self.since + after)
    }

    /// Until when it is waited for although it is absent.
    fn grace(&self) -> Option<Duration> {
        match (self.stage, self.reset_at) {
            (Stage::Absent, Some(at)) => Some(at + RESET_GRACE),
            _ => None,
        }
    }

    /// Whether the others wait for it.
    fn is_awaited(&self, now: Duration) -> bool {
        match self.stage {
            Stage::Ordered | Stage::Installing | Stage::Failed => true,
            Stage::Absent => {
                self.reset_due().is_some() || self.grace().is_some_and(|until| now < until)
            }
            Stage::Ready | Stage::Restarting | Stage::Done => false,
        }
    }
}

/// A preparation.
#[derive(Debug, Clone, Default)]
pub(super) struct Preparation {
    pub(super) decision: Option<Decision>,
    pub(super) members: BTreeMap<String, Member>,
}

impl Preparation {
    pub(super) fn count(&self, stage: Stage) -> usize {
        self.members.values().filter(|it| it.stage == stage).count()
    }

    /// Whether all are ready that can be.
    pub(super) fn is_complete(&self, now: Duration) -> bool {
        self.decision.is_none()
            && self.count(Stage::Ready) > 0
            && !self.members.values().any(|it| it.is_awaited(now))
    }

    /// Whether it still has to do with a node at this stage.
    pub(super) fn concerns(&self, member: &Member) -> bool {
        match self.decision {
            None => member.stage != Stage::Done,
            Some(Decision::Go) => matches!(member.stage, Stage::Restarting | Stage::Absent),
            Some(Decision::Cancel) => false,
        }
    }

    /// When it wants to be looked at although nobody speaks.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let open = self.members.values().filter(|it| self.concerns(it));
        let times = open.flat_map(|it| [it.reset_due(), it.grace().filter(|until| *until > now)]);
        times.flatten().min()
    }

    /// For people: how many are ready.
    pub(super) fn standing(&self, id: i64) -> String {
        let (all, ready) = (self.members.len(), self.count(Stage::Ready));
        let mut text = format!("preparation {id}: {ready} of {all} are ready");
        for stage in [Stage::Absent, Stage::Failed] {
            let count = self.count(stage);
            if count > 0 {
                text.push_str(&format!(", {count} {stage}"));
            }
        }
        text
    }
}
