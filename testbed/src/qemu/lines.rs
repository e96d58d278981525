//! Serial output to lines of plain text: without the escape sequences and the cursor
//! games of firmware, loaders and iPXE.

/// A line is broken here if its end does not come, in bytes.
const LONGEST: usize = 4096;

/// Where in an escape sequence (ECMA-48, section 5.4) the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    Outside,
    /// After ESC.
    Begun,
    /// After ESC `[`, until the final byte.
    Control,
}

/// Splits a byte stream into lines.
#[derive(Debug)]
pub(super) struct Lines {
    line: Vec<u8>,
    escape: Escape,
}

impl Lines {
    pub(super) fn new() -> Self {
        Lines {
            line: Vec::new(),
            escape: Escape::Outside,
        }
    }

    /// Takes what has arrived and gives the lines that it completes; blank ones are dropped.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        bytes.iter().filter_map(|&byte| self.step(byte)).collect()
    }

    /// What stands in the unfinished line, once no more will come.
    pub(super) fn finish(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        (!text.trim().is_empty()).then_some(text)
    }

    fn step(&mut self, byte: u8) -> Option<String> {
        match (self.escape, byte) {
            (_, 0x1b) => self.escape = Escape::Begun,
            (Escape::Begun, b'[') => self.escape = Escape::Control,
            (Escape::Begun, _) => self.escape = Escape::Outside,
            (Escape::Control, 0x40..=0x7e) => {
                self.escape = Escape::Outside;
                // The cursor goes elsewhere, or the screen is cleared: a new line begins.
                if matches!(byte, b'H' | b'f' | b'J') {
                    return self.finish();
                }
            }
            (Escape::Control, _) => {}
            (Escape::Outside, b'\n') => return self.finish(),
            (Escape::Outside, 0x08) => {
                self.line.pop();
            }
            (Escape::Outside, b'\t' | 0x20..) => self.line.push(byte),
            (Escape::Outside, _) => {}
        }
        (self.line.len() >= LONGEST)
            .then(|| self.finish())
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_blank_lines_are_dropped() {
        let mut lines = Lines::new();
        let text = b"\x1b[2J\x1b[01;01HBdsDxe: loading\x1b[0m it\r\n\r\n  \nnext\x1b";
        assert_eq!(lines.feed(text), ["BdsDxe: loading it"]);
        assert_eq!(lines.feed(b"cmore \n"), ["nextmore"]);
        assert_eq!(lines.feed(b"10%\x08\x08\x0820%\x1b[5;1Hmenu"), ["20%"]);
        assert_eq!(lines.finish().as_deref(), Some("menu"));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn a_line_without_an_end_is_broken() {
        let mut lines = Lines::new();
        let broken = lines.feed(&[b'x'; LONGEST + 1]);
        assert_eq!(broken, ["x".repeat(LONGEST)]);
        assert_eq!(lines.finish().as_deref(), Some("x"));
    }
}
