//! The installer: does the steps that [`crate::plan`] decided, on the real disk.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::Firmware;
use bootd_protocol::manifest::{BlobRef, ForeignDisk, Manifest};
use bootd_protocol::uki::{HEAD_LEN, Section, Uki, UkiError};
use bootd_protocol::verify::message::Stage;

use crate::console::Console;
use crate::disk::grubenv::Slot;
use crate::disk::mbr::BOOT_CODE;
use crate::disk::{self, DiskError, DiskState, Extent, Layout, LoaderBlobs, SlotContent, SlotPart};
use crate::fetch::{FetchError, Fetcher};
use crate::kernel;
use crate::link::Link;
use crate::mounts::{self, DATA, MountError};
use crate::plan::{Software, Step};
use crate::room::NoRoom;
use crate::store::{Memory, Store, StoreError};
use crate::sys;
use crate::target::{Target, TargetError, objection};

/// How long the device of a new partition may take to appear.
const PARTITION_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an installation stopped. What it had done stays; the next try goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is no disk to install on.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The disk may not be used.
    #[error("{disk} {why}")]
    Unfit {
        /// The disk.
        disk: String,
        /// Why not.
        why: String,
    },
    /// The disk says no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The data partition says no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Something does not come from the master.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The boot image cannot be taken apart.
    #[error("boot image {digest}: {source}")]
    Image {
        /// The image.
        digest: Digest,
        /// What is wrong with it.
        source: UkiError,
    },
    /// The boot image cannot be read.
    #[error("boot image {digest}: {source}")]
    ReadImage {
        /// The image.
        digest: Digest,
        /// What the file system says.
        source: io::Error,
    },
    /// mke2fs failed.
    #[error("mke2fs {device}: {why}")]
    MakeData {
        /// The partition.
        device: String,
        /// What it said.
        why: String,
    },
    /// The data partition is too full.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// A step came before what it needs.
    #[error("{0} has to come first")]
    Order(&'static str),
    /// A BIOS machine cannot start from what the manifest has.
    #[error("boot image {name} has no loader for BIOS: the class needs one that does")]
    NoBiosLoader {
        /// The boot image.
        name: String,
    },
}

impl InstallError {
    /// Whether the data partition is full: only the processes of the node can mend that, so it
    /// is of no use to wait for it before they run.
    #[must_use]
    pub fn is_full_disk(&self) -> bool {
        let store = match self {
            InstallError::NoRoom(_) => return true,
            InstallError::Store(error) | InstallError::Fetch(FetchError::Store(error)) => error,
            InstallError::Target(_)
            | InstallError::Unfit { .. }
            | InstallError::Disk(_)
            | InstallError::Mount(_)
            | InstallError::Fetch(_)
            | InstallError::Image { .. }
            | InstallError::ReadImage { .. }
            | InstallError::MakeData { .. }
            | InstallError::Order(_)
            | InstallError::NoBiosLoader { .. } => return false,
        };
        match store {
            StoreError::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            StoreError::Manifest { .. } | StoreError::Incomplete { .. } => false,
        }
    }
}

/// A disk that is prepared, with its data partition mounted.
pub struct Installed {
    /// The disk.
    pub target: Target,
    /// Where everything is on it.
    pub layout: Layout,
    /// The data partition.
    pub store: Store,
}

/// An installation under way.
pub struct Installer<'a> {
    /// What to install.
    pub manifest: &'a Manifest,
    /// Its canonical bytes.
    pub bytes: &'a [u8],
    /// Its name.
    pub digest: Digest,
    /// Where blobs come from.
    pub fetcher: &'a mut Fetcher,
    /// Who is told.
    pub link: &'a mut Link,
    /// Who else is told.
    pub console: Console,
    /// The disk, once it is prepared.
    pub installed: Option<Installed>,
    /// What the node remembers.
    pub memory: &'a mut Memory,
    /// The seed of the node's key, to be kept as soon as there is a place for it.
    pub key_seed: [u8; 32],
}

impl Installer<'_> {
    /// Does one step, and tells what it is doing.
    ///
    /// # Errors
    /// Whatever keeps it from being done.
    pub fn perform(&mut self, step: Step) -> Result<(), InstallError> {
        let begun = Instant::now();
        match step {
            Step::PrepareDisk => self.tell(Stage::Preparing, "disk"),
            Step::WriteSlot(slot) => self.tell(Stage::Writing, &format!("boot slot {slot}")),
            Step::Restart => self.tell(Stage::Restarting, ""),
            Step::Settle(_)
            | Step::FetchBlobs
            | Step::BuildGeneration
            | Step::PointSlot(_)
            | Step::CommitFirst(_)
            | Step::StartTrial(_)
            | Step::Collect
            | Step::Run => {}
        }
        self.act(step)?;
        let millis = begun.elapsed().as_millis();
        self.console
            .say(format_args!("{step:?} done in {millis} ms"));
        Ok(())
    }

    fn tell(&mut self, stage: Stage, text: &str) {
        self.link.report(stage, self.digest, (0, 0), text);
    }

    fn act(&mut self, step: Step) -> Result<(), InstallError> {
        match step {
            Step::PrepareDisk => self.prepare_disk(),
            Step::FetchBlobs => self.fetch_blobs(),
            Step::BuildGeneration => {
                let store = &self.installed()?.store;
                store.put_manifest(self.digest, self.bytes)?;
                Ok(store.build_generation(self.digest, self.manifest)?)
            }
            Step::WriteSlot(slot) => self.write_slot(slot),
            Step::PointSlot(slot) => self.point_slot(slot),
            Step::CommitFirst(slot) => self.commit_first(slot),
            Step::StartTrial(_) => {
                let disk = self.installed_mut()?;
                disk::commit_trial(&mut disk.target.device, &disk.layout)?;
                Ok(())
            }
            Step::Settle(slot) => {
                let disk = self.installed_mut()?;
                disk::mark_good(&mut disk.target.device, &disk.layout, slot)?;
                Ok(())
            }
            Step::Collect => self.collect(),
            Step::Restart | Step::Run => Ok(()),
        }
    }

    fn installed(&self) -> Result<&Installed, InstallError> {
        self.installed
            .as_ref()
            .ok_or(InstallError::Order("preparing the disk"))
    }

    fn installed_mut(&mut self) -> Result<&mut Installed, InstallError> {
        self.installed
            .as_mut()
            .ok_or(InstallError::Order("preparing the disk"))
    }

    fn prepare_disk(&mut self) -> Result<(), InstallError> {
        let policy = &self.manifest.policy;
        let mut target = Target::choose(policy.disk.as_deref())?;
        let may_overwrite = policy.foreign_disk == ForeignDisk::Overwrite;
        if let Some(why) = objection(&target.state, may_overwrite) {
            let disk = target.path().to_owned();
            return Err(InstallError::Unfit { disk, why });
        }
        let blobs = self.loader_blobs()?;
        let mut seed = [0; 16];
        seed.copy_from_slice(&Digest::of(&self.key_seed).as_bytes()[..16]);
        let size = disk::Device::size(&target.device);
        let layout = Layout::new(size, &seed).map_err(|error| InstallError::Unfit {
            disk: target.path().to_owned(),
            why: error.to_string(),
        })?;
        let data = target.data_device();
        let path = target.path().to_owned();
        disk::prepare(
            &mut target.device,
            &layout,
            &blobs.loader(),
            &mut |_: Extent| Ok(make_data(&path, &data)?),
        )?;
        target.state = DiskState::Preparing;
        mounts::mount_data(&data)?;
        let store = Store::open(DATA.as_ref())?;
        store.key(&self.key_seed)?;
        store.remember(self.memory)?;
        self.link.keep_key();
        self.installed = Some(Installed {
            target,
            layout,
            store,
        });
        Ok(())
    }

    /// The boot loader's parts, which the disk is prepared with: they come before there is a
    /// place to keep them.
    fn loader_blobs(&mut self) -> Result<FetchedLoader, InstallError> {
        let loader = &self.manifest.boot.loader;
        let mut boot_code = [0; BOOT_CODE];
        let mut bios_core = Vec::new();
        match (&loader.bios_boot, &loader.bios_core) {
            (Some(boot), Some(core)) => {
                boot_code = padded(&self.fetcher.small_blob(boot)?);
                bios_core = self.fetcher.small_blob(core)?;
            }
            _ if kernel::firmware() == Firmware::Bios => {
                return Err(InstallError::NoBiosLoader {
                    name: self.manifest.boot.name.clone(),
                });
            }
            _ => {}
        }
        let efi = self.fetcher.small_blob(&loader.efi)?;
        Ok(FetchedLoader {
            efi,
            boot_code,
            core: bios_core,
        })
    }

    fn fetch_blobs(&mut self) -> Result<(), InstallError> {
        let Some(disk) = &self.installed else {
            return Err(InstallError::Order("preparing the disk"));
        };
        let missing = disk.store.missing(self.manifest);
        self.make_room(&disk.store, &missing)?;
        let total: u64 = missing.iter().map(|it| it.size).sum();
        let what = format!(
            "{} of {} files, {} KiB",
            missing.len(),
            self.manifest.blobs().count(),
            total >> 10
        );
        self.console.say(format_args!("fetching {what}"));
        let (link, digest) = (&mut *self.link, self.digest);
        let mut progress = |done, total| link.report(Stage::Fetching, digest, (done, total), &what);
        self.fetcher.blobs(&disk.store, &missing, &mut progress)?;
        Ok(())
    }

    /// Looks whether the data partition has room for `missing` and the tree. Where it has not,
    /// all goes that neither a slot nor the manifest needs: leftovers, and the software from
    /// before the current one, which is kept only to spare a download.
    fn make_room(&self, store: &Store, missing: &[BlobRef]) -> Result<(), InstallError> {
        let needed = store.room_for(self.manifest, missing);
        if NoRoom::check(store.free()?, needed).is_ok() {
            return Ok(());
        }
        let slots = Slot::ALL.map(|slot| store.software(slot).manifest);
        store.make_room(&slots, self.manifest)?;
        Ok(NoRoom::check(store.free()?, needed)?)
    }

    fn write_slot(&mut self, slot: Slot) -> Result<(), InstallError> {
        let image = self.manifest.boot.image;
        let disk = self.installed_mut()?;
        let path = disk.store.blob_path(image.sha256);
        let parts = ImageParts::open(path, image)?;
        let cmdline = parts.text(parts.uki.cmdline)?;
        let content = SlotContent {
            linux: SlotPart {
                size: parts.uki.linux.size,
                reader: &mut parts.section(parts.uki.linux)?,
            },
            initrd: SlotPart {
                size: parts.uki.initrd.size,
                reader: &mut parts.section(parts.uki.initrd)?,
            },
            cmdline: &cmdline,
        };
        Ok(disk::write_slot(
            &mut disk.target.device,
            &disk.layout,
            slot,
            content,
        )?)
    }

    fn point_slot(&mut self, slot: Slot) -> Result<(), InstallError> {
        let software = Software {
            manifest: self.digest,
            image: self.manifest.boot.image.sha256,
        };
        let before = self.installed()?.store.software(slot).manifest;
        self.installed()?.store.point_slot(slot, software)?;
        if before != Digest::NONE && before != self.digest {
            self.memory.previous = Some(before);
            self.installed()?.store.remember(self.memory)?;
        }
        Ok(())
    }

    fn commit_first(&mut self, slot: Slot) -> Result<(), InstallError> {
        let boot = self.manifest.boot.loader.bios_boot;
        let disk = self.installed_mut()?;
        commit_first(disk, slot, boot)
    }

    fn collect(&mut self) -> Result<(), InstallError> {
        let previous = self.memory.previous;
        let store = &self.installed()?.store;
        let slots = Slot::ALL.map(|slot| store.software(slot).manifest);
        let keep: Vec<Digest> = slots
            .into_iter()
            .chain(previous)
            .chain([self.digest])
            .collect();
        Ok(store.collect(&keep)?)
    }
}

/// Makes the disk start from `slot`, or goes on doing so after a cut.
///
/// # Errors
/// The boot code is not here, or the disk says no.
pub fn commit_first(
    disk: &mut Installed,
    slot: Slot,
    boot: Option<BlobRef>,
) -> Result<(), InstallError> {
    let mut boot_code = [0; BOOT_CODE];
    if let Some(blob) = boot {
        let path = disk.store.blob_path(blob.sha256);
        let bytes = fs::read(&path).map_err(|source| StoreError::Io { path, source })?;
        boot_code = padded(&bytes);
    }
    Ok(disk::commit_first(
        &mut disk.target.device,
        &disk.layout,
        slot,
        &boot_code,
    )?)
}

/// Boot code as long as its place in the first sector.
fn padded(bytes: &[u8]) -> [u8; BOOT_CODE] {
    let mut boot_code = [0; BOOT_CODE];
    let len = bytes.len().min(BOOT_CODE);
    boot_code[..len].copy_from_slice(&bytes[..len]);
    boot_code
}

struct FetchedLoader {
    efi: Vec<u8>,
    boot_code: [u8; BOOT_CODE],
    core: Vec<u8>,
}

impl FetchedLoader {
    fn loader(&self) -> LoaderBlobs<'_> {
        LoaderBlobs {
            efi: &self.efi,
            bios_boot: &self.boot_code,
            bios_core: &self.core,
        }
    }
}

/// Makes the file system of the data partition, whose device appears once the kernel has read
/// the table.
fn make_data(disk: &str, partition: &str) -> Result<(), InstallError> {
    let failed = |why: String| InstallError::MakeData {
        device: partition.to_owned(),
        why,
    };
    let reread = File::open(disk).and_then(|it| sys::reread_partitions(&it));
    reread.map_err(|error| failed(format!("the kernel does not take the new table: {error}")))?;
    let deadline = Instant::now() + PARTITION_TIMEOUT;
    while fs::metadata(partition).is_err() {
        if Instant::now() > deadline {
            return Err(failed("its device does not appear".into()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut command = Command::new("/sbin/mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-L", "bootd-data"]);
    // The superblock is two sectors, written in place at every mount. With a checksum over both,
    // a power cut between them leaves a file system that does not mount any more; without, the
    // journal mends all that matters (docs/decisions/0012).
    command.args(["-E", "nodiscard", "-O", "^metadata_csum", partition]);
    let output = command
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

/// A boot image in a file.
pub(crate) struct ImageParts {
    path: PathBuf,
    digest: Digest,
    pub(crate) uki: Uki,
}

impl ImageParts {
    pub(crate) fn open(path: PathBuf, image: BlobRef) -> Result<Self, InstallError> {
        let digest = image.sha256;
        let mut head = Vec::new();
        let limit = u64::try_from(HEAD_LEN).unwrap_or(u64::MAX);
        let read = File::open(&path).and_then(|it| it.take(limit).read_to_end(&mut head));
        read.map_err(|source| InstallError::ReadImage { digest, source })?;
        let uki = Uki::parse(&head, image.size)
            .map_err(|source| InstallError::Image { digest, source })?;
        Ok(ImageParts { path, digest, uki })
    }

    pub(crate) fn section(&self, section: Section) -> Result<impl Read + use<>, InstallError> {
        let open = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(section.offset))?;
            Ok(file.take(section.size))
        };
        open().map_err(|source| InstallError::ReadImage {
            digest: self.digest,
            source,
        })
    }

    pub(crate) fn text(&self, section: Section) -> Result<String, InstallError> {
        let mut text = String::new();
        let read = self.section(section)?.read_to_string(&mut text);
        read.map_err(|source| InstallError::ReadImage {
            digest: self.digest,
            source,
        })?;
        Ok(text.trim_end_matches('\0').trim().to_owned())
    }
}
