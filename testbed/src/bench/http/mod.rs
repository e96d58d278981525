//! HTTP, side by side with nginx: large files, to one client and to a hundred.

mod cases;
mod load;
#[cfg(test)]
mod tests;

pub use cases::{fetch, run};
