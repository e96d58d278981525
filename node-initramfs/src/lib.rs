//! The node's side of bootd: what `init` is made of.
//!
//! | module | what it holds |
//! |---|---|
//! | [`disk`] | the local disk: partitions, boot slots, and the order of writes that survives a power cut |

pub mod disk;
