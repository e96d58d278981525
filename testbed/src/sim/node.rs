//! A machine: the real verify machine and the real plans, on a simulated disk.

use std::collections::VecDeque;
use std::time::Duration;

use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::smbios::Smbios;
use bootd_protocol::verify::key::{PublicKey, SecretKey};
use bootd_protocol::verify::message::{Action, BootedFrom, Identity, Stage};
use bootd_protocol::verify::node::{Command, Config, News, Node};
use fastrand::Rng;
use node_initramfs::disk::grubenv::{LoaderState, Slot};
use node_initramfs::plan::{self, Local, Software, Step};

use super::disk::{Disk, Release};

/// Firmware, loader and kernel take this long, in milliseconds.
const BOOT_MS: std::ops::Range<u64> = 100..3_000;
/// A step takes this long, in milliseconds.
const STEP_MS: std::ops::Range<u64> = 10..1_500;

/// What a machine does.
#[derive(Debug)]
enum Power {
    /// Nothing until then.
    Off { until: Duration },
    /// Its init runs.
    On(Box<Init>),
}

/// What its init knows: gone with the power.
#[derive(Debug)]
struct Init {
    machine: Node,
    local: Local,
    release: Option<Release>,
    plan: VecDeque<Step>,
    step_due: Option<Duration>,
    running: Option<Software>,
    /// Whether it installed anything in this boot.
    installed: bool,
}

/// What the machine wants from the world.
#[derive(Debug)]
pub enum Output {
    /// This datagram goes to the master.
    Send(Vec<u8>),
    /// Something for the event log.
    Log(String),
    /// It obeys an order to restart, in the boot of this number.
    Obeys(u64),
}

/// What the world lends a machine.
pub struct Surroundings<'a> {
    /// All releases there ever were.
    pub releases: &'a [Release],
    /// The master's key.
    pub trust: PublicKey,
    /// The time.
    pub now: Duration,
}

impl Surroundings<'_> {
    fn release(&self, manifest: Digest) -> Option<&Release> {
        self.releases
            .iter()
            .find(|it| it.software.manifest == manifest)
    }

    fn boots(&self, image: Digest) -> bool {
        self.releases
            .iter()
            .any(|it| it.software.image == image && it.boots)
    }
}

/// A simulated machine.
#[derive(Debug)]
pub struct Machine {
    number: usize,
    disk: Disk,
    power: Power,
    /// Power cuts since a slot was put on trial.
    cuts_in_trial: u8,
    /// What the disk had when it began the test of the boot before.
    tested: Option<[Software; 2]>,
}

impl Machine {
    /// A new machine with an empty disk; it is switched on at once.
    #[must_use]
    pub fn new(number: usize) -> Self {
        let power = Power::Off {
            until: Duration::ZERO,
        };
        Machine {
            number,
            disk: Disk::blank(),
            power,
            cuts_in_trial: 0,
            tested: None,
        }
    }

    /// The network card of the machine with this number.
    #[must_use]
    pub fn mac(number: usize) -> Mac {
        Mac([2, 0, 0, 0, 0, u8::try_from(number).unwrap_or(u8::MAX)])
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        match &self.power {
            Power::Off { until } => Some(*until),
            Power::On(init) => [init.step_due, init.machine.poll_timeout()]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    /// What runs on it.
    #[must_use]
    pub fn running(&self) -> Option<Software> {
        match &self.power {
            Power::Off { .. } => None,
            Power::On(init) => init.running,
        }
    }

    /// Whether it has installed anything since it booted.
    #[must_use]
    pub fn has_installed(&self) -> bool {
        match &self.power {
            Power::Off { .. } => false,
            Power::On(init) => init.installed,
        }
    }

    /// Whether it may stay on other software than `wanted`: the power went in every start of the
    /// trial, which looks to it like a boot image that does not come up.
    #[must_use]
    pub fn may_have_given_up(&self, wanted: Software) -> bool {
        self.disk.failed() == wanted.manifest && self.cuts_in_trial >= LoaderState::TRIES
    }

    /// The power goes, and comes back after `outage`.
    pub fn cut(&mut self, outage: Duration, now: Duration) {
        if let Power::On(init) = &self.power
            && let (Some(step), Some(release)) = (init.plan.front(), &init.release)
        {
            self.disk.apply(*step, release, true);
        }
        self.cuts_in_trial = self.cuts_in_trial.saturating_add(1);
        self.power = Power::Off {
            until: now + outage,
        };
    }

    /// A datagram has arrived.
    pub fn receive(
        &mut self,
        datagram: &[u8],
        around: &Surroundings<'_>,
        rng: &mut Rng,
    ) -> Vec<Output> {
        if let Power::On(init) = &mut self.power {
            // What is dropped is dropped; the machine has counted on it.
            let _ = init.machine.handle_datagram(datagram, around.now);
        }
        self.drain(around, rng)
    }

    /// It is time for something.
    pub fn wake(&mut self, around: &Surroundings<'_>, rng: &mut Rng) -> Vec<Output> {
        match &mut self.power {
            Power::Off { until } if *until <= around.now => self.boot(around, rng),
            Power::Off { .. } => {}
            Power::On(init) => {
                init.machine.handle_timeout(around.now);
                if init.step_due.is_some_and(|due| due <= around.now) {
                    return self.finish_step(around, rng);
                }
            }
        }
        self.drain(around, rng)
    }

    fn boot(&mut self, around: &Surroundings<'_>, rng: &mut Rng) {
        let booted_from = self.disk.boot(|image| around.boots(image));
        let local = self.disk.local(booted_from);
        self.assert_whole(booted_from, &local);
        if let Some(before) = self.tested.take() {
            assert_eq!([local.a, local.b], before, "a test has left something");
        }
        self.disk.boot += 1;
        let kept = self.disk.key;
        let seed = kept.unwrap_or_else(|| random(rng));
        let key = SecretKey::from_seed(&seed);
        let identity = Identity {
            key: key.public(),
            mac: Machine::mac(self.number),
            uuid: SystemUuid([0; 16]),
            arch: Arch::X86_64,
            firmware: Firmware::Bios,
            key_is_kept: kept.is_some(),
            smbios: Smbios::default(),
        };
        let mut machine = Node::new(Config {
            key,
            identity,
            trust: vec![around.trust],
            boot: self.disk.boot,
            epoch: self.disk.epoch,
            seed: random(rng),
        });
        machine.ask(local.question(), around.now);
        let init = Init {
            machine,
            local,
            release: None,
            plan: VecDeque::new(),
            step_due: None,
            running: None,
            installed: false,
        };
        self.power = Power::On(Box::new(init));
    }

    /// The invariant that power cuts must not break: what boots from the disk is whole, the
    /// kernel of the slot and the tree of its manifest belonging together.
    fn assert_whole(&self, booted_from: BootedFrom, local: &Local) {
        let slot = match booted_from {
            BootedFrom::SlotA => Slot::A,
            BootedFrom::SlotB => Slot::B,
            BootedFrom::Network => return,
        };
        let software = local.software(slot);
        assert_ne!(
            software,
            Software::NONE,
            "node {} booted slot {slot:?} without a tree",
            self.number
        );
        assert_eq!(
            self.disk.image(slot),
            Some(software.image),
            "node {} mixes releases",
            self.number
        );
    }

    fn drain(&mut self, around: &Surroundings<'_>, rng: &mut Rng) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Power::On(init) = &mut self.power
            && let Some(command) = init.machine.next_command()
        {
            match command {
                Command::Send(datagram) => outputs.push(Output::Send(datagram)),
                Command::RememberEpoch(epoch) => {
                    assert!(epoch > self.disk.epoch, "epochs only grow");
                    self.disk.epoch = epoch;
                }
                Command::Reported => {}
                Command::Restart(why) => {
                    outputs.push(Output::Log(format!("ordered to restart: {why}")));
                    outputs.push(Output::Obeys(self.disk.boot));
                    self.restart(around, rng);
                }
                Command::Silence => {
                    outputs.push(Output::Log("silence".into()));
                    self.run(around);
                }
                Command::Decide(verdict) => {
                    outputs.push(Output::Log(format!(
                        "{:?} {}",
                        verdict.action, verdict.reason
                    )));
                    match verdict.action {
                        Action::Run => self.run(around),
                        Action::Install { manifest, .. } => self.install(manifest, around, rng),
                        Action::Hold { .. } => {}
                        Action::Test { manifest, .. } => self.test(manifest, around),
                        Action::Restart => {
                            outputs.push(Output::Obeys(self.disk.boot));
                            self.restart(around, rng);
                        }
                    }
                }
            }
        }
        outputs
    }

    /// Runs the candidate, if there is one.
    fn run(&mut self, around: &Surroundings<'_>) {
        let Power::On(init) = &mut self.power else {
            return;
        };
        let candidate = init.local.candidate();
        if candidate == Software::NONE || init.running.is_some() {
            return;
        }
        init.running = Some(candidate);
        init.machine.run(candidate.manifest, around.now);
        if let Some(Step::Settle(slot)) = plan::settle(&init.local) {
            self.disk.settle(slot);
        }
    }

    /// Runs this manifest from RAM: the disk stays as it is.
    fn test(&mut self, manifest: Digest, around: &Surroundings<'_>) {
        let Power::On(init) = &mut self.power else {
            return;
        };
        let busy = init.running.is_some() || !init.plan.is_empty();
        let Some(release) = around.release(manifest).filter(|_| !busy) else {
            return;
        };
        init.running = Some(release.software);
        init.machine.run(manifest, around.now);
        if let Some(Step::Settle(slot)) = plan::settle(&init.local) {
            self.disk.settle(slot);
        }
        self.tested = Some([init.local.a, init.local.b]);
    }

    /// The machine restarts by itself, which takes a while.
    fn restart(&mut self, around: &Surroundings<'_>, rng: &mut Rng) {
        let until = around.now + Duration::from_millis(rng.u64(BOOT_MS));
        self.power = Power::Off { until };
    }

    fn install(&mut self, manifest: Digest, around: &Surroundings<'_>, rng: &mut Rng) {
        let Power::On(init) = &mut self.power else {
            return;
        };
        let busy = init.running.is_some() || !init.plan.is_empty();
        let Some(release) = around.release(manifest).filter(|_| !busy) else {
            return;
        };
        init.plan = plan::install(&init.local, release.software).into();
        init.release = Some(release.clone());
        init.installed = true;
        init.step_due = Some(around.now + Duration::from_millis(rng.u64(STEP_MS)));
    }

    fn finish_step(&mut self, around: &Surroundings<'_>, rng: &mut Rng) -> Vec<Output> {
        let Power::On(init) = &mut self.power else {
            return Vec::new();
        };
        init.step_due = None;
        let (Some(step), Some(release)) = (init.plan.pop_front(), &init.release) else {
            return Vec::new();
        };
        self.disk.apply(step, release, false);
        if matches!(step, Step::StartTrial(_)) {
            self.cuts_in_trial = 0;
        }
        let mut outputs = vec![Output::Log(format!("{step:?}"))];
        match step {
            Step::Restart => {
                self.restart(around, rng);
                return outputs;
            }
            Step::Run => {
                // As the real one: it asks once more before it runs.
                init.local = self.disk.local(init.local.booted_from);
                init.machine.ask(init.local.question(), around.now);
            }
            Step::PrepareDisk => self.disk.key = Some(random(rng)),
            Step::FetchBlobs => {
                let news = News {
                    stage: Stage::Fetching,
                    manifest: release.software.manifest,
                    done: 1,
                    total: 1,
                    text: String::new(),
                };
                init.machine.report(news, around.now);
            }
            Step::Settle(_)
            | Step::BuildGeneration
            | Step::WriteSlot(_)
            | Step::PointSlot(_)
            | Step::CommitFirst(_)
            | Step::StartTrial(_)
            | Step::Collect => {}
        }
        if let Power::On(init) = &mut self.power
            && !init.plan.is_empty()
        {
            init.step_due = Some(around.now + Duration::from_millis(rng.u64(STEP_MS)));
        }
        outputs.extend(self.drain(around, rng));
        outputs
    }
}

fn random(rng: &mut Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill(&mut bytes);
    bytes
}
