//! The one file with `unsafe`: what neither std nor nix wraps.
#![allow(
    unsafe_code,
    reason = "its few blocks each have a SAFETY note; everywhere else it is denied"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "the ioctl macro makes a public function"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Number of `BLKRRPART` (linux/fs.h): `_IO(0x12, 95)`.
const BLKRRPART_GROUP: u8 = 0x12;
const BLKRRPART_NUMBER: u8 = 95;

mod raw {
    nix::ioctl_none!(blkrrpart, super::BLKRRPART_GROUP, super::BLKRRPART_NUMBER);
}

/// Lets the kernel read the partition table of `disk` again.
///
/// # Errors
/// What the kernel says: `EBUSY` if a partition of it is mounted.
pub fn reread_partitions(disk: &File) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument and touches no memory of ours; the descriptor is
    // open for as long as `disk` is borrowed.
    unsafe { raw::blkrrpart(disk.as_raw_fd()) }.map_err(io::Error::from)?;
    Ok(())
}
