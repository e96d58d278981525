//! The running node: starts and watches its processes, keeps its lease, hears the master.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Command as Program, Stdio};
use std::time::{Duration, Instant};

use bootd_protocol::digest::Digest;
use bootd_protocol::manifest::{Manifest, Process};
use bootd_protocol::verify::message::Stage;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::console::Console;
use crate::limits;
use crate::link::Link;
use crate::mounts::Initramfs;
use crate::net::{Net, timeout};
use crate::supervise::{Command, Ended, Supervisor};
use crate::timetable::Timetable;

/// Processes that do not end when asked are killed after this long.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The search path of processes whose manifest gives none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a running node is made of.
pub struct Running {
    /// Where it tells people.
    pub console: Console,
    /// The origin of all times.
    pub origin: Instant,
    /// What it runs.
    pub manifest: Manifest,
    /// Its name.
    pub digest: Digest,
    /// How long it took to come here.
    pub timetable: Timetable,
    /// What was the root, to be freed when the processes run.
    pub initramfs: Initramfs,
}

/// Restarts the machine.
///
/// # Errors
/// The kernel does not want to.
pub fn restart() -> io::Result<Infallible> {
    nix::unistd::sync();
    Ok(reboot(RebootMode::RB_AUTOBOOT)?)
}

/// Starts the kernel that was loaded for it, without the firmware.
///
/// # Errors
/// The kernel does not want to.
pub fn start_loaded_kernel() -> io::Result<Infallible> {
    nix::unistd::sync();
    Ok(reboot(RebootMode::RB_KEXEC)?)
}

/// Tells the kernel and the tree what the network told.
pub fn configure(hostname: &str, dns: &[Ipv4Addr]) {
    // None of this keeps a node from running.
    let _ = nix::unistd::sethostname(hostname);
    let _ = fs::write("/etc/hostname", format!("{hostname}\n"));
    if !dns.is_empty() {
        let lines: String = dns.iter().map(|it| format!("nameserver {it}\n")).collect();
        let _ = fs::write("/etc/resolv.conf", lines);
    }
}

/// Runs until the machine restarts.
///
/// # Errors
/// What keeps PID 1 from watching at all.
pub fn run(running: Running, net: &mut Net, link: &mut Link) -> io::Result<Infallible> {
    // Ctrl-Alt-Del comes as SIGINT and not as a restart at once.
    let _ = set_cad_enabled(false);
    let signals = signals()?;
    let mut node = RunningNode::new(running);
    link.run(node.digest);
    loop {
        node.work(link);
        let net_due = net.poll_timeout();
        let due = [
            node.supervisor.poll_timeout(),
            net_due,
            link.poll_timeout(),
            node.deadline,
        ];
        wait(
            &signals,
            net,
            link,
            due.into_iter().flatten().min(),
            node.origin,
        )?;
        node.take_signals(&signals)?;
        node.reap();
        node.supervisor.handle_timeout(node.origin.elapsed());
        if let Err(error) = net.pump() {
            node.console.say(error);
        }
        link.pump()?;
        if let Some(reason) = link.take_order() {
            node.obey(link, &reason);
        }
        if node.is_over() {
            node.console.say("restarting");
            restart()?;
        }
    }
}

fn signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        mask.add(signal);
    }
    mask.thread_block()?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    Ok(SignalFd::with_flags(&mask, flags)?)
}

fn wait(
    signals: &SignalFd,
    net: &Net,
    link: &Link,
    due: Option<Duration>,
    origin: Instant,
) -> io::Result<()> {
    let mut fds = vec![
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        PollFd::new(link.socket().as_fd(), PollFlags::POLLIN),
    ];
    fds.extend(
        net.sockets()
            .map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)),
    );
    let pause = due.map_or(Duration::from_secs(3600), |due| {
        due.saturating_sub(origin.elapsed())
    });
    match poll(&mut fds, timeout(pause)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

struct RunningNode {
    console: Console,
    origin: Instant,
    processes: Vec<Process>,
    supervisor: Supervisor,
    timetable: Timetable,
    digest: Digest,
    /// Until the processes run.
    initramfs: Option<Initramfs>,
    /// Whether the master was told of a failure that is over.
    troubled: bool,
    /// When what still runs is killed, once the machine restarts.
    deadline: Option<Duration>,
}

impl RunningNode {
    fn new(running: Running) -> Self {
        let Running {
            console,
            origin,
            manifest,
            digest,
            timetable,
            initramfs,
        } = running;
        // The list of files is as large as the node has files, and has done its work.
        let processes = manifest.processes;
        RunningNode {
            console,
            origin,
            supervisor: Supervisor::new(&processes),
            processes,
            timetable,
            digest,
            initramfs: Some(initramfs),
            troubled: false,
            deadline: None,
        }
    }

    fn work(&mut self, link: &mut Link) {
        while let Some(command) = self.supervisor.next_command() {
            match command {
                Command::Start(index) => self.start(index),
                Command::Terminate(pid) => drop(kill(Pid::from_raw(pid), Signal::SIGTERM)),
                Command::Tell {
                    name,
                    how,
                    again_in,
                } => self.tell(link, &name, how, again_in),
            }
        }
        if self.troubled && self.supervisor.settled() {
            self.troubled = false;
            link.report(
                Stage::Running,
                self.digest,
                (0, 0),
                "all processes run again",
            );
        }
        if self.supervisor.settled()
            && let Some(initramfs) = self.initramfs.take()
        {
            self.timetable.passed("processes");
            let (own, stages) = (self.timetable.own().as_millis(), &self.timetable);
            let count = self.processes.len();
            let resident = crate::kernel::resident_kib();
            let cpu = self.timetable.cpu();
            let (user, system) = (cpu.user.as_millis(), cpu.system.as_millis());
            self.console.say(format_args!(
                "ready: {count} processes; init {own} ms ({stages}; own code {user}, kernel \
                 {system}), {resident} KiB resident"
            ));
            initramfs.free();
        }
    }

    /// The master orders a restart.
    fn obey(&mut self, link: &mut Link, reason: &str) {
        self.console
            .say(format_args!("the master says restart: {reason}"));
        link.report(Stage::Restarting, self.digest, (0, 0), reason);
        self.stop();
    }

    fn stop(&mut self) {
        self.supervisor.stop();
        self.deadline = Some(self.origin.elapsed() + STOP_TIMEOUT);
    }

    fn start(&mut self, index: usize) {
        let now = self.origin.elapsed();
        let Some(process) = self.processes.get(index) else {
            return;
        };
        match spawn(process) {
            Ok(pid) => self.supervisor.started(index, pid, now),
            Err(error) => {
                self.console
                    .say(format_args!("process {}: {error}", process.name));
                self.supervisor.not_started(index, now);
            }
        }
    }

    fn tell(&mut self, link: &mut Link, name: &str, how: Ended, again_in: Option<Duration>) {
        let how = match how {
            Ended::Exited(status) => format!("ended with status {status}"),
            Ended::Signaled(signal) => format!("was ended by signal {signal}"),
            Ended::NotStarted => "could not be started".to_owned(),
        };
        let next = match again_in {
            Some(pause) => format!("starting again in {} ms", pause.as_millis()),
            None => "not started again".to_owned(),
        };
        let text = format!("process {name} {how}, {next}");
        self.console.say(&text);
        link.report(Stage::Failed, Digest::NONE, (0, 0), &text);
        self.troubled = true;
    }

    fn take_signals(&mut self, signals: &SignalFd) -> io::Result<()> {
        while let Some(info) = signals.read_signal()? {
            let asked = [Signal::SIGTERM, Signal::SIGINT].map(|it| it as i32);
            if asked
                .iter()
                .any(|it| i64::from(*it) == i64::from(info.ssi_signo))
            {
                self.console.say("asked to restart");
                self.stop();
            }
        }
        Ok(())
    }

    fn reap(&mut self) {
        loop {
            let now = self.origin.elapsed();
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => {
                    self.supervisor
                        .handle_exit(pid.as_raw(), Ended::Exited(status), now);
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    let how = Ended::Signaled(signal as i32);
                    self.supervisor.handle_exit(pid.as_raw(), how, now);
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        let late = |deadline| self.origin.elapsed() >= deadline;
        self.deadline
            .is_some_and(|deadline| self.supervisor.is_idle() || late(deadline))
    }
}

/// Starts a process with nothing of init's but the console.
fn spawn(process: &Process) -> io::Result<i32> {
    let (program, arguments) = process
        .argv
        .split_first()
        .ok_or_else(|| io::Error::other("no program"))?;
    let mut command = Program::new(program);
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .current_dir("/");
    for entry in std::iter::once(PATH).chain(process.env.iter().map(String::as_str)) {
        if let Some((key, value)) = entry.split_once('=') {
            command.env(key, value);
        }
    }
    let child = limits::with(&process.limits, || command.spawn())?;
    i32::try_from(child.id()).map_err(io::Error::other)
}
