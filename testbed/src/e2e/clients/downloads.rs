//! TFTP and HTTP with programs of others: Debian's tftp-hpa, atftp and curl, BusyBox's tftp.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bootd_protocol::identity::{Arch, Firmware};
use catalog::Catalog;
use catalog::served::{Encoded, Served};

use super::place::{CARD, Link, Station};
use super::programs::{Programs, Ran};
use super::{http, tftp};
use crate::e2e::bench::Bench;
use crate::lab::Lab;

/// A station with its programs, in front of a server.
pub(super) struct Desk {
    pub(super) programs: Programs,
    pub(super) server: Ipv4Addr,
    /// What nodes of the release should have.
    pub(super) wanted: Arc<Encoded>,
    /// What TFTP serves besides.
    pub(super) tree: PathBuf,
    /// Where downloads go, one after another.
    pub(super) got: PathBuf,
    station: Station,
}

impl Desk {
    /// Runs a program here to its end.
    pub(super) fn run(&self, command: &mut Command) -> Result<Ran> {
        self.programs.run(&self.station, command)
    }
}

pub(in crate::e2e) fn run(lab: &mut Lab, bench: &mut Bench) -> Result<()> {
    let place = tempfile::tempdir_in(lab.run_dir())?;
    // bootd need not be root.
    fs::set_permissions(place.path(), Permissions::from_mode(0o755))?;
    let tree = place.path().join("tree");
    fs::create_dir(&tree)?;
    let link = Link::new(7)?;
    let station = Station::new(&link.name(), 15)?;
    station.address(CARD, link.address(2))?;
    let desk = Desk {
        programs: Programs::new(&bench.work_dir, &bench.logs.join("downloads"))?,
        server: link.address(1),
        wanted: wanted(bench.master.dir())?,
        got: place.path().join("got"),
        tree,
        station,
    };
    bench.master.stop()?;
    let tree = desk.tree.display().to_string();
    bench.master.start_with(&["--tftp-root".to_owned(), tree])?;
    tftp::check(&desk)?;
    http::check(&desk)?;
    bench.master.stop()?;
    bench.master.start()
}

/// What the class of the release should have, on UEFI machines.
fn wanted(state: &Path) -> Result<Arc<Encoded>> {
    let snapshot = Catalog::open(state)?.snapshot()?;
    let served = Served::first(&snapshot);
    let wanted = served.wanted("web", None, Arch::X86_64, Firmware::Uefi);
    wanted.cloned().context("class web has a manifest")
}
