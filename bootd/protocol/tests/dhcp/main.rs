//! DHCP as a whole: real packets, both machines on a lossy wire, and garbage.

mod garbage;
mod golden;
mod wire;
mod world;
