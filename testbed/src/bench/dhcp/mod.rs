//! DHCP, side by side: how fast addresses are given, with how many leases standing, at what cost.

mod cases;
mod ideal;
mod load;
mod packet;
mod peers;
#[cfg(test)]
mod tests;

pub use cases::{fetch, run};
pub(in crate::bench) use ideal::Ideal;
