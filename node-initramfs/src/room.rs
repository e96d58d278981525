//! Room on the data partition: how much a manifest takes, how much there is, and what goes
//! where it is short.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{BlobRef, Manifest};

use crate::store::{Store, StoreError, at};

/// The file system gives room in blocks of this many bytes.
const BLOCK: u64 = 4096;
/// Left over for what nobody counts: growing directories, the slots, the node's memory.
const MARGIN: u64 = 1 << 20;

/// The data partition is too full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "data partition has {free} MiB free, {needed} MiB are needed: make room for {} MiB in /persist",
    needed.saturating_sub(*free)
)]
pub struct NoRoom {
    /// MiB free, rounded down.
    pub free: u64,
    /// MiB needed, rounded up.
    pub needed: u64,
}

impl NoRoom {
    /// Whether `free` bytes hold `needed` bytes.
    ///
    /// # Errors
    /// They do not.
    pub fn check(free: u64, needed: u64) -> Result<(), NoRoom> {
        if needed <= free {
            return Ok(());
        }
        let (free, needed) = (free >> 20, needed.div_ceil(1 << 20));
        Err(NoRoom { free, needed })
    }
}

impl Store {
    /// Bytes that are free for anybody; the file system keeps some more for root.
    ///
    /// # Errors
    /// The file system says no.
    pub fn free(&self) -> Result<u64, StoreError> {
        let root = self.dir("");
        let stat = nix::sys::statvfs::statvfs(&root).map_err(io::Error::from);
        let stat = at(&root, stat)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    /// Bytes that it takes to fetch `missing`, the blobs of `manifest` that are not here, and to
    /// build its tree.
    #[must_use]
    pub fn room_for(&self, manifest: &Manifest, missing: &[BlobRef]) -> u64 {
        let rest = |blob: &BlobRef| {
            let here = fs::metadata(self.part_path(blob.sha256)).map_or(0, |it| it.len());
            blocks(blob.size).saturating_sub(blocks(here))
        };
        let directories: HashSet<&Path> = manifest
            .files
            .iter()
            .flat_map(|file| Path::new(&file.path).ancestors().skip(1))
            .collect();
        let directories = u64::try_from(directories.len()).unwrap_or(u64::MAX);
        let blobs: u64 = missing.iter().map(rest).sum();
        blobs + directories.saturating_mul(BLOCK) + MARGIN
    }

    /// Drops all but what `keep` names and what has come of `manifest`, whole or in part.
    ///
    /// # Errors
    /// The file system says no.
    pub fn make_room(&self, keep: &[Digest], manifest: &Manifest) -> Result<(), StoreError> {
        let coming = manifest.blobs().flat_map(|blob| {
            let name = blob.sha256.to_string();
            [format!("{name}.part"), name]
        });
        self.keep_only(keep, coming)
    }
}

/// What `len` bytes take.
fn blocks(len: u64) -> u64 {
    len.next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootd_protocol::identity::Arch;
    use bootd_protocol::manifest::{
        Boot, Content, FORMAT, File, ForeignDisk, Loader, OnSilence, Policy,
    };

    fn blob(name: &str, size: u64) -> BlobRef {
        BlobRef {
            sha256: Digest::of(name.as_bytes()),
            size,
        }
    }

    fn manifest(files: &[(&str, BlobRef)]) -> Manifest {
        let file = |(path, blob): &(&str, BlobRef)| File {
            path: (*path).to_owned(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            content: Content::Regular(*blob),
        };
        Manifest {
            format: FORMAT,
            class: "web".into(),
            arch: Arch::X86_64,
            boot: Boot {
                name: "debian".into(),
                version: "1".into(),
                image: blob("image", 10_000),
                loader: Loader {
                    efi: blob("efi", 1),
                    bios_boot: None,
                    bios_core: None,
                },
            },
            packages: Vec::new(),
            files: files.iter().map(file).collect(),
            processes: Vec::new(),
            policy: Policy {
                on_silence: OnSilence::Run,
                foreign_disk: ForeignDisk::Keep,
                disk: None,
            },
        }
    }

    #[test]
    fn what_is_short_is_named_and_never_nothing() {
        assert_eq!(NoRoom::check(5, 5), Ok(()));
        let error = NoRoom::check(12 << 20, (40 << 20) + 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "data partition has 12 MiB free, 41 MiB are needed: make room for 29 MiB in /persist"
        );
        let least = NoRoom::check((1 << 20) - 2, (1 << 20) - 1).unwrap_err();
        assert_eq!((least.free, least.needed), (0, 1));
    }

    #[test]
    fn room_is_counted_in_blocks_without_what_has_come() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (page, large) = (blob("page", 10), blob("large", 1 << 20));
        let manifest = manifest(&[("/srv/www/page", page), ("/srv/large", large)]);
        let missing = [page, large];
        // `/`, `/srv` and `/srv/www`.
        let tree = 3 * BLOCK + MARGIN;
        assert_eq!(
            store.room_for(&manifest, &missing),
            tree + BLOCK + (1 << 20)
        );
        fs::write(store.part_path(large.sha256), vec![0; 1 << 19]).unwrap();
        assert_eq!(
            store.room_for(&manifest, &missing),
            tree + BLOCK + (1 << 19)
        );
        assert_eq!(store.room_for(&manifest, &[]), tree);
    }

    #[test]
    fn what_goes_for_room_is_what_nobody_needs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (old, shared, new, stale) =
            (blob("old", 3), blob("a", 1), blob("new", 3), blob("x", 1));
        for (path, text) in [
            (store.blob_path(old.sha256), "old"),
            (store.blob_path(shared.sha256), "a"),
            (store.part_path(new.sha256), "ne"),
            (store.part_path(stale.sha256), ""),
            (store.blob_path(stale.sha256), "x"),
        ] {
            fs::write(path, text).unwrap();
        }
        let installed = manifest(&[("/a", shared), ("/old", old)]);
        let bytes = installed.to_bytes().unwrap();
        let digest = Digest::of(&bytes);
        store.put_manifest(digest, &bytes).unwrap();
        store.build_generation(digest, &installed).unwrap();
        let gone = Digest::of(b"before");
        fs::create_dir(store.generation_path(gone)).unwrap();

        let wanted = manifest(&[("/a", shared), ("/new", new)]);
        store.make_room(&[digest], &wanted).unwrap();

        let mut left: Vec<String> = fs::read_dir(store.dir("blobs"))
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        let mut expected = [
            old.sha256.to_string(),
            shared.sha256.to_string(),
            format!("{}.part", new.sha256),
        ];
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert!(!store.generation_path(gone).exists());
        assert_eq!(store.check_generation(digest, &installed).ok(), Some(()));
    }
}
