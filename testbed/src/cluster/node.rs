//! A node in the lab: a machine under QEMU with a disk whose power can be cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bootd_protocol::identity::{Firmware, Mac};

use crate::lab::Lab;
use crate::nbd::{CutAt, CutPolicy, Disk, NbdServer, Snapshot};
use crate::qemu::{Accel, Entry, Machine, MachineSpec, Model};

/// The disk of a node, in bytes.
pub const DISK_SIZE: u64 = 2 << 30;

/// A node.
pub struct Node {
    spec: MachineSpec,
    disk: Arc<Disk>,
    machine: Option<Machine>,
    /// Where in the transcript the next wait begins.
    mark: usize,
    _server: NbdServer,
}

/// Where a node's files go.
#[derive(Debug, Clone)]
pub struct Places {
    /// Sockets and firmware variables.
    pub run: PathBuf,
    /// Consoles and messages.
    pub logs: PathBuf,
}

impl Node {
    /// A node that is switched off, with a blank disk.
    ///
    /// # Errors
    /// No tap, or no disk server.
    pub fn new(
        lab: &mut Lab,
        name: &str,
        firmware: Firmware,
        number: u8,
        accel: Accel,
        logs: &Path,
    ) -> Result<Self> {
        Node::with_disk(
            lab,
            name,
            firmware,
            number,
            accel,
            logs,
            Disk::blank(DISK_SIZE),
        )
    }

    /// A node that is switched off, with this disk.
    ///
    /// # Errors
    /// No tap, or no disk server.
    pub fn with_disk(
        lab: &mut Lab,
        name: &str,
        firmware: Firmware,
        number: u8,
        accel: Accel,
        logs: &Path,
        disk: Disk,
    ) -> Result<Self> {
        let run = lab.run_dir();
        let mac = Mac([0x52, 0x54, 0x00, 0xb0, 0x07, number]);
        let disk = Arc::new(disk);
        let server = NbdServer::serve(Arc::clone(&disk), &run.join(format!("{name}.nbd")))?;
        let mut spec = MachineSpec::new(name, firmware, mac, &run, logs);
        spec.tap = Some(lab.add_tap()?.name().to_owned());
        spec.disk = Some(server.path().to_owned());
        spec.accel = accel;
        Ok(Node {
            spec,
            disk,
            machine: None,
            mark: 0,
            _server: server,
        })
    }

    /// The same as another kind of machine; it must be switched off.
    #[must_use]
    pub fn of_model(mut self, model: Model) -> Self {
        self.spec.model = model;
        self
    }

    /// Its name in the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its network card.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.spec.mac
    }

    /// How it starts.
    #[must_use]
    pub fn firmware(&self) -> Firmware {
        self.spec.firmware
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Switches it on; `watch` sees everything on its console.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn power_on(&mut self, watch: impl Fn(&Entry) + Send + Sync + 'static) -> Result<()> {
        self.machine = Some(Machine::power_on(&self.spec, watch)?);
        self.mark = 0;
        Ok(())
    }

    /// Sets its firmware to ask the network before the disk, from the next power-on.
    pub fn ask_network_first(&mut self) {
        self.spec.network_first = true;
    }

    /// Puts U-Boot in the place of its firmware, from the next power-on.
    pub fn take_u_boot(&mut self, rom: &Path) {
        self.spec.u_boot = Some(rom.to_owned());
    }

    /// Types a line on its console.
    ///
    /// # Errors
    /// It is switched off.
    pub fn type_line(&self, text: &str) -> Result<()> {
        let machine = self.machine.as_ref().context("the node is switched off")?;
        Ok(machine.type_line(text)?)
    }

    /// Switches it off.
    pub fn power_off(&mut self) {
        self.machine = None;
    }

    /// Cuts its power; the disk loses what it had not flushed, as `policy` says.
    pub fn cut_power(&mut self, policy: CutPolicy, seed: u64) {
        self.machine = None;
        self.disk.cut(policy, seed);
    }

    /// Lets the power be cut by the disk, at this point of its work.
    ///
    /// # Errors
    /// It is switched off.
    pub fn arm(&self, at: CutAt) -> Result<()> {
        let machine = self.machine.as_ref().context("the node is switched off")?;
        let killer = machine.killer();
        self.disk.arm(at, move || killer.kill());
        Ok(())
    }

    /// Waits for an armed cut and does it; whether it came.
    pub fn wait_for_cut(&mut self, limit: Duration, policy: CutPolicy, seed: u64) -> bool {
        let came = self.disk.wait_for_cut(Instant::now() + limit);
        self.disk.disarm();
        if came {
            self.cut_power(policy, seed);
        }
        came
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// It is switched off.
    pub fn reset(&self) -> Result<()> {
        let machine = self.machine.as_ref().context("the node is switched off")?;
        Ok(machine.reset()?)
    }

    /// Waits for the next line of its console that has `pattern` in it; the line.
    ///
    /// # Errors
    /// It does not come; with the last lines that did.
    pub fn wait_for_line(&mut self, pattern: &str, limit: Duration) -> Result<String> {
        let machine = self.machine.as_ref().context("the node is switched off")?;
        let transcript = machine.transcript();
        let deadline = Instant::now() + limit;
        match transcript.wait_for_line(self.mark, pattern, deadline) {
            Ok((entry, next)) => {
                self.mark = next;
                Ok(entry.what.to_string())
            }
            Err(error) => bail!("{}: {error}", self.name()),
        }
    }

    /// Whether it was switched on and nothing more can come of it: QEMU has ended or stopped it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let machine = self.machine.as_ref();
        machine.is_some_and(|it| it.transcript().is_over())
    }

    /// What to say of one that [`Node::is_over`].
    #[must_use]
    pub fn end(&self) -> String {
        let kvm = match self.spec.accel {
            Accel::Tcg => "",
            Accel::Kvm => "; leave --accel kvm away: /dev/kvm may not run machines here",
        };
        format!(
            "QEMU cannot go on with {}: see {1}.console and {1}.qemu{kvm}",
            self.name(),
            self.spec.log_dir.join(self.name()).display()
        )
    }

    /// What is durable on its disk.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.disk.snapshot()
    }

    /// Takes its disk out. It must be switched off.
    pub fn remove_disk(&mut self) {
        self.machine = None;
        self.spec.disk = None;
    }

    /// Puts a disk as it was into it. It must be switched off.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.machine = None;
        self.disk.restore(snapshot);
    }
}
