//! A machine that is switched on: QEMU as a child process, its console and its QMP.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bootd_protocol::identity::Firmware;

use super::lines::Lines;
use super::qmp::{Qmp, QmpError};
use super::spec::{Accel, MachineSpec};
use super::transcript::{Entry, Happening, Transcript};

/// A machine could not be switched on.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A file of the machine could not be made.
    #[error("machine {machine}: cannot make {path}")]
    File {
        /// The machine's name.
        machine: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// QEMU (package qemu-system-x86 or qemu-system-arm) could not be started.
    #[error("machine {machine}: cannot start {program}")]
    Start {
        /// The machine's name.
        machine: String,
        /// The emulator.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// QEMU started and ended at once.
    #[error("machine {machine}: QEMU refuses: {message}{}", advice(*accel))]
    Refused {
        /// The machine's name.
        machine: String,
        /// What it wrote to its standard error.
        message: String,
        /// Who should have executed its instructions.
        accel: Accel,
    },
}

fn advice(accel: Accel) -> &'static str {
    match accel {
        Accel::Tcg => "",
        Accel::Kvm => "\n/dev/kvm does not run machines here: leave --accel kvm away",
    }
}

/// Cuts a machine's power from any thread, for instance the disk server's.
#[derive(Debug, Clone)]
pub struct Killer(Arc<Mutex<Child>>);

impl Killer {
    /// Ends QEMU at once (SIGKILL); does nothing to one that has ended.
    pub fn kill(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Both fail only for a child that was waited for already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A machine that is switched on. Dropping it cuts its power.
pub struct Machine {
    name: String,
    killer: Killer,
    qmp: Qmp,
    transcript: Arc<Transcript>,
    console: UnixStream,
    threads: Vec<JoinHandle<()>>,
}

/// The child, and our ends of its standard input and output.
struct Spawned {
    child: Child,
    qmp: UnixStream,
    console: UnixStream,
}

impl Machine {
    /// Switches a machine on. `watch` is called with everything that happens to it, on the
    /// threads that read it: it must be quick.
    ///
    /// # Errors
    /// No QEMU, no UEFI for it, or QEMU refuses the machine (no such tap, no disk server).
    pub fn power_on(
        spec: &MachineSpec,
        watch: impl Fn(&Entry) + Send + Sync + 'static,
    ) -> Result<Self, MachineError> {
        let start_error = |source| MachineError::Start {
            machine: spec.name.clone(),
            program: spec.model.program(),
            source,
        };
        if spec.firmware == Firmware::Uefi {
            make_variables(spec)?;
        }
        let log = append(spec, &spec.log_dir.join(format!("{}.console", spec.name)))?;
        let messages = spec.log_dir.join(format!("{}.qemu", spec.name));
        let stderr = append(spec, &messages)?;
        let messages_before = stderr.metadata().map_or(0, |metadata| metadata.len());
        let spawned = spawn(spec, stderr).map_err(start_error)?;
        let transcript = Arc::new(Transcript::new(log, Box::new(watch)));
        let mut machine = Machine::attend(spec, spawned, transcript).map_err(start_error)?;
        match machine.qmp.execute("qmp_capabilities") {
            Ok(()) => Ok(machine),
            Err(error) => {
                machine.cut_power();
                let said = read_from(&messages, messages_before);
                Err(MachineError::Refused {
                    machine: spec.name.clone(),
                    accel: spec.accel,
                    message: if said.is_empty() {
                        error.to_string()
                    } else {
                        said
                    },
                })
            }
        }
    }

    /// Starts the threads that read what the machine says.
    fn attend(
        spec: &MachineSpec,
        spawned: Spawned,
        transcript: Arc<Transcript>,
    ) -> io::Result<Self> {
        let killer = Killer(Arc::new(Mutex::new(spawned.child)));
        let (qmp, events) = Qmp::start(spawned.qmp, Arc::clone(&transcript))?;
        let for_console = Arc::clone(&transcript);
        let stream = spawned.console.try_clone()?;
        let reader = std::thread::Builder::new()
            .name(format!("console {}", spec.name))
            .spawn(move || {
                read_console(stream, &for_console);
                // QEMU has closed both: its last events come before its end.
                let _ = events.join();
                for_console.add(Happening::Ended);
            })?;
        Ok(Machine {
            name: spec.name.clone(),
            killer,
            qmp,
            transcript,
            console: spawned.console,
            threads: vec![reader],
        })
    }

    /// The machine's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has said and done; to wait for more.
    #[must_use]
    pub fn transcript(&self) -> &Arc<Transcript> {
        &self.transcript
    }

    /// A handle that cuts its power from another thread.
    #[must_use]
    pub fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Types a line on its serial console.
    ///
    /// # Errors
    /// QEMU has ended.
    pub fn type_line(&self, text: &str) -> io::Result<()> {
        (&self.console).write_all(format!("{text}\r").as_bytes())
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// QEMU has ended.
    pub fn reset(&self) -> Result<(), QmpError> {
        self.qmp.execute("system_reset")
    }

    /// Ends QEMU and waits until all that it said is in the transcript. What it had
    /// written to its disk stays with the disk server, flushed or not:
    /// [`crate::nbd::Disk::cut`] says what becomes of that.
    pub fn cut_power(&mut self) {
        self.killer.kill();
        for thread in self.threads.drain(..) {
            // A reader that panicked has shown its message.
            let _ = thread.join();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut_power();
    }
}

fn spawn(spec: &MachineSpec, stderr: File) -> io::Result<Spawned> {
    let (qmp, stdin) = UnixStream::pair()?;
    let (console, stdout) = UnixStream::pair()?;
    // The command owns the child's ends: they must be closed here for the end of QEMU
    // to be seen, and so the command is dropped with this function.
    let child = Command::new(spec.model.program())
        .args(spec.arguments())
        .stdin(Stdio::from(OwnedFd::from(stdin)))
        .stdout(Stdio::from(OwnedFd::from(stdout)))
        .stderr(stderr)
        .spawn()?;
    Ok(Spawned {
        child,
        qmp,
        console,
    })
}

fn read_console(mut stream: UnixStream, transcript: &Transcript) {
    let mut lines = Lines::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        for line in lines.feed(&buffer[..count]) {
            transcript.add(Happening::Line(line));
        }
    }
    if let Some(line) = lines.finish() {
        transcript.add(Happening::Line(line));
    }
}

/// A machine's own firmware variables; they outlive its power cuts, as flash does.
fn make_variables(spec: &MachineSpec) -> Result<(), MachineError> {
    let path = spec.variables();
    if path.exists() {
        return Ok(());
    }
    match std::fs::copy(spec.model.uefi().variables, &path) {
        Ok(_) => Ok(()),
        Err(source) => Err(file_error(spec, &path, source)),
    }
}

fn append(spec: &MachineSpec, path: &Path) -> Result<File, MachineError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|source| file_error(spec, path, source))
}

fn file_error(spec: &MachineSpec, path: &Path, source: io::Error) -> MachineError {
    MachineError::File {
        machine: spec.name.clone(),
        path: path.to_owned(),
        source,
    }
}

/// What was appended to a text file after its first `offset` bytes.
fn read_from(path: &Path, offset: u64) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let start = usize::try_from(offset).unwrap_or(0).min(bytes.len());
    String::from_utf8_lossy(&bytes[start..]).trim().to_owned()
}
