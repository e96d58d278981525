//! What the master gives up once it has its sockets: root, capabilities, the ways to get them
//! back, and every file but its own.
//!
//! Capabilities and Landlock's rules belong to a thread and are inherited by those it starts: all
//! of this is done before there is a second one.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
    path_beneath_rules,
};
use nix::unistd::{AccessFlags, Uid, User, access, initgroups, setgid, setuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs,
};
use tracing::{debug, info, warn};

/// Who bootd becomes by default, if that user exists.
const DEFAULT_USER: &str = "bootd";
/// The kernel interface whose file rights we know; older kernels have fewer of them.
const LANDLOCK: ABI = ABI::V5;
/// What bootd writes in the state directory. The blobs are not its own: it only reads them.
const WRITTEN: [&str; 5] = [
    "catalog.db",
    "catalog.db-journal",
    "state.db",
    "state.db-wal",
    "state.db-shm",
];
/// What else it must read there, and others should not.
const READ: [&str; 2] = ["master.key", "master.pub"];

/// What to keep.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The user to become; by default `bootd`, if there is one.
    pub user: Option<&'a str>,
    /// The state directory.
    pub state: &'a Path,
    /// Files and directories elsewhere that are read.
    pub read: &'a [PathBuf],
    /// Capabilities that are needed after the sockets are bound.
    pub capabilities: CapabilitySet,
}

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error("--user {0}: there is no such user; `useradd --system --user-group {0}` makes it")]
    NoUser(String),
    /// Only root can become another user.
    #[error("--user {0}: only root can become another user")]
    NotRoot(String),
    /// The state directory is not the user's.
    #[error(
        "{}: {user} must be able to write it ({source}): `chown {user}: {}`; and every directory \
         above must let that user through", path.display(), path.display()
    )]
    State {
        /// What is in the way.
        path: PathBuf,
        /// The user.
        user: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("cannot {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel has Landlock and refuses our rules.
    #[error("cannot restrict the file system: {0}")]
    Landlock(#[from] landlock::RulesetError),
}

fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> PrivilegeError {
    move |source| PrivilegeError::System {
        what,
        source: source.into(),
    }
}

/// Gives up everything that is not in the plan.
///
/// # Errors
/// No such user, not allowed, or the state directory is not that user's. Nobody should serve then.
pub fn give_up(plan: &Plan<'_>) -> Result<(), PrivilegeError> {
    let whoami = match new_user(plan.user)? {
        Some(user) => {
            own(plan.state, &user)?;
            set_keep_capabilities(!plan.capabilities.is_empty())
                .map_err(system("keep capabilities"))?;
            become_user(&user)?;
            info!(user = user.name, "root given up");
            user.name
        }
        None => User::from_uid(Uid::current())
            .ok()
            .flatten()
            .map_or_else(|| Uid::current().to_string(), |it| it.name),
    };
    if !Uid::effective().is_root() {
        keep(plan.capabilities)?;
    }
    check(plan.state, &whoami)?;
    set_no_new_privs(true).map_err(system("set no_new_privs"))?;
    restrict_files(plan)
}

/// Becomes the user whom the master becomes, with no capability and no way to get any. All files
/// that this user can reach stay in reach: the helper starts programs.
///
/// # Errors
/// No such user, or not allowed.
pub fn become_helper(user: Option<&str>) -> Result<(), PrivilegeError> {
    if let Some(user) = new_user(user)? {
        become_user(&user)?;
    }
    if !Uid::effective().is_root() {
        keep(CapabilitySet::empty())?;
    }
    set_no_new_privs(true).map_err(system("set no_new_privs"))
}

/// Whom to become, if anybody.
fn new_user(wanted: Option<&str>) -> Result<Option<User>, PrivilegeError> {
    let find = |name| User::from_name(name).map_err(system("look up users"));
    let me = Uid::effective();
    match wanted {
        None if !me.is_root() => Ok(None),
        None => {
            let user = find(DEFAULT_USER)?;
            if user.is_none() {
                warn!("stays root: there is no user {DEFAULT_USER}, and no --user was given");
            }
            Ok(user)
        }
        Some(name) => {
            let user = find(name)?.ok_or_else(|| PrivilegeError::NoUser(name.to_owned()))?;
            if user.uid == me {
                Ok(None)
            } else if me.is_root() {
                Ok(Some(user))
            } else {
                Err(PrivilegeError::NotRoot(name.to_owned()))
            }
        }
    }
}

/// Gives the user the files of the state directory that root has made: `catalog init` may have
/// been called by root. Links are left alone, and what is somebody else's; and a directory that
/// holds no catalog, which is no state directory, and may be any.
fn own(state: &Path, user: &User) -> Result<(), PrivilegeError> {
    if !state.join("catalog.db").is_file() {
        return Ok(());
    }
    let names = WRITTEN.iter().chain(&READ);
    let files = names.map(|name| state.join(name));
    let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    for path in std::iter::once(state.to_owned()).chain(files) {
        let file = match open(&path, path == state) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(of_state(path, &user.name)(source)),
        };
        let meta = file
            .metadata()
            .map_err(of_state(path.clone(), &user.name))?;
        let ours = meta.is_dir() || meta.is_file() && meta.nlink() == 1;
        if ours && meta.uid() == 0 && !user.uid.is_root() {
            fchown(&file, uid, gid).map_err(of_state(path.clone(), &user.name))?;
            info!(path = %path.display(), user = user.name, "given to its new owner");
        }
    }
    Ok(())
}

fn open(path: &Path, directory: bool) -> io::Result<File> {
    use nix::libc::{O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};
    let flags = if directory { O_DIRECTORY } else { O_NOFOLLOW };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(flags | O_NONBLOCK)
        .open(path)
}

fn of_state(path: PathBuf, user: &str) -> impl FnOnce(io::Error) -> PrivilegeError {
    let user = user.to_owned();
    move |source| PrivilegeError::State { path, user, source }
}

fn become_user(user: &User) -> Result<(), PrivilegeError> {
    let name = CString::new(user.name.as_str()).map_err(system("use the user's name"))?;
    initgroups(&name, user.gid).map_err(system("set the groups"))?;
    setgid(user.gid).map_err(system("set the group"))?;
    setuid(user.uid).map_err(system("set the user"))
}

/// Keeps these capabilities of those we have.
fn keep(wanted: CapabilitySet) -> Result<(), PrivilegeError> {
    let had = capabilities(None).map_err(system("read capabilities"))?;
    let kept = had.permitted & wanted;
    clear_ambient_capability_set().map_err(system("give up ambient capabilities"))?;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(system("give up capabilities"))?;
    debug!(had = ?had.permitted, ?kept, "capabilities given up");
    Ok(())
}

/// Whether the databases can be written: SQLite would say so late, and not to whom.
fn check(state: &Path, user: &str) -> Result<(), PrivilegeError> {
    let is = |path: PathBuf, how: AccessFlags| match access(&path, how) {
        Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
        Err(errno) => Err(of_state(path, user)(errno.into())),
    };
    if access(&state.join("catalog.db"), AccessFlags::F_OK) == Err(nix::Error::ENOENT) {
        // Whoever opens the catalog says it better.
        return Ok(());
    }
    is(state.to_owned(), AccessFlags::W_OK | AccessFlags::X_OK)?;
    for name in WRITTEN {
        is(state.join(name), AccessFlags::R_OK | AccessFlags::W_OK)?;
    }
    is(state.join(READ[0]), AccessFlags::R_OK)
}

/// Files outside of the state directory are out of reach from here on, where the kernel has
/// Landlock.
fn restrict_files(plan: &Plan<'_>) -> Result<(), PrivilegeError> {
    let random = [PathBuf::from("/dev/urandom")];
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(
            places(plan.state),
            AccessFs::from_all(LANDLOCK),
        ))?
        .add_rules(path_beneath_rules(
            temporary(),
            AccessFs::from_all(LANDLOCK),
        ))?
        .add_rules(path_beneath_rules(
            plan.read.iter().chain(&random),
            AccessFs::from_read(LANDLOCK),
        ))?
        .restrict_self()?;
    match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => {
            debug!(status = ?status.ruleset, "files restricted to the state directory");
        }
        RulesetStatus::NotEnforced => {
            info!("this kernel has no Landlock: files are not restricted")
        }
    }
    Ok(())
}

/// The state directory, and what links in it lead to: blobs may be on another disk.
fn places(state: &Path) -> Vec<PathBuf> {
    let mut places = vec![state.to_owned()];
    for dir in [state.to_owned(), state.join("blobs")] {
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let links = entries.filter(|it| it.file_type().is_ok_and(|kind| kind.is_symlink()));
        places.extend(links.map(|it| it.path()));
    }
    places
}

/// Where SQLite sorts what is too large for its memory.
fn temporary() -> Vec<PathBuf> {
    let named = ["SQLITE_TMPDIR", "TMPDIR"]
        .into_iter()
        .filter_map(std::env::var_os);
    let usual = ["/var/tmp", "/tmp"].into_iter().map(PathBuf::from);
    named.map(PathBuf::from).chain(usual).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(path: &Path) -> bool {
        match File::open(path) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => false,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }

    /// What is enforced holds for the thread that asks for it, so each test has its own.
    #[test]
    fn only_the_state_directory_is_left() {
        let (state, disk) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir_in("/var").unwrap(),
        );
        let elsewhere = tempfile::tempdir_in("/var").unwrap();
        std::fs::write(elsewhere.path().join("file"), "").unwrap();
        let read = [elsewhere.path().join("readable")];
        std::fs::write(&read[0], "").unwrap();
        std::os::unix::fs::symlink(disk.path(), state.path().join("blobs")).unwrap();
        set_no_new_privs(true).unwrap();
        let plan = Plan {
            user: None,
            state: state.path(),
            read: &read,
            capabilities: CapabilitySet::empty(),
        };
        restrict_files(&plan).unwrap();
        if allowed(Path::new("/etc/passwd")) {
            println!("left out: this kernel has no Landlock");
            return;
        }
        assert!(allowed(&read[0]) && allowed(Path::new("/dev/urandom")));
        assert!(!allowed(&elsewhere.path().join("file")));
        std::fs::write(state.path().join("new"), "").unwrap();
        std::fs::remove_file(state.path().join("new")).unwrap();
        std::fs::write(disk.path().join("new"), "").unwrap();
        drop(tempfile::tempfile_in("/var/tmp").unwrap());
        let refused = std::fs::write(&read[0], "x").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
}
