//! Network namespaces of the contestants. They have their names in the lab's private `/run`, so
//! they go with the lab.

use std::fs::File;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::proc::pin;
use crate::lab::ip;

/// A namespace with its loopback up.
#[derive(Debug, Clone)]
pub(crate) struct Netns(String);

impl Netns {
    pub(crate) fn new(name: &str) -> Result<Self> {
        ip(&format!("netns add {name}"))?;
        let netns = Netns(name.to_owned());
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// Runs the `ip` command here.
    pub(crate) fn ip(&self, command: &str) -> Result<()> {
        Ok(ip(&format!("-n {} {command}", self.0))?)
    }

    /// An interface beyond loopback, with an address: tftpd-hpa takes none, not even its own, in a
    /// place that has nothing but loopback (getaddrinfo(3), AI_ADDRCONFIG).
    pub(super) fn add_interface(&self) -> Result<()> {
        self.ip("link add v0 type veth peer name v1")?;
        self.ip("address add 10.78.0.1/24 dev v0")?;
        self.ip("link set v0 up")?;
        self.ip("link set v1 up")
    }

    /// A cable from here to `other`: its ends are `near` here and `far` there, up, each with an
    /// address and prefix length.
    pub(super) fn cable(&self, other: &Netns, near: (&str, &str), far: (&str, &str)) -> Result<()> {
        let ends = format!("{} type veth peer name {} netns {}", near.0, far.0, other.0);
        self.ip(&format!("link add {ends}"))?;
        for (netns, (interface, address)) in [(self, near), (other, far)] {
            netns.ip(&format!("address add {address} dev {interface}"))?;
            // Cards of clients that the kernel does not know.
            netns.ip(&format!("link set {interface} promisc on up"))?;
        }
        Ok(())
    }

    /// Runs something in this namespace, on this CPU. What it starts stays there.
    pub(crate) fn inside<T: Send>(
        &self,
        cpu: Option<usize>,
        run: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let path = format!("/run/netns/{}", self.0);
        let body = || {
            let file = File::open(&path).with_context(|| path.clone())?;
            setns(file, CloneFlags::CLONE_NEWNET).context("enter a network namespace")?;
            pin(cpu)?;
            run()
        };
        thread::scope(|scope| scope.spawn(body).join())
            .map_err(|_| anyhow!("a thread in {path} panicked"))?
    }
}
