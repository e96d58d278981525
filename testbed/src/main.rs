//! The test bed's command.
fn main() {}
