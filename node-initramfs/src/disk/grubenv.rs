//! GRUB's environment block: which slot starts, and the trial of a new one.
//!
//! The block is 1024 bytes (GRUB's manual, "The GRUB environment block"). All that is ours stands
//! in its first 512 bytes, the rest is `#`: a change is one sector, so it happens at once or not at
//! all, whether the node makes it or GRUB does.

use std::fmt;

use super::SECTOR;

/// Bytes of an environment block.
pub const BLOCK: usize = 1024;

const SIGNATURE: &str = "# GRUB Environment Block\n";

/// One of the two places for a kernel and its initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both, in order.
    pub const ALL: [Slot; 2] = [Slot::A, Slot::B];

    /// `a` or `b`: as in grubenv, in paths, and in the kernel's `bootd.slot=`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }

    /// The slot with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Slot::ALL.into_iter().find(|slot| slot.name() == name)
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the loader will do at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoaderState {
    /// The committed slot; without one nothing is installed and the loader gives up.
    pub slot: Option<Slot>,
    /// The slot on trial.
    pub next: Option<Slot>,
    /// Starts left for the slot on trial; the loader takes one off before each.
    pub tries: u8,
}

/// What the slot that a node found itself started from says about a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// Started from the committed slot, and nothing is on trial.
    None,
    /// Started from the slot on trial: call [`LoaderState::mark_good`] when the node is content.
    Running,
    /// The loader wanted to start this slot, or had tried in vain, and started the other one.
    FellBackFrom(Slot),
}

impl LoaderState {
    /// Starts that a slot on trial gets.
    pub const TRIES: u8 = 3;

    /// The slot that the loader starts next, if it can be loaded.
    #[must_use]
    pub fn will_boot(self) -> Option<Slot> {
        self.slot?;
        self.next.filter(|_| self.tries > 0).or(self.slot)
    }

    /// The slot that an update may overwrite. Mind that it may be on trial, and running.
    #[must_use]
    pub fn spare(self) -> Slot {
        self.slot.map_or(Slot::A, Slot::other)
    }

    /// After the first installation.
    #[must_use]
    pub const fn commit_first(slot: Slot) -> Self {
        LoaderState {
            slot: Some(slot),
            next: None,
            tries: 0,
        }
    }

    /// With the spare slot put on trial; `None` when no slot is committed to fall back to.
    #[must_use]
    pub fn start_trial(self) -> Option<Self> {
        self.slot.map(|slot| LoaderState {
            slot: Some(slot),
            next: Some(slot.other()),
            tries: LoaderState::TRIES,
        })
    }

    /// With any trial called off.
    #[must_use]
    pub const fn without_trial(self) -> Self {
        LoaderState {
            slot: self.slot,
            next: None,
            tries: 0,
        }
    }

    /// With `booted`, which the node started from and is content with, committed.
    #[must_use]
    pub const fn mark_good(self, booted: Slot) -> Self {
        LoaderState::commit_first(booted)
    }

    /// What a start from `booted` says about this state, as it was found after that start.
    #[must_use]
    pub fn judge(self, booted: Slot) -> Trial {
        if self.next == Some(booted) {
            Trial::Running
        } else if self.next.is_none() && self.slot == Some(booted) {
            Trial::None
        } else {
            Trial::FellBackFrom(booted.other())
        }
    }

    /// The environment block.
    #[must_use]
    pub fn encode(self) -> [u8; BLOCK] {
        let mut text = SIGNATURE.to_owned();
        let names = [("slot", self.slot), ("next", self.next)];
        for (name, slot) in names {
            if let Some(slot) = slot {
                text.push_str(&format!("{name}={slot}\n"));
            }
        }
        if self.next.is_some() {
            text.push_str(&format!("tries={}\n", self.tries));
        }
        let mut block = [b'#'; BLOCK];
        block[..text.len()].copy_from_slice(text.as_bytes());
        block
    }

    /// Reads a block's first sector; `None` when it is not one. Unknown variables and values
    /// that make no sense count as unset: the loader treats them in the same way.
    #[must_use]
    pub fn parse(sector: &[u8; SECTOR]) -> Option<Self> {
        let body = sector.strip_prefix(SIGNATURE.as_bytes())?;
        let mut state = LoaderState::default();
        for line in body.split(|byte| *byte == b'\n') {
            let line = str::from_utf8(line).unwrap_or_default();
            match line.split_once('=') {
                Some(("slot", value)) => state.slot = Slot::from_name(value),
                Some(("next", value)) => state.next = Slot::from_name(value),
                Some(("tries", value)) => state.tries = parse_tries(value),
                Some(_) | None => (),
            }
        }
        Some(state)
    }
}

fn parse_tries(text: &str) -> u8 {
    let tries = text.parse().unwrap_or(0);
    if tries > LoaderState::TRIES { 0 } else { tries }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(slot: Option<Slot>, next: Option<Slot>, tries: u8) -> LoaderState {
        LoaderState { slot, next, tries }
    }

    fn first_sector(state: LoaderState) -> [u8; SECTOR] {
        state.encode()[..SECTOR].try_into().expect("half a block")
    }

    #[test]
    fn the_block_as_grub_wants_it() {
        let block = state(Some(Slot::A), Some(Slot::B), 3).encode();
        let text = b"# GRUB Environment Block\nslot=a\nnext=b\ntries=3\n";
        assert_eq!(&block[..text.len()], text);
        assert!(block[text.len()..].iter().all(|byte| *byte == b'#'));
        let empty = LoaderState::default().encode();
        assert_eq!(&empty[..26], b"# GRUB Environment Block\n#");
    }

    #[test]
    fn every_state_reads_back() {
        let slots = [None, Some(Slot::A), Some(Slot::B)];
        for slot in slots {
            for next in slots {
                for tries in 0..=LoaderState::TRIES {
                    let wrote = state(slot, next, next.map_or(0, |_| tries));
                    assert_eq!(LoaderState::parse(&first_sector(wrote)), Some(wrote));
                }
            }
        }
    }

    #[test]
    fn nonsense_counts_as_unset() {
        assert_eq!(LoaderState::parse(&[0; SECTOR]), None);
        let mut sector = [b'#'; SECTOR];
        let text = b"# GRUB Environment Block\nslot=c\nnext=b\ntries=900\nodd=1\n";
        sector[..text.len()].copy_from_slice(text);
        assert_eq!(
            LoaderState::parse(&sector),
            Some(state(None, Some(Slot::B), 0))
        );
    }

    #[test]
    fn a_trial_that_succeeds() {
        let committed = LoaderState::commit_first(Slot::A);
        assert_eq!(committed.will_boot(), Some(Slot::A));
        assert_eq!(committed.judge(Slot::A), Trial::None);
        assert_eq!(committed.spare(), Slot::B);
        let trial = committed.start_trial().expect("committed");
        assert_eq!(trial, state(Some(Slot::A), Some(Slot::B), 3));
        assert_eq!(trial.will_boot(), Some(Slot::B));
        let started = LoaderState { tries: 2, ..trial };
        assert_eq!(started.judge(Slot::B), Trial::Running);
        let good = started.mark_good(Slot::B);
        assert_eq!(good, LoaderState::commit_first(Slot::B));
        assert_eq!(good.spare(), Slot::A);
    }

    #[test]
    fn a_trial_that_fails() {
        let spent = state(Some(Slot::A), Some(Slot::B), 0);
        assert_eq!(spent.will_boot(), Some(Slot::A));
        assert_eq!(spent.judge(Slot::A), Trial::FellBackFrom(Slot::B));
        assert_eq!(spent.mark_good(Slot::A), LoaderState::commit_first(Slot::A));
        assert_eq!(spent.without_trial(), LoaderState::commit_first(Slot::A));
    }

    #[test]
    fn a_committed_slot_that_cannot_be_loaded() {
        let committed = LoaderState::commit_first(Slot::A);
        assert_eq!(committed.judge(Slot::B), Trial::FellBackFrom(Slot::A));
    }

    #[test]
    fn nothing_installed() {
        let empty = LoaderState::default();
        assert_eq!(empty.will_boot(), None);
        assert_eq!(empty.start_trial(), None);
        assert_eq!(state(None, Some(Slot::B), 3).will_boot(), None);
    }
}
