//! The board on an output: redrawn in place on a terminal, a line for each change elsewhere.

use std::io::{self, Write};
use std::time::Duration;

use super::board::{Board, Event, EventKind};

/// Back to the start of the table, which is that many lines up; the rest is erased.
fn erase(lines: usize) -> String {
    match lines {
        0 => String::new(),
        lines => format!("\x1b[{lines}A\r\x1b[J"),
    }
}

/// Long lines are cut at the terminal's edge, not wrapped: the table's height must be known.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// A board and where it is shown.
pub struct View<W: Write> {
    board: Board,
    out: W,
    on_terminal: bool,
    /// Lines of the table now on the terminal, above the cursor.
    drawn: usize,
}

impl<W: Write> View<W> {
    /// Shows a board on `out`, which is a terminal or not.
    pub fn new(board: Board, out: W, on_terminal: bool) -> Self {
        View {
            board,
            out,
            on_terminal,
            drawn: 0,
        }
    }

    /// The board.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Takes an event and shows it.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn apply(&mut self, event: &Event) -> io::Result<()> {
        let is_change = self.board.apply(event);
        let is_note = matches!(event.kind, EventKind::Note(_));
        if is_change && (is_note || !self.on_terminal) {
            self.say(&Board::line(event), event.at)
        } else {
            self.tick(event.at)
        }
    }

    /// Writes a line that stays, above the table.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn say(&mut self, line: &str, now: Duration) -> io::Result<()> {
        if !self.on_terminal {
            return writeln!(self.out, "{line}");
        }
        writeln!(self.out, "{}{line}", erase(self.drawn))?;
        self.drawn = 0;
        self.tick(now)
    }

    /// Redraws the table, so that its clocks run. Elsewhere than on a terminal, nothing.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn tick(&mut self, now: Duration) -> io::Result<()> {
        if !self.on_terminal {
            return Ok(());
        }
        let lines = self.board.table(now);
        let text = lines.join("\n");
        write!(self.out, "{NO_WRAP}{}{text}\n{WRAP}", erase(self.drawn))?;
        self.drawn = lines.len();
        self.out.flush()
    }

    /// Ends with the table of what happened, in place of the live one.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(mut self) -> io::Result<Board> {
        let text = self.board.summary().join("\n");
        let erased = if self.on_terminal {
            erase(self.drawn)
        } else {
            String::new()
        };
        write!(self.out, "{erased}\n{text}\n")?;
        self.out.flush()?;
        Ok(self.board)
    }
}

#[cfg(test)]
mod tests {
    use bootd_protocol::identity::Firmware;

    use super::*;
    use crate::console::Stage;

    fn event(at: u64, kind: EventKind) -> Event {
        Event {
            node: "n1".to_owned(),
            at: Duration::from_secs(at),
            kind,
        }
    }

    fn shown(on_terminal: bool) -> String {
        let board = Board::new(&[("n1".to_owned(), Firmware::Bios)]);
        let mut out = Vec::new();
        let mut view = View::new(board, &mut out, on_terminal);
        for kind in [
            EventKind::Stage(Stage::Installing),
            EventKind::Progress { done: 1, total: 8 },
            EventKind::Progress { done: 2, total: 8 },
            EventKind::Progress { done: 3, total: 8 },
            EventKind::Note("hello".to_owned()),
        ] {
            view.apply(&event(1, kind)).unwrap();
        }
        view.apply(&event(3, EventKind::Stage(Stage::Running)))
            .unwrap();
        view.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn elsewhere_than_on_a_terminal_each_change_is_a_line() {
        let expected = "    1.0 s  n1  installing
    1.0 s  n1  [##..................]  12 %  0.0 of 0.0 MiB
    1.0 s  n1  [#####...............]  25 %  0.0 of 0.0 MiB
    1.0 s  n1  hello
    3.0 s  n1  running

node  firmware  installing  total  ends     version
n1    bios      2.0 s       2.0 s  running
";
        assert_eq!(shown(false), expected);
    }

    /// What stands on a terminal after this output: it knows the sequences used here.
    fn screen(output: &str) -> String {
        let mut lines: Vec<&str> = Vec::new();
        let plain = output.replace(NO_WRAP, "").replace(WRAP, "");
        for frame in plain.split("\r\x1b[J") {
            let (text, up) = frame.rsplit_once("\x1b[").unwrap_or((frame, "0A"));
            lines.extend(text.split_terminator('\n'));
            let up: usize = up.trim_end_matches('A').parse().unwrap();
            lines.truncate(lines.len() - up);
        }
        lines.join("\n")
    }

    #[test]
    fn on_a_terminal_the_table_is_redrawn_and_notes_stay_above_it() {
        let text = shown(true);
        let expected = "    1.0 s  n1  hello

node  firmware  installing  total  ends     version
n1    bios      2.0 s       2.0 s  running";
        assert_eq!(screen(&text), expected);
        let (before_end, _) = text.rsplit_once("\x1b[2A").unwrap();
        let expected = "    1.0 s  n1  hello
node  firmware  stage    for    version  progress
n1    bios      running  0.0 s";
        assert_eq!(screen(before_end), expected);
    }
}
