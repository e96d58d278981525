//! The test bed: whole machines under QEMU in a private network, disks whose power can be
//! cut, the live view of what the machines do, and a simulated world.
//!
//! | module | what it holds |
//! |---|---|
//! | [`demo`] | the main job, shown |
//! | [`e2e`] | the end-to-end tests |
//! | [`bench`] | the master measured by itself |
//! | [`cluster`] | a master with its catalog, and nodes, in the lab |
//! | [`lab`] | the private network and process world |
//! | [`qemu`], [`nbd`] | machines, and disks whose power can be cut |
//! | [`console`] | the live view |
//! | [`inputs`] | Debian packages |
//! | [`sim`] | the simulated world |
//! | [`selftest`] | is the test bed itself all right? |

pub mod bench;
pub mod cluster;
pub mod console;
pub mod demo;
pub mod e2e;
pub mod inputs;
pub mod lab;
pub mod nbd;
pub mod options;
pub mod qemu;
pub mod selftest;
pub mod sim;
