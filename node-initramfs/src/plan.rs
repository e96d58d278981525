//! What a node does with a verdict, as a list of steps: decided here, done elsewhere.
//!
//! Between any two steps the power may go. Each list is built so that the node then finds
//! either its old software whole or its new software whole, and so that doing the list again
//! from the start is right.

use bootd_protocol::digest::Digest;
use bootd_protocol::verify::message::BootedFrom;
use bootd_protocol::verify::node::Question;

use crate::disk::grubenv::{LoaderState, Slot};

/// What a node finds on itself when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Whether the disk carries our partitions; else it has to be prepared first.
    pub prepared: bool,
    /// Where the running kernel came from.
    pub booted_from: BootedFrom,
    /// What the boot loader has been told.
    pub loader: LoaderState,
    /// The software of slot a.
    pub a: Software,
    /// The software of slot b.
    pub b: Software,
    /// The manifest whose boot image did not come up at an earlier boot, or [`Digest::NONE`].
    pub failed: Digest,
}

/// What belongs to a boot slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Software {
    /// Its manifest, or [`Digest::NONE`] if it has none that is complete.
    pub manifest: Digest,
    /// The boot image in the slot, or [`Digest::NONE`].
    pub image: Digest,
}

impl Software {
    /// Nothing installed.
    pub const NONE: Software = Software {
        manifest: Digest::NONE,
        image: Digest::NONE,
    };
}

impl Local {
    /// What a machine with an empty disk finds after a boot from the network.
    pub const BLANK: Local = Local {
        prepared: false,
        booted_from: BootedFrom::Network,
        loader: LoaderState {
            slot: None,
            next: None,
            tries: 0,
        },
        a: Software::NONE,
        b: Software::NONE,
        failed: Digest::NONE,
    };

    /// The slot whose software this boot is about. A kernel from the network takes the part of
    /// the one that the loader would have started.
    #[must_use]
    pub fn active(&self) -> Option<Slot> {
        match self.booted_from {
            BootedFrom::SlotA => Some(Slot::A),
            BootedFrom::SlotB => Some(Slot::B),
            BootedFrom::Network => self.loader.next.or(self.loader.slot),
        }
    }

    /// The software of `slot`.
    #[must_use]
    pub fn software(&self, slot: Slot) -> Software {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    /// The software this boot is about.
    #[must_use]
    pub fn candidate(&self) -> Software {
        self.active()
            .map_or(Software::NONE, |slot| self.software(slot))
    }

    /// The slot that was on trial and did not come up, as this boot is of the other one.
    #[must_use]
    pub fn fallen_back_from(&self) -> Option<Slot> {
        self.loader.next.filter(|next| Some(*next) != self.active())
    }

    /// The manifest whose boot image did not come up, now or earlier, or [`Digest::NONE`].
    #[must_use]
    pub fn failed(&self) -> Digest {
        self.fallen_back_from()
            .map_or(self.failed, |slot| self.software(slot).manifest)
    }

    /// What to ask the master.
    #[must_use]
    pub fn question(&self) -> Question {
        Question {
            booted_from: self.booted_from,
            manifest: self.candidate().manifest,
            failed: self.failed(),
        }
    }
}

/// One step of an installation or update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Tell the loader how the trial that is under way ended: this boot's slot is the good one.
    Settle(Slot),
    /// Partition the disk and make its file systems. Whatever was on it is gone.
    PrepareDisk,
    /// Fetch every blob that is not there, and check it.
    FetchBlobs,
    /// Build the tree of the manifest.
    BuildGeneration,
    /// Write the boot image into this slot, which nothing boots yet.
    WriteSlot(Slot),
    /// Let this slot belong to the manifest. The commit, if the slot is the active one.
    PointSlot(Slot),
    /// The commit of a first installation: the disk becomes bootable.
    CommitFirst(Slot),
    /// The commit of a new boot image: the loader tries this slot next.
    StartTrial(Slot),
    /// Drop what no slot needs any more.
    Collect,
    /// Restart from the local disk.
    Restart,
    /// Run the manifest now.
    Run,
}

/// The way from what the node has to the manifest `wanted` with its boot image.
#[must_use]
pub fn install(local: &Local, wanted: Software) -> Vec<Step> {
    let first = !local.prepared || local.loader.slot.is_none();
    if first {
        let prepare = (!local.prepared).then_some(Step::PrepareDisk);
        let rest = [
            Step::FetchBlobs,
            Step::BuildGeneration,
            Step::WriteSlot(Slot::A),
            Step::PointSlot(Slot::A),
            Step::CommitFirst(Slot::A),
            Step::Restart,
        ];
        return prepare.into_iter().chain(rest).collect();
    }
    let active = local.active().unwrap_or(Slot::A);
    // The other slot may only be overwritten once this one is committed.
    let settle = local.loader.next.map(|_| Step::Settle(active));
    let fetch = [Step::FetchBlobs, Step::BuildGeneration];
    let commit = if local.candidate().image == wanted.image {
        vec![Step::PointSlot(active), Step::Collect, Step::Run]
    } else {
        let other = active.other();
        vec![
            Step::WriteSlot(other),
            Step::PointSlot(other),
            Step::StartTrial(other),
            Step::Restart,
        ]
    };
    settle.into_iter().chain(fetch).chain(commit).collect()
}

/// What remains to be done once the candidate runs: if a trial is under way, it is over, one way
/// or the other.
#[must_use]
pub fn settle(local: &Local) -> Option<Step> {
    local.loader.next.and(local.active()).map(Step::Settle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn software(name: &str, image: &str) -> Software {
        Software {
            manifest: Digest::of(name.as_bytes()),
            image: Digest::of(image.as_bytes()),
        }
    }

    fn installed() -> Local {
        Local {
            prepared: true,
            booted_from: BootedFrom::SlotA,
            loader: LoaderState {
                slot: Some(Slot::A),
                ..LoaderState::default()
            },
            a: software("m1", "i1"),
            ..Local::BLANK
        }
    }

    #[test]
    fn a_blank_disk_is_prepared_filled_and_committed_last() {
        use Step::*;
        let steps = install(&Local::BLANK, software("m1", "i1"));
        let rest = [
            FetchBlobs,
            BuildGeneration,
            WriteSlot(Slot::A),
            PointSlot(Slot::A),
            CommitFirst(Slot::A),
            Restart,
        ];
        assert_eq!(steps[0], PrepareDisk);
        assert_eq!(steps[1..], rest);

        // Cut after the preparation: go on from there, keeping what was fetched.
        let again = Local {
            prepared: true,
            ..Local::BLANK
        };
        assert_eq!(install(&again, software("m1", "i1")), rest);
    }

    #[test]
    fn packages_alone_change_without_a_restart() {
        use Step::*;
        let steps = install(&installed(), software("m2", "i1"));
        assert_eq!(
            steps,
            [
                FetchBlobs,
                BuildGeneration,
                PointSlot(Slot::A),
                Collect,
                Run
            ]
        );
    }

    #[test]
    fn a_new_boot_image_goes_to_the_other_slot_on_trial() {
        use Step::*;
        let steps = install(&installed(), software("m2", "i2"));
        let expected = [
            FetchBlobs,
            BuildGeneration,
            WriteSlot(Slot::B),
            PointSlot(Slot::B),
            StartTrial(Slot::B),
            Restart,
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_trial_is_settled_by_what_boots() {
        let trial = LoaderState {
            slot: Some(Slot::A),
            next: Some(Slot::B),
            tries: 1,
        };
        let up = Local {
            booted_from: BootedFrom::SlotB,
            loader: trial,
            b: software("m2", "i2"),
            ..installed()
        };
        assert_eq!(up.question().manifest, up.b.manifest);
        assert_eq!(up.question().failed, Digest::NONE);
        assert_eq!(settle(&up), Some(Step::Settle(Slot::B)));

        let fallen = Local {
            booted_from: BootedFrom::SlotA,
            ..up
        };
        assert_eq!(fallen.question().manifest, up.a.manifest);
        assert_eq!(fallen.question().failed, up.b.manifest);
        let later = Local {
            loader: LoaderState {
                next: None,
                ..trial
            },
            failed: fallen.failed(),
            ..fallen
        };
        assert_eq!(
            later.question().failed,
            up.b.manifest,
            "not forgotten at the next boot"
        );
        assert_eq!(settle(&fallen), Some(Step::Settle(Slot::A)));
        let newer = install(&fallen, software("m3", "i3"));
        assert_eq!(
            newer[0],
            Step::Settle(Slot::A),
            "the trial ends before its slot is written"
        );
        assert_eq!(settle(&installed()), None);
    }

    #[test]
    fn a_kernel_from_the_network_takes_the_part_of_the_loaders_choice() {
        let trial = LoaderState {
            slot: Some(Slot::A),
            next: Some(Slot::B),
            tries: 3,
        };
        let local = Local {
            booted_from: BootedFrom::Network,
            loader: trial,
            b: software("m2", "i2"),
            ..installed()
        };
        assert_eq!(local.candidate(), local.b);
        assert_eq!(local.fallen_back_from(), None);
    }
}
