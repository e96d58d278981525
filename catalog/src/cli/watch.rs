//! The same table again and again.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

/// Moves to the upper left corner and clears the terminal from there.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// The time now, in Unix milliseconds.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// Prints what `show` gives every second, on a terminal each time in the place of the last, until
/// Ctrl-C or until nobody reads it.
pub(super) fn watch(show: impl Fn() -> Result<String>) -> Result<()> {
    let clear = if stdout().is_terminal() { CLEAR } else { "" };
    loop {
        let text = show()?;
        if writeln!(stdout(), "{clear}{text}").is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
