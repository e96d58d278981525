//! The test bed: whole machines under QEMU in a private network, disks whose power can be
//! cut, the live view of what the machines do, and a simulated world.

pub mod console;
pub mod inputs;
pub mod lab;
pub mod nbd;
pub mod options;
pub mod qemu;
pub mod selftest;
pub mod sim;
