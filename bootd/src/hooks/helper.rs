//! The helper: runs commands, and says how they ended.

use std::io::{self, BufRead, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Job, Outcome};

/// So many commands run at once; the others wait.
pub const AT_ONCE: usize = 8;
/// A command that runs longer is killed, with all that it has started.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How much of the last line of its output is told, in characters.
const LINE: usize = 200;
/// Output is read for so long after a command has ended: what it left running may hold it open.
const LATE_OUTPUT: Duration = Duration::from_millis(300);

/// Reads jobs from `input` and writes what came of them to standard output, until `input` ends.
///
/// # Errors
/// `input` cannot be read, or says what makes no sense.
pub fn serve(mut input: impl BufRead) -> io::Result<()> {
    let (jobs, waiting) = channel();
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..AT_ONCE {
        let waiting = Arc::clone(&waiting);
        thread::spawn(move || work(&waiting));
    }
    while let Some(job) = read(&mut input)? {
        if jobs.send(job).is_err() {
            break;
        }
    }
    Ok(())
}

fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(job) = next else {
            return;
        };
        let outcome = Outcome {
            result: run(&job.argv, LIMIT),
            preparation: job.preparation,
            node: job.node,
        };
        // Where nobody reads, the master has ended, and so does this.
        let mut out = io::stdout().lock();
        let _ = out.write_all(outcome.to_line().as_bytes());
        let _ = out.flush();
    }
}

fn read(input: &mut impl BufRead) -> io::Result<Option<Job>> {
    let mut field = || -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        input.read_until(0, &mut bytes)?;
        if bytes.pop() != Some(0) {
            return Ok(None);
        }
        String::from_utf8(bytes).map(Some).map_err(io::Error::other)
    };
    let (Some(preparation), Some(node), Some(count)) = (field()?, field()?, field()?) else {
        return Ok(None);
    };
    let count: usize = count.parse().map_err(io::Error::other)?;
    let mut argv = Vec::new();
    for _ in 0..count {
        match field()? {
            Some(argument) => argv.push(argument),
            None => return Ok(None),
        }
    }
    Ok(Some(Job {
        preparation: preparation.parse().map_err(io::Error::other)?,
        node,
        argv,
    }))
}

/// Runs a command to its end, or to `limit`: how it ended, and the last line it said.
pub(super) fn run(argv: &[String], limit: Duration) -> String {
    let Some((program, arguments)) = argv.split_first() else {
        return "no program".to_owned();
    };
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return format!("{program} cannot be started: {error}"),
    };
    let last = Arc::new(Mutex::new(String::new()));
    let readers = [
        child.stdout.take().map(|it| listen(it, &last)),
        child.stderr.take().map(|it| listen(it, &last)),
    ];
    let how = match wait(&mut child, limit) {
        Ok(Some(status)) => told(status),
        Ok(None) => format!("killed after {} s", limit.as_secs()),
        Err(error) => format!("cannot be waited for: {error}"),
    };
    let until = Instant::now() + LATE_OUTPUT;
    while readers.iter().flatten().any(|it| !it.is_finished()) && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    let last = last.lock().unwrap_or_else(PoisonError::into_inner);
    match last.is_empty() {
        true => how,
        false => format!("{how}: {last}"),
    }
}

fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(20));
    }
    if let Ok(group) = i32::try_from(child.id()) {
        // Whoever has ended meanwhile cannot be killed.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    child.wait()?;
    Ok(None)
}

/// Keeps the last line that has something in it.
fn listen(output: impl Read + Send + 'static, last: &Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    let last = Arc::clone(last);
    thread::spawn(move || {
        let mut output = io::BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = u64::try_from(8 * LINE).unwrap_or(u64::MAX);
            match output.by_ref().take(limit).read_until(b'\n', &mut line) {
                Ok(len) if len > 0 => {}
                _ => return,
            }
            let text = String::from_utf8_lossy(&line);
            let text: String = text
                .trim()
                .chars()
                .filter(|it| !it.is_control())
                .take(LINE)
                .collect();
            if !text.is_empty() {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = text;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> String {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&argv, limit)
    }

    #[test]
    fn how_a_command_ended_and_what_it_said_last() {
        let limit = Duration::from_secs(20);
        assert_eq!(
            sh("echo one; echo two >&2; exit 3", limit)
                .split(':')
                .next(),
            Some("exit status 3")
        );
        assert_eq!(
            sh("echo one; printf 'two\\n\\n'", limit),
            "exit status 0: two"
        );
        assert_eq!(sh("kill -9 $$", limit), "ended by signal 9");
        let none = run(&["/no/such".to_owned()], limit);
        assert!(none.starts_with("/no/such cannot be started"), "{none}");
        assert_eq!(run(&[], limit), "no program");
    }

    #[test]
    fn one_that_does_not_end_is_killed_with_all_it_started() {
        let begun = Instant::now();
        let told = sh(
            "echo begun; sleep 100 & sleep 100",
            Duration::from_millis(200),
        );
        assert_eq!(told, "killed after 0 s: begun");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn jobs_and_outcomes_come_through() {
        let job = |node: &str| Job {
            preparation: 7,
            node: node.into(),
            argv: vec!["/bin/x".into(), String::new(), "a b\n".into()],
        };
        let bytes = [job("a").to_bytes(), job("b").to_bytes()].concat();
        let mut input = bytes.as_slice();
        assert_eq!(read(&mut input).unwrap(), Some(job("a")));
        assert_eq!(read(&mut input).unwrap(), Some(job("b")));
        assert_eq!(read(&mut input).unwrap(), None);
        let outcome = Outcome {
            preparation: 7,
            node: "a".into(),
            result: "exit status 0: a\tb".into(),
        };
        let line = outcome.to_line();
        assert_eq!(Outcome::parse(line.trim_end()), Some(outcome));
    }
}
