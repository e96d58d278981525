//! The node's side of bootd: what `init` does, as a library, so that the simulator runs the
//! same code.
//!
//! | module | what it holds |
//! |---|---|
//! | [`boot`] | the boot, from the first instruction to the processes running |
//! | [`plan`] | pure: what a verdict means for what is on the disk, step by step |
//! | [`install`] | does those steps |
//! | [`fetch`] | manifests and blobs from the master, checked, resumed; over [`http`] |
//! | [`disk`] | the disk's layout and boot slots, written so that every cut is survived |
//! | [`target`] | which disk that is |
//! | [`store`], [`generation`] | the data partition: blobs, trees, what the node remembers |
//! | [`room`] | how much of it is free, and what goes where it is short |
//! | [`link`] | the line to the master: the verify protocol on a socket |
//! | [`net`], [`rtnetlink`] | DHCP on every card, and what it gives |
//! | [`modules`] | kernel modules: which ones, in which order |
//! | [`run`] | the running node; [`supervise`] is the supervisor, decided purely; [`limits`] |
//! | [`timetable`] | how long each part of a boot took |
//! | [`mounts`], [`kernel`], [`console`], [`sys`] | the kernel's side of things |

pub mod boot;
pub mod console;
pub mod disk;
pub mod fetch;
pub mod generation;
pub mod http;
pub mod install;
pub mod kernel;
pub mod limits;
pub mod link;
pub mod modules;
pub mod mounts;
pub mod net;
pub mod plan;
pub mod room;
pub mod rtnetlink;
pub mod run;
pub mod store;
pub mod supervise;
pub mod sys;
pub mod target;
pub mod timetable;
