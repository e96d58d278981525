//! The files of a package: an index into its unpacked `data.tar`.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bootd_protocol::manifest::is_clean_path;
use tar::EntryType;

use super::archive::damaged;
use super::{Content, Entry, Fault};

const MEMBER: &str = "data.tar";

/// An unpacked `data.tar` and where each file stands in it.
#[derive(Debug)]
pub(super) struct Tree {
    tar: Vec<u8>,
    nodes: Vec<Node>,
    by_path: HashMap<String, usize>,
}

#[derive(Debug)]
struct Node {
    path: String,
    mode: u32,
    uid: u32,
    gid: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Regular(Range<usize>),
    Symlink(String),
    /// Target and the range of its bytes.
    HardLink(String, Range<usize>),
    Directory,
}

impl Tree {
    /// Indexes an unpacked `data.tar`.
    pub(super) fn from_tar(tar: Vec<u8>) -> Result<Self, Fault> {
        let mut builder = Builder::default();
        let mut archive = tar::Archive::new(tar.as_slice());
        let entries = archive.entries().map_err(|error| damaged(MEMBER, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| tar_damage(&error))?;
            builder.add(&entry, tar.len())?;
        }
        builder.refuse_paths_below_links()?;
        Ok(Tree {
            tar,
            nodes: builder.nodes,
            by_path: builder.by_path,
        })
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.nodes.iter().map(|node| self.entry(node))
    }

    pub(super) fn find(&self, path: &str) -> Option<Entry<'_>> {
        let node = self.nodes.get(*self.by_path.get(path)?)?;
        Some(self.entry(node))
    }

    fn entry<'a>(&'a self, node: &'a Node) -> Entry<'a> {
        // Every range was checked against the archive's length when it was made.
        let bytes = |range: &Range<usize>| self.tar.get(range.clone()).unwrap_or_default();
        Entry {
            path: &node.path,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            content: match &node.kind {
                Kind::Regular(range) => Content::Regular(bytes(range)),
                Kind::Symlink(target) => Content::Symlink(target),
                Kind::HardLink(target, range) => Content::HardLink {
                    target,
                    bytes: bytes(range),
                },
                Kind::Directory => Content::Directory,
            },
        }
    }
}

/// The tar crate reports a skip past the end as an error of kind `Other`.
fn tar_damage(error: &std::io::Error) -> Fault {
    if error.to_string().contains("unexpected EOF") {
        return Fault::Truncated(MEMBER.to_owned());
    }
    damaged(MEMBER, error)
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    by_path: HashMap<String, usize>,
    symlinks: HashSet<String>,
}

impl Builder {
    fn add(&mut self, entry: &tar::Entry<'_, &[u8]>, len: usize) -> Result<(), Fault> {
        let raw = entry.path_bytes();
        let Some(path) = clean(&raw)? else {
            return Ok(());
        };
        let bad = |error: std::io::Error| damaged(&path, &error);
        let header = entry.header();
        let mode = header.mode().map_err(bad)? & 0o7777;
        let uid = id(header.uid().map_err(bad)?, &path)?;
        let gid = id(header.gid().map_err(bad)?, &path)?;
        let kind = self.kind(entry, &path, len)?;
        if matches!(kind, Kind::Symlink(_)) {
            self.symlinks.insert(path.clone());
        }
        if self
            .by_path
            .insert(path.clone(), self.nodes.len())
            .is_some()
        {
            return Err(Fault::Twice(path));
        }
        self.nodes.push(Node {
            path,
            mode,
            uid,
            gid,
            kind,
        });
        Ok(())
    }

    fn kind(&self, entry: &tar::Entry<'_, &[u8]>, path: &str, len: usize) -> Result<Kind, Fault> {
        let refuse = |kind| {
            Err(Fault::Kind {
                path: path.to_owned(),
                kind,
            })
        };
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => Ok(Kind::Regular(range(entry, len)?)),
            EntryType::Symlink => Ok(Kind::Symlink(link_name(entry, path)?)),
            EntryType::Link => self.hard_link(entry, path),
            EntryType::Directory => Ok(Kind::Directory),
            EntryType::Char => refuse("character device"),
            EntryType::Block => refuse("block device"),
            EntryType::Fifo => refuse("pipe"),
            EntryType::GNUSparse => refuse("sparse file"),
            EntryType::GNULongName
            | EntryType::GNULongLink
            | EntryType::XGlobalHeader
            | EntryType::XHeader
            | _ => refuse("thing of unknown type"),
        }
    }

    fn hard_link(&self, entry: &tar::Entry<'_, &[u8]>, path: &str) -> Result<Kind, Fault> {
        let raw = entry.link_name_bytes().unwrap_or_default();
        let target = clean(&raw)?.unwrap_or_else(|| "/".to_owned());
        let node = self.by_path.get(&target).and_then(|at| self.nodes.get(*at));
        match node.map(|node| &node.kind) {
            Some(Kind::Regular(range) | Kind::HardLink(_, range)) => {
                Ok(Kind::HardLink(target, range.clone()))
            }
            Some(Kind::Symlink(_) | Kind::Directory) | None => Err(Fault::HardLink {
                path: path.to_owned(),
                target,
            }),
        }
    }

    /// A path below a symbolic link would be written wherever the link points.
    fn refuse_paths_below_links(&self) -> Result<(), Fault> {
        let below = |node: &&Node| {
            node.path
                .match_indices('/')
                .any(|(at, _)| self.symlinks.contains(&node.path[..at]))
        };
        match self.nodes.iter().find(below) {
            Some(node) => Err(Fault::Path(node.path.clone())),
            None => Ok(()),
        }
    }
}

/// `./usr/bin/` becomes `/usr/bin`; nothing for `./` itself.
fn clean(raw: &[u8]) -> Result<Option<String>, Fault> {
    let refused = || Fault::Path(String::from_utf8_lossy(raw).into_owned());
    let text = std::str::from_utf8(raw).map_err(|_| refused())?;
    let text = text.strip_suffix('/').unwrap_or(text);
    if matches!(text, "." | "") {
        return Ok(None);
    }
    let text = text.strip_prefix("./").unwrap_or(text);
    let path = if text.starts_with('/') {
        text.to_owned()
    } else {
        format!("/{text}")
    };
    if is_clean_path(&path) {
        Ok(Some(path))
    } else {
        Err(refused())
    }
}

fn id(value: u64, path: &str) -> Result<u32, Fault> {
    u32::try_from(value).map_err(|_| Fault::Damaged {
        member: path.to_owned(),
        reason: format!("owner or group {value} is out of range"),
    })
}

fn range(entry: &tar::Entry<'_, &[u8]>, len: usize) -> Result<Range<usize>, Fault> {
    let start = entry.raw_file_position();
    let end = start.checked_add(entry.size());
    let range = end.and_then(|end| Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?));
    range
        .filter(|range| range.end <= len)
        .ok_or_else(|| Fault::Truncated(MEMBER.to_owned()))
}

fn link_name(entry: &tar::Entry<'_, &[u8]>, path: &str) -> Result<String, Fault> {
    let raw = entry.link_name_bytes().unwrap_or_default();
    match std::str::from_utf8(&raw) {
        Ok(target) if !target.is_empty() && !target.contains('\0') => Ok(target.to_owned()),
        _ => Err(Fault::Path(format!(
            "{path} -> {}",
            String::from_utf8_lossy(&raw)
        ))),
    }
}
