//! What is answered: whether a key fits its node, and what a node has against what it should have.

use super::{Gate, HOLD_RETRY_SECS, KnownNode, Wanted};
use crate::digest::Digest;
use crate::verify::message::{Action, Ask, Identity, Verdict};

/// How the key of a datagram fits the node it speaks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is the one that is bound.
    Bound,
    /// None is bound: this one is now.
    New,
    /// None is bound, and this one is not kept yet: it may speak, but is not bound and so not
    /// counted, as anybody can make as many of them as they like.
    Passing,
    /// It is not for this node; why, for people.
    Refused(String),
}

/// How the key of `identity` fits.
pub(super) fn fit(node: &KnownNode, identity: &Identity) -> Fit {
    let name = &node.name;
    match node.key {
        Some(bound) if bound == identity.key => Fit::Bound,
        Some(_) => Fit::Refused(format!(
            "another key is bound; to let this one in: UPDATE node SET public_key=NULL WHERE name='{name}'"
        )),
        None if !node.keys_are_open => {
            Fit::Refused(format!("key waits for approval: catalog approve {name}"))
        }
        None if identity.key_is_kept => Fit::New,
        None => Fit::Passing,
    }
}

/// Compares what a node has with what it should have.
pub(super) fn judge(
    ask: &Ask,
    node: &KnownNode,
    http_port: u16,
    gate: impl FnOnce() -> Gate,
) -> Verdict {
    let has_something = ask.manifest != Digest::NONE;
    let (action, reason) = match &node.wanted {
        Ok(wanted) if wanted.in_ram => (test(wanted, http_port), String::new()),
        Ok(wanted) if wanted.manifest == ask.manifest => match gate() {
            Gate::Open => (Action::Run, String::new()),
            Gate::Shut(why) => (
                Action::Hold {
                    retry_after: HOLD_RETRY_SECS,
                },
                why,
            ),
            Gate::Restart(why) => (Action::Restart, why),
        },
        Ok(wanted) if wanted.manifest == ask.failed && has_something => {
            let failed = wanted.manifest.short();
            (
                Action::Run,
                format!("manifest {failed} did not boot here; staying with what runs"),
            )
        }
        Ok(Wanted { manifest, size, .. }) => {
            let install = Action::Install {
                manifest: *manifest,
                size: *size,
                http_port,
            };
            (install, String::new())
        }
        Err(why) if has_something => (Action::Run, format!("no new manifest: {why}")),
        Err(why) => (
            Action::Hold {
                retry_after: HOLD_RETRY_SECS,
            },
            format!("no manifest: {why}"),
        ),
    };
    Verdict {
        action,
        hostname: node.name.clone(),
        reason,
    }
}

pub(super) fn test(wanted: &Wanted, http_port: u16) -> Action {
    Action::Test {
        manifest: wanted.manifest,
        size: wanted.size,
        http_port,
    }
}

/// What a node of version 1 does that can neither restart nor test: it runs what it has.
pub(super) fn in_version_1(ask: &Ask) -> Action {
    if ask.manifest == Digest::NONE {
        Action::Hold {
            retry_after: HOLD_RETRY_SECS,
        }
    } else {
        Action::Run
    }
}
