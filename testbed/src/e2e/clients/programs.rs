//! The programs of others: BusyBox's udhcpc and tftp, ISC's dhclient and dhcrelay, dnsmasq, Kea's
//! perfdhcp, tftp-hpa, atftp, curl.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::place::{CARD, Station};
use crate::bench::debian::{self, Program};
use crate::bench::process::Process;
use crate::cluster::wait_for;

/// The packages that they are in.
const PACKAGES: [&str; 9] = [
    "busybox-static",
    "isc-dhcp-client",
    "isc-dhcp-relay",
    "dnsmasq-base",
    // perfdhcp, and the libraries that it needs.
    "kea-admin",
    "kea-common",
    "tftp-hpa",
    "atftp",
    "curl",
];
/// How long a client may take to be served; each asks again after a second or a few.
const LIMIT: Duration = Duration::from_secs(15);
/// How long one may run that ends by itself.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// What clients run when something happens (udhcpc's first argument, dhclient-script(8)): it
/// obeys, and writes down what happened, the address and the server.
const SCRIPT: &str = r#"#!/bin/sh
what=${reason:-$1}
address=${new_ip_address:-$ip}
case "$what" in
deconfig | PREINIT | RELEASE | EXPIRE | FAIL | STOP)
    ip address flush dev "$interface" scope global ;;
bound | renew | BOUND | RENEW | REBIND | REBOOT)
    ip address replace "$address/${new_subnet_mask:-$mask}" dev "$interface"
    for router in ${new_routers:-$router}; do
        ip route replace default via "$router" dev "$interface"
    done ;;
esac
echo "$what $address ${new_dhcp_server_identifier:-$serverid}" >>"$0.log"
"#;

/// The programs, unpacked, and where their files go.
pub(in crate::e2e) struct Programs {
    pub(super) atftp: Program,
    pub(super) busybox: Program,
    pub(super) curl: Program,
    pub(super) perfdhcp: Program,
    pub(super) tftp_hpa: Program,
    dhclient: Program,
    dhcrelay: Program,
    dnsmasq: Program,
    dir: PathBuf,
}

/// Brings the packages; the directory that they are unpacked in.
pub(in crate::e2e) fn fetch(work_dir: &Path) -> Result<PathBuf> {
    debian::unpacked(work_dir, "clients", &PACKAGES)
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) good: bool,
    pub(super) said: String,
}

/// A client that runs, and what it was told.
pub(super) struct Client {
    process: Process,
    told: PathBuf,
}

impl Programs {
    pub(in crate::e2e) fn new(work_dir: &Path, dir: &Path) -> Result<Self> {
        let root = fetch(work_dir)?;
        fs::create_dir_all(dir)?;
        Ok(Programs {
            atftp: Program::at(&root, "usr/bin/atftp")?,
            busybox: Program::at(&root, "bin/busybox")?,
            curl: Program::at(&root, "usr/bin/curl")?,
            perfdhcp: Program::at(&root, "usr/sbin/perfdhcp")?,
            tftp_hpa: Program::at(&root, "usr/bin/tftp")?,
            dhclient: Program::at(&root, "sbin/dhclient")?,
            dhcrelay: Program::at(&root, "usr/sbin/dhcrelay")?,
            dnsmasq: Program::at(&root, "usr/sbin/dnsmasq")?,
            dir: fs::canonicalize(dir)?,
        })
    }

    /// Runs a program at a station to its end.
    pub(super) fn run(&self, station: &Station, command: &mut Command) -> Result<Ran> {
        let what = format!("{} ends", command.get_program().display());
        let log = self.log(station);
        let before = fs::read(&log).map_or(0, |it| it.len());
        let mut process = Process::spawn(command, &station.netns, None, &log)?;
        let status = wait_for(&what, RUN_LIMIT, || process.status())?;
        let said = String::from_utf8_lossy(&fs::read(&log)?[before..]).into_owned();
        Ok(Ran {
            good: status.success(),
            said,
        })
    }

    /// udhcpc at a station, with more options.
    pub(super) fn udhcpc(&self, station: &Station, options: &[&str]) -> Result<Client> {
        let script = self.script(station)?;
        let mut command = self.busybox.command();
        command.args(["udhcpc", "-f", "-i", CARD, "-t", "20", "-T", "1"]);
        command.arg("-s").arg(&script).args(options);
        self.client(command, station, &script)
    }

    /// udhcpc until it has a lease; the address, and the server that gave it.
    pub(super) fn lease(
        &self,
        station: &Station,
        options: &[&str],
    ) -> Result<(Ipv4Addr, Ipv4Addr)> {
        let quit = [&["-q"], options].concat();
        let mut client = self.udhcpc(station, &quit)?;
        let lease = client.told("bound", 1)?;
        wait_for("udhcpc ends", LIMIT, || {
            Ok(client.process.has_ended().then_some(()))
        })?;
        Ok(lease)
    }

    /// dhclient at a station: with what it had before, should there be something.
    pub(super) fn dhclient(&self, station: &Station) -> Result<Client> {
        let script = self.script(station)?;
        let mut command = self.dhclient.command();
        command
            .arg("-d")
            .args(self.dhclient_files(station, &script)?);
        self.client(command, station, &script)
    }

    /// Waits until a station's dhclient has its lease on the disk: it tells its script first.
    pub(super) fn dhclient_keeps(&self, station: &Station, address: Ipv4Addr) -> Result<()> {
        let leases = self.dir.join(format!("{}.leases", station.name()));
        let line = format!("fixed-address {address};");
        wait_for("dhclient writes its lease", LIMIT, || {
            let text = fs::read_to_string(&leases).unwrap_or_default();
            Ok(text.contains(&line).then_some(()))
        })
    }

    /// Ends the dhclient of a station, which gives its lease back.
    pub(super) fn dhclient_release(&self, station: &Station) -> Result<()> {
        let script = self.script(station)?;
        let mut command = self.dhclient.command();
        command
            .arg("-r")
            .args(self.dhclient_files(station, &script)?);
        command.stdin(Stdio::null());
        let output = station
            .netns
            .inside(None, || command.output().context("start dhclient -r"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "dhclient -r: {said}");
        Ok(())
    }

    fn dhclient_files(&self, station: &Station, script: &Path) -> Result<Vec<OsString>> {
        let at = |what: &str| self.dir.join(format!("{}.{what}", station.name()));
        let config = at("conf");
        fs::write(&config, "initial-interval 1;\nbackoff-cutoff 1;\n")?;
        let files = [
            ("-sf", script.to_owned()),
            ("-cf", config),
            ("-lf", at("leases")),
            ("-pf", at("pid")),
        ];
        let mut arguments = vec!["-4".into()];
        for (option, file) in files {
            arguments.extend([option.into(), file.into_os_string()]);
        }
        arguments.push(CARD.into());
        Ok(arguments)
    }

    /// A relay from a station's card `below` to `server`, which it reaches by its first card. It
    /// says by option 82 from which card a question came.
    pub(super) fn relay(
        &self,
        station: &Station,
        below: &str,
        server: Ipv4Addr,
    ) -> Result<Process> {
        let mut command = self.dhcrelay.command();
        command.args(["-4", "-d", "-a", "--no-pid", "-iu", CARD, "-id", below]);
        command.arg(server.to_string());
        Process::spawn(&mut command, &station.netns, None, &self.log(station))
    }

    /// dnsmasq at a station, as the DHCP server of the link, with this range of addresses.
    pub(in crate::e2e) fn dnsmasq(
        &self,
        station: &Station,
        first: Ipv4Addr,
        last: Ipv4Addr,
    ) -> Result<Process> {
        let mut command = self.dnsmasq.command();
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--bind-interfaces",
            "--no-ping",
            "--dhcp-authoritative",
            "--pid-file=",
            "--user=root",
            "--log-facility=-",
        ]);
        command.arg(format!("--interface={CARD}"));
        command.arg(format!("--dhcp-range={first},{last},255.255.255.0,1h"));
        let leases = self.dir.join(format!("{}.leases", station.name()));
        command.arg(format!("--dhcp-leasefile={}", leases.display()));
        Process::spawn(&mut command, &station.netns, None, &self.log(station))
    }

    /// The script of a station's client; what it writes down begins anew.
    fn script(&self, station: &Station) -> Result<PathBuf> {
        let script = self.dir.join(station.name());
        fs::write(&script, SCRIPT)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        fs::write(told(&script), "")?;
        Ok(script)
    }

    fn client(&self, mut command: Command, station: &Station, script: &Path) -> Result<Client> {
        let log = self.log(station);
        let process = Process::spawn(&mut command, &station.netns, None, &log)?;
        let told = told(script);
        Ok(Client { process, told })
    }

    fn log(&self, station: &Station) -> PathBuf {
        self.dir.join(format!("{}.said", station.name()))
    }
}

fn told(script: &Path) -> PathBuf {
    script.with_extension("log")
}

impl Client {
    /// Waits until its script was called for `event` so many times; the address and the server
    /// of the last one.
    pub(super) fn told(&self, event: &str, times: usize) -> Result<(Ipv4Addr, Ipv4Addr)> {
        let what = format!("{event} number {times} in {}", self.told.display());
        let line = wait_for(&what, LIMIT, || {
            let text = fs::read_to_string(&self.told)?;
            let lines = text.lines().filter_map(|line| line.strip_prefix(event));
            Ok(lines.map(str::to_owned).nth(times - 1))
        })?;
        let mut words = line.split_whitespace();
        let mut address = || -> Result<Ipv4Addr> {
            let word = words.next().with_context(|| format!("{event}:{line}"))?;
            Ok(word.parse()?)
        };
        Ok((address()?, address()?))
    }

    /// Sends it a signal: udhcpc renews its lease at USR1, gives it back at USR2.
    pub(super) fn signal(&self, signal: nix::sys::signal::Signal) {
        self.process.tell(signal);
    }
}
