//! Puts the parts together: opens what is needed, binds every socket before anything is served,
//! starts the threads, and ends when told to.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bootd_protocol::dhcp;
use catalog::Catalog;
use catalog::state::StateStore;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use crate::boot_files::BootFiles;
use crate::counters::{self, Counters};
use crate::desired::Desired;
use crate::dhcp::Dhcp;
use crate::http::{self, Http};
use crate::presence::Presence;
use crate::recorder::{self, Recorder};
use crate::sockets;
use crate::tftp;
use crate::tftp_files::{self, TftpFiles};
use crate::tftp_tree::Tree;
use crate::verify::{self, Verify};

/// Between two writes of the counters.
const COUNTERS_INTERVAL: Duration = Duration::from_secs(1);

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
    /// A directory whose files TFTP serves besides those of the catalog.
    pub tftp_root: Option<PathBuf>,
}

/// What every part shares.
struct Shared {
    catalog: Catalog,
    desired: Desired,
    recorder: Recorder,
    presence: Presence,
    counters: Arc<Counters>,
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
    let catalog = Catalog::open(&options.state)?;
    let key = catalog.master_key()?;
    let state = StateStore::open(&catalog.state_path())?;
    let (leases, replays, earlier) = (state.leases()?, state.replays()?, state.nodes()?);

    let udp = sockets::udp("verify protocol", options.verify_port)?;
    let tcp = sockets::tcp("HTTP", options.http_port)?;
    let tftp = sockets::udp("TFTP", options.tftp_port)?;
    let dhcp = options
        .dhcp
        .then(|| sockets::udp_with_arrival("DHCP", dhcp::SERVER_PORT))
        .transpose()?;

    let desired = Desired::load(&catalog)?;
    let writer = Catalog::open(&options.state)?;
    let (recorder, desk) = recorder::recorder(writer, state, desired.clone());
    let (failed, mut failures) = mpsc::channel(4);
    let shared = Shared {
        presence: Presence::new(earlier, recorder.clone()),
        counters: Arc::default(),
        catalog,
        desired,
        recorder,
        failed,
    };
    spawn("recorder", move || desk.run())?;
    shared.follow_catalog(&options.state)?;
    shared.serve_verify(
        udp,
        verify::machine(&key.seed(), EPOCH, options.http_port, &replays),
    )?;
    if let Some(socket) = dhcp {
        shared.serve_dhcp(
            Arc::new(socket),
            (options.verify_port, options.http_port),
            leases,
        )?;
    }
    let tree = options.tftp_root.as_deref().map(Tree::open).transpose()?;
    let tftp = shared.serve_tftp(tftp, tree)?;
    shared.serve_http(tcp, options.http_port)?;
    shared.write_counters(tftp);
    info!(state = %options.state.display(), http = options.http_port, verify = options.verify_port, "bootd serves");

    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        failure = failures.recv() => return failure.map_or(Ok(()), Err),
        _ = terminate.recv() => info!("SIGTERM"),
        _ = interrupt.recv() => info!("SIGINT"),
    }
    Ok(())
}

/// The epoch of a master that is alone: backup masters, who raise it, are yet to come.
const EPOCH: u64 = 1;

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
        spawn("catalog", move || desired.follow(&catalog, |_| {}))
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
            presence: self.presence.clone(),
            counters: Arc::clone(&self.counters),
        };
        self.spawn_part("verify", move || Ok(verify.run(machine)?))
    }

    fn serve_dhcp(
        &self,
        socket: Arc<std::os::fd::OwnedFd>,
        ports: (u16, u16),
        leases: Vec<catalog::state::Lease>,
    ) -> anyhow::Result<()> {
        let dhcp = Dhcp {
            socket,
            desired: self.desired.clone(),
            recorder: self.recorder.clone(),
            presence: self.presence.clone(),
            counters: Arc::clone(&self.counters),
            ports,
        };
        self.spawn_part("dhcp", move || dhcp.run(leases))
    }

    fn boot_files(&self) -> BootFiles {
        BootFiles::new(self.catalog.blobs().clone())
    }

    fn serve_tftp(
        &self,
        socket: UdpSocket,
        tree: Option<Tree>,
    ) -> anyhow::Result<Arc<tftp::Counters>> {
        let files = TftpFiles::new(self.catalog.blobs().clone(), Arc::clone(&self.counters));
        let files = files.with_tree(tree);
        let server = tftp_files::server(socket, files, self.presence.clone())?;
        let tftp = server.counters();
        self.spawn_part("tftp", move || Ok(server.run()?))?;
        Ok(tftp)
    }

    fn serve_http(&self, socket: std::net::TcpListener, port: u16) -> anyhow::Result<()> {
        let http = Http {
            desired: self.desired.clone(),
            blobs: self.catalog.blobs().clone(),
            boot_files: self.boot_files(),
            presence: self.presence.clone(),
            counters: Arc::clone(&self.counters),
            port,
        };
        socket.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(socket)?;
        let service = http::router(http).into_make_service_with_connect_info::<SocketAddr>();
        self.spawn_task(
            "http",
            async move { Ok(axum::serve(listener, service).await?) },
        );
        Ok(())
    }

    fn spawn_task(
        &self,
        name: &'static str,
        run: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let failed = self.failed.clone();
        tokio::spawn(async move {
            if let Err(problem) = run.await {
                let _ = failed.send(problem.context(name)).await;
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
                counters::flush(&counters, &mut last, &recorder);
            }
        });
    }
}
