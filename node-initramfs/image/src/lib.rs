//! Builds boot images (unified kernel images) from Debian packages, on the master's side.
//!
//! | module | what it holds |
//! |---|---|
//! | [`deb`] | reads a Debian package: control fields and files |

pub mod deb;

#[cfg(test)]
mod fixture;
