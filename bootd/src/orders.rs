//! The edge of orders to many: what the catalog wishes and what nodes say goes into the machine of
//! preparations, and what it wants done is done.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bootd_protocol::once::Once;
use bootd_protocol::preparation::{Command, Need, Preparations, Progress, Target, Wish};
use bootd_protocol::verify::master::{Fact, Gate, Observation, Wanted};
use bootd_protocol::verify::message::{Action, Ask, Report, Verdict};
use catalog::snapshot::{Install, Node, Preparation, Snapshot};
use catalog::state::{NodeTest, Record};
use tracing::info;

use crate::desired::{Desired, View};
use crate::hooks::{Hooks, Job, Outcome};
use crate::presence::Presence;
use crate::recorder::{Recorder, unix_ms};
use crate::registrar::Registrar;
use crate::wishes::described;

/// What it works with.
#[derive(Debug, Clone)]
pub struct Orders {
    machine: Arc<Mutex<Preparations>>,
    once: Arc<Mutex<Once>>,
    edge: Edge,
}

/// Where it is done.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The catalog in force.
    pub desired: Desired,
    /// How nodes are doing.
    pub presence: Presence,
    /// Where it is remembered.
    pub recorder: Recorder,
    /// Where the catalog is edited.
    pub registrar: Registrar,
    /// Where commands are run.
    pub hooks: Hooks,
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

impl Orders {
    /// Goes on from what an earlier run remembered.
    #[must_use]
    pub fn new(earlier: Vec<Progress>, tested: Vec<NodeTest>, edge: Edge) -> Self {
        let tested = tested.into_iter().map(|it| (it.node, it.test, it.boot));
        Orders {
            once: Arc::new(Mutex::new(Once::restored(tested))),
            machine: Arc::new(Mutex::new(Preparations::restored(earlier))),
            edge,
        }
    }

    fn machine(&self) -> MutexGuard<'_, Preparations> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a node that asks, and has what it should, may run.
    #[must_use]
    pub fn gate(&self, node: &str, ask: &Ask, version: u8) -> Gate {
        self.machine().gate(node, ask.sequence.boot, version)
    }

    /// Why a node that reports is to restart, if it is.
    #[must_use]
    pub fn restart(&self, node: &str, report: &Report) -> Option<String> {
        let boot = report.sequence.boot;
        self.machine().order(node, boot, report.stage)
    }

    /// The test that a node has in this boot, and what that makes of it.
    #[must_use]
    pub fn trial(&self, view: &View, name: &str, ask: &Ask) -> Option<(i64, Wanted)> {
        if view.snapshot.tests.is_empty() {
            return None;
        }
        // One thing after the other.
        if self.machine().concerns(name) {
            return None;
        }
        let node = view.snapshot.node(name)?;
        let class = view.snapshot.classes.get(&node.class)?;
        // The others have nothing to go back to, or wait.
        if class.install != Install::Persist {
            return None;
        }
        let (arch, firmware) = (ask.identity.arch, ask.identity.firmware);
        let made = |test: i64| view.served.trial(test, &class.name, name, arch, firmware);
        let tests = view.snapshot.tests.iter().filter(|it| it.covers.is(node));
        let tests = tests.map(|it| it.id).filter(|it| made(*it).is_some());
        let once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        let test = once.due(name, ask.sequence.boot, tests)?;
        drop(once);
        Some((test, described(made(test)?)?))
    }

    /// A node was told to test: not in another boot again.
    fn tested(&self, name: &str, ask: &Ask) {
        let view = self.edge.desired.view();
        let Some((test, _)) = self.trial(&view, name, ask) else {
            return;
        };
        let boot = ask.sequence.boot;
        let mut once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        if once.handle_told(name, boot, test) {
            let record = NodeTest {
                test,
                node: name.to_owned(),
                boot,
                at_ms: unix_ms(),
            };
            let text = format!("test {test}, in this boot alone");
            self.edge.recorder.event(Some(name), "test", text);
            self.edge.recorder.record(Record::Tested(record));
        }
    }

    /// A node spoke the verify protocol.
    pub fn observed(&self, observation: &Observation) {
        let Some(name) = &observation.name else {
            return;
        };
        let (boot, version) = (observation.sequence.boot, observation.version);
        if let Fact::Asked { ask, verdict, .. } = &observation.fact
            && matches!(verdict.action, Action::Test { .. })
        {
            self.tested(name, ask);
        }
        let mut machine = self.machine();
        match &observation.fact {
            Fact::Asked {
                verdict, is_right, ..
            } => {
                if let Some(need) = need(verdict, *is_right) {
                    machine.handle_asked(name, boot, version, &need, now());
                }
            }
            Fact::Reported { report, .. } => {
                let news = (report.stage, report.text.as_str());
                machine.handle_reported(name, boot, version, news, now());
            }
            Fact::KeyOffered { .. } => return,
        }
        self.obey(machine);
    }

    /// The catalog has changed.
    pub fn follow(&self, view: &View) {
        let preparations = view.snapshot.preparations.iter();
        let wishes: Vec<Wish> = preparations
            .map(|it| wish(it, &view.snapshot, &self.edge.presence))
            .collect();
        let mut machine = self.machine();
        machine.handle_wishes(&wishes, now());
        self.obey(machine);
    }

    /// To be called once a second, with those who are missing since the last time.
    pub fn tick(&self, missing: &[String]) {
        let mut machine = self.machine();
        for node in missing {
            machine.handle_absent(node, now());
        }
        if machine.poll_timeout(now()).is_some_and(|due| due <= now()) {
            machine.handle_timeout(now());
        }
        self.obey(machine);
    }

    /// A command has ended.
    pub fn ran(&self, outcome: &Outcome) {
        let Outcome {
            preparation,
            node,
            result,
        } = outcome;
        info!(node, result, "reset");
        self.edge
            .recorder
            .event(Some(node), "reset", result.clone());
        let mut machine = self.machine();
        machine.handle_reset(*preparation, node, result);
        self.obey(machine);
    }

    fn obey(&self, mut machine: MutexGuard<'_, Preparations>) {
        let commands: Vec<Command> = std::iter::from_fn(|| machine.next_command()).collect();
        // Whoever asks does not wait for what follows.
        drop(machine);
        for command in commands {
            match command {
                Command::Remember(progress) => self.remember(progress),
                Command::Decide(id) => self.edge.registrar.decide(id),
                Command::Reset { preparation, node } => self.reset(preparation, node),
            }
        }
    }

    fn remember(&self, progress: Progress) {
        let Progress {
            preparation,
            stage,
            message,
            ..
        } = &progress;
        let text = format!("preparation {preparation}: {stage}: {message}");
        info!(node = progress.node, "{text}");
        let recorder = &self.edge.recorder;
        recorder.event(Some(&progress.node), "preparation", text);
        recorder.record(Record::Prepared(progress));
    }

    fn reset(&self, preparation: i64, node: String) {
        let view = self.edge.desired.view();
        let argv = self.argv(&view.snapshot, &node);
        let started = argv.and_then(|argv| {
            let job = Job {
                preparation,
                node: node.clone(),
                argv,
            };
            self.edge.hooks.run(&job).map_err(|it| it.to_string())
        });
        if let Err(why) = started {
            self.ran(&Outcome {
                preparation,
                node,
                result: format!("not run: {why}"),
            });
        }
    }

    /// The command that resets a node, with what it is to be told.
    fn argv(&self, snapshot: &Snapshot, name: &str) -> Result<Vec<String>, String> {
        let node = snapshot.node(name).ok_or("the node is gone")?;
        let class = snapshot.classes.get(&node.class);
        let reset = class.and_then(|it| it.reset.as_ref());
        let reset = reset.ok_or("its class has no reset_command any more")?;
        let address = node.ip.or_else(|| self.edge.presence.address(name));
        let known = [
            ("{node}", Some(name.to_owned())),
            ("{mac}", node.mac.map(|it| it.to_string())),
            ("{address}", address.map(|it| it.to_string())),
        ];
        filled(&reset.command, &known)
    }
}

fn filled(command: &[String], known: &[(&str, Option<String>)]) -> Result<Vec<String>, String> {
    let mut argv = command.to_vec();
    for argument in &mut argv {
        for (place, value) in known {
            if argument.contains(place) {
                let value = value.as_ref();
                let value = value.ok_or_else(|| format!("{place} of this node is not known"))?;
                *argument = argument.replace(place, value);
            }
        }
    }
    Ok(argv)
}

/// What a node that asked needs; `None` where that cannot be said.
fn need(verdict: &Verdict, is_right: bool) -> Option<Need> {
    match &verdict.action {
        _ if is_right => Some(Need::Nothing),
        Action::Install { .. } => Some(Need::Installation),
        Action::Run => Some(Need::Impossible(verdict.reason.clone())),
        Action::Test { .. } => Some(Need::Impossible("runs a test".to_owned())),
        Action::Hold { .. } | Action::Restart => None,
    }
}

fn wish(preparation: &Preparation, snapshot: &Snapshot, presence: &Presence) -> Wish {
    // Whom it is for counts when it begins, which one that is decided does not.
    let open = preparation.decision.is_none();
    let covered = |node: &&Node| open && preparation.covers.iter().any(|it| it.is(node));
    let target = |node: &Node| {
        let class = snapshot.classes.get(&node.class)?;
        // Those of other classes have nothing to prepare, or wait already.
        (class.install == Install::Persist).then(|| Target {
            node: node.name.clone(),
            present: presence.is_present(&node.name),
            reset_after: class.reset.as_ref().map(|it| it.after),
        })
    };
    Wish {
        id: preparation.id,
        decision: preparation.decision,
        targets: snapshot
            .nodes
            .iter()
            .filter(covered)
            .filter_map(target)
            .collect(),
    }
}
