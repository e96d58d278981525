//! Commands that bootd runs for the operator: those that reset a node.
//!
//! bootd can start no program once it has given up what it had: the programs are out of its reach.
//! So a helper is started before: this program once more, as the same user, with nothing but a pipe
//! to the master and one back. It runs what it is told, at most [`helper::AT_ONCE`] commands at once
//! and each for at most [`helper::LIMIT`], and ends with the master.

pub mod helper;

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

/// The search path of commands.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The argument that makes this program the helper.
pub const ARGUMENT: &str = "--run-hooks";

/// A command that resets a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The preparation that wants it.
    pub preparation: i64,
    /// The node.
    pub node: String,
    /// Program and arguments.
    pub argv: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The preparation that wanted it.
    pub preparation: i64,
    /// The node.
    pub node: String,
    /// In words.
    pub result: String,
}

/// The helper, from the master's side. Clones reach the same one.
#[derive(Debug, Clone)]
pub struct Hooks(Arc<Mutex<Option<ChildStdin>>>);

/// What comes back from the helper.
#[derive(Debug)]
pub struct Outcomes {
    child: Child,
    output: ChildStdout,
}

impl Hooks {
    /// Starts the helper, which becomes `user` as the master does. To be called before the master
    /// gives anything up.
    ///
    /// # Errors
    /// No process.
    pub fn start(user: Option<&str>) -> io::Result<(Self, Outcomes)> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(ARGUMENT)
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(user) = user {
            command.args(["--user", user]);
        }
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take();
        let output = output.ok_or_else(|| io::Error::other("the helper has no output"))?;
        let hooks = Hooks(Arc::new(Mutex::new(input)));
        Ok((hooks, Outcomes { child, output }))
    }

    /// Nobody runs commands.
    #[must_use]
    pub fn none() -> Self {
        Hooks(Arc::new(Mutex::new(None)))
    }

    /// Has a command run.
    ///
    /// # Errors
    /// There is no helper, or it has ended.
    pub fn run(&self, job: &Job) -> io::Result<()> {
        let mut input = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let input = input.as_mut();
        let input = input.ok_or_else(|| io::Error::other("there is no helper to run it"))?;
        input.write_all(&job.to_bytes())?;
        input.flush()
    }
}

impl Outcomes {
    /// Hands on what comes until the helper ends.
    pub fn read(mut self, mut tell: impl FnMut(Outcome)) {
        for line in BufReader::new(self.output).lines().map_while(Result::ok) {
            match Outcome::parse(&line) {
                Some(outcome) => tell(outcome),
                None => warn!("the helper says {line:?}"),
            }
        }
        // What it ended with does not matter: nothing can be run any more.
        let _ = self.child.wait();
        warn!("the helper that runs commands has ended: no node can be reset");
    }
}

impl Job {
    /// Fields that end with a zero byte, which no argument can have: the number of the preparation,
    /// the node, the number of arguments, the arguments.
    fn to_bytes(&self) -> Vec<u8> {
        let head = [
            self.preparation.to_string(),
            self.node.clone(),
            self.argv.len().to_string(),
        ];
        let fields = head.iter().chain(&self.argv);
        fields
            .flat_map(|field| field.bytes().filter(|it| *it != 0).chain([0]))
            .collect()
    }
}

impl Outcome {
    fn to_line(&self) -> String {
        format!("{}\t{}\t{}\n", self.preparation, self.node, self.result)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(3, '\t');
        Some(Outcome {
            preparation: fields.next()?.parse().ok()?,
            node: fields.next()?.to_owned(),
            result: fields.next()?.to_owned(),
        })
    }
}
