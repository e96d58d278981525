//! Preparation: many nodes are brought to what they should have, wait for each other, and restart
//! together into a warm boot.
//!
//! | stage | what happens | next |
//! |---|---|---|
//! | ordered | it says that it runs: it is ordered to restart | ordered |
//! | ordered, installing, absent, failed | it asks, and has what it should: it waits | ready |
//! | any of these, or ready | it asks, and has not: it installs | installing |
//! | any of these | it asks, and must stay with what it has | failed |
//! | installing | it says that its installation stopped | failed |
//! | installing, ready | it runs, as no master answered it | ordered |
//! | ready | all are ready that can be, or the operator says go | restarting |
//! | restarting | it asks or reports in the boot it was ready in: it is to restart | restarting |
//! | restarting | it asks or reports in a later boot | done |
//! | any before done | it is missing | absent |
//!
//! An absent node is waited for while it is about to be reset, or has just been. One that is neither
//! ready nor on its way when the others go is left out. Time is Unix time: what is remembered of a
//! preparation outlives the master.

mod machine;
mod member;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use machine::Preparations;

use crate::identity::{ParseIdentityError, named_enum};

/// How long a node that was reset is waited for.
pub const RESET_GRACE: Duration = Duration::from_secs(300);

named_enum! {
    /// How far a node is.
    Stage, "a stage of a preparation", {
        /// It runs and is to restart.
        Ordered = 1 "ordered",
        /// It has restarted, or was off, and gets what it lacks.
        Installing = 2 "installing",
        /// It has what it should, and waits for the others.
        Ready = 3 "ready",
        /// It restarts with the others.
        Restarting = 4 "restarting",
        /// It has booted with what it should.
        Done = 5 "done",
        /// It cannot have what it should, or was left out; the message says why.
        Failed = 6 "failed",
        /// It is not heard.
        Absent = 7 "absent",
    }
}

named_enum! {
    /// What the operator decided.
    Decision, "go or cancel", {
        /// Those that are ready go; the others are left out.
        Go = 1 "go",
        /// Everybody runs, nobody waits.
        Cancel = 2 "cancel",
    }
}

/// A preparation as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its number: later ones are larger.
    pub id: i64,
    /// What the operator decided, if that is so.
    pub decision: Option<Decision>,
    /// The nodes that it names, as far as the catalog has them now.
    pub targets: Vec<Target>,
}

/// A node of a preparation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub node: String,
    /// Whether it is there.
    pub present: bool,
    /// After how long an absence it is reset, if it can be.
    pub reset_after: Option<Duration>,
}

/// How far a node of a preparation is: what is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The preparation.
    pub preparation: i64,
    /// The node.
    pub node: String,
    /// Its stage.
    pub stage: Stage,
    /// Since when.
    pub since: Duration,
    /// The number of the boot in which it was heard last.
    pub boot: u64,
    /// When it was reset.
    pub reset_at: Option<Duration>,
    /// For people.
    pub message: String,
}

/// What a node that asks at its boot was found to need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it has what it should.
    Nothing,
    /// An installation.
    Installation,
    /// It must stay with what it has; why.
    Impossible(String),
}

/// What the edge has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Remember this.
    Remember(Progress),
    /// Run the command that resets this node.
    Reset {
        /// The preparation that wants it.
        preparation: i64,
        /// The node.
        node: String,
    },
    /// All are ready: write the decision to go into the catalog, so that it stands whatever is lost
    /// otherwise.
    Decide(i64),
}
