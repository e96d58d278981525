//! The node's side of bootd: what `init` does, as a library, so that the simulator runs the
//! same code.

pub mod console;
pub mod disk;
pub mod fetch;
pub mod generation;
pub mod kernel;
pub mod link;
pub mod mounts;
pub mod plan;
pub mod rtnetlink;
pub mod store;
pub mod supervise;
pub mod sys;
