//! The lab's network: one bridge with the master's address, one tap for each machine.

use std::io;
use std::net::Ipv4Addr;
use std::process::Command;

/// The address of the lab's own side of the bridge: where the master runs.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Length of the network's prefix, in bits.
pub const PREFIX_LENGTH: u8 = 24;

/// The bridge that all machines are on.
pub(crate) const BRIDGE: &str = "br0";

/// A step of building the network failed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The `ip` command (package iproute2) could not be started.
    #[error("cannot run the ip command")]
    Start(#[from] io::Error),
    /// It ran and refused.
    #[error("ip {command}: {message}")]
    Refused {
        /// Its arguments.
        command: String,
        /// What it said.
        message: String,
    },
}

/// Runs the `ip` command with these arguments.
pub(crate) fn ip(command: &str) -> Result<(), NetworkError> {
    let output = Command::new("ip").args(command.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(NetworkError::Refused {
        command: command.to_owned(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Brings up the loopback and the bridge. It forwards at once: a firmware that has just
/// brought its link up must not lose its first seconds to a listening port.
pub(super) fn build() -> Result<(), NetworkError> {
    ip("link set lo up")?;
    ip(&format!(
        "link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    ))?;
    ip(&format!(
        "address add {GATEWAY}/{PREFIX_LENGTH} dev {BRIDGE}"
    ))?;
    ip(&format!("link set {BRIDGE} up"))
}

/// One machine's port on the bridge. It lasts as long as the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    name: String,
}

impl Tap {
    pub(super) fn add(index: usize) -> Result<Self, NetworkError> {
        let name = format!("tap{index}");
        ip(&format!("tuntap add dev {name} mode tap"))?;
        ip(&format!("link set {name} master {BRIDGE} up"))?;
        Ok(Tap { name })
    }

    /// The interface's name, such as `tap0`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Pulls the cable out, or puts it back in.
    ///
    /// # Errors
    /// `ip` is missing or refuses.
    pub fn set_connected(&self, connected: bool) -> Result<(), NetworkError> {
        let state = if connected { "up" } else { "down" };
        ip(&format!("link set {} {state}", self.name))
    }
}
