//! The scripts that iPXE gets.
//!
//! Both end by asking the master again at the address of the script itself, so that an edit
//! of the catalog reaches a machine that waits.

use std::net::Ipv4Addr;

use super::Client;
use crate::dhcp::hint::MasterHint;
use crate::digest::Digest;
use crate::identity::{Arch, Firmware};

/// Seconds between two attempts to load.
const RETRY_SECONDS: u32 = 5;

/// Seconds between two questions of a machine that is held.
const HOLD_SECONDS: u32 = 30;

/// Where iPXE gets its script: the query carries all that chooses it, since HTTP carries
/// nothing of DHCP. The MAC address is written with `-`, for iPXE would send `:` as `%3A`.
/// At most 124 bytes, so that it fits the 128 bytes of `file`.
pub(super) fn script_url(
    client: &Client,
    arch: Arch,
    firmware: Firmware,
    master: &MasterHint,
) -> String {
    let server = server(master.ip, master.http_port);
    let mac = client.mac.to_string().replace(':', "-");
    let uuid = client.uuid.map(|it| format!("&uuid={it}"));
    format!(
        "{server}/ipxe?mac={mac}&arch={arch}&firmware={firmware}{}",
        uuid.unwrap_or_default()
    )
}

pub(super) fn server(ip: Ipv4Addr, port: u16) -> String {
    format!("http://{ip}:{port}")
}

/// What a script needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script<'a> {
    /// Address of the master.
    pub master: Ipv4Addr,
    /// Its HTTP port.
    pub http_port: u16,
    /// Path and query by which the script was asked for: `/ipxe?mac=...`.
    pub request: &'a str,
    /// Why the machine gets this script, for the person before its screen.
    pub reason: &'a str,
}

/// Why no script was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A word that iPXE would take for its own syntax.
    #[error("kernel command line has {0:?}, which iPXE would take for its own syntax")]
    CommandLine(String),
    /// Not what [`super::choose`] sends a client to.
    #[error("{0:?} is no path that a script can ask again")]
    Request(String),
}

impl Script<'_> {
    /// Loads the kernel and the initramfs of the boot image `uki`, and starts them.
    ///
    /// # Errors
    /// A `cmdline` that iPXE would not pass on as it is, or a bad [`Script::request`].
    pub fn boot(&self, uki: &Digest, cmdline: &str) -> Result<String, ScriptError> {
        if let Some(word) = cmdline.split_whitespace().find(|word| !is_plain(word)) {
            return Err(ScriptError::CommandLine(word.to_owned()));
        }
        let words: Vec<&str> = cmdline.split_whitespace().collect();
        let cmdline = words.join(" ");
        let again = self.again()?;
        let (short, reason) = (uki.short(), echo(self.reason));
        let base = format!("{}/boot/{uki}", server(self.master, self.http_port));
        Ok(format!(
            "#!ipxe\n\
             echo bootd: {reason}\n\
             echo bootd: loading kernel of boot image {short}\n\
             kernel {base}/linux initrd=initrd {cmdline} || goto failed\n\
             echo bootd: loading initramfs of boot image {short}\n\
             initrd --name initrd {base}/initrd || goto failed\n\
             echo bootd: starting boot image {short}\n\
             boot || goto failed\n\
             :failed\n\
             echo bootd: that failed, next attempt in {RETRY_SECONDS} seconds\n\
             imgfree\n\
             sleep {RETRY_SECONDS}\n\
             chain --replace --autofree {again} || goto failed\n"
        ))
    }

    /// Starts the machine from its disk: a BIOS by its first disk, UEFI by the disk's `loader`. What
    /// cannot be started so is left to the firmware's list of boot entries.
    #[must_use]
    pub fn local(&self, firmware: Firmware, loader: Option<&Digest>) -> String {
        let reason = echo(self.reason);
        let start = match (firmware, loader) {
            (Firmware::Bios, _) => "sanboot --no-describe --drive 0x80 || exit".to_owned(),
            (Firmware::Uefi, Some(loader)) => {
                let server = server(self.master, self.http_port);
                format!("chain {server}/boot/{loader}.efi || exit")
            }
            (Firmware::Uefi, None) => "exit".to_owned(),
        };
        format!("#!ipxe\necho bootd: starting from the disk: {reason}\n{start}\n")
    }

    /// Says why the machine is held, waits, and asks again.
    ///
    /// # Errors
    /// A bad [`Script::request`].
    pub fn hold(&self) -> Result<String, ScriptError> {
        let again = self.again()?;
        let reason = echo(self.reason);
        Ok(format!(
            "#!ipxe\n\
             :hold\n\
             echo bootd: on hold: {reason}\n\
             echo bootd: next question in {HOLD_SECONDS} seconds\n\
             sleep {HOLD_SECONDS}\n\
             chain --replace --autofree {again} || goto hold\n"
        ))
    }

    fn again(&self) -> Result<String, ScriptError> {
        let clean = self.request.starts_with('/')
            && self.request.chars().all(|c| c.is_ascii_graphic())
            && is_plain(self.request);
        if !clean {
            return Err(ScriptError::Request(self.request.to_owned()));
        }
        let server = server(self.master, self.http_port);
        Ok(format!("{server}{}", self.request))
    }
}

/// Whether iPXE passes `word` on as it is: its shell expands `${...}`, joins commands by
/// `&&`, `||` and `;`, takes `#` at the start of a word for a comment, and has no quotes.
fn is_plain(word: &str) -> bool {
    let operator = matches!(word, "&&" | "||" | ";");
    !operator && !word.starts_with('#') && !word.contains("${") && !word.contains(char::is_control)
}

/// A line for `echo`: one line, and nothing in it that iPXE acts upon.
fn echo(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let shown = words.filter(|word| !word.is_empty()).map(|word| {
        if is_plain(word) {
            word.to_owned()
        } else {
            word.replace(['$', '#', '&', '|', ';'], "_")
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: Script<'_> = Script {
        master: Ipv4Addr::new(10, 1, 0, 1),
        http_port: 4080,
        request: "/ipxe?mac=52-54-00-12-34-56&arch=x86_64",
        reason: "class web",
    };

    #[test]
    fn start_from_the_disk() {
        let loader = Digest::of(b"GRUB");
        let chain = format!("chain http://10.1.0.1:4080/boot/{loader}.efi || exit");
        for (firmware, loader, start) in [
            (
                Firmware::Bios,
                None,
                "sanboot --no-describe --drive 0x80 || exit",
            ),
            (Firmware::Uefi, None, "exit"),
            (Firmware::Uefi, Some(&loader), chain.as_str()),
        ] {
            let expected =
                format!("#!ipxe\necho bootd: starting from the disk: class web\n{start}\n");
            assert_eq!(SCRIPT.local(firmware, loader), expected);
        }
    }

    #[test]
    fn boot_script_whole() {
        let uki = Digest::of(b"uki");
        let expected = "#!ipxe\n\
            echo bootd: class web\n\
            echo bootd: loading kernel of boot image SHORT\n\
            kernel http://10.1.0.1:4080/boot/DIGEST/linux initrd=initrd console=ttyS0 panic=10 || goto failed\n\
            echo bootd: loading initramfs of boot image SHORT\n\
            initrd --name initrd http://10.1.0.1:4080/boot/DIGEST/initrd || goto failed\n\
            echo bootd: starting boot image SHORT\n\
            boot || goto failed\n\
            :failed\n\
            echo bootd: that failed, next attempt in 5 seconds\n\
            imgfree\n\
            sleep 5\n\
            chain --replace --autofree http://10.1.0.1:4080/ipxe?mac=52-54-00-12-34-56&arch=x86_64 || goto failed\n"
            .replace("SHORT", &uki.short())
            .replace("DIGEST", &uki.to_string());
        let script = SCRIPT.boot(&uki, " console=ttyS0\n panic=10 ");
        assert_eq!(script, Ok(expected));
    }

    #[test]
    fn hold_script_whole() {
        let script = Script {
            reason: "not approved;\nsee `catalog nodes` && ${reboot} || #1",
            ..SCRIPT
        };
        let expected = "#!ipxe\n\
            :hold\n\
            echo bootd: on hold: not approved; see `catalog nodes` __ _{reboot} __ _1\n\
            echo bootd: next question in 30 seconds\n\
            sleep 30\n\
            chain --replace --autofree http://10.1.0.1:4080/ipxe?mac=52-54-00-12-34-56&arch=x86_64 || goto hold\n";
        assert_eq!(script.hold(), Ok(expected.to_owned()));
    }

    #[test]
    fn refuses_what_ipxe_would_act_upon() {
        for word in ["&&", "||", ";", "#x", "a${b}"] {
            let error = ScriptError::CommandLine(word.to_owned());
            assert_eq!(
                SCRIPT.boot(&Digest::NONE, &format!("quiet {word} x")),
                Err(error)
            );
        }
        for request in ["", "ipxe", "/ipxe?a b", "/ipxe?${x}", "/ipxe\n"] {
            let script = Script { request, ..SCRIPT };
            assert_eq!(script.hold(), Err(ScriptError::Request(request.to_owned())));
        }
    }
}
