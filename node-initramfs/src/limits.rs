//! Resource limits of processes (`setrlimit(2)`).
//!
//! A process inherits its limits when it is made, so init takes them on itself for that moment.

use std::collections::BTreeMap;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The names of `prlimit(1)`, as [`bootd_protocol::manifest::LIMITS`] has them.
const NAMES: [(&str, Resource); 16] = [
    ("as", Resource::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

/// Runs `spawn` under `limits`. Afterwards this process has its own limits again.
///
/// # Errors
/// A limit with an unknown name or that the kernel refuses; what `spawn` says.
pub fn with<T>(
    limits: &BTreeMap<String, u64>,
    spawn: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let mut own = Vec::with_capacity(limits.len());
    let set = limits.iter().try_for_each(|(name, value)| {
        let (_, resource) = NAMES
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| io::Error::other(format!("there is no limit {name}")))?;
        let before = getrlimit(*resource)?;
        setrlimit(*resource, *value, *value)
            .map_err(|errno| io::Error::other(format!("limit {name} to {value}: {errno}")))?;
        own.push((*resource, before));
        Ok(())
    });
    let done = set.and_then(|()| spawn());
    for (resource, (soft, hard)) in own {
        // PID 1 may raise what it has lowered.
        let _ = setrlimit(resource, soft, hard);
    }
    done
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use bootd_protocol::manifest::LIMITS;

    use super::{NAMES, with};

    #[test]
    fn every_name_of_a_manifest_is_known() {
        assert_eq!(NAMES.map(|(name, _)| name), LIMITS);
    }

    #[test]
    fn a_child_has_them_and_what_is_wrong_is_said() {
        let limits = |name: &str, value| [(name.to_owned(), value)].into();
        let shell = || Command::new("sh").args(["-c", "ulimit -c"]).output();
        let output = with(&limits("core", 0), shell).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
        let error = with(&limits("files", 0), shell).unwrap_err();
        assert_eq!(error.to_string(), "there is no limit files");
    }
}
