//! Files that PXELINUX and those that do as it does (U-Boot, Petitboot) ask TFTP for: a
//! configuration of a few lines under a name that says which machine asks, then the parts of the
//! boot image that it names.

use crate::digest::Digest;
use crate::identity::{Mac, SystemUuid};
use crate::uki::Part;

/// The directory of configurations.
const DIRECTORY: &str = "pxelinux.cfg";

/// Hardware type 1, Ethernet: stands before the address.
const ETHERNET: &str = "01-";

/// What the name of a file says that is made for whoever asks.
///
/// A directory before it says nothing: loaders put that of the boot file there which DHCP named
/// last (U-Boot, `boot/pxe_utils.c`, `get_relfile`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// `pxelinux.cfg/01-52-54-00-12-34-56`: the configuration of the machine with this card.
    OfCard(Mac),
    /// `pxelinux.cfg/123e4567-e89b-12d3-a456-426614174000`: of the machine with this UUID.
    OfMachine(SystemUuid),
    /// `boot/<sha256>/linux`, `boot/<sha256>/initrd`: a part of a boot image.
    Part(Digest, Part),
}

impl Name {
    /// What `name` means; none for all other files, those of `pxelinux.cfg` too that are for
    /// several machines (`default`, `0A01`).
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut words = name.rsplit('/').filter(|word| !word.is_empty());
        let (last, before) = (words.next()?, words.next()?);
        if before == DIRECTORY {
            return match last.strip_prefix(ETHERNET) {
                Some(mac) => mac.parse().ok().map(Name::OfCard),
                None => last.parse().ok().map(Name::OfMachine),
            };
        }
        let part = Part::named(last)?;
        let digest = before.parse().ok()?;
        (words.next()? == "boot").then_some(Name::Part(digest, part))
    }
}

/// A word of a kernel command line that a configuration cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kernel command line has {0:?}, which PXELINUX or U-Boot would take for its own syntax")]
pub struct ConfigError(String);

/// Has the boot image `uki` loaded and started.
///
/// # Errors
/// A `cmdline` that would not reach the kernel as it is.
pub fn boot(reason: &str, uki: &Digest, cmdline: &str) -> Result<String, ConfigError> {
    let words: Vec<&str> = cmdline.split_whitespace().collect();
    if let Some(word) = words.iter().find(|word| !is_plain(word)) {
        return Err(ConfigError((*word).to_owned()));
    }
    // U-Boot gives up at a keyword without a value.
    let append = match words.as_slice() {
        [] => String::new(),
        words => format!("APPEND {}\n", words.join(" ")),
    };
    // INITRD before APPEND: U-Boot looks for one in there otherwise.
    Ok(format!(
        "# bootd: {}\n\
         DEFAULT bootd\n\
         PROMPT 0\n\
         LABEL bootd\n\
         KERNEL /boot/{uki}/linux\n\
         INITRD /boot/{uki}/initrd\n\
         {append}",
        comment(reason)
    ))
}

/// Has the machine started from its disk: PXELINUX gives it back to the BIOS; U-Boot runs
/// `localcmd`, where its board has one, and goes on with its boot targets.
#[must_use]
pub fn local(reason: &str) -> String {
    format!(
        "# bootd: starting from the disk: {}\n\
         DEFAULT disk\n\
         PROMPT 0\n\
         LABEL disk\n\
         LOCALBOOT 0\n",
        comment(reason)
    )
}

/// Whether `word` reaches the kernel as it is. U-Boot takes `${...}` and `$(...)` for variables,
/// and `'` and `\` for quotes (`common/cli_simple.c`, `cli_simple_process_macros`), a `#` that
/// begins a text for a comment; PXELINUX loads what `initrd=` names, and reads `-` as nothing.
fn is_plain(word: &str) -> bool {
    let variable = word.contains("${") || word.contains("$(");
    let own = word.starts_with('#') || word == "-" || word.starts_with("initrd=");
    !variable && !own && !word.contains(['\'', '\\']) && !word.contains(char::is_control)
}

/// A text in one line.
fn comment(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
    const UUID: &str = "123e4567-e89b-12d3-a456-426614174000";

    #[test]
    fn names_say_who_asks_or_which_part() {
        let uki = Digest::of(b"uki");
        let linux = Some(Name::Part(uki, Part::Linux));
        let initrd = Some(Name::Part(uki, Part::Initrd));
        let card = Some(Name::OfCard(MAC));
        let machine = UUID.parse().ok().map(Name::OfMachine);
        for (name, expected) in [
            ("pxelinux.cfg/01-52-54-00-ab-cd-ef".to_owned(), card),
            ("boot/pxelinux.cfg/01-52-54-00-AB-cd-ef".to_owned(), card),
            (format!("pxelinux.cfg/{UUID}"), machine),
            (format!("a/b//pxelinux.cfg/{UUID}"), machine),
            (format!("boot/{uki}/linux"), linux),
            (format!("boot//boot/{uki}/initrd"), initrd),
            (format!("boot/{uki}.efi"), None),
            (format!("boot/{uki}/cmdline"), None),
            (format!("{uki}/linux"), None),
            (format!("other/{uki}/linux"), None),
            ("boot/x/linux".to_owned(), None),
            ("01-52-54-00-ab-cd-ef".to_owned(), None),
            ("xpxelinux.cfg/01-52-54-00-ab-cd-ef".to_owned(), None),
            ("pxelinux.cfg/06-52-54-00-ab-cd-ef".to_owned(), None),
            ("pxelinux.cfg/01-52-54-00-ab-cd".to_owned(), None),
            ("pxelinux.cfg/0A010064".to_owned(), None),
            ("pxelinux.cfg/default-arm".to_owned(), None),
            ("pxelinux.cfg".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(Name::parse(&name), expected, "{name}");
        }
    }

    #[test]
    fn configuration_to_boot() {
        let uki = Digest::of(b"uki");
        let expected = "# bootd: node n1 of class web\n\
            DEFAULT bootd\n\
            PROMPT 0\n\
            LABEL bootd\n\
            KERNEL /boot/DIGEST/linux\n\
            INITRD /boot/DIGEST/initrd\n\
            APPEND console=ttyS0 a=\"b$c\" panic=10\n"
            .replace("DIGEST", &uki.to_string());
        let config = boot(
            "node n1\nof class\u{1b} web",
            &uki,
            " console=ttyS0\n a=\"b$c\"  panic=10",
        );
        assert_eq!(config.as_ref(), Ok(&expected));
        let (without, _) = expected.split_once("APPEND").unwrap();
        let config = boot("node n1 of class web", &uki, " \n");
        assert_eq!(config.as_deref(), Ok(without));
    }

    #[test]
    fn configuration_for_the_disk() {
        let expected = "# bootd: starting from the disk: node n1 of class web\n\
            DEFAULT disk\n\
            PROMPT 0\n\
            LABEL disk\n\
            LOCALBOOT 0\n";
        assert_eq!(local("node n1 of class web"), expected);
    }

    #[test]
    fn a_command_line_that_a_loader_would_change_is_refused() {
        for word in [
            "a=${b}", "$(b)", "a='b'", "a\\b", "#a", "-", "initrd=x", "a\u{7}",
        ] {
            let refused = boot("", &Digest::NONE, &format!("quiet {word}"));
            assert_eq!(refused, Err(ConfigError(word.to_owned())));
        }
    }
}
