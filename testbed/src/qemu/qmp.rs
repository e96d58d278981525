//! A small client of QEMU's machine protocol (QEMU, `docs/interop/qmp-spec.txt`).

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::transcript::{Happening, Transcript};

/// QEMU answers from its main loop; under a loaded host that can take a while.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command to QEMU failed.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The connection broke: QEMU has ended.
    #[error("QEMU is gone")]
    Gone,
    /// QEMU said no, in its own words.
    #[error("QEMU refuses {command}: {message}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's description.
        message: String,
    },
}

/// A connection to a running QEMU.
pub(super) struct Qmp {
    /// One command at a time.
    inner: Mutex<Inner>,
}

struct Inner {
    writer: UnixStream,
    answers: Receiver<Value>,
}

impl Qmp {
    /// Begins the conversation; what QEMU reports by itself goes to the transcript.
    pub(super) fn start(
        stream: UnixStream,
        transcript: Arc<Transcript>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let reader = stream.try_clone()?;
        let (sender, answers) = channel();
        let thread = std::thread::Builder::new()
            .name("qmp".to_owned())
            .spawn(move || read_all(reader, &sender, &transcript))?;
        let inner = Mutex::new(Inner {
            writer: stream,
            answers,
        });
        Ok((Qmp { inner }, thread))
    }

    /// Sends a command without arguments and waits for its answer.
    pub(super) fn execute(&self, command: &str) -> Result<(), QmpError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let request = format!("{}\n", json!({ "execute": command }));
        inner
            .writer
            .write_all(request.as_bytes())
            .map_err(|_| QmpError::Gone)?;
        let answer = inner
            .answers
            .recv_timeout(PATIENCE)
            .map_err(|_| QmpError::Gone)?;
        match answer["error"]["desc"].as_str() {
            None => Ok(()),
            Some(message) => Err(QmpError::Refused {
                command: command.to_owned(),
                message: message.to_owned(),
            }),
        }
    }
}

fn read_all(stream: UnixStream, answers: &Sender<Value>, transcript: &Transcript) {
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if message.get("return").is_some() || message.get("error").is_some() {
            // The other side may have stopped waiting.
            let _ = answers.send(message);
        } else if let Some(what) = happening(&message) {
            transcript.add(what);
        }
    }
}

/// The events that matter to a test.
fn happening(message: &Value) -> Option<Happening> {
    let by_guest = message["data"]["guest"].as_bool().unwrap_or(false);
    match message["event"].as_str()? {
        "RESET" => Some(Happening::Restarted { by_guest }),
        "SHUTDOWN" if by_guest => Some(Happening::PoweredOff),
        // Nobody here pauses a machine: it is KVM that cannot run it on.
        "STOP" => Some(Happening::Halted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_events_are_told_apart() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let log = tempfile::tempfile().unwrap();
        let transcript = Arc::new(Transcript::new(log, Box::new(|_| {})));
        let (qmp, thread) = Qmp::start(ours, Arc::clone(&transcript)).unwrap();
        let server = std::thread::spawn(move || {
            let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
            let mut writer = theirs;
            writer.write_all(b"{\"QMP\": {}}\r\n").unwrap();
            assert_eq!(
                lines.next().unwrap().unwrap(),
                r#"{"execute":"system_reset"}"#
            );
            writer
                .write_all(
                    b"{\"event\": \"RESET\", \"data\": {\"guest\": false}}\r\n{\"return\": {}}\r\n",
                )
                .unwrap();
            lines.next().unwrap().unwrap();
            writer
                .write_all(b"{\"error\": {\"desc\": \"no\"}}\r\n")
                .unwrap();
        });
        qmp.execute("system_reset").unwrap();
        assert_eq!(
            qmp.execute("dance").unwrap_err().to_string(),
            "QEMU refuses dance: no"
        );
        server.join().unwrap();
        assert!(matches!(qmp.execute("quit"), Err(QmpError::Gone)));
        thread.join().unwrap();
        let entries = transcript.entries(0);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].what, Happening::Restarted { by_guest: false });
    }
}
