//! Peers from Debian: packages are fetched and unpacked into a directory of their own. Nothing is
//! installed, nothing starts by itself.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::inputs;

/// A peer: its name, its packages, the program in them, and what is made of it.
pub(super) type Peer<S> = (
    &'static str,
    &'static [&'static str],
    &'static str,
    fn(Program) -> S,
);

/// Those of the peers that can be had; `leave_out` is told of the others.
pub(super) fn find<S, const N: usize>(
    work_dir: &Path,
    peers: [Peer<S>; N],
    mut leave_out: impl FnMut(&str, &anyhow::Error),
) -> Vec<S> {
    let have = |(name, packages, path, make): Peer<S>| match program(work_dir, packages, path) {
        Ok(program) => Some(make(program)),
        Err(error) => {
            leave_out(name, &error);
            None
        }
    };
    peers.into_iter().filter_map(have).collect()
}

/// A program out of Debian packages.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    root: PathBuf,
}

/// Brings a program that `packages` hold, with the libraries that are not installed here.
///
/// # Errors
/// apt does not know or cannot fetch them, or the program is not in them.
fn program(work_dir: &Path, packages: &[&str], path: &str) -> Result<Program> {
    // Each has a root of its own: two of them bring a file of the same name.
    let name = packages.first().context("a package is named")?;
    Program::at(&unpacked(work_dir, name, packages)?, path)
}

/// Brings `packages` with the libraries that are not installed here, and unpacks them together;
/// the directory, which has this name.
///
/// # Errors
/// apt does not know or cannot fetch them.
pub(crate) fn unpacked(work_dir: &Path, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let peers = work_dir.join("peers");
    let libraries = inputs::missing_libraries(packages)?;
    let mut names: Vec<&str> = packages.to_vec();
    names.extend(libraries.iter().map(String::as_str));
    let files = inputs::download(&peers.join("debs"), &names)?;
    let home = peers.join(name);
    let (root, done) = (home.join("root"), home.join("unpacked"));
    fs::create_dir_all(&done)?;
    for file in files.values() {
        let name = file.file_name().context("a package has a name")?;
        let mark = done.join(name);
        if !mark.exists() {
            inputs::unpack(file, &root)?;
            fs::write(mark, "")?;
        }
    }
    Ok(fs::canonicalize(root)?)
}

impl Program {
    /// The program at `path` below the directory that its packages were unpacked in.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn at(root: &Path, path: &str) -> Result<Self> {
        let program = Program {
            path: root.join(path),
            root: root.to_owned(),
        };
        let path = &program.path;
        ensure!(path.exists(), "{} is not there", path.display());
        Ok(program)
    }

    /// A command that finds its libraries.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("LD_LIBRARY_PATH", self.libraries());
        command
    }

    fn libraries(&self) -> OsString {
        let mut all = OsString::new();
        for lib in ["usr/lib", "lib"] {
            let arch = std::env::consts::ARCH;
            let dir = self.root.join(lib).join(format!("{arch}-linux-gnu"));
            if !all.is_empty() {
                all.push(":");
            }
            all.push(dir);
        }
        all
    }
}
