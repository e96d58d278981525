//! A cluster in the lab: a release made of real packages, a master, and nodes.

pub mod http;
pub mod master;
pub mod node;
pub mod release;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(50);

/// Waits until `condition` gives something.
///
/// # Errors
/// It does not within `limit`, or fails; `what` names it.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition().with_context(|| what.to_owned())? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

/// A program of this workspace, built beside this one.
///
/// # Errors
/// This program's own path is not known, or the other one is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    let path = own.parent().unwrap_or(&own).join(name);
    if !path.exists() {
        bail!(
            "{} is not there: testbed/demo and testbed/test build it",
            path.display()
        );
    }
    Ok(path)
}
