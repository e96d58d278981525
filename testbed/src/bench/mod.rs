//! The master measured: by itself ([`verify`], [`memory`], [`catalog`]: on loopback, without root), and side by
//! side with its peers and with what this machine can do at most ([`dhcp`], [`tftp`], [`http`]: in
//! a private network). No machines.

pub mod catalog;
pub mod contest;
pub(crate) mod debian;
pub mod dhcp;
mod downloads;
mod figures;
mod files;
pub mod http;
mod load;
pub mod memory;
pub(crate) mod netns;
pub mod part;
mod population;
mod proc;
pub(crate) mod process;
mod serving;
mod table;
pub mod tftp;
pub mod verify;
mod wire;

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use ::catalog::Catalog;
use ::catalog::served::Served;
use anyhow::{Context as _, Result};
use bootd_protocol::digest::Digest;
use bootd_protocol::identity::{Arch, Firmware, Mac, SystemUuid};
use bootd_protocol::smbios::Smbios;
use bootd_protocol::verify::key::SecretKey;
use bootd_protocol::verify::message::Identity;
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::cluster::master::Master;
use crate::cluster::release::catalog as run_catalog;

/// The class of all nodes.
const CLASS: &str = "bench";

const RELEASE: &str = r#"
name = "bench"
version = "1"

[[boot_image]]
name = "image"
version = "1"
arch = "x86_64"
uki = "uki"
loader = { efi = "uki" }

[[package]]
name = "base"
version = "1"
[[package.file]]
path = "/bin/httpd"
text = "program"
mode = "0755"
[[package.process]]
name = "httpd"
argv = ["/bin/httpd"]

[[class]]
name = "bench"
packages = ["base"]
images = ["image"]
"#;

/// A running master with its nodes' side.
struct Bench {
    master: Master,
    members: Vec<Member>,
    /// The manifest that every node should have.
    wanted: Digest,
    /// The master's own key.
    key: SecretKey,
    /// Where it answers the verify protocol.
    address: SocketAddr,
    dir: TempDir,
}

/// A node as it knows itself.
struct Member {
    key: SecretKey,
    identity: Identity,
}

impl Member {
    fn new(number: u16) -> Self {
        let digest = Digest::of(format!("node {number}").as_bytes());
        let key = SecretKey::from_seed(digest.as_bytes());
        let [high, low] = number.to_be_bytes();
        let mut uuid = [0x42; 16];
        uuid[14..].copy_from_slice(&[high, low]);
        let identity = Identity {
            key: key.public(),
            mac: Mac([0x52, 0x54, 0, 0, high, low]),
            uuid: SystemUuid(uuid),
            arch: Arch::X86_64,
            firmware: Firmware::Uefi,
            key_is_kept: true,
            smbios: Smbios {
                product: "Simulated node".into(),
                ..Smbios::default()
            },
        };
        Member { key, identity }
    }
}

impl Bench {
    /// Makes a catalog of `nodes` nodes whose keys are bound, and starts `bootd` on it. It logs
    /// at `log`, one of its levels, and says that it serves in any case.
    fn start(nodes: u16, log: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let state = dir.path().join("master");
        let mut master = Master::create(&state, &dir.path().join("bootd.log"))?;
        install(&master, dir.path())?;
        let members: Vec<Member> = (0..nodes).map(Member::new).collect();
        insert(&state.join("catalog.db"), &members)?;
        let opened = Catalog::open(&state)?;
        let served = Served::first(&opened.snapshot()?);
        let wanted = served
            .wanted(CLASS, None, Arch::X86_64, Firmware::Uefi)
            .context("the class has a manifest")?
            .digest;
        let key = SecretKey::from_seed(&opened.master_key()?.seed());
        let [http, tftp, verify] = free_ports()?;
        master.start_with(&[
            "--no-dhcp".to_owned(),
            format!("--http-port={http}"),
            format!("--tftp-port={tftp}"),
            format!("--verify-port={verify}"),
            format!("--log={log},bootd::server=info"),
        ])?;
        Ok(Bench {
            master,
            members,
            wanted,
            key,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, verify)),
            dir,
        })
    }

    fn pid(&self) -> Result<u32> {
        self.master.pid().context("bootd runs")
    }

    /// Ends `bootd`, then removes its files.
    fn stop(mut self) -> Result<()> {
        self.master.stop()?;
        Ok(self.dir.close()?)
    }
}

/// Makes, signs and installs the release.
fn install(master: &Master, dir: &Path) -> Result<()> {
    let at = |name: &str| dir.join(name);
    fs::write(at("uki"), "image")?;
    fs::write(at("release.toml"), RELEASE)?;
    run_catalog(&["keygen".as_ref(), at("release").as_os_str()])?;
    master.trust(&at("release.pub"))?;
    let (release, composite, key) = (at("release.toml"), at("composite"), at("release.key"));
    let compose: [&OsStr; 6] = [
        "compose".as_ref(),
        release.as_ref(),
        "--output".as_ref(),
        composite.as_ref(),
        "--key".as_ref(),
        key.as_ref(),
    ];
    master.catalog(&compose)?;
    master.install(&composite).map(drop)
}

fn insert(catalog: &Path, members: &[Member]) -> Result<()> {
    let mut catalog = Connection::open(catalog)?;
    let transaction = catalog.transaction()?;
    for (number, member) in members.iter().enumerate() {
        let identity = &member.identity;
        transaction.execute(
            "INSERT INTO node (name, mac, uuid, arch, firmware, class, public_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                format!("node-{number:05}"),
                identity.mac.to_string(),
                identity.uuid.to_string(),
                identity.arch.name(),
                identity.firmware.name(),
                CLASS,
                identity.key.to_string(),
            ],
        )?;
    }
    Ok(transaction.commit()?)
}

/// Ports of this machine that nobody has now: one of TCP, two of UDP.
fn free_ports() -> Result<[u16; 3]> {
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    let tcp = TcpListener::bind(any)?;
    // Held at the same time, so that they differ.
    let (tftp, verify) = (UdpSocket::bind(any)?, UdpSocket::bind(any)?);
    Ok([
        tcp.local_addr()?.port(),
        tftp.local_addr()?.port(),
        verify.local_addr()?.port(),
    ])
}
