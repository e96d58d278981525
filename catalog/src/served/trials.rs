//! What tests make of lists: manifests that nodes get for one boot.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bootd_protocol::identity::{Arch, Firmware};

use super::{Encoded, Served, Who};
use crate::select::{Subject, select};
use crate::snapshot::{Covered, Problem, Scope, Snapshot, Test};

/// By the test's number, and by whom it is tried.
pub(super) type Trials = HashMap<(i64, Who), Arc<Encoded>>;

impl Served {
    /// The manifests of all tests. A test that cannot be is told, and nobody gets it.
    pub(super) fn make_trials(
        &self,
        snapshot: &Snapshot,
        everybody: &BTreeMap<Who, Subject<'_>>,
        problems: &mut Vec<Problem>,
    ) -> Trials {
        let mut trials = Trials::new();
        for test in &snapshot.tests {
            for (who, subject) in everybody
                .iter()
                .filter(|(who, _)| covers(test, who, snapshot))
            {
                let subject = Subject {
                    test: Some(test),
                    ..*subject
                };
                match self.make_trial(snapshot, subject) {
                    Ok(encoded) => drop(trials.insert((test.id, who.clone()), encoded)),
                    Err(wrong) => problems.extend(wrong.into_iter().map(|it| nobody(test, &it))),
                }
            }
        }
        trials
    }

    fn make_trial(
        &self,
        snapshot: &Snapshot,
        subject: Subject<'_>,
    ) -> Result<Arc<Encoded>, Vec<Problem>> {
        let manifest = select(snapshot, subject).manifest()?;
        // Our own types: encoding does not fail.
        let encoded = Encoded::new(manifest).map_err(|_| Vec::new())?;
        let same = self.by_digest.get(&encoded.digest);
        Ok(same.map_or_else(|| Arc::new(encoded), Arc::clone))
    }

    /// What is no other than what somebody has anyway is no test.
    pub(super) fn put_trials(&mut self, mut trials: Trials) {
        trials.retain(|(_, who), trial| {
            let usual = self.all.get(who);
            usual.is_none_or(|it| it.encoded.digest != trial.digest)
        });
        for encoded in trials.values() {
            let known = self.by_digest.entry(encoded.digest);
            known.or_insert_with(|| Arc::clone(encoded));
        }
        self.trials = trials;
    }

    /// What a test makes of what a node of this class has.
    #[must_use]
    pub fn trial(
        &self,
        test: i64,
        class: &str,
        node: &str,
        arch: Arch,
        firmware: Firmware,
    ) -> Option<&Arc<Encoded>> {
        let of = |node: Option<&str>| {
            let who = Who {
                class: class.to_owned(),
                node: node.map(str::to_owned),
                arch,
                firmware,
            };
            self.trials.get(&(test, who))
        };
        // A node apart whose own trial cannot be does not get that of its class.
        match self.by_node.contains_key(node) {
            true => of(Some(node)),
            false => of(None),
        }
    }
}

fn covers(test: &Test, who: &Who, snapshot: &Snapshot) -> bool {
    match &test.covers {
        Covered::All => false,
        Covered::Class(class) => who.class == *class,
        Covered::Node(name) => match snapshot.node(name) {
            Some(node) if node.apart.is_some() => who.node.as_ref() == Some(name),
            Some(node) => who.node.is_none() && who.class == node.class,
            None => false,
        },
    }
}

fn nobody(test: &Test, problem: &Problem) -> Problem {
    Problem {
        scope: Scope::Row {
            table: "test",
            name: test.id.to_string(),
        },
        text: format!("nobody gets it: {problem}"),
    }
}
