//! The change signature of a module: has it changed in substance?
//!
//! It decides what restarts. It differs when the content differs in substance, and stays when the
//! same source was only built at another time, in another directory, or with other debug
//! information. Where that cannot be told it differs: a false "changed" costs a restart, a false
//! "same" runs old code. What is left out, and what cannot be made equal, is written in
//! `docs/decisions/0018-change-signature.md`.
//!
//! | content | what is hashed |
//! |---|---|
//! | ELF | what is loaded and linked by (`elf`, `linked`, `relocatable`) |
//! | gzip | what is packed in it, up to [`MAX_UNPACKED`] bytes (`packed`) |
//! | `ar` | names, modes and contents of the members, ELF members by their signature (`packed`) |
//! | anything else, and what is damaged | all of it: the signature is its SHA-256 |

mod elf;
mod gaps;
mod linked;
mod notes;
mod packed;
mod relocatable;
mod sections;
mod stream;

use bootd_protocol::digest::Digest;
use stream::{Strange, Stream};

pub use packed::MAX_UNPACKED;

/// The signature of a module with this content.
#[must_use]
pub fn of(bytes: &[u8]) -> Digest {
    let normal = if bytes.starts_with(&object::elf::ELFMAG) {
        elf::signature(bytes)
    } else if bytes.starts_with(packed::GZIP) {
        packed::gzip(bytes)
    } else if bytes.starts_with(&object::archive::MAGIC) {
        packed::archive(bytes)
    } else {
        Err(Strange)
    };
    normal.unwrap_or_else(|Strange| as_it_is(bytes))
}

/// Content that is hashed to a normal form begins with [`stream::FORMAT`]: what begins so itself
/// must not be taken for such a form.
fn as_it_is(bytes: &[u8]) -> Digest {
    if !bytes.starts_with(stream::FORMAT) {
        return Digest::of(bytes);
    }
    let mut stream = Stream::new("content", 0);
    stream.unbounded(bytes);
    stream.finish()
}

#[cfg(test)]
mod tests;
