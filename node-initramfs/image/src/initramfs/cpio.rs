//! Writes initramfs archives: cpio in the "newc" format (the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! The same content gives the same bytes: entries are sorted by path, belong to root, and
//! carry no time.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// A path that cannot stand in an archive as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// Two different things at one path.
    #[error("initramfs: {0} was to hold two different things")]
    Conflict(String),
    /// The format counts bytes in 32 bits.
    #[error("initramfs: {0} is larger than 4 GiB")]
    TooLarge(String),
}

/// A tree of files that becomes an archive.
#[derive(Debug, Default)]
pub struct Archive<'a> {
    nodes: BTreeMap<String, Node<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node<'a> {
    /// Type and permission bits, as in `st_mode`.
    mode: u32,
    /// Major and minor number of a device.
    device: (u32, u32),
    bytes: Cow<'a, [u8]>,
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;

impl<'a> Archive<'a> {
    /// Adds a directory (`/sys`) and those above it.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn directory(&mut self, path: &str) -> Result<(), CpioError> {
        self.add(path, DIRECTORY | 0o755, (0, 0), Cow::default())
    }

    /// Adds a regular file with permission bits `mode` and the directories above it. Adding the
    /// same file again changes nothing.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn file(
        &mut self,
        path: &str,
        mode: u32,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Result<(), CpioError> {
        self.add(path, REGULAR | (mode & 0o7777), (0, 0), bytes.into())
    }

    /// Adds a character device with permission bits `mode` and these numbers.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn character_device(
        &mut self,
        path: &str,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<(), CpioError> {
        let mode = CHARACTER | (mode & 0o7777);
        self.add(path, mode, (major, minor), Cow::default())
    }

    fn add(
        &mut self,
        path: &str,
        mode: u32,
        device: (u32, u32),
        bytes: Cow<'a, [u8]>,
    ) -> Result<(), CpioError> {
        let path = path.trim_matches('/');
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above)?;
        }
        let node = Node {
            mode,
            device,
            bytes,
        };
        match self.nodes.get(path) {
            Some(there) if *there != node => Err(CpioError::Conflict(format!("/{path}"))),
            Some(_) => Ok(()),
            None => {
                self.nodes.insert(path.to_owned(), node);
                Ok(())
            }
        }
    }

    /// The archive's bytes, not compressed.
    ///
    /// # Errors
    /// A file of 4 GiB or more.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CpioError> {
        let mut out = Vec::new();
        for (number, (path, node)) in (1..).zip(&self.nodes) {
            entry(&mut out, number, path, node)?;
        }
        let end = Node {
            mode: 0,
            device: (0, 0),
            bytes: Cow::default(),
        };
        entry(&mut out, 0, "TRAILER!!!", &end)?;
        Ok(out)
    }
}

fn entry(out: &mut Vec<u8>, number: u32, path: &str, node: &Node<'_>) -> Result<(), CpioError> {
    let length =
        |bytes: usize| u32::try_from(bytes).map_err(|_| CpioError::TooLarge(format!("/{path}")));
    let fields = [
        number,
        node.mode,
        0, // owner
        0, // group
        1, // links
        0, // time
        length(node.bytes.len())?,
        0, // the device the file came from: major
        0, // and minor
        node.device.0,
        node.device.1,
        length(path.len() + 1)?,
        0, // checksum, unused in this format
    ];
    out.extend(b"070701");
    for field in fields {
        out.extend(format!("{field:08x}").bytes());
    }
    out.extend(path.bytes());
    out.push(0);
    pad(out);
    out.extend(node.bytes.iter());
    pad(out);
    Ok(())
}

/// Names and contents end on a multiple of four bytes.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_newc() {
        let mut archive = Archive::default();
        archive.file("/bin/x", 0o755, &b"hello"[..]).unwrap();
        archive.file("/bin/x", 0o755, &b"hello"[..]).unwrap();
        archive
            .character_device("/dev/console", 0o600, 5, 1)
            .unwrap();
        let text = String::from_utf8(archive.to_bytes().unwrap()).unwrap();
        let zeros = "00000000";
        let entry = |number, mode, size, device: &str, name_len, name: &str| {
            format!(
                "070701{number:08x}{mode:08x}{zeros}{zeros}00000001{zeros}{size:08x}\
                 {zeros}{zeros}{device}{name_len:08x}{zeros}{name}"
            )
        };
        let none = "0000000000000000";
        let expected = [
            entry(1, 0o40755, 0, none, 4, "bin\0\0\0"),
            entry(2, 0o100_755, 5, none, 6, "bin/x\0hello\0\0\0"),
            entry(3, 0o40755, 0, none, 4, "dev\0\0\0"),
            entry(4, 0o20600, 0, "0000000500000001", 12, "dev/console\0\0\0"),
            entry(0, 0, 0, none, 11, "TRAILER!!!\0\0\0\0"),
        ];
        assert_eq!(text, expected.concat());
    }

    #[test]
    fn refuses_two_things_at_one_path() {
        let mut archive = Archive::default();
        archive.file("/a", 0o644, &b"1"[..]).unwrap();
        let conflict = Err(CpioError::Conflict("/a".into()));
        assert_eq!(archive.file("/a", 0o644, &b"2"[..]), conflict);
        assert_eq!(archive.file("/a/b", 0o644, &b"2"[..]), conflict);
    }
}
