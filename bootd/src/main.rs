//! The master daemon: reads its options, then hands over to [`bootd::server`].

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bootd::server::{Options, serve};
use clap::Parser;
use tracing::error;
use tracing_subscriber::EnvFilter;

/// Serves network boot from a catalog: DHCP, TFTP, HTTP and the verify protocol.
///
/// Make the state directory with `catalog init DIR` and fill it with `catalog install`; then
/// `bootd --state DIR`. bootd answers on every network of the catalog on which this machine has
/// an address. Edits of the catalog are in force within a second: there is nothing to reload.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Log detail: --log debug, or RUST_LOG. What is going on: `catalog nodes`."
)]
struct Arguments {
    /// The state directory: catalog.db, state.db, blobs, master key.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/bootd")]
    state: PathBuf,
    /// Do not serve DHCP (another server gives the addresses).
    #[arg(long)]
    no_dhcp: bool,
    /// TCP port of HTTP.
    #[arg(long, value_name = "PORT", default_value_t = 4080)]
    http_port: u16,
    /// UDP port of the verify protocol.
    #[arg(long, value_name = "PORT", default_value_t = bootd_protocol::verify::DEFAULT_PORT)]
    verify_port: u16,
    /// UDP port of TFTP.
    #[arg(long, value_name = "PORT", default_value_t = 69)]
    tftp_port: u16,
    /// Become this user once the sockets are bound; by default `bootd`, if there is such a user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A directory tree that TFTP serves, too: every file in it that everybody may read. Names
    /// of the catalog come first.
    #[arg(long, value_name = "DIR")]
    tftp_root: Option<PathBuf>,
    /// The builds of iPXE that firmware loads first (undionly.kpxe, ipxe.efi, snponly.efi), as
    /// Debian's package ipxe has them.
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/ipxe")]
    ipxe_dir: PathBuf,
    /// Run commands for a master, which starts this by itself.
    #[arg(long, hide = true)]
    run_hooks: bool,
    /// Log level: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.run_hooks {
        return run_hooks(arguments.user.as_deref());
    }
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&arguments.log));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let options = Options {
        state: arguments.state,
        dhcp: !arguments.no_dhcp,
        http_port: arguments.http_port,
        verify_port: arguments.verify_port,
        tftp_port: arguments.tftp_port,
        user: arguments.user,
        tftp_root: arguments.tftp_root,
        ipxe_dir: arguments.ipxe_dir,
    };
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("bootd stops: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

/// The helper of a master: what it reads is from the master alone.
fn run_hooks(user: Option<&str>) -> ExitCode {
    let served = bootd::privileges::become_helper(user)
        .map_err(std::io::Error::other)
        .and_then(|()| bootd::hooks::helper::serve(std::io::stdin().lock()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
