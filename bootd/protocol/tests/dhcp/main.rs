//! DHCP as a whole: real packets, both machines on a lossy wire, and garbage.

#![expect(
    clippy::expect_used,
    reason = "a test may stop where its ground is not firm"
)]

mod garbage;
mod golden;
mod wire;
mod world;
