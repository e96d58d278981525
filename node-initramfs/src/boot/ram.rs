//! A test: what a manifest says, in RAM. The disk stays as it is, and the next boot is from there.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{BlobRef, Manifest};
use bootd_protocol::verify::message::Stage;

use super::{Boot, BootError, Chosen, Found, failed};
use crate::fetch::Fetcher;
use crate::install::ImageParts;
use crate::kernel::{self, CommandLine};
use crate::link::Link;
use crate::mounts::{self, RAM};
use crate::room::NoRoom;
use crate::run;
use crate::store::{Store, at};
use crate::sys;

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
        let filled = match self.needs_kernel(found, &manifest) {
            true => self
                .start_kernel(digest, &manifest, fetcher, found, link)
                .map(|never| match never {}),
            false => self.fill(digest, &manifest, fetcher, found, link),
        };
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
        check_room(store.room_for(manifest, &blobs))?;
        self.bring(&store, &blobs, digest, (fetcher, found, link))?;
        store.build_generation(digest, manifest)?;
        Ok(store)
    }

    /// Brings blobs into RAM: those of the disk from there.
    fn bring(
        &self,
        store: &Store,
        blobs: &[BlobRef],
        digest: Digest,
        (fetcher, found, link): (&mut Fetcher, &Found, &mut Link),
    ) -> Result<(), BootError> {
        let disk = found.installed.as_ref().map(|it| &it.store);
        let mut missing = Vec::new();
        for blob in blobs {
            match disk.filter(|disk| disk.has_blob(blob)) {
                Some(disk) => {
                    let (from, to) = (disk.blob_path(blob.sha256), store.blob_path(blob.sha256));
                    at(&to, fs::copy(from, &to))?;
                }
                None => missing.push(*blob),
            }
        }
        let what = format!("{} files into RAM", missing.len());
        self.console.say(format_args!("fetching {what}"));
        fetcher.blobs(store, &missing, &mut |done, total| {
            link.report(Stage::Fetching, digest, (done, total), &what);
        })?;
        Ok(())
    }

    /// Whether another kernel runs than the one of the manifest. One that came from the network onto
    /// an empty disk is that of the class.
    fn needs_kernel(&self, found: &Found, manifest: &Manifest) -> bool {
        let installed = found.local.candidate().image;
        let running = self.trial.map_or(installed, |(_, image)| image);
        running != Digest::NONE && running != manifest.boot.image.sha256
    }

    /// Starts the kernel of the manifest from RAM. Its init asks again in the name of this boot, and
    /// is told the same.
    fn start_kernel(
        &self,
        digest: Digest,
        manifest: &Manifest,
        fetcher: &mut Fetcher,
        found: &Found,
        link: &mut Link,
    ) -> Result<Infallible, BootError> {
        let image = manifest.boot.image;
        // The image, its parts, and what the kernel makes of them.
        check_room(image.size.saturating_mul(3))?;
        let store = Store::open(RAM.as_ref())?;
        self.bring(&store, &[image], digest, (fetcher, found, link))?;
        let parts = ImageParts::open(store.blob_path(image.sha256), image)?;
        let (local, boot) = (&found.local, found.memory.boot);
        let ours = CommandLine::for_trial(local.booted_from, boot, image.sha256);
        let cmdline = parts.text(parts.uki.cmdline)? + &ours;
        let cmdline = CString::new(cmdline).map_err(|it| failed("command line")(it.into()))?;
        let linux = part_in_file("linux", &mut parts.section(parts.uki.linux)?)?;
        let initrd = part_in_file("initrd", &mut parts.section(parts.uki.initrd)?)?;
        sys::load_kernel(&linux, &initrd, &cmdline).map_err(failed("load the kernel of a test"))?;
        let name = &manifest.boot.name;
        let what = format!(
            "starts boot image {name} {} from RAM",
            manifest.boot.version
        );
        self.console.say(&what);
        link.report(Stage::Restarting, digest, (0, 0), &what);
        link.flush();
        if found.installed.is_some() {
            mounts::unmount_data()?;
        }
        run::start_loaded_kernel().map_err(failed("start the kernel of a test"))
    }
}

fn check_room(needed: u64) -> Result<(), BootError> {
    NoRoom::check(
        kernel::available_kib() << 10,
        needed.saturating_add(RESERVE),
    )
    .map_err(|NoRoom { free, needed }| BootError::NoRam { free, needed })
}

/// A part of a boot image in a file of its own, as the kernel wants it.
fn part_in_file(name: &str, part: &mut impl Read) -> Result<File, BootError> {
    let path = Path::new(RAM).join(name);
    let mut write = || {
        io::copy(part, &mut File::create(&path)?)?;
        File::open(&path)
    };
    Ok(at(&path, write())?)
}
