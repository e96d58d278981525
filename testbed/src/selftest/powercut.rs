//! A real guest writes with and without flushes; its power is cut; the next boot finds
//! what must be there, and not what must not.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bootd_protocol::identity::{Firmware, Mac};

use super::guest::Guest;
use super::{deadline, log_dir};
use crate::inputs::Packages;
use crate::lab::Lab;
use crate::nbd::{CutAt, CutPolicy, CutReport, Disk, NbdServer};
use crate::qemu::{Accel, DirectBoot, Entry, Machine, MachineSpec};

/// `kept` in sector 0, with a flush; `lost` in sector 8, in another page, without one. The
/// kernel writes a page back when the device is closed, and does not flush it.
const WRITE: &str = "
sector() { printf '%-511s\\n' \"$1\"; }
sector kept | dd of=/dev/vda bs=512 conv=notrunc,fsync 2>/dev/null
sector lost | dd of=/dev/vda bs=512 seek=8 conv=notrunc 2>/dev/null
dd if=/dev/vda bs=512 skip=8 count=1 iflag=direct 2>/dev/null | grep -q lost && echo 'guest: written'
";

const READ: &str = "
for at in 0 8; do
    text=$(dd if=/dev/vda bs=512 skip=$at count=1 2>/dev/null | tr -d '\\0' | tr -d ' \\n')
    echo \"guest: sector $at has '$text'\"
done
";

/// Flushes one sector after the other, saying so after each.
const FLUSH: &str = "
n=0
while [ $n -lt 40 ]; do
    printf '%-511s\\n' \"number-$n\" | dd of=/dev/vda bs=512 seek=$n conv=notrunc,fsync 2>/dev/null
    echo \"guest: flushed $n\"
    n=$((n + 1))
done
";

/// What the test found.
#[derive(Debug, Clone)]
pub struct PowerCutReport {
    /// From power-on to the guest's first answer.
    pub boot: Duration,
    /// The cut of an unflushed write.
    pub cut: CutReport,
    /// How many of the sectors that were flushed one by one were durable after a cut.
    pub flushed: u64,
}

struct Bench {
    guest: Guest,
    disk: Arc<Disk>,
    server: NbdServer,
    spec: MachineSpec,
}

/// Runs the guest three times; see the module.
///
/// # Errors
/// A guest does not start, or finds on its disk what it should not.
pub fn power_cut(
    lab: &Lab,
    packages: &Packages,
    accel: Accel,
    work_dir: &Path,
) -> Result<PowerCutReport> {
    let bench = Bench::set_up(lab, packages, accel, work_dir)?;
    let (boot, cut) = bench.lose_what_was_not_flushed()?;
    let flushed = bench.cut_at_a_flush()?;
    Ok(PowerCutReport { boot, cut, flushed })
}

impl Bench {
    fn set_up(lab: &Lab, packages: &Packages, accel: Accel, work_dir: &Path) -> Result<Self> {
        let run_dir = lab.run_dir();
        let disk = Arc::new(Disk::blank(64 << 20));
        let server = NbdServer::serve(Arc::clone(&disk), &run_dir.join("cut.disk"))?;
        let logs = log_dir(work_dir)?;
        let mac = Mac([0x52, 0x54, 0, 0x77, 0, 0xff]);
        let mut spec = MachineSpec::new("cut", Firmware::Bios, mac, &run_dir, &logs);
        spec.accel = accel;
        spec.disk = Some(server.path().to_owned());
        Ok(Bench {
            guest: Guest::unpack(packages, &run_dir.join("guest"))?,
            disk,
            server,
            spec,
        })
    }

    /// Starts the guest with a script.
    fn boot(&self, name: &str, script: &str) -> Result<Machine> {
        let mut spec = self.spec.clone();
        spec.disk = Some(self.server.path().to_owned());
        spec.direct = Some(DirectBoot {
            kernel: self.guest.kernel.clone(),
            initrd: self.guest.initramfs(name, script)?,
            cmdline: "console=ttyS0 quiet panic=1".to_owned(),
        });
        Ok(Machine::power_on(&spec, |_| {})?)
    }

    fn lose_what_was_not_flushed(&self) -> Result<(Duration, CutReport)> {
        let mut machine = self.boot("write", WRITE)?;
        let transcript = machine.transcript();
        let (Entry { at, .. }, _) = transcript.wait_for_line(0, "guest: written", deadline())?;
        machine.cut_power();
        let counters = self.disk.counters();
        ensure!(
            counters.flushes > 0,
            "the guest's flush did not arrive: {counters:?}"
        );
        let cut = self.disk.cut(CutPolicy::LoseAll, 0);
        ensure!(
            cut.pending_writes == 1,
            "one write was not flushed: {cut:?}"
        );

        let machine = self.boot("read", READ)?;
        let transcript = machine.transcript();
        transcript.wait_for_line(0, "sector 0 has 'kept'", deadline())?;
        transcript.wait_for_line(0, "sector 8 has ''", deadline())?;
        Ok((at, cut))
    }

    /// The disk stops at its n-th flush and kills the machine from there: every sector
    /// that the guest was told is flushed is there, and the one after it is not.
    fn cut_at_a_flush(&self) -> Result<u64> {
        let before = self.disk.snapshot();
        let machine = self.boot("flush", FLUSH)?;
        let killer = machine.killer();
        self.disk.arm(CutAt::Flush(20), move || killer.kill());
        ensure!(
            self.disk.wait_for_cut(deadline()),
            "the 20th flush did not come"
        );
        let transcript = Arc::clone(machine.transcript());
        // With it ends what it says: the transcript is complete.
        drop(machine);
        let told = transcript.entries(0).into_iter();
        let told = told
            .filter(|entry| entry.to_string().contains("guest: flushed"))
            .count() as u64;
        self.disk.cut(CutPolicy::LoseAll, 0);
        let durable = |n: u64| {
            let mut sector = [0; 512];
            self.disk.read_durable(n * 512, &mut sector);
            sector.starts_with(format!("number-{n} ").as_bytes())
        };
        let flushed = (0..40).take_while(|&n| durable(n)).count() as u64;
        ensure!(
            flushed >= told && (1..40).contains(&flushed),
            "the guest was told of {told} flushes, {flushed} sectors are durable"
        );
        ensure!(
            !(flushed..40).any(durable),
            "a sector after the cut is durable"
        );
        self.disk.restore(&before);
        Ok(flushed)
    }
}
