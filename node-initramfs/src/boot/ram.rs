//! A test: what a manifest says, in RAM. The disk stays as it is, and the next boot is from there.

use std::fs;

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{BlobRef, Manifest};
use bootd_protocol::verify::message::Stage;

use super::{Boot, BootError, Chosen, Found};
use crate::fetch::Fetcher;
use crate::kernel;
use crate::link::Link;
use crate::mounts::{self, RAM};
use crate::room::NoRoom;
use crate::store::{Store, at};

/// What the processes are to have, in bytes.
const RESERVE: u64 = 64 << 20;

impl Boot {
    /// Puts the tree of a manifest together in RAM: what the disk has is copied from there, the rest
    /// is fetched.
    pub(super) fn put_into_ram(
        &self,
        digest: Digest,
        fetcher: &mut Fetcher,
        found: &Found,
        link: &mut Link,
    ) -> Result<Chosen, BootError> {
        let (manifest, _) = fetcher.manifest(digest, super::kept_manifest(found))?;
        mounts::mount_ram()?;
        let filled = self.fill(digest, &manifest, fetcher, found, link);
        match filled {
            Ok(store) => Ok(Chosen {
                manifest,
                digest,
                ram: Some(store),
            }),
            Err(error) => {
                mounts::unmount_ram();
                Err(error)
            }
        }
    }

    fn fill(
        &self,
        digest: Digest,
        manifest: &Manifest,
        fetcher: &mut Fetcher,
        found: &Found,
        link: &mut Link,
    ) -> Result<Store, BootError> {
        let store = Store::open(RAM.as_ref())?;
        let mut blobs: Vec<BlobRef> = manifest.file_blobs().collect();
        blobs.sort_unstable();
        blobs.dedup();
        let needed = store.room_for(manifest, &blobs) + RESERVE;
        NoRoom::check(kernel::available_kib() << 10, needed)
            .map_err(|NoRoom { free, needed }| BootError::NoRam { free, needed })?;
        let disk = found.installed.as_ref().map(|it| &it.store);
        let mut missing = Vec::new();
        for blob in blobs {
            match disk.filter(|disk| disk.has_blob(&blob)) {
                Some(disk) => {
                    let (from, to) = (disk.blob_path(blob.sha256), store.blob_path(blob.sha256));
                    at(&to, fs::copy(from, &to))?;
                }
                None => missing.push(blob),
            }
        }
        let what = format!("{} files into RAM", missing.len());
        self.console.say(format_args!("fetching {what}"));
        fetcher.blobs(&store, &missing, &mut |done, total| {
            link.report(Stage::Fetching, digest, (done, total), &what);
        })?;
        store.build_generation(digest, manifest)?;
        Ok(store)
    }
}
