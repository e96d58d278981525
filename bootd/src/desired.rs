//! What the catalog wishes, in memory: read whole, swapped whole, never touched by a packet.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bootd_protocol::identity::Mac;
use catalog::served::{Kept, Served};
use catalog::snapshot::{Action, Rule, Snapshot};
use catalog::{Catalog, Error};
use tracing::{error, info, warn};

use crate::chain::chain;
use crate::supervision::Pulse;

/// How often the catalog is looked at for a new commit: some microseconds each time.
const POLL: Duration = Duration::from_millis(100);

/// The catalog as it was after one commit, with the manifests in force.
#[derive(Debug, Default)]
pub struct View {
    /// All rows.
    pub snapshot: Snapshot,
    /// The manifests.
    pub served: Served,
    /// Whose a reserved address is.
    pub reserved: HashMap<Ipv4Addr, Mac>,
    /// Why machines get what they get.
    pub reasons: Reasons,
}

/// Why machines get what they get, in words: written once for each class and rule, not for each packet.
#[derive(Debug, Default)]
pub struct Reasons {
    /// By name of the class that nodes are of.
    pub classes: HashMap<String, Arc<str>>,
    /// By name of the rule that takes them in.
    pub rules: HashMap<String, Arc<str>>,
    /// By name of the rule that may take them in.
    pub perhaps: HashMap<String, Arc<str>>,
    /// For machines that no rule takes in.
    pub stranger: Arc<str>,
}

impl Reasons {
    fn new(snapshot: &Snapshot) -> Self {
        let class = |class: &String| (class.clone(), format!("a node of class {class}").into());
        let rule = |rule: &Rule| match &rule.action {
            Action::Enrol { class } | Action::Hold { class } => {
                let reason = format!("rule {} takes it into class {class}", rule.name);
                Some((rule.name.clone(), reason.into()))
            }
            Action::Ignore => None,
        };
        let perhaps = |rule: &Rule| {
            let name = &rule.name;
            let reason = format!("rule {name} may take it in, once it has said what it is");
            (name.clone(), reason.into())
        };
        Reasons {
            perhaps: snapshot.rules.iter().map(perhaps).collect(),
            classes: snapshot.classes.keys().map(class).collect(),
            rules: snapshot.rules.iter().filter_map(rule).collect(),
            stranger: "no rule takes it in".into(),
        }
    }
}

impl View {
    fn new(snapshot: Snapshot, served: Served) -> Self {
        let reserved = snapshot
            .nodes
            .iter()
            .filter_map(|node| Some((node.ip?, node.mac?)));
        View {
            reserved: reserved.collect(),
            reasons: Reasons::new(&snapshot),
            snapshot,
            served,
        }
    }
}

/// The view in force. Clones share it.
#[derive(Debug, Clone)]
pub struct Desired(Arc<ArcSwap<View>>);

impl Desired {
    /// Reads the catalog for the first time. Where it is not all right, what an earlier run has kept
    /// is in force.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(catalog: &Catalog) -> Result<Self, Error> {
        let earlier = View {
            served: Kept::below(catalog.dir()).read(),
            ..View::default()
        };
        let desired = Desired(Arc::new(ArcSwap::from_pointee(earlier)));
        desired.reload(catalog)?;
        Ok(desired)
    }

    /// The view in force now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.0.load_full()
    }

    fn reload(&self, catalog: &Catalog) -> Result<(), Error> {
        let begun = Instant::now();
        let old = self.view();
        let snapshot = catalog.snapshot()?;
        let served = old.served.next(&old.snapshot, &snapshot);
        for problem in served.problems() {
            if !old.served.problems().contains(problem) {
                warn!("catalog: {problem}");
            }
        }
        let (generation, nodes) = (snapshot.generation, snapshot.nodes.len());
        self.0.store(Arc::new(View::new(snapshot, served)));
        let took = begun.elapsed();
        info!(generation, nodes, ?took, "catalog in force");
        Ok(())
    }

    /// Keeps the manifests in force for the next run, if they are others than `before`.
    fn keep(&self, kept: &Kept, before: Option<&View>) {
        let view = self.view();
        if before.is_some_and(|before| before.served.is_as(&view.served)) {
            return;
        }
        if let Err(error) = kept.write(&view.served) {
            let error = chain(&error);
            warn!("what is in force is not kept for the next start: {error}");
        }
    }

    /// Follows the catalog for ever; `pulse` is its sign of life. An edit that cannot be read
    /// leaves the last good view in force.
    pub fn follow(self, catalog: &Catalog, pulse: &Pulse) {
        let mut complained = false;
        loop {
            pulse.beat();
            match self.follow_until_error(catalog, pulse, &mut complained) {
                Ok(never) => match never {},
                Err(problem) if !complained => {
                    let problem = chain(&problem);
                    error!("catalog cannot be read, the last good one stays in force: {problem}");
                    complained = true;
                }
                Err(_) => {}
            }
            std::thread::sleep(POLL);
        }
    }

    fn follow_until_error(
        &self,
        catalog: &Catalog,
        pulse: &Pulse,
        complained: &mut bool,
    ) -> Result<std::convert::Infallible, Error> {
        let mut watcher = catalog.watcher()?;
        let kept = Kept::below(catalog.dir());
        // Whatever was committed before the watch began.
        self.reload(catalog)?;
        self.keep(&kept, None);
        *complained = false;
        loop {
            pulse.beat();
            std::thread::sleep(POLL);
            if watcher.changed()? {
                let before = self.view();
                self.reload(catalog)?;
                self.keep(&kept, Some(&before));
            }
        }
    }
}
