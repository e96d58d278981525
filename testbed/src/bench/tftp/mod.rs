//! TFTP, side by side: lock step, windows, many clients, loss, small files, memory.

mod cases;
mod ideal;
mod load;
mod peers;
#[cfg(test)]
mod tests;
mod transfer;

pub use cases::{fetch, run};
pub(in crate::bench) use ideal::Ideal;
pub use ideal::Sockets;
