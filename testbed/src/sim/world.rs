//! The world: machines, a master, a network between them, and harm done to all of them for a
//! while. Then the harm ends, and everybody must come to rest on the software that is wanted.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use bootd_protocol::digest::Digest;
use bootd_protocol::verify::key::SecretKey;
use fastrand::Rng;
use node_initramfs::plan::Software;

use super::cluster::Cluster;
use super::disk::Release;
use super::network::{Address, Faults, Network};
use super::node::{Machine, Output, Surroundings};

/// Harm is done for this long.
const HARM: Duration = Duration::from_secs(16);
/// After it, all must have come to rest by then.
const REST: Duration = Duration::from_secs(240);
/// How long an operator waits for those that are not ready.
const PATIENCE: Duration = Duration::from_secs(100);
/// Between two harms, in milliseconds.
const HARM_MS: std::ops::Range<u64> = 300..6_000;

/// A simulated world.
#[derive(Debug)]
pub struct World {
    seed: u64,
    rng: Rng,
    now: Duration,
    machines: Vec<Machine>,
    cluster: Cluster,
    network: Network,
    releases: Vec<Release>,
    log: String,
    last_edit: Duration,
    prepared: u32,
}

/// What a run did, for a look at whether the harm bites.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Power cuts.
    pub cuts: u32,
    /// Edits of the catalog.
    pub edits: u32,
    /// Restarts of the master.
    pub restarts: u32,
    /// Tests that nodes had.
    pub tests: u32,
    /// Preparations begun.
    pub preparations: u32,
    /// Nodes that came back from a common restart, having downloaded nothing.
    pub prepared: u32,
}

impl World {
    /// The world that grows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let releases: Vec<Release> = (0..5).map(|number| release(number, &mut rng)).collect();
        let faults = Faults {
            loss: rng.u8(..40),
            duplication: rng.u8(..30),
            delay_ms: rng.u64(1..800),
        };
        let machines = (0..rng.usize(1..=3)).map(Machine::new).collect();
        let cluster = Cluster::new(SecretKey::from_seed(&[7; 32]), releases[0].software);
        World {
            seed,
            rng,
            now: Duration::ZERO,
            machines,
            cluster,
            network: Network::new(faults),
            releases,
            log: String::new(),
            last_edit: Duration::ZERO,
            prepared: 0,
        }
    }

    /// Lets it run to the end.
    ///
    /// # Errors
    /// The event log, if the machines do not come to rest where they should.
    pub fn run(mut self) -> Result<Tally, String> {
        let mut tally = Tally::default();
        let mut next_harm = Duration::from_secs(1);
        while self.now < HARM {
            self.step_until(next_harm);
            self.harm(&mut tally);
            next_harm = self.now + Duration::from_millis(self.rng.u64(HARM_MS));
        }
        self.network.faults = Faults::NONE;
        while self.now < HARM + REST {
            if self.at_rest() {
                self.listen();
                tally.prepared = self.prepared;
                tally.tests = u32::try_from(self.cluster.orders.tests_had()).unwrap_or(0);
                return Ok(tally);
            }
            self.step_until(self.now + Duration::from_secs(1));
        }
        Err(self.complaint())
    }

    fn step_until(&mut self, end: Duration) {
        loop {
            let wakes = self.machines.iter().filter_map(Machine::next_at);
            let Some(at) = wakes
                .chain(self.network.next_at())
                .min()
                .filter(|at| *at <= end)
            else {
                self.now = end;
                self.cluster.tick(self.now);
                return;
            };
            self.now = self.now.max(at);
            self.deliver();
            self.wake();
            self.look_at_returned();
        }
    }

    /// The invariant of a preparation: the boot after the common restart downloads nothing, unless
    /// the catalog was edited in between.
    fn look_at_returned(&mut self) {
        for (node, since) in self.cluster.orders.returned() {
            let machines = self.machines.iter().enumerate();
            let mut named =
                machines.filter(|(number, _)| Machine::mac(*number).to_string() == node);
            let Some((_, machine)) = named.next() else {
                continue;
            };
            if self.last_edit < since {
                self.prepared += 1;
                assert!(
                    !machine.has_installed(),
                    "seed {}: {node} was prepared, and yet installs\n{}",
                    self.seed,
                    self.log
                );
            }
        }
    }

    /// Whoever runs says so: nobody is out of hearing.
    fn listen(&mut self) {
        self.step_until(self.now + Duration::from_secs(12));
        for number in 0..self.machines.len() {
            let name = Machine::mac(number).to_string();
            let heard = self.cluster.orders.heard(&name).unwrap_or_default();
            assert!(
                self.machines[number].running().is_none()
                    || heard + Duration::from_secs(11) > self.now,
                "seed {}: {name} runs in silence since {heard:?}, now {:?}",
                self.seed,
                self.now
            );
        }
    }

    fn deliver(&mut self) {
        while let Some(delivery) = self.network.deliver(self.now) {
            match delivery.to {
                Address::Node(number) => self.with_machine(number, |machine, around, rng| {
                    machine.receive(&delivery.datagram, around, rng)
                }),
                Address::Master => self.answer(delivery.from, &delivery.datagram),
            }
        }
    }

    fn answer(&mut self, from: Address, datagram: &[u8]) {
        let delay = Duration::from_millis(self.rng.u64(1..1_000));
        if self.rng.u8(..100) < 10
            && let Some(late) = self.cluster.deposed_answer(datagram)
        {
            self.network
                .send(Address::Master, from, &late, self.now, &mut self.rng);
        }
        if let Some(answer) = self.cluster.receive(datagram, self.now, delay) {
            self.network
                .send(Address::Master, from, &answer, self.now, &mut self.rng);
        }
    }

    fn wake(&mut self) {
        for number in 0..self.machines.len() {
            if self.machines[number]
                .next_at()
                .is_some_and(|at| at <= self.now)
            {
                self.with_machine(number, Machine::wake);
            }
        }
    }

    fn with_machine(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Machine, &Surroundings<'_>, &mut Rng) -> Vec<Output>,
    ) {
        let trust = SecretKey::from_seed(&[7; 32]).public();
        let around = Surroundings {
            releases: &self.releases,
            trust,
            now: self.now,
        };
        let outputs = act(&mut self.machines[number], &around, &mut self.rng);
        for output in outputs {
            match output {
                Output::Send(datagram) => {
                    let from = Address::Node(number);
                    self.network
                        .send(from, Address::Master, &datagram, self.now, &mut self.rng);
                }
                Output::Log(text) => self.note(&format!("node {number}: {text}")),
                Output::Obeys(boot) => {
                    let name = Machine::mac(number).to_string();
                    assert!(
                        self.cluster.orders.told(&name, boot),
                        "seed {}: {name} restarts, and was not told to",
                        self.seed
                    );
                }
            }
        }
    }

    fn harm(&mut self, tally: &mut Tally) {
        match self.rng.u8(..13) {
            12.. => {
                let trial = self.rng.choice(&self.releases).map(|it| it.software);
                self.note("a test for everybody");
                self.cluster.catalog.trials.extend(trial);
            }
            10.. => {
                self.note("all are to be prepared");
                self.cluster.prepare(self.now);
                tally.preparations += 1;
            }
            0..5 => {
                let number = self.rng.usize(..self.machines.len());
                let outage = Duration::from_millis(self.rng.u64(100..5_000));
                self.note(&format!("node {number}: power cut"));
                self.machines[number].cut(outage, self.now);
                tally.cuts += 1;
            }
            5..8 => {
                let release = self.rng.choice(&self.releases).map(|it| it.software);
                let wanted = release.unwrap_or(self.cluster.catalog.wanted);
                self.note(&format!("edit: {} wanted", wanted.manifest.short()));
                self.cluster.catalog.wanted = wanted;
                self.last_edit = self.now;
                tally.edits += 1;
            }
            8 => {
                let next_epoch = self.rng.bool();
                self.note("master restarts");
                self.cluster.restart(next_epoch);
                tally.restarts += 1;
            }
            _ => self.network.faults.loss = self.rng.u8(..90),
        }
    }

    /// Whether every machine runs what is wanted, or something whole where what is wanted does
    /// not come up. A machine that runs something else is restarted, as an operator would.
    fn at_rest(&mut self) -> bool {
        if !self.cluster.orders.are_over() {
            // Somebody failed, and the operator has waited long enough.
            if self.now > HARM.max(self.cluster.orders.begun()) + PATIENCE {
                self.note("the operator lets the others go");
                self.cluster.decide(self.now);
            }
            return false;
        }
        let wanted = self.cluster.catalog.wanted;
        let boots = self
            .releases
            .iter()
            .any(|it| it.software == wanted && it.boots);
        let mut rest = true;
        for number in 0..self.machines.len() {
            let Some(running) = self.machines[number].running() else {
                rest = false;
                continue;
            };
            if boots && running != wanted && !self.machines[number].may_have_given_up(wanted) {
                self.note(&format!(
                    "node {number}: restarted, runs {}",
                    running.manifest.short()
                ));
                self.machines[number].cut(Duration::ZERO, self.now);
                rest = false;
            }
        }
        rest
    }

    fn note(&mut self, text: &str) {
        let millis = self.now.as_millis();
        // Writing to a string does not fail.
        let _ = writeln!(self.log, "{millis:>8} {text}");
    }

    fn complaint(&self) -> String {
        let running: Vec<_> = self.machines.iter().map(Machine::running).collect();
        format!(
            "seed {}: not at rest on {:?}; running {running:?}\n{}",
            self.seed, self.cluster.catalog.wanted, self.log
        )
    }
}

/// Releases share images in pairs, so that an edit changes the packages alone or all. The first
/// one always comes up; later images may not.
fn release(number: u8, rng: &mut Rng) -> Release {
    let image = number / 2;
    let blobs = (0..6)
        .filter(|_| rng.bool())
        .map(|blob| Digest::of(&[3, blob]));
    Release {
        software: Software {
            manifest: Digest::of(&[1, number]),
            image: Digest::of(&[2, image]),
        },
        blobs: blobs.collect::<BTreeSet<_>>(),
        boots: image != 2,
    }
}
