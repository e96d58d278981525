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

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;

/// Number of `BLKRRPART` (linux/fs.h): `_IO(0x12, 95)`.
const BLKRRPART_GROUP: u8 = 0x12;
const BLKRRPART_NUMBER: u8 = 95;

mod raw {
    nix::ioctl_none!(blkrrpart, super::BLKRRPART_GROUP, super::BLKRRPART_NUMBER);
}

/// Loads a kernel, to be started by a restart with [`nix::sys::reboot::RebootMode::RB_KEXEC`].
///
/// # Errors
/// What the kernel says: `EPERM` where it is locked down, `ENOSYS` where it cannot.
pub fn load_kernel(kernel: &File, initrd: &File, cmdline: &CStr) -> io::Result<()> {
    let no_flags: libc::c_ulong = 0;
    // SAFETY: kexec_file_load(2) reads `count` bytes at the address of a string that ends with the
    // last of them and outlives the call, and from two descriptors that are open for as long.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.as_raw_fd(),
            cmdline.count_bytes() + 1,
            cmdline.as_ptr(),
            no_flags,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(())
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
