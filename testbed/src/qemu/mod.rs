//! One machine under QEMU: firmware, a network card, a disk, and its serial console as
//! timed lines that a test can wait for.

mod lines;
mod machine;
mod model;
mod qmp;
mod spec;
mod transcript;

pub use machine::{Killer, Machine, MachineError};
pub use model::Model;
pub use qmp::QmpError;
pub use spec::{Accel, DirectBoot, MachineSpec};
pub use transcript::{Entry, Happening, Transcript, WaitError};
