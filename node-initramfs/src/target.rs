//! The disk a node is installed on: found, opened, looked at.

use std::fs;

use crate::disk::{self, Device as _, DiskError, DiskState, FileDevice, Prepared};
use crate::kernel;

/// What the disks of this machine are like.
pub struct Target {
    /// The disk's name (`vda`).
    pub name: String,
    /// The disk itself.
    pub device: FileDevice,
    /// What it is to us.
    pub state: DiskState,
}

/// Why there is no disk to install on.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// None at all.
    #[error("no disk: none is there, or its driver is not in the boot image")]
    NoDisk,
    /// The class names one that is not there.
    #[error("no disk {wanted}, which the class asks for; there are: {there}")]
    NotThere {
        /// What the class asks for.
        wanted: String,
        /// What there is.
        there: String,
    },
    /// A disk cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Target {
    fn look(name: &str) -> Result<Self, DiskError> {
        let sector = fs::read_to_string(format!("/sys/block/{name}/queue/logical_block_size"));
        let sector = sector
            .ok()
            .and_then(|it| it.trim().parse().ok())
            .unwrap_or(512);
        let mut device = FileDevice::open(&format!("/dev/{name}"), sector)?;
        let state = disk::recognise(&mut device)?;
        Ok(Target {
            name: name.to_owned(),
            device,
            state,
        })
    }

    /// The disk that carries our partitions, if there is one.
    #[must_use]
    pub fn ours() -> Option<(Self, Prepared)> {
        kernel::disks().iter().find_map(|name| {
            let target = Target::look(name).ok()?;
            let DiskState::Prepared(prepared) = &target.state else {
                return None;
            };
            let prepared = (**prepared).clone();
            Some((target, prepared))
        })
    }

    /// The disk to install on: the one the class names, else the best of those there are, the
    /// first of equals.
    ///
    /// # Errors
    /// There is none.
    pub fn choose(wanted: Option<&str>) -> Result<Self, TargetError> {
        let disks = kernel::disks();
        if let Some(wanted) = wanted {
            if !disks.iter().any(|it| it == wanted) {
                let there = disks.join(", ");
                return Err(TargetError::NotThere {
                    wanted: wanted.to_owned(),
                    there,
                });
            }
            return Ok(Target::look(wanted)?);
        }
        let mut best: Option<Target> = None;
        for name in &disks {
            let target = Target::look(name)?;
            if best
                .as_ref()
                .is_none_or(|it| rank(&target.state) < rank(&it.state))
            {
                best = Some(target);
            }
        }
        best.ok_or(TargetError::NoDisk)
    }

    /// The device of the data partition.
    #[must_use]
    pub fn data_device(&self) -> String {
        format!("/dev/{}", kernel::partition(&self.name, 3))
    }

    /// The disk's path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.device.name()
    }
}

/// How well a disk fits, smaller is better: never somebody's data while there is another.
fn rank(state: &DiskState) -> u8 {
    match state {
        DiskState::Prepared(_) => 0,
        DiskState::Preparing => 1,
        DiskState::Blank => 2,
        DiskState::Foreign { .. } => 3,
        DiskState::TooSmall { .. } | DiskState::BadSectorSize { .. } => 4,
    }
}

/// Why this disk may not be prepared, in words; `None` if it may.
#[must_use]
pub fn objection(state: &DiskState, may_overwrite: bool) -> Option<String> {
    match state {
        DiskState::Blank | DiskState::Preparing => None,
        DiskState::Foreign { .. } | DiskState::Prepared(_) if may_overwrite => None,
        // One that mounts is never prepared again.
        DiskState::Prepared(_) => Some(
            "carries an installation whose data partition does not mount; it is left alone unless \
             the class has foreign_disk = 'overwrite'"
                .to_owned(),
        ),
        DiskState::Foreign { what } => Some(format!(
            "holds {what}; it is left alone unless the class has foreign_disk = 'overwrite'"
        )),
        DiskState::TooSmall { bytes, needed } => Some(format!(
            "has {} MiB, {} MiB are needed",
            bytes >> 20,
            needed >> 20
        )),
        DiskState::BadSectorSize { bytes } => Some(format!(
            "has sectors of {bytes} bytes; only 512 are supported"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebodys_disk_is_left_alone() {
        let foreign = DiskState::Foreign {
            what: "an ext4 file system".into(),
        };
        let text = objection(&foreign, false).unwrap();
        assert!(text.starts_with("holds an ext4 file system;"), "{text}");
        assert_eq!(objection(&foreign, true), None);
        assert_eq!(objection(&DiskState::Blank, false), None);
        let small = DiskState::TooSmall {
            bytes: 64 << 20,
            needed: 1 << 30,
        };
        assert_eq!(
            objection(&small, true).unwrap(),
            "has 64 MiB, 1024 MiB are needed"
        );
    }
}
