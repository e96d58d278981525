//! Files by TFTP: tftp-hpa in blocks of 512 bytes and in both modes, BusyBox with larger blocks,
//! atftp with a window.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bootd_protocol::digest::Digest;

use super::downloads::Desk;
use super::http;
use super::programs::Ran;
use crate::cluster::wait_for;
use crate::e2e::bench::say;

/// How long bootd may take to count what has ended.
const LIMIT: Duration = Duration::from_secs(10);
/// More than 65,535 blocks of 512 bytes: their numbers begin again.
const LARGE: u32 = 34 << 20;
/// Files of the tree. An ERROR is never larger than the request: names are long enough for the
/// words.
const TEXT: &str = "a-text-for-everybody";
const SECRET: &str = "not-for-everybody";
const OUT: &str = "leads-out-of-the-tree";

/// A client, and how it asks.
#[derive(Debug, Clone, Copy)]
enum Client {
    Hpa { mode: &'static str },
    BusyBox,
    Atftp,
}

const OCTET: Client = Client::Hpa { mode: "octet" };
const NETASCII: Client = Client::Hpa { mode: "netascii" };

#[derive(Debug, Clone, Copy)]
enum Verb {
    Get,
    Put,
}

impl Client {
    fn name(self) -> &'static str {
        match self {
            Client::Hpa { .. } => "tftp-hpa",
            Client::BusyBox => "BusyBox's tftp",
            Client::Atftp => "atftp",
        }
    }

    /// The command that gets `remote`, or puts it, from or to `local`.
    fn command(self, desk: &Desk, verb: Verb, remote: &str, local: &Path) -> Command {
        let server = desk.server.to_string();
        let mut command = match self {
            Client::Hpa { .. } => desk.programs.tftp_hpa.command(),
            Client::BusyBox => desk.programs.busybox.command(),
            Client::Atftp => desk.programs.atftp.command(),
        };
        let option = match verb {
            Verb::Get => "-g",
            Verb::Put => "-p",
        };
        match self {
            Client::Hpa { mode } => {
                command.args(["-m", mode, &server, "69", "-c"]);
                match verb {
                    Verb::Get => command.args(["get", remote]).arg(local),
                    Verb::Put => command.arg("put").arg(local).arg(remote),
                };
            }
            Client::BusyBox => {
                command.args(["tftp", "-b", "1468", option, "-r", remote, "-l"]);
                command.arg(local).arg(server);
            }
            Client::Atftp => {
                command.args(["--option", "blksize 1468", "--option", "windowsize 16"]);
                command.args([option, "-r", remote, "-l"]);
                command.arg(local).arg(server);
            }
        }
        command
    }

    fn ask(self, desk: &Desk, verb: Verb, remote: &str, local: &Path) -> Result<Ran> {
        desk.run(&mut self.command(desk, verb, remote, local))
    }

    /// Gets a file that should have this digest.
    fn get(self, desk: &Desk, remote: &str, digest: Digest) -> Result<()> {
        let ran = self.ask(desk, Verb::Get, remote, &desk.got)?;
        let got = fs::read(&desk.got).with_context(|| format!("{self:?}: {}", ran.said))?;
        fs::remove_file(&desk.got)?;
        ensure!(
            ran.good && Digest::of(&got) == digest,
            "{self:?}: {remote}, {} bytes: {}",
            got.len(),
            ran.said
        );
        Ok(())
    }

    /// Asks for what is refused with this code, in these words.
    fn refused(
        self,
        desk: &Desk,
        verb: Verb,
        remote: &str,
        (code, words): (u8, &str),
    ) -> Result<()> {
        let local = match verb {
            Verb::Get => desk.got.clone(),
            Verb::Put => desk.tree.join(TEXT),
        };
        let ran = self.ask(desk, verb, remote, &local)?;
        let expected = match self {
            Client::Hpa { .. } => format!("Error code {code}: {words}"),
            Client::BusyBox => format!("server error: ({code}) {words}"),
            Client::Atftp => format!("<code: {code}, msg: {words}>"),
        };
        ensure!(
            ran.said.contains(&expected),
            "{self:?}, {verb:?} {remote}: {:?} instead of {expected:?}",
            ran.said
        );
        Ok(())
    }
}

pub(super) fn check(desk: &Desk) -> Result<()> {
    let before = counted(desk)?;
    let fetched = [boot_image(desk)?, tree(desk)?, roll_over(desk)?];
    let refused = refusals(desk)?;
    let fetched: u64 = fetched.iter().sum();
    wait_for("/metrics counts every transfer", LIMIT, || {
        let now = counted(desk)?;
        // A client that had to wait has asked twice.
        let is_all = now.0 - before.0 == fetched && now.1 - before.1 >= refused;
        Ok(is_all.then_some(()))
    })
}

/// Transfers that came to their end, and requests refused, by `/metrics`.
fn counted(desk: &Desk) -> Result<(u64, u64)> {
    let page = http::metrics(desk)?;
    let of = |name: &str| page.get(name).copied().context(name.to_owned());
    Ok((
        of("bootd_tftp_completed_total")?,
        of("bootd_tftp_refused_total")?,
    ))
}

/// The boot image of the release, by every client; how many.
fn boot_image(desk: &Desk) -> Result<u64> {
    let image = desk.wanted.head.boot.image;
    let name = format!("boot/{}.efi", image.sha256);
    for client in [OCTET, Client::BusyBox, Client::Atftp] {
        let begun = Instant::now();
        client.get(desk, &name, image.sha256)?;
        let (size, time) = (image.size >> 20, begun.elapsed().as_secs_f64());
        say(format!(
            "{}: a boot image of {size} MiB in {time:.1} s",
            client.name()
        ));
    }
    Ok(3)
}

/// A file of the tree, as text and as it is; how often.
fn tree(desk: &Desk) -> Result<u64> {
    // A client of netascii would make one of the last two, were they not written as netascii.
    let text = "a line\nanother\rline\nand one of DOS\r\n".repeat(5000);
    fs::write(desk.tree.join(TEXT), &text)?;
    let digest = Digest::of(text.as_bytes());
    let path = desk.tree.join(TEXT).display().to_string();
    let all = [
        (OCTET, TEXT),
        (NETASCII, TEXT),
        (Client::BusyBox, &format!("/{TEXT}")),
        (Client::Atftp, &path),
    ];
    for (client, name) in all {
        client.get(desk, name, digest)?;
    }
    say("TFTP: a text, by netascii and octet");
    Ok(4)
}

/// A file of so many blocks that their numbers begin again, each of them different; how often.
fn roll_over(desk: &Desk) -> Result<u64> {
    let content: Vec<u8> = (0..LARGE / 4).flat_map(u32::to_le_bytes).collect();
    fs::write(desk.tree.join("large"), &content)?;
    let begun = Instant::now();
    OCTET.get(desk, "large", Digest::of(&content))?;
    let (blocks, time) = (LARGE / 512, begun.elapsed().as_secs_f64());
    say(format!(
        "tftp-hpa: a file of {blocks} blocks in {time:.1} s"
    ));
    Ok(1)
}

/// What nobody gets, and what is said instead; how often.
fn refusals(desk: &Desk) -> Result<u64> {
    let secret = desk.tree.join(SECRET);
    fs::write(&secret, "secret")?;
    fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
    symlink("/etc/passwd", desk.tree.join(OUT))?;
    let denied = (2, "access violation");
    let mut count = 0;
    for client in [OCTET, Client::BusyBox] {
        client.refused(desk, Verb::Put, TEXT, (2, "this server is read-only"))?;
        client.refused(
            desk,
            Verb::Get,
            "there-is-no-such-file",
            (1, "file not found"),
        )?;
        for outside in ["../../etc/passwd", OUT, SECRET] {
            client.refused(desk, Verb::Get, outside, denied)?;
        }
        count += 5;
    }
    say("TFTP refuses to put, what is not there, what leads out, what is not for everybody");
    Ok(count)
}
