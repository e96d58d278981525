//! The boot, from init's first instruction to the processes running.

mod found;
mod ram;

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bootd_protocol::dhcp::client::LeaseInfo;
use bootd_protocol::digest::Digest;
use bootd_protocol::identity::SystemUuid;
use bootd_protocol::manifest::{Manifest, OnSilence};
use bootd_protocol::modindex::Index;
use bootd_protocol::verify::key::PublicKey;
use bootd_protocol::verify::message::{Action, Identity, Stage, Verdict};
use bootd_protocol::verify::node::Config;

use self::found::{Found, candidate, random};
use crate::console::{Console, chain};
use crate::disk::{LoaderState, Slot};
use crate::fetch::{FetchError, Fetcher};
use crate::install::{InstallError, Installer};
use crate::kernel::{self, Card, CommandLine};
use crate::link::{Answer, Link};
use crate::modules::{INDEX, Loader};
use crate::mounts::{self, Initramfs, MountError};
use crate::net::{Net, NetError, remember};
use crate::plan::{self, Software, Step};
use crate::run::{self, Running};
use crate::store::{Memory, Store, StoreError};
use crate::timetable::{DHCP, Timetable};

/// The keys of the masters that this boot image believes.
const TRUST: &str = "/etc/bootd/trust";
/// Modules that no device asks for: what the data partition needs, and what the tree needs.
const DATA_MODULES: [&str; 1] = ["ext4"];
const TREE_MODULES: [&str; 1] = ["overlay"];
/// Updates that stop in one boot before the node runs what it has.
const MAX_STOPPED: u32 = 3;
/// Between two tries of what a person has to mend.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// Why a boot does not go on.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A mount fails.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// No network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The data partition says no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An installation stopped.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The manifest does not come.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Neither DHCP nor the last boot says where the master is.
    #[error("no master: the DHCP server {0} does not name one, and none is remembered")]
    NoMaster(std::net::Ipv4Addr),
    /// The boot image believes no master.
    #[error("{TRUST}: no master's public key in it")]
    NoTrust,
    /// A test is too large.
    #[error("RAM has {free} MiB free, {needed} MiB are needed for a test")]
    NoRam {
        /// MiB free, rounded down.
        free: u64,
        /// MiB needed, what processes are to have included, rounded up.
        needed: u64,
    },
    /// The kernel says no to something else.
    #[error("{what}: {source}")]
    Kernel {
        /// What.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl BootError {
    /// See [`InstallError::is_full_disk`].
    fn is_full_disk(&self) -> bool {
        matches!(self, BootError::Install(error) if error.is_full_disk())
    }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> BootError {
    move |source| BootError::Kernel { what, source }
}

/// What this boot comes to run.
struct Chosen {
    manifest: Manifest,
    digest: Digest,
    /// Where it is, if not on the disk.
    ram: Option<Store>,
}

/// What lasts for the whole boot.
struct Boot {
    console: Console,
    origin: Instant,
    timetable: Timetable,
    /// Where init itself has started this kernel: the number of the boot, and its boot image.
    trial: Option<(u64, Digest)>,
}

/// Boots this machine. Comes back only with what keeps it from booting at all.
///
/// # Errors
/// What cannot be mended by waiting.
pub fn boot(origin: Instant) -> Result<Infallible, BootError> {
    let console = Console::new(origin);
    let mut boot = Boot {
        console,
        origin,
        timetable: Timetable::new(origin),
        trial: None,
    };
    mounts::mount_kernel()?;
    boot.trial = CommandLine::read().trial;
    let text = std::fs::read_to_string(INDEX).unwrap_or_default();
    let index = boot.module_index(&text);
    let mut loader = Loader::new(&index);
    boot.load_modules(&mut loader, &DATA_MODULES);
    boot.timetable.passed("modules");
    // A link takes up to seconds to come up: the disk is looked at meanwhile, and once the
    // lease of the last boot is known, the rest is done while DHCP's packets travel.
    let mut net = Net::raise(origin)?;
    boot.timetable.passed("cards");
    let disk = boot.open_disk()?;
    boot.timetable.passed("disk");
    net.ask(disk.as_ref().and_then(|disk| disk.memory.lease.clone()))?;
    let mut found = boot.look_at(disk)?;
    boot.count_boot(&mut found);
    boot.load_modules(&mut loader, &TREE_MODULES);
    boot.timetable.passed("trees");
    let (card, lease) = boot.join_network(&mut net, &mut found.memory)?;
    boot.timetable.passed(DHCP);
    let mut link = boot.open_link(&mut found, &card, &lease)?;
    let chosen = boot.settle_software(&mut found, &mut link, &lease)?;
    boot.timetable.passed("verify");
    let initramfs = boot.enter(found, &chosen, &lease)?;
    boot.timetable.passed("tree");
    let running = Running {
        console,
        origin,
        digest: chosen.digest,
        manifest: chosen.manifest,
        timetable: boot.timetable,
        initramfs,
    };
    run::run(running, &mut net, &mut link).map_err(failed("supervise"))
}

impl Boot {
    fn module_index<'a>(&self, text: &'a str) -> Index<'a> {
        Index::parse(text).unwrap_or_else(|error| {
            self.console.say(format_args!("{INDEX}: {error}"));
            Index::default()
        })
    }

    fn load_modules(&self, loader: &mut Loader<'_, '_>, names: &[&str]) {
        for outcome in loader.load(names) {
            if let Err(error) = outcome.result {
                self.console
                    .say(format_args!("module {}: {error}", outcome.module));
            }
        }
    }

    fn join_network(
        &self,
        net: &mut Net,
        memory: &mut Memory,
    ) -> Result<(Card, LeaseInfo), BootError> {
        let (card, lease) = net.wait()?;
        let length = lease.prefix_len;
        self.console
            .say(format_args!("{}: {}/{length}", card.name, lease.address));
        let old = memory.lease.replace(remember(&card, &lease));
        if lease.master.is_none()
            && let (Some(new), Some(old)) = (&mut memory.lease, old)
        {
            // A server that is not ours says nothing of a master: the last one known it is.
            new.master = old.master;
        }
        Ok((card, lease))
    }

    fn open_link(
        &self,
        found: &mut Found,
        card: &Card,
        lease: &LeaseInfo,
    ) -> Result<Link, BootError> {
        let master = found.memory.lease.as_ref().and_then(|it| it.master);
        let (ip, port, _) = master.ok_or(BootError::NoMaster(lease.server))?;
        let seed = random()?;
        let config = Config {
            key: found.key.clone(),
            identity: Identity {
                key: found.key.public(),
                mac: card.mac,
                uuid: usable(kernel::system_uuid()),
                arch: kernel::arch(),
                firmware: kernel::firmware(),
                key_is_kept: found.installed.is_some(),
                smbios: kernel::smbios(),
            },
            trust: trusted_keys()?,
            boot: found.memory.boot,
            epoch: found.memory.epoch,
            seed,
        };
        let mut link =
            Link::open(ip, port, config, self.origin).map_err(failed("verify socket"))?;
        if self.trial.is_some() {
            link.go_on_counting();
        }
        Ok(link)
    }

    /// Asks until there is software to run, installing it where that is the answer.
    fn settle_software(
        &self,
        found: &mut Found,
        link: &mut Link,
        lease: &LeaseInfo,
    ) -> Result<Chosen, BootError> {
        let mut answer = link.ask(found.local.question()).map_err(failed("verify"))?;
        loop {
            let settled = match &answer {
                Answer::Silence => self.live_without_master(found)?,
                Answer::Verdict(verdict) => self.obey(verdict, found, link, lease)?,
            };
            if let Some(chosen) = settled {
                return Ok(chosen);
            }
            answer = link.wait().map_err(failed("verify"))?;
        }
    }

    fn live_without_master(&self, found: &Found) -> Result<Option<Chosen>, BootError> {
        let Some(chosen) = candidate(found)? else {
            self.console
                .say("no master answers, and nothing is installed: asking on");
            return Ok(None);
        };
        if chosen.manifest.policy.on_silence == OnSilence::Hold {
            self.console
                .say("no master answers, and the class says hold: asking on");
            return Ok(None);
        }
        self.console
            .say("no master answers: running what is installed");
        Ok(Some(chosen))
    }

    fn obey(
        &self,
        verdict: &Verdict,
        found: &mut Found,
        link: &mut Link,
        lease: &LeaseInfo,
    ) -> Result<Option<Chosen>, BootError> {
        let Verdict {
            action,
            hostname,
            reason,
        } = verdict;
        if let Some(epoch) = link.take_epoch() {
            found.memory.epoch = epoch;
        }
        found.memory.hostname.clone_from(hostname);
        match action {
            Action::Run => {
                let chosen = candidate(found)?;
                let digest = found.local.candidate().manifest.short();
                self.console.say(format_args!(
                    "verified as {hostname}: run {digest} {reason}"
                ));
                Ok(chosen)
            }
            Action::Hold { .. } => {
                self.console
                    .say(format_args!("the master says hold: {reason}"));
                Ok(None)
            }
            Action::Restart => {
                self.console
                    .say(format_args!("the master says restart: {reason}"));
                match self.restart(link)? {}
            }
            Action::Test {
                manifest,
                http_port,
                ..
            } => {
                let short = manifest.short();
                self.console
                    .say(format_args!("the master says test {short} on {hostname}"));
                let mut fetcher = fetcher(found, lease, *http_port);
                match self.put_into_ram(*manifest, &mut fetcher, found, link) {
                    Ok(chosen) => {
                        link.report(Stage::Running, *manifest, (0, 0), "runs from RAM");
                        Ok(Some(chosen))
                    }
                    Err(error) => self.test_stopped(&error, *manifest, found, link),
                }
            }
            Action::Install {
                manifest,
                http_port,
                ..
            } => {
                let short = manifest.short();
                self.console.say(format_args!(
                    "the master says install {short} on {hostname}"
                ));
                let mut fetcher = fetcher(found, lease, *http_port);
                match self.install(*manifest, &mut fetcher, found, link) {
                    Ok(()) => {
                        // The master may want it to wait for others, or to restart with them.
                        self.console.say("updated without a restart");
                        link.begin(found.local.question());
                        Ok(None)
                    }
                    Err(error) => self.installation_stopped(&error, *manifest, found, link),
                }
            }
        }
    }

    /// What was done of an installation stays. It is tried again; but an update that does not
    /// come to its end does not keep a node from the software it has, unless its class wants it
    /// held rather than not be right.
    fn installation_stopped(
        &self,
        error: &BootError,
        wanted: Digest,
        found: &mut Found,
        link: &mut Link,
    ) -> Result<Option<Chosen>, BootError> {
        let text = chain(error);
        self.console
            .say(format_args!("installation stopped: {text}"));
        link.report(Stage::Failed, wanted, (0, 0), &text);
        link.flush();
        self.look_again(found)?;
        found.stopped += 1;
        if error.is_full_disk() || found.stopped >= MAX_STOPPED {
            let runs = |it: &Chosen| it.manifest.policy.on_silence == OnSilence::Run;
            let old = candidate(found)?.filter(runs);
            if old.is_some() {
                self.console.say("running what is installed");
                return Ok(old);
            }
        }
        std::thread::sleep(RETRY_PAUSE);
        link.begin(found.local.question());
        Ok(None)
    }

    /// A test that cannot be had: the node runs what its disk has, or asks again.
    fn test_stopped(
        &self,
        error: &BootError,
        wanted: Digest,
        found: &Found,
        link: &mut Link,
    ) -> Result<Option<Chosen>, BootError> {
        let text = chain(error);
        self.console.say(format_args!("test stopped: {text}"));
        link.report(Stage::Failed, wanted, (0, 0), &text);
        link.flush();
        let old = candidate(found)?;
        if old.is_none() {
            std::thread::sleep(RETRY_PAUSE);
            link.begin(found.local.question());
        }
        Ok(old)
    }

    fn install(
        &self,
        digest: Digest,
        fetcher: &mut Fetcher,
        found: &mut Found,
        link: &mut Link,
    ) -> Result<(), BootError> {
        let kept = found
            .installed
            .as_ref()
            .and_then(|disk| disk.store.manifest(digest).ok());
        let (manifest, bytes) = match kept {
            Some(manifest) => {
                let bytes = manifest
                    .to_bytes()
                    .map_err(io::Error::from)
                    .map_err(failed("manifest"))?;
                (manifest, bytes)
            }
            None => fetcher.manifest(digest, kept_manifest(found))?,
        };
        let wanted = Software {
            manifest: digest,
            image: manifest.boot.image.sha256,
        };
        let steps = plan::install(&found.local, wanted);
        let mut installer = Installer {
            manifest: &manifest,
            bytes: &bytes,
            digest,
            fetcher,
            link,
            console: self.console,
            installed: found.installed.take(),
            memory: &mut found.memory,
            key_seed: found.key_seed,
        };
        let result = steps.iter().try_for_each(|step| installer.perform(*step));
        found.installed = installer.installed.take();
        result?;
        if steps.last() == Some(&Step::Restart) {
            match self.restart(link)? {}
        }
        let running = wanted;
        match found.local.active() {
            Some(Slot::B) => found.local.b = running,
            Some(Slot::A) | None => found.local.a = running,
        }
        if found.local.loader.next.is_some() {
            found.local.loader = LoaderState::commit_first(found.local.active().unwrap_or(Slot::A));
        }
        Ok(())
    }

    fn restart(&self, link: &mut Link) -> Result<Infallible, BootError> {
        link.flush();
        mounts::unmount_data()?;
        self.console.say("restarting from the local disk");
        match run::restart().map_err(failed("restart"))? {}
    }

    /// Settles a trial, remembers, and makes the tree the root.
    fn enter(
        &self,
        mut found: Found,
        chosen: &Chosen,
        lease: &LeaseInfo,
    ) -> Result<Initramfs, BootError> {
        let digest = found.local.candidate().manifest;
        let mut disk = found.installed.take();
        if let Some(disk) = &disk {
            found.memory.failed =
                Some(found.local.failed()).filter(|it| *it != Digest::NONE && *it != digest);
            self.remember(&disk.store, &found.memory);
        }
        let store = chosen.ram.as_ref().or(disk.as_ref().map(|it| &it.store));
        let Some(store) = store else {
            return Err(failed("run")(io::Error::other("nothing is installed")));
        };
        let tree = store.generation_path(chosen.digest);
        let initramfs = mounts::enter_tree(&tree, &store.persist_dir(), disk.is_some())?;
        // Only now: a boot image that cannot come this far has not passed its trial.
        let settle = plan::settle(&found.local).filter(|_| self.trial.is_none());
        if let (Some(Step::Settle(slot)), Some(disk)) = (settle, &mut disk) {
            crate::disk::mark_good(&mut disk.target.device, &disk.layout, slot)
                .map_err(InstallError::from)?;
            self.console.say(format_args!("slot {slot} is good"));
        }
        run::configure(&found.memory.hostname, &lease.dns);
        self.console.say(format_args!(
            "runs class {} from {}{}",
            chosen.manifest.class,
            tree_name(&tree),
            chosen.ram.as_ref().map_or("", |_| " in RAM")
        ));
        Ok(initramfs)
    }
}

/// The manifest of the software that this boot is about, with its digest.
fn kept_manifest(found: &Found) -> Option<(Digest, Manifest)> {
    let digest = found.local.candidate().manifest;
    let manifest = found.installed.as_ref()?.store.manifest(digest).ok()?;
    Some((digest, manifest))
}

/// Where this lease's master serves by HTTP.
fn fetcher(found: &Found, lease: &LeaseInfo, http_port: u16) -> Fetcher {
    let master = found.memory.lease.as_ref().and_then(|it| it.master);
    let ip = master.map_or(lease.server, |(ip, _, _)| ip);
    Fetcher::new(ip, http_port)
}

fn tree_name(tree: &Path) -> String {
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    name.chars().take(12).collect()
}

fn usable(uuid: SystemUuid) -> SystemUuid {
    if uuid.is_usable() {
        uuid
    } else {
        SystemUuid([0; 16])
    }
}

fn trusted_keys() -> Result<Vec<PublicKey>, BootError> {
    let text = std::fs::read_to_string(TRUST).unwrap_or_default();
    let keys: Vec<PublicKey> = text
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    if keys.is_empty() {
        Err(BootError::NoTrust)
    } else {
        Ok(keys)
    }
}
