//! What an earlier boot left on the disk.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use bootd_protocol::digest::Digest;
use bootd_protocol::verify::key::SecretKey;
use bootd_protocol::verify::message::BootedFrom;

use super::{Boot, BootError, Chosen};
use crate::console::chain;
use crate::disk::{Prepared, Slot};
use crate::install::{Installed, commit_first};
use crate::kernel::CommandLine;
use crate::mounts::{self, DATA};
use crate::plan::{Local, Software};
use crate::store::{Memory, Store};
use crate::target::Target;

/// The disk of an earlier boot, its data partition mounted.
pub(super) struct OpenDisk {
    pub(super) target: Target,
    pub(super) prepared: Prepared,
    pub(super) store: Store,
    pub(super) memory: Memory,
}

/// What the node knows of itself before it asks.
pub(super) struct Found {
    pub(super) installed: Option<Installed>,
    pub(super) local: Local,
    pub(super) memory: Memory,
    pub(super) key: SecretKey,
    pub(super) key_seed: [u8; 32],
    /// Installations that stopped in this boot.
    pub(super) stopped: u32,
}

impl Boot {
    /// Opens the disk that an earlier boot installed, if there is one.
    pub(super) fn open_disk(&self) -> Result<Option<OpenDisk>, BootError> {
        let Some((target, prepared)) = Target::ours() else {
            return Ok(None);
        };
        if let Err(error) = mounts::mount_data(&target.data_device()) {
            if CommandLine::read().booted_from != BootedFrom::Network {
                // A boot image on trial that cannot mount it falls back by restarting.
                return Err(error.into());
            }
            let problem = chain(&error);
            self.console.say(format_args!(
                "{problem}: the disk counts as nothing installed"
            ));
            return Ok(None);
        }
        let store = Store::open(DATA.as_ref())?;
        Ok(Some(OpenDisk {
            memory: store.memory(),
            target,
            prepared,
            store,
        }))
    }

    /// Finds what an earlier boot left on the disk.
    pub(super) fn look_at(&self, disk: Option<OpenDisk>) -> Result<Found, BootError> {
        let booted_from = CommandLine::read().booted_from;
        let key_seed = random()?;
        let Some(disk) = disk else {
            return Ok(Found {
                installed: None,
                local: Local {
                    booted_from,
                    ..Local::BLANK
                },
                memory: Memory::default(),
                key: SecretKey::from_seed(&key_seed),
                key_seed,
                stopped: 0,
            });
        };
        let OpenDisk {
            target,
            prepared,
            store,
            memory,
        } = disk;
        let local = self.local(
            &store,
            Local {
                prepared: true,
                booted_from,
                loader: prepared.loader,
                failed: memory.failed.unwrap_or(Digest::NONE),
                ..Local::BLANK
            },
        );
        let key = store.key(&key_seed)?;
        let unfinished = prepared.unfinished_commit();
        let mut installed = Installed {
            target,
            layout: prepared.layout,
            store,
        };
        if let Some(slot) = unfinished {
            self.finish_commit(&mut installed, local.software(slot), slot)?;
        }
        Ok(Found {
            installed: Some(installed),
            local,
            memory,
            key,
            key_seed,
            stopped: 0,
        })
    }

    /// Gives this boot its number. It should be on the disk before it is said; a full disk keeps
    /// it from there, but no node from running.
    pub(super) fn count_boot(&self, found: &mut Found) {
        if let Some((boot, _)) = self.trial {
            // The kernel before this one has counted it.
            found.memory.boot = boot;
            return;
        }
        found.memory.boot = boot_number(found.memory.boot);
        if let Some(disk) = &found.installed {
            self.remember(&disk.store, &found.memory);
        }
    }

    /// Fills in the software of the slots, each only if its tree is whole.
    fn local(&self, store: &Store, local: Local) -> Local {
        let whole = |slot| {
            let software = store.software(slot);
            if software == Software::NONE {
                return software;
            }
            let checked = store
                .manifest(software.manifest)
                .and_then(|manifest| store.check_generation(software.manifest, &manifest));
            match checked {
                Ok(()) => software,
                Err(error) => {
                    self.console
                        .say(format_args!("slot {slot}: {}", chain(&error)));
                    // Built again from its blobs, as far as they are whole.
                    let _ = store.drop_generation(software.manifest);
                    Software::NONE
                }
            }
        };
        Local {
            a: whole(Slot::A),
            b: whole(Slot::B),
            ..local
        }
    }

    /// The first commit was cut off: the disk starts this machine's firmware but not yet the
    /// other kind.
    fn finish_commit(
        &self,
        disk: &mut Installed,
        software: Software,
        slot: Slot,
    ) -> Result<(), BootError> {
        let manifest = disk.store.manifest(software.manifest)?;
        commit_first(disk, slot, manifest.boot.loader.bios_boot)?;
        self.console
            .say(format_args!("first commit of slot {slot} finished"));
        Ok(())
    }

    pub(super) fn remember(&self, store: &Store, memory: &Memory) {
        if let Err(error) = store.remember(memory) {
            self.console
                .say(format_args!("not remembered: {}", chain(&error)));
        }
    }

    /// What was done of an installation that stopped.
    pub(super) fn look_again(&self, found: &mut Found) -> Result<(), BootError> {
        if found.installed.take().is_some() {
            mounts::unmount_data()?;
        }
        let again = self.look_at(self.open_disk()?)?;
        found.installed = again.installed;
        found.local = again.local;
        Ok(())
    }
}

/// Bytes nobody can guess.
pub(super) fn random() -> Result<[u8; 32], BootError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| BootError::Kernel {
        what: "random numbers",
        source: io::Error::other(error.to_string()),
    })?;
    Ok(bytes)
}

/// Larger than any before it, also where the disk was set back to an older state, as long as
/// the clock was not.
fn boot_number(last: u64) -> u64 {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    clock.max(last.saturating_add(1))
}

/// What the disk has, if it has anything.
pub(super) fn candidate(found: &Found) -> Result<Option<Chosen>, BootError> {
    let digest = found.local.candidate().manifest;
    match &found.installed {
        Some(disk) if digest != Digest::NONE => Ok(Some(Chosen {
            manifest: disk.store.manifest(digest)?,
            digest,
            ram: None,
        })),
        Some(_) | None => Ok(None),
    }
}
