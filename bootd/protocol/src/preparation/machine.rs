//! The machine: all preparations that are under way.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::member::{Member, Preparation};
use super::{Command, Decision, Need, Progress, Stage, Wish};
use crate::verify::master::Gate;
use crate::verify::message::Stage as Doing;

/// What a node does when the others go, too.
const GOES: &str = "restarts with the others";

/// All preparations.
#[derive(Debug, Default)]
pub struct Preparations {
    all: BTreeMap<i64, Preparation>,
    /// The preparation that each node is in.
    by_node: HashMap<String, i64>,
    commands: VecDeque<Command>,
}

impl Preparations {
    /// Goes on from what an earlier run remembered.
    #[must_use]
    pub fn restored(progress: impl IntoIterator<Item = Progress>) -> Self {
        let mut machine = Preparations::default();
        for progress in progress {
            let preparation = machine.all.entry(progress.preparation).or_default();
            let (node, member) = Member::restored(progress);
            preparation.members.insert(node, member);
        }
        for preparation in machine.all.values_mut() {
            // That the others have gone is known even where the catalog was not told in time.
            if preparation.count(Stage::Restarting) > 0 {
                preparation.decision = Some(Decision::Go);
            }
        }
        machine.index();
        machine
    }

    /// How far every node of every preparation is.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        let members = self.all.iter().flat_map(|(id, preparation)| {
            let members = preparation.members.iter();
            members.map(|(node, member)| member.progress(*id, node))
        });
        members.collect()
    }

    /// The next thing to do.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`Preparations::handle_timeout`], seen from `now`.
    #[must_use]
    pub fn poll_timeout(&self, now: Duration) -> Option<Duration> {
        self.all.values().filter_map(|it| it.due(now)).min()
    }

    /// Takes what the catalog wishes now. A preparation that was decided before it was ever begun is
    /// not begun: it is an old one.
    pub fn handle_wishes(&mut self, wishes: &[Wish], now: Duration) {
        self.all
            .retain(|id, _| wishes.iter().any(|wish| wish.id == *id));
        self.index();
        for wish in wishes {
            if !self.all.contains_key(&wish.id) {
                self.begin(wish, now);
            }
            self.refresh(wish, now);
        }
        self.handle_timeout(now);
    }

    fn begin(&mut self, wish: &Wish, now: Duration) {
        if wish.decision.is_some() || wish.targets.is_empty() {
            return;
        }
        self.all.insert(wish.id, Preparation::default());
        for target in &wish.targets {
            self.leave(&target.node, wish.id, now);
            self.by_node.insert(target.node.clone(), wish.id);
            let stage = match target.present {
                true => Stage::Ordered,
                false => Stage::Absent,
            };
            let member = Member::new(stage, now);
            if let Some(preparation) = self.all.get_mut(&wish.id) {
                preparation.members.insert(target.node.clone(), member);
            }
            self.remember(wish.id, &target.node);
        }
    }

    /// A node is in one preparation at a time: the last one.
    fn leave(&mut self, node: &str, new: i64, now: Duration) {
        if let Some(old) = self.by_node.get(node).copied().filter(|old| *old != new) {
            let why = format!("taken over by preparation {new}");
            self.enter(old, node, Stage::Failed, &why, now);
        }
    }

    /// What the operator decided, and how nodes are reset.
    fn refresh(&mut self, wish: &Wish, now: Duration) {
        let Some(preparation) = self.all.get_mut(&wish.id) else {
            return;
        };
        for target in &wish.targets {
            if let Some(member) = preparation.members.get_mut(&target.node) {
                member.reset_after = target.reset_after;
            }
        }
        match (preparation.decision, wish.decision) {
            (before, Some(Decision::Cancel)) if before != wish.decision => {
                self.cancel(wish.id, now);
            }
            (None, Some(Decision::Go)) => self.release(wish.id, now),
            // The catalog was not told.
            (Some(Decision::Go), None) => self.commands.push_back(Command::Decide(wish.id)),
            _ => {}
        }
    }

    /// Looks who is to be reset, and whether all are ready.
    pub fn handle_timeout(&mut self, now: Duration) {
        let mut resets = Vec::new();
        for (id, preparation) in &self.all {
            for (node, member) in &preparation.members {
                let due = member.reset_due().is_some_and(|due| due <= now);
                if due && preparation.concerns(member) {
                    resets.push((*id, node.clone()));
                }
            }
        }
        for (preparation, node) in resets {
            if let Some(member) = self.member(preparation, &node) {
                member.reset_at = Some(now);
                "is being reset".clone_into(&mut member.message);
            }
            self.remember(preparation, &node);
            self.commands
                .push_back(Command::Reset { preparation, node });
        }
        let complete = self.all.iter().filter(|(_, it)| it.is_complete(now));
        let complete: Vec<i64> = complete.map(|(id, _)| *id).collect();
        for id in complete {
            self.commands.push_back(Command::Decide(id));
            self.release(id, now);
        }
    }

    /// A node that boots has asked.
    pub fn handle_asked(&mut self, node: &str, boot: u64, version: u8, need: &Need, now: Duration) {
        let Some((id, gone)) = self.concerned(node) else {
            return;
        };
        let Some(member) = self.member(id, node) else {
            return;
        };
        let returned = boot > member.boot || version < 2;
        let (stage, message) = match (need, member.stage) {
            (Need::Nothing, Stage::Restarting | Stage::Absent) if gone && !returned => {
                (Stage::Restarting, GOES)
            }
            (Need::Nothing, _) if gone => (Stage::Done, "runs what it should"),
            (Need::Nothing, _) => (Stage::Ready, "has what it should"),
            // It was prepared and then edited: it comes to run all the same.
            (Need::Installation, Stage::Restarting | Stage::Absent) if gone => return,
            (Need::Installation, _) => (Stage::Installing, "gets what it lacks"),
            (Need::Impossible(why), _) => (Stage::Failed, why.as_str()),
        };
        member.boot = boot;
        let message = message.to_owned();
        self.enter(id, node, stage, &message, now);
        self.handle_timeout(now);
    }

    /// A node has reported.
    pub fn handle_reported(
        &mut self,
        node: &str,
        boot: u64,
        version: u8,
        (doing, text): (Doing, &str),
        now: Duration,
    ) {
        let Some((id, gone)) = self.concerned(node) else {
            return;
        };
        let Some(member) = self.member(id, node) else {
            return;
        };
        let (stage, message) = match (member.stage, doing) {
            (Stage::Restarting | Stage::Absent, Doing::Running | Doing::Failed) if gone => {
                if boot > member.boot {
                    (Stage::Done, "runs what it has: no master answered it")
                } else {
                    (Stage::Restarting, GOES)
                }
            }
            (Stage::Installing, Doing::Failed) => (Stage::Failed, text),
            (
                Stage::Ordered | Stage::Installing | Stage::Ready | Stage::Absent,
                Doing::Running | Doing::Failed,
            ) if version < 2 => {
                let why = "runs, and its init is too old to be told: restart it by hand";
                (Stage::Failed, why)
            }
            (Stage::Installing | Stage::Ready | Stage::Absent, Doing::Running | Doing::Failed) => {
                (Stage::Ordered, "runs, and is to restart")
            }
            _ => return,
        };
        member.boot = member.boot.max(boot);
        self.enter(id, node, stage, message, now);
        self.handle_timeout(now);
    }

    /// A node is missing.
    pub fn handle_absent(&mut self, node: &str, now: Duration) {
        let Some((id, _)) = self.concerned(node) else {
            return;
        };
        let was = self.member(id, node).map(|it| it.stage);
        let Some(was) = was.filter(|it| *it != Stage::Absent) else {
            return;
        };
        let message = format!("not heard any more; it was {was}");
        self.enter(id, node, Stage::Absent, &message, now);
        self.handle_timeout(now);
    }

    /// The command that resets a node has ended.
    pub fn handle_reset(&mut self, preparation: i64, node: &str, result: &str) {
        if let Some(member) = self.member(preparation, node)
            && member.stage == Stage::Absent
        {
            member.message = format!("reset: {result}");
            self.remember(preparation, node);
        }
    }

    /// Whether a node that asks in this boot, and has what it should, may run.
    #[must_use]
    pub fn gate(&self, node: &str, boot: u64, version: u8) -> Gate {
        let Some((id, preparation, member)) = self.find(node) else {
            return Gate::Open;
        };
        match preparation.decision {
            None if member.stage == Stage::Ready => Gate::Shut(preparation.standing(id)),
            // It is not counted as ready yet.
            None => Gate::Shut(format!("preparation {id}: has what it should, and waits")),
            Some(_) if boot > member.boot || version < 2 => Gate::Open,
            Some(_) => Gate::Restart(format!("preparation {id}: all are ready")),
        }
    }

    /// Why a node that reports is to restart, if it is.
    #[must_use]
    pub fn order(&self, node: &str, boot: u64, doing: Doing) -> Option<String> {
        let (id, preparation, member) = self.find(node)?;
        let runs = match (preparation.decision, member.stage) {
            // What failed may be a process of a node that runs; one that does not obeys no order.
            (None, Stage::Ordered) => matches!(doing, Doing::Running | Doing::Failed),
            (None, Stage::Installing | Stage::Ready | Stage::Absent) => doing == Doing::Running,
            (None, Stage::Restarting | Stage::Done | Stage::Failed) => false,
            (Some(_), _) => matches!(doing, Doing::Running | Doing::Failed) && boot <= member.boot,
        };
        runs.then(|| format!("preparation {id}"))
    }

    /// Whether the node is being prepared.
    #[must_use]
    pub fn concerns(&self, node: &str) -> bool {
        self.find(node).is_some()
    }

    fn find(&self, node: &str) -> Option<(i64, &Preparation, &Member)> {
        let id = *self.by_node.get(node)?;
        let preparation = self.all.get(&id)?;
        let member = preparation.members.get(node)?;
        preparation
            .concerns(member)
            .then_some((id, preparation, member))
    }

    /// The preparation that a node is in, and whether the others have gone.
    fn concerned(&self, node: &str) -> Option<(i64, bool)> {
        let (id, preparation, _) = self.find(node)?;
        Some((id, preparation.decision.is_some()))
    }

    fn member(&mut self, id: i64, node: &str) -> Option<&mut Member> {
        self.all.get_mut(&id)?.members.get_mut(node)
    }

    fn enter(&mut self, id: i64, node: &str, stage: Stage, message: &str, now: Duration) {
        let Some(member) = self.member(id, node) else {
            return;
        };
        if member.stage != stage {
            (member.stage, member.since) = (stage, now);
        } else if member.message == message {
            return;
        }
        message.clone_into(&mut member.message);
        self.remember(id, node);
    }

    fn remember(&mut self, id: i64, node: &str) {
        if let Some(member) = self.member(id, node) {
            let progress = member.progress(id, node);
            self.commands.push_back(Command::Remember(progress));
        }
    }

    fn release(&mut self, id: i64, now: Duration) {
        // Who is absent is free when it comes, in whatever boot.
        for node in self.at_stage(id, Stage::Absent) {
            if let Some(member) = self.member(id, &node) {
                member.boot = 0;
            }
            self.remember(id, &node);
        }
        let left_out = "left out: it was not ready when the others went";
        self.decide(id, Decision::Go, now, |stage| match stage {
            Stage::Ready => Some((Stage::Restarting, GOES)),
            Stage::Ordered | Stage::Installing => Some((Stage::Failed, left_out)),
            Stage::Absent | Stage::Restarting | Stage::Failed | Stage::Done => None,
        });
    }

    fn at_stage(&self, id: i64, stage: Stage) -> Vec<String> {
        let members = self.all.get(&id).into_iter().flat_map(|it| &it.members);
        let found = members.filter(|(_, member)| member.stage == stage);
        found.map(|(node, _)| node.clone()).collect()
    }

    fn cancel(&mut self, id: i64, now: Duration) {
        let cancelled = "cancelled";
        self.decide(id, Decision::Cancel, now, |stage| match stage {
            Stage::Ordered | Stage::Installing | Stage::Ready | Stage::Restarting => {
                Some((Stage::Done, cancelled))
            }
            Stage::Absent | Stage::Failed | Stage::Done => None,
        });
    }

    fn decide(
        &mut self,
        id: i64,
        decision: Decision,
        now: Duration,
        next: impl Fn(Stage) -> Option<(Stage, &'static str)>,
    ) {
        let Some(preparation) = self.all.get_mut(&id) else {
            return;
        };
        preparation.decision = Some(decision);
        let changes: Vec<(String, Stage, &str)> = preparation
            .members
            .iter()
            .filter_map(|(node, member)| {
                let (stage, message) = next(member.stage)?;
                Some((node.clone(), stage, message))
            })
            .collect();
        for (node, stage, message) in changes {
            self.enter(id, &node, stage, message, now);
        }
    }

    fn index(&mut self) {
        self.by_node.clear();
        for (id, preparation) in &self.all {
            for (node, member) in &preparation.members {
                if preparation.concerns(member) {
                    self.by_node.insert(node.clone(), *id);
                }
            }
        }
    }
}
