//! The test bed tests itself: real firmware reaches the network, and a power cut loses
//! exactly what the machine did not flush.

mod firmware;
mod guest;
mod powercut;

use std::path::Path;
use std::time::{Duration, Instant};

pub use firmware::{Blank, firmware};
pub use powercut::{PowerCutReport, power_cut};

/// Patience with one step of a machine: software emulation on a busy host is slow.
const PATIENCE: Duration = Duration::from_secs(120);

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Where the parts of the test put what they leave for a person to read.
fn log_dir(work_dir: &Path) -> std::io::Result<std::path::PathBuf> {
    let directory = work_dir.join("logs");
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}
