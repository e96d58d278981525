//! The TFTP servers that are compared, each for the same directory.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::bench::debian::{self, Peer, Program};
use crate::bench::files::TestFiles;
use crate::bench::table::BOOTD;
use crate::bench::{part, population};

/// Every server has a loopback of its own.
pub(super) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 69);

/// Which server.
#[derive(Debug, Clone)]
pub(super) enum Server {
    Hpa(Program),
    Dnsmasq(Program),
    Atftpd(Program),
    AsyncTftp,
    IdealShared,
    IdealOwn,
    Bootd,
}

impl Server {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Server::Hpa(_) => "tftpd-hpa",
            Server::Dnsmasq(_) => "dnsmasq",
            Server::Atftpd(_) => "atftpd",
            Server::AsyncTftp => "async-tftp",
            Server::IdealShared => "ideal, shared",
            Server::IdealOwn => "ideal, own",
            Server::Bootd => BOOTD,
        }
    }

    /// Whether it knows the option windowsize: tftpd-hpa 5.2 and dnsmasq 2.90 do not.
    pub(super) fn has_windows(&self) -> bool {
        !matches!(self, Server::Hpa(_) | Server::Dnsmasq(_))
    }

    /// Whether each transfer is a process, whose CPU time goes with it.
    pub(super) fn forks(&self) -> bool {
        matches!(self, Server::Hpa(_))
    }

    /// The command that serves these files.
    pub(super) fn command(&self, files: &TestFiles, scratch: &Path) -> Result<Command> {
        let at = (*SERVER.ip(), SERVER.port());
        let root = &files.root;
        Ok(match self {
            Server::Hpa(program) => {
                let mut command = program.command();
                command.args(["-L", "-4", "--user", "root", "--secure"]);
                command.arg("--address").arg(SERVER.to_string()).arg(root);
                command
            }
            Server::Dnsmasq(program) => dnsmasq(program, root, scratch),
            Server::Atftpd(program) => {
                let mut command = program.command();
                command.args(["--daemon", "--no-fork", "--user", "root.root"]);
                command.args(["--maxthread", "2000", "--port", "69"]);
                command.arg("--bind-address").arg(SERVER.ip().to_string());
                command.arg("--logfile").arg(scratch.join("atftpd.own.log"));
                command.arg(root);
                command
            }
            Server::AsyncTftp => with_root(part::command("async-tftp", at)?, root),
            Server::IdealShared => {
                let mut command = with_root(part::command("ideal-tftp", at)?, root);
                command.args(["--sockets", "shared"]);
                command
            }
            Server::IdealOwn => {
                let mut command = with_root(part::command("ideal-tftp", at)?, root);
                command.args(["--sockets", "own"]);
                command
            }
            Server::Bootd => {
                let mut command = population::bootd(&files.state)?;
                command.arg("--no-dhcp");
                command
            }
        })
    }
}

fn with_root(mut command: Command, root: &Path) -> Command {
    command.arg(root);
    command
}

fn dnsmasq(program: &Program, root: &Path, scratch: &Path) -> Command {
    let mut command = program.command();
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--enable-tftp",
        "--tftp-max=2000",
        "--bind-interfaces",
        "--quiet-tftp",
        "--pid-file=",
        "--user=root",
    ]);
    command.arg(format!("--listen-address={}", SERVER.ip()));
    command.arg(format!("--tftp-root={}", root.display()));
    let log = scratch.join("dnsmasq.own.log");
    command.arg(format!("--log-facility={}", log.display()));
    command
}

/// The peers that can be had; `leave_out` is told of the others.
pub(super) fn find(work_dir: &Path, leave_out: impl FnMut(&str, &anyhow::Error)) -> Vec<Server> {
    let peers: [Peer<Server>; 3] = [
        (
            "tftpd-hpa",
            &["tftpd-hpa"],
            "usr/sbin/in.tftpd",
            Server::Hpa,
        ),
        (
            "dnsmasq",
            &["dnsmasq-base"],
            "usr/sbin/dnsmasq",
            Server::Dnsmasq,
        ),
        ("atftpd", &["atftpd"], "usr/sbin/atftpd", Server::Atftpd),
    ];
    let mut found = debian::find(work_dir, peers, leave_out);
    found.push(Server::AsyncTftp);
    found
}
