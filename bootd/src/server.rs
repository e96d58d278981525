//! Puts the parts together: opens what is needed, binds every socket before anything is served,
//! starts the threads, and ends when told to.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bootd_protocol::preparation::Progress;
use catalog::Catalog;
use catalog::state::{NodeTest, StateStore};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::boot_configs::BootConfigs;
use crate::boot_files::BootFiles;
use crate::counters::{self, Counters};
use crate::desired::Desired;
use crate::dhcp::{self, Dhcp};
use crate::hooks::{Hooks, Outcomes};
use crate::http::{self, Deltas, Http};
use crate::locations::Locations;
use crate::orders::{self, Orders};
use crate::presence::Presence;
use crate::privileges::{self, Plan};
use crate::recorder::{self, Recorder};
use crate::registrar::{self, Registrar};
use crate::rounds::Rounds;
use crate::sockets;
use crate::supervision::{self, Life};
use crate::tftp;
use crate::tftp_files::{self, TftpFiles};
use crate::tftp_tree::{Loaders, Tree};
use crate::verify::{self, Verify};

/// Between two writes of the counters.
const COUNTERS_INTERVAL: Duration = Duration::from_secs(1);

/// Between two looks at what the service manager should know.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// How the master runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state directory.
    pub state: PathBuf,
    /// Whether to serve DHCP.
    pub dhcp: bool,
    /// TCP port of HTTP.
    pub http_port: u16,
    /// UDP port of the verify protocol.
    pub verify_port: u16,
    /// UDP port of TFTP.
    pub tftp_port: u16,
    /// Whom to become when the sockets are bound; by default `bootd`, if there is such a user.
    pub user: Option<String>,
    /// A directory whose files TFTP serves besides those of the catalog.
    pub tftp_root: Option<PathBuf>,
    /// Where the builds of iPXE are that firmware loads first.
    pub ipxe_dir: PathBuf,
}

/// Where files are read besides the state directory.
fn read_places(options: &Options, loaders: &Loaders) -> Vec<PathBuf> {
    let named = [PathBuf::from(INTERFACES)].into_iter();
    named
        .chain(options.tftp_root.clone())
        .chain(loaders.places())
        .collect()
}

/// What every part shares.
struct Shared {
    catalog: Catalog,
    desired: Desired,
    recorder: Recorder,
    registrar: Registrar,
    presence: Presence,
    orders: Orders,
    locations: Locations,
    boot_files: BootFiles,
    counters: Arc<Counters>,
    life: Life,
    /// A part that fails takes the master down with these words: half a master would look
    /// like a whole one.
    failed: mpsc::Sender<anyhow::Error>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting, or ends it.
pub fn serve(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    raise_file_limit();
    let udp = sockets::udp("verify protocol", options.verify_port)?;
    let tcp = sockets::tcp("HTTP", options.http_port)?;
    let tftp = sockets::udp("TFTP", options.tftp_port)?;
    let dhcp = options.dhcp.then(dhcp::Sockets::open).transpose()?;
    let loaders = Loaders::in_directory(&options.ipxe_dir);
    // It can start programs, which this process cannot any more in a moment.
    let hooks = Hooks::start(options.user.as_deref());
    // The databases make files, which must not be root's; and no thread may be older than this.
    privileges::give_up(&Plan {
        user: options.user.as_deref(),
        state: &options.state,
        read: &read_places(options, &loaders),
        capabilities: KEPT,
    })?;

    let catalog = Catalog::open(&options.state)?;
    let key = catalog.master_key()?;
    let state = StateStore::open(&catalog.state_path())?;
    let (leases, replays, earlier) = (state.leases()?, state.replays()?, state.nodes()?);
    let earlier_orders = (state.prepared()?, state.tested()?);

    let desired = Desired::load(&catalog)?;
    let writer = Catalog::open(&options.state)?;
    let (recorder, desk) = recorder::recorder(state);
    let (registrar, registry) = registrar::registrar(writer, desired.clone(), recorder.clone());
    let (failed, failures) = mpsc::channel(4);
    let presence = Presence::new(earlier, recorder.clone());
    let edge = |hooks| orders::Edge {
        desired: desired.clone(),
        presence: presence.clone(),
        recorder: recorder.clone(),
        registrar: registrar.clone(),
        hooks,
    };
    let orders = under_orders(earlier_orders, hooks, edge)?;
    let shared = Shared {
        presence,
        orders,
        locations: dhcp::locations(&leases),
        boot_files: BootFiles::new(catalog.blobs().clone()),
        counters: Arc::default(),
        life: Life::default(),
        catalog,
        desired,
        recorder,
        registrar,
        failed,
    };
    let pulse = shared.life.part("recorder");
    spawn("recorder", move || desk.run(&pulse))?;
    let pulse = shared.life.part("registrar");
    spawn("registrar", move || registry.run(&pulse))?;
    shared.follow_catalog(&options.state)?;
    shared.go_the_rounds()?;
    shared.serve_verify(
        udp,
        verify::machine(&key.seed(), EPOCH, options.http_port, &replays),
    )?;
    if let Some(sockets) = dhcp {
        shared.serve_dhcp(
            Arc::new(sockets),
            (options.verify_port, options.http_port),
            leases,
        )?;
    }
    let tree = options.tftp_root.as_deref().map(Tree::open).transpose()?;
    let tftp = shared.serve_tftp(tftp, tree, loaders)?;
    shared.serve_http(tcp, options.http_port)?;
    shared.write_counters(tftp);
    info!(state = %options.state.display(), http = options.http_port, verify = options.verify_port, "bootd serves");
    shared.tell_service_manager();

    let end = until_the_end(&shared.life, failures).await;
    info!("bootd ends");
    supervision::stopping();
    end
}

/// Waits for a signal, or for a part that fails.
async fn until_the_end(
    life: &Life,
    mut failures: mpsc::Receiver<anyhow::Error>,
) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        failure = failures.recv() => failure.map_or(Ok(()), Err),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = life.watch() => Ok(()),
    }
}

/// Where the hardware addresses of cards stand, for ARP.
const INTERFACES: &str = "/sys";

/// Capabilities that are needed once the sockets are bound: none.
const KEPT: CapabilitySet = CapabilitySet::empty();

/// Every connection and transfer takes up to two files; the usual limit of 1,024 is for programs
/// that use select(2).
fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // What cannot be had is noticed where it is needed.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// A quarter of the files this process may open: HTTP takes two for a connection at most, and
/// leaves the rest to others.
fn http_limits() -> http::Limits {
    let defaults = http::Limits::default();
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let share = usize::try_from(files / 4).unwrap_or(usize::MAX);
    http::Limits {
        connections: defaults.connections.min(share),
        ..defaults
    }
}

/// The epoch of a master that is alone: backup masters, who raise it, are yet to come.
const EPOCH: u64 = 1;

/// Orders to many, with the helper that runs commands for them, if there is one.
fn under_orders(
    (prepared, tested): (Vec<Progress>, Vec<NodeTest>),
    started: std::io::Result<(Hooks, Outcomes)>,
    edge: impl FnOnce(Hooks) -> orders::Edge,
) -> anyhow::Result<Orders> {
    match started {
        Ok((hooks, outcomes)) => {
            let orders = Orders::new(prepared, tested, edge(hooks));
            let told = orders.clone();
            spawn("hooks", move || outcomes.read(|it| told.ran(&it)))?;
            Ok(orders)
        }
        Err(problem) => {
            warn!("no helper to run commands: {problem}");
            Ok(Orders::new(prepared, tested, edge(Hooks::none())))
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder
        .spawn(run)
        .with_context(|| format!("cannot start thread {name}"))?;
    Ok(())
}

impl Shared {
    fn spawn_part(
        &self,
        name: &'static str,
        run: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let failed = self.failed.clone();
        spawn(name, move || {
            if let Err(problem) = run() {
                // Nobody listens only when the master ends anyway.
                let _ = failed.blocking_send(problem.context(name));
            }
        })
    }

    fn follow_catalog(&self, dir: &std::path::Path) -> anyhow::Result<()> {
        let catalog = Catalog::open(dir)?;
        let desired = self.desired.clone();
        let pulse = self.life.part("catalog");
        spawn("catalog", move || desired.follow(&catalog, &pulse))
    }

    fn go_the_rounds(&self) -> anyhow::Result<()> {
        let rounds = Rounds {
            desired: self.desired.clone(),
            presence: self.presence.clone(),
            orders: self.orders.clone(),
        };
        let pulse = self.life.part("rounds");
        spawn("rounds", move || rounds.run(&pulse))
    }

    fn serve_verify(
        &self,
        socket: UdpSocket,
        machine: bootd_protocol::verify::master::Master,
    ) -> anyhow::Result<()> {
        let verify = Verify {
            socket,
            desired: self.desired.clone(),
            recorder: self.recorder.clone(),
            registrar: self.registrar.clone(),
            presence: self.presence.clone(),
            orders: self.orders.clone(),
            locations: self.locations.clone(),
            counters: Arc::clone(&self.counters),
            pulse: self.life.part("verify"),
        };
        self.spawn_part("verify", move || Ok(verify.run(machine)?))
    }

    fn serve_dhcp(
        &self,
        sockets: Arc<dhcp::Sockets>,
        ports: (u16, u16),
        leases: Vec<catalog::state::Lease>,
    ) -> anyhow::Result<()> {
        let dhcp = Dhcp {
            sockets,
            desired: self.desired.clone(),
            recorder: self.recorder.clone(),
            registrar: self.registrar.clone(),
            presence: self.presence.clone(),
            locations: self.locations.clone(),
            counters: Arc::clone(&self.counters),
            pulse: self.life.part("dhcp"),
            ports,
        };
        self.spawn_part("dhcp", move || dhcp.run(&leases))
    }

    fn serve_tftp(
        &self,
        socket: UdpSocket,
        tree: Option<Tree>,
        loaders: Loaders,
    ) -> anyhow::Result<Arc<tftp::Counters>> {
        let configs = BootConfigs {
            desired: self.desired.clone(),
            presence: self.presence.clone(),
            locations: self.locations.clone(),
            boot_files: self.boot_files.clone(),
            counters: Arc::clone(&self.counters),
        };
        let blobs = self.catalog.blobs().clone();
        let files = TftpFiles::new(blobs, configs, Arc::clone(&self.counters))
            .with_tree(tree)
            .with_loaders(loaders);
        let server = tftp_files::server(socket, files, self.presence.clone())?;
        let tftp = server.counters();
        let pulse = self.life.part("tftp");
        self.spawn_part("tftp", move || Ok(server.run(&pulse)?))?;
        Ok(tftp)
    }

    fn serve_http(&self, socket: std::net::TcpListener, port: u16) -> anyhow::Result<()> {
        let http = Http {
            desired: self.desired.clone(),
            blobs: self.catalog.blobs().clone(),
            turns: http::Turns::default(),
            boot_files: self.boot_files.clone(),
            presence: self.presence.clone(),
            locations: self.locations.clone(),
            deltas: Deltas::default(),
            counters: Arc::clone(&self.counters),
            port,
        };
        let pulse = self.life.part("http");
        self.spawn_part("http", move || {
            Ok(http::serve(socket, http, http_limits(), pulse)?)
        })
    }

    fn tell_service_manager(&self) {
        let desired = self.desired.clone();
        supervision::ready(&status(&desired));
        tokio::spawn(async move {
            let mut last = status(&desired);
            let mut interval = tokio::time::interval(STATUS_INTERVAL);
            loop {
                interval.tick().await;
                let now = status(&desired);
                if now != last {
                    supervision::status(&now);
                    last = now;
                }
            }
        });
    }

    fn write_counters(&self, tftp: Arc<tftp::Counters>) {
        let (counters, recorder) = (Arc::clone(&self.counters), self.recorder.clone());
        tokio::spawn(async move {
            let mut last = Vec::new();
            let mut interval = tokio::time::interval(COUNTERS_INTERVAL);
            loop {
                interval.tick().await;
                counters.uptime_seconds.add(1);
                tftp_files::count(&counters, &tftp);
                let running = usize::try_from(tftp.read().active).unwrap_or(usize::MAX);
                counters.now.tftp_running.set(running);
                counters::flush(&counters, &mut last, &recorder);
            }
        });
    }
}

/// The line that `systemctl status` shows.
fn status(desired: &Desired) -> String {
    let view = desired.view();
    let problems = match view.served.problems().len() {
        0 => String::new(),
        1 => "; 1 problem, see catalog check".to_owned(),
        count => format!("; {count} problems, see catalog check"),
    };
    let (nodes, generation) = (view.snapshot.nodes.len(), view.snapshot.generation);
    format!("serves {nodes} nodes from edit {generation} of the catalog{problems}")
}
