//! The node's init, as a library that its tests and the test bed can look into.

pub mod modules;
