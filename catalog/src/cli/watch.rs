//! The same table again and again.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use anyhow::Result;

/// Moves to the upper left corner and clears the terminal from there.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

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
