//! Differences of manifests, kept for a while: after an edit a whole class asks for the same one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bootd_protocol::digest::Digest;

/// So many are kept.
const KEPT: usize = 32;

/// The last differences that were asked for. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Deltas(Arc<Mutex<VecDeque<(Digest, Digest, String)>>>);

impl Deltas {
    /// What makes `to` out of `from`, if somebody asked before.
    #[must_use]
    pub fn get(&self, from: Digest, to: Digest) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().find(|it| (it.0, it.1) == (from, to));
        known.map(|(_, _, text)| text.clone())
    }

    /// Keeps it; the oldest one goes.
    pub fn put(&self, from: Digest, to: Digest, text: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((from, to, text.to_owned()));
    }
}
