//! What a kernel module says of itself: the section `.modinfo`, `key=value` ended by NUL
//! (the kernel's `include/linux/moduleparam.h` and `include/linux/module.h`).

/// The fields that matter for loading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ModInfo {
    /// `depends`: modules whose symbols it uses.
    pub(super) depends: Vec<String>,
    /// `softdep`, its `pre:` part: modules it wants first, if there are any.
    pub(super) wants: Vec<String>,
    /// `alias`, in order.
    pub(super) aliases: Vec<String>,
}

impl ModInfo {
    /// Reads the section; the error says what is wrong with it.
    pub(super) fn parse(section: &[u8]) -> Result<Self, String> {
        let mut info = ModInfo::default();
        for field in section.split(|byte| *byte == 0) {
            let text = std::str::from_utf8(field)
                .map_err(|_| "its .modinfo section is not UTF-8".to_owned())?;
            match text.split_once('=') {
                Some(("depends", value)) => info.depends.extend(names(value, ',')),
                Some(("softdep", value)) => info.wants.extend(wanted_before(value)),
                Some(("alias", value)) => info.aliases.push(value.to_owned()),
                Some(_) | None => {}
            }
        }
        Ok(info)
    }
}

fn names(value: &str, separator: char) -> impl Iterator<Item = String> {
    value
        .split(separator)
        .filter(|name| !name.is_empty())
        .map(super::canonical)
}

/// `pre: a b post: c` gives `a b`.
fn wanted_before(value: &str) -> impl Iterator<Item = String> {
    let after = value.split_once("pre:").map_or("", |(_, after)| after);
    names(after.split("post:").next().unwrap_or(after), ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_fields() {
        let section = b"license=GPL\0depends=virtio,virtio-ring\0alias=virtio:d00000001v*\0\0\
            softdep=pre: crypto-a b post: c\0softdep=post: d pre: e\0alias=x=y\0noise";
        let info = ModInfo::parse(section).unwrap();
        assert_eq!(info.depends, ["virtio", "virtio_ring"]);
        assert_eq!(info.wants, ["crypto_a", "b", "e"]);
        assert_eq!(info.aliases, ["virtio:d00000001v*", "x=y"]);
        assert_eq!(ModInfo::parse(b"depends=\0").unwrap(), ModInfo::default());
        assert!(ModInfo::parse(b"depends=\xff\0").is_err());
    }
}
