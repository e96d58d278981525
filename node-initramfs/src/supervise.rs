//! The supervisor, decided: which process is started when. Starting and reaping is the caller's.
//!
//! | state | event | next state | what happens |
//! |---|---|---|---|
//! | waiting | its turn | starting | start it |
//! | starting | started | running | |
//! | starting | cannot be started | by `restart` | as if it had ended badly |
//! | running | ended, `never` | done | the next one's turn |
//! | running | ended, `on-failure` with status 0 | done | |
//! | running | ended otherwise | pausing | the pause doubles, up to a minute |
//! | pausing | pause over | starting | start it |
//! | any | stop | stopped or running | running ones get SIGTERM |
//!
//! A process has its turn when all one-shots (`never`) before it have ended.

use std::collections::VecDeque;
use std::time::Duration;

use bootd_protocol::manifest::{Process, Restart};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A process that ran this long starts again with the first pause.
const STEADY: Duration = Duration::from_secs(10);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// It could not be started.
    NotStarted,
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start the process with this index and call [`Supervisor::started`] or
    /// [`Supervisor::not_started`].
    Start(usize),
    /// Ask it to end (SIGTERM).
    Terminate(i32),
    /// Something to tell the operator.
    Tell {
        /// The process.
        name: String,
        /// How it ended.
        how: Ended,
        /// When it is started again, if it is.
        again_in: Option<Duration>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Starting,
    Running { pid: i32, since: Duration },
    Pausing { until: Duration },
    Done,
}

#[derive(Debug)]
struct Watched {
    name: String,
    restart: Restart,
    state: State,
    pause: Duration,
}

/// The machine.
#[derive(Debug)]
pub struct Supervisor {
    processes: Vec<Watched>,
    stopping: bool,
    commands: VecDeque<Command>,
}

impl Supervisor {
    /// Begins with the first processes.
    #[must_use]
    pub fn new(processes: &[Process]) -> Self {
        let watched = processes.iter().map(|it| Watched {
            name: it.name.clone(),
            restart: it.restart,
            state: State::Waiting,
            pause: FIRST_PAUSE,
        });
        let mut supervisor = Supervisor {
            processes: watched.collect(),
            stopping: false,
            commands: VecDeque::new(),
        };
        supervisor.take_turns();
        supervisor
    }

    /// The next thing to do.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`Supervisor::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let due = |it: &Watched| match it.state {
            State::Pausing { until } => Some(until),
            State::Waiting | State::Starting | State::Running { .. } | State::Done => None,
        };
        self.processes.iter().filter_map(due).min()
    }

    /// Whether every process that should run does, and every one-shot has ended.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.processes.iter().all(|it| match it.state {
            State::Running { .. } => it.restart != Restart::Never,
            State::Done => true,
            State::Waiting | State::Starting | State::Pausing { .. } => false,
        })
    }

    /// Whether nothing runs any more.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self
            .processes
            .iter()
            .any(|it| matches!(it.state, State::Running { .. }))
    }

    /// The process runs.
    pub fn started(&mut self, index: usize, pid: i32, now: Duration) {
        if let Some(process) = self.processes.get_mut(index) {
            process.state = State::Running { pid, since: now };
        }
        self.take_turns();
    }

    /// The process could not be started.
    pub fn not_started(&mut self, index: usize, now: Duration) {
        self.ended(index, Ended::NotStarted, now, now);
    }

    /// A child has ended; one that is not ours (an orphan that PID 1 inherits) is ignored.
    pub fn handle_exit(&mut self, pid: i32, how: Ended, now: Duration) {
        let found = self
            .processes
            .iter()
            .enumerate()
            .find_map(|(index, it)| match it.state {
                State::Running {
                    pid: running,
                    since,
                } if running == pid => Some((index, since)),
                State::Running { .. }
                | State::Waiting
                | State::Starting
                | State::Pausing { .. }
                | State::Done => None,
            });
        if let Some((index, since)) = found {
            self.ended(index, how, since, now);
        }
    }

    /// Starts again what has paused long enough.
    pub fn handle_timeout(&mut self, now: Duration) {
        for (index, process) in self.processes.iter_mut().enumerate() {
            if matches!(process.state, State::Pausing { until } if until <= now) {
                process.state = State::Starting;
                self.commands.push_back(Command::Start(index));
            }
        }
    }

    /// Ends everything; nothing is started again.
    pub fn stop(&mut self) {
        self.stopping = true;
        for process in &mut self.processes {
            match process.state {
                State::Running { pid, .. } => self.commands.push_back(Command::Terminate(pid)),
                State::Waiting | State::Starting | State::Pausing { .. } | State::Done => {
                    process.state = State::Done;
                }
            }
        }
    }

    fn ended(&mut self, index: usize, how: Ended, since: Duration, now: Duration) {
        let stopping = self.stopping;
        let Some(process) = self.processes.get_mut(index) else {
            return;
        };
        let again = match process.restart {
            Restart::Always => true,
            Restart::OnFailure => how != Ended::Exited(0),
            Restart::Never => false,
        } && !stopping;
        if now.saturating_sub(since) >= STEADY {
            process.pause = FIRST_PAUSE;
        }
        let again_in = again.then_some(process.pause);
        process.state = again_in.map_or(State::Done, |pause| State::Pausing { until: now + pause });
        process.pause = (process.pause * 2).min(LONGEST_PAUSE);
        let quiet = stopping || (!again && how == Ended::Exited(0));
        if !quiet {
            let name = process.name.clone();
            self.commands.push_back(Command::Tell {
                name,
                how,
                again_in,
            });
        }
        self.take_turns();
    }

    fn take_turns(&mut self) {
        for (index, process) in self.processes.iter_mut().enumerate() {
            if process.state == State::Waiting {
                process.state = State::Starting;
                self.commands.push_back(Command::Start(index));
            }
            if process.restart == Restart::Never && process.state != State::Done {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bootd_protocol::manifest::{ProcessKind, Readiness};

    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn process(name: &str, restart: Restart) -> Process {
        Process {
            name: name.into(),
            package: "p".into(),
            argv: vec!["/bin/true".into()],
            env: vec![],
            restart,
            kind: ProcessKind::Simple,
            readiness: Readiness::Started,
            limits: [].into(),
        }
    }

    fn commands(supervisor: &mut Supervisor) -> Vec<Command> {
        std::iter::from_fn(|| supervisor.next_command()).collect()
    }

    #[test]
    fn one_shots_come_before_what_follows_them() {
        let list = [
            process("setup", Restart::Never),
            process("a", Restart::Always),
            process("b", Restart::Always),
        ];
        let mut it = Supervisor::new(&list);
        assert_eq!(commands(&mut it), [Command::Start(0)]);
        it.started(0, 10, NOW);
        assert_eq!(commands(&mut it), []);
        it.handle_exit(99, Ended::Exited(0), NOW);
        assert_eq!(commands(&mut it), [], "an orphan is nobody's business");
        it.handle_exit(10, Ended::Exited(0), NOW);
        assert_eq!(commands(&mut it), [Command::Start(1), Command::Start(2)]);
        it.started(1, 11, NOW);
        assert!(!it.settled());
        it.started(2, 12, NOW);
        assert!(it.settled());
    }

    #[test]
    fn what_ends_is_started_again_with_growing_pauses() {
        let mut it = Supervisor::new(&[process("a", Restart::Always)]);
        let mut now = NOW;
        let mut pauses = Vec::new();
        for pid in 1..12 {
            assert_eq!(commands(&mut it), [Command::Start(0)]);
            it.started(0, pid, now);
            it.handle_exit(pid, Ended::Signaled(11), now);
            let due = it.poll_timeout().unwrap();
            let again_in = Some(due - now);
            let tell = Command::Tell {
                name: "a".into(),
                how: Ended::Signaled(11),
                again_in,
            };
            assert_eq!(commands(&mut it), [tell]);
            pauses.push((due - now).as_millis());
            now = due;
            it.handle_timeout(now);
        }
        let expected = [
            200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000,
        ];
        assert_eq!(pauses, expected);

        commands(&mut it);
        it.started(0, 50, now);
        it.handle_exit(50, Ended::Exited(1), now + STEADY);
        assert_eq!(
            it.poll_timeout(),
            Some(now + STEADY + FIRST_PAUSE),
            "steady for long enough"
        );
    }

    #[test]
    fn a_program_that_is_missing_is_told_and_tried_again() {
        let mut it = Supervisor::new(&[process("a", Restart::OnFailure)]);
        commands(&mut it);
        it.not_started(0, NOW);
        let again_in = Some(FIRST_PAUSE);
        let tell = Command::Tell {
            name: "a".into(),
            how: Ended::NotStarted,
            again_in,
        };
        assert_eq!(commands(&mut it), [tell]);
        it.handle_timeout(NOW + FIRST_PAUSE);
        assert_eq!(commands(&mut it), [Command::Start(0)]);
        it.started(0, 7, NOW);
        it.handle_exit(7, Ended::Exited(0), NOW);
        assert_eq!((commands(&mut it), it.settled()), (vec![], true));
    }

    #[test]
    fn stop_ends_everything_and_starts_nothing() {
        let mut it =
            Supervisor::new(&[process("a", Restart::Always), process("b", Restart::Always)]);
        commands(&mut it);
        it.started(0, 5, NOW);
        it.not_started(1, NOW);
        commands(&mut it);
        it.stop();
        assert_eq!(commands(&mut it), [Command::Terminate(5)]);
        assert!(!it.is_idle());
        it.handle_exit(5, Ended::Signaled(15), NOW);
        assert_eq!(
            (commands(&mut it), it.is_idle(), it.poll_timeout()),
            (vec![], true, None)
        );
    }
}
