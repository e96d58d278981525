//! What a node's disk keeps through a power cut, and what the boot loader makes of it.

use std::collections::BTreeSet;

use bootd_protocol::digest::Digest;
use bootd_protocol::verify::message::BootedFrom;
use node_initramfs::disk::grubenv::{LoaderState, Slot};
use node_initramfs::plan::{Local, Software, Step};

/// A release: a manifest, its boot image and its blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Manifest and boot image.
    pub software: Software,
    /// The other blobs.
    pub blobs: BTreeSet<Digest>,
    /// Whether its kernel comes up.
    pub boots: bool,
}

/// A simulated disk.
#[derive(Debug, Clone)]
pub struct Disk {
    prepared: bool,
    loader: LoaderState,
    /// The image in each slot; `None` where a write was cut.
    images: [Option<Digest>; 2],
    software: [Software; 2],
    blobs: BTreeSet<Digest>,
    generations: BTreeSet<Digest>,
    /// The seed of the node's key.
    pub key: Option<[u8; 32]>,
    /// The number of the last boot.
    pub boot: u64,
    /// The highest epoch heard of.
    pub epoch: u64,
    failed: Digest,
}

impl Disk {
    /// An empty one.
    #[must_use]
    pub fn blank() -> Self {
        Disk {
            prepared: false,
            loader: LoaderState::default(),
            images: [Some(Digest::NONE); 2],
            software: [Software::NONE; 2],
            blobs: BTreeSet::new(),
            generations: BTreeSet::new(),
            key: None,
            boot: 0,
            epoch: 0,
            failed: Digest::NONE,
        }
    }

    /// Starts the machine: the loader's choice, as `grub.cfg` makes it. `boots` tells whether
    /// the kernel of an image comes up; one that does not leaves the machine to restart.
    pub fn boot(&mut self, boots: impl Fn(Digest) -> bool) -> BootedFrom {
        for _ in 0..8 {
            let Some(slot) = self.choose() else {
                return BootedFrom::Network;
            };
            let image = self.images[index(slot)];
            if image.is_some_and(|image| image != Digest::NONE && boots(image)) {
                return match slot {
                    Slot::A => BootedFrom::SlotA,
                    Slot::B => BootedFrom::SlotB,
                };
            }
        }
        BootedFrom::Network
    }

    /// What init finds.
    #[must_use]
    pub fn local(&self, booted_from: BootedFrom) -> Local {
        let whole = |slot: Slot| {
            let software = self.software[index(slot)];
            let here = self.generations.contains(&software.manifest);
            if here { software } else { Software::NONE }
        };
        Local {
            prepared: self.prepared,
            booted_from,
            loader: self.loader,
            a: whole(Slot::A),
            b: whole(Slot::B),
            failed: self.failed,
        }
    }

    /// Does one step for `release`. `cut` is where the power goes in it, if it does: before its
    /// effect, or, where the effect is not one step of the disk, in the middle.
    pub fn apply(&mut self, step: Step, release: &Release, cut: bool) {
        match step {
            Step::PrepareDisk if !cut => {
                *self = Disk {
                    prepared: true,
                    key: self.key,
                    ..Disk::blank()
                };
            }
            Step::PrepareDisk => *self = Disk::blank(),
            Step::FetchBlobs => {
                let take = if cut {
                    release.blobs.len() / 2
                } else {
                    release.blobs.len()
                };
                self.blobs.extend(release.blobs.iter().take(take));
            }
            Step::WriteSlot(slot) => {
                assert_ne!(
                    self.loader.slot,
                    Some(slot),
                    "the committed slot is never written"
                );
                self.images[index(slot)] = (!cut).then_some(release.software.image);
            }
            Step::BuildGeneration if !cut => {
                assert!(
                    self.blobs.is_superset(&release.blobs),
                    "built from blobs that are not there"
                );
                self.generations.insert(release.software.manifest);
            }
            Step::PointSlot(slot) if !cut => self.software[index(slot)] = release.software,
            Step::CommitFirst(slot) if !cut => self.loader = LoaderState::commit_first(slot),
            Step::StartTrial(slot) if !cut => {
                assert_eq!(
                    self.loader.spare(),
                    slot,
                    "only the spare slot goes on trial"
                );
                self.loader = self.loader.start_trial().unwrap_or(self.loader);
            }
            Step::Settle(slot) if !cut => self.settle(slot),
            Step::Collect if !cut => {
                let kept: Vec<Digest> = self.software.iter().map(|it| it.manifest).collect();
                self.generations.retain(|it| kept.contains(it));
            }
            Step::BuildGeneration
            | Step::PointSlot(_)
            | Step::CommitFirst(_)
            | Step::StartTrial(_)
            | Step::Settle(_)
            | Step::Collect
            | Step::Restart
            | Step::Run => {}
        }
    }

    /// The trial is over: `good` is committed. If it was the other slot's, its software failed.
    pub fn settle(&mut self, good: Slot) {
        if let Some(next) = self.loader.next.filter(|next| *next != good) {
            self.failed = self.software[index(next)].manifest;
        }
        self.loader = self.loader.mark_good(good);
    }

    /// What GRUB does: a start on trial is counted before it is made.
    fn choose(&mut self) -> Option<Slot> {
        let slot = self.loader.will_boot()?;
        if self.loader.next.is_some() {
            self.loader.tries = self.loader.tries.saturating_sub(1);
        }
        Some(slot)
    }

    /// The manifest that did not come up.
    #[must_use]
    pub fn failed(&self) -> Digest {
        self.failed
    }

    /// The image that `slot` really holds.
    #[must_use]
    pub fn image(&self, slot: Slot) -> Option<Digest> {
        self.images[index(slot)]
    }
}

fn index(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}
