//! Blank machines are switched on: each firmware must come to ask for a boot file by DHCP.

use std::fmt;
use std::io::{IsTerminal, stdout};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bootd_protocol::identity::Mac;

use super::{PATIENCE, log_dir};
use crate::console::{Board, Event, EventKind, Stage, View};
use crate::lab::Lab;
use crate::nbd::{Disk, NbdServer};
use crate::options::MachineOptions;
use crate::qemu::{Entry, Machine, MachineSpec};

/// A redraw of the view at least this often.
const TICK: Duration = Duration::from_millis(200);

/// Bytes of a BOOTP packet before its options, the magic cookie included (RFC 2131).
const OPTIONS_AT: usize = 240;

/// What the view shows, in the order that it happened.
enum News {
    Event(Event),
    /// A line of the console that was asked for.
    Serial(String),
}

/// A machine and its disk; the machine first, so that it is dropped first.
struct Running {
    _machine: Machine,
    _disk: NbdServer,
}

/// Machines that have asked for a boot file; dropping it cuts their power.
pub struct Blank {
    _machines: Vec<Running>,
}

/// Switches the machines on and shows them until each has asked for a boot file.
///
/// # Errors
/// A machine does not start, or does not ask in time.
pub fn firmware(lab: &mut Lab, options: &MachineOptions, work_dir: &Path) -> Result<Blank> {
    let machines = options.machines()?;
    let started = Instant::now();
    let (sender, news) = channel();
    let reporter = |name: &str| Reporter {
        node: name.to_owned(),
        started,
        news: sender.clone(),
    };
    let mut running = Vec::new();
    let mut known = Vec::new();
    for ((name, firmware), number) in machines.iter().zip(1..) {
        let mac = Mac([0x52, 0x54, 0, 0x77, 0, number]);
        let mut spec = MachineSpec::new(name, *firmware, mac, &lab.run_dir(), &log_dir(work_dir)?);
        spec.accel = options.accel;
        let serial = options.serial.as_deref() == Some(name);
        running.push(power_on(lab, spec, serial, reporter(name))?);
        known.push((mac, reporter(name)));
    }
    listen(known)?;
    show(Board::new(&machines), &news, started)?;
    Ok(Blank { _machines: running })
}

/// Shows the news until every machine is at its netboot.
fn show(board: Board, news: &Receiver<News>, started: Instant) -> Result<()> {
    let mut view = View::new(board, stdout(), stdout().is_terminal());
    while !view.board().all_in(Stage::Netboot) {
        ensure!(
            started.elapsed() < PATIENCE,
            "a machine did not ask for a boot file in time"
        );
        match news.recv_timeout(TICK) {
            Ok(News::Event(event)) => view.apply(&event)?,
            Ok(News::Serial(line)) => view.say(&line, started.elapsed())?,
            Err(RecvTimeoutError::Timeout) => view.tick(started.elapsed())?,
            Err(RecvTimeoutError::Disconnected) => bail!("nobody reports any more"),
        }
    }
    view.finish()?;
    Ok(())
}

fn power_on(
    lab: &mut Lab,
    mut spec: MachineSpec,
    serial: bool,
    reporter: Reporter,
) -> Result<Running> {
    let socket = lab.run_dir().join(format!("{}.disk", spec.name));
    let server = NbdServer::serve(Arc::new(Disk::blank(1 << 30)), &socket)?;
    spec.disk = Some(socket);
    spec.tap = Some(lab.add_tap()?.name().to_owned());
    reporter.report(EventKind::Stage(Stage::PowerOn));
    let is_first = AtomicBool::new(true);
    let machine = Machine::power_on(&spec, move |entry| {
        if is_first.swap(false, Ordering::Relaxed) {
            reporter.report(EventKind::Stage(Stage::Firmware));
        }
        if serial {
            reporter.serial(entry);
        }
    })?;
    Ok(Running {
        _machine: machine,
        _disk: server,
    })
}

/// Tells the view about one machine. The view may have ended: then nobody listens.
struct Reporter {
    node: String,
    started: Instant,
    news: Sender<News>,
}

impl Reporter {
    fn report(&self, kind: EventKind) {
        let _ = self.news.send(News::Event(Event {
            node: self.node.clone(),
            at: self.started.elapsed(),
            kind,
        }));
    }

    fn serial(&self, entry: &Entry) {
        let _ = self
            .news
            .send(News::Serial(format!("{} {entry}", self.node)));
    }
}

/// Hears the machines' DHCP requests, and answers none.
fn listen(known: Vec<(Mac, Reporter)>) -> Result<()> {
    let port = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).context("cannot hear DHCP")?;
    std::thread::spawn(move || {
        let mut packet = [0; 1500];
        let mut heard: Vec<Mac> = Vec::new();
        while let Ok(length) = port.recv(&mut packet) {
            let request = Request::parse(&packet[..length]);
            let sender = known.iter().find(|(mac, _)| Some(*mac) == request.mac);
            if let Some((mac, reporter)) = sender
                && !heard.contains(mac)
            {
                heard.push(*mac);
                reporter.report(EventKind::Note(request.to_string()));
                reporter.report(EventKind::Stage(Stage::Netboot));
            }
        }
    });
    Ok(())
}

/// What the test wants to know of a DHCP request (RFC 2131, section 2).
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    mac: Option<Mac>,
    /// Option 93 (RFC 4578, section 2.1).
    architecture: Option<u16>,
    /// Option 60.
    vendor_class: String,
}

impl Request {
    fn parse(packet: &[u8]) -> Self {
        let mac = packet.get(28..34).and_then(|bytes| bytes.try_into().ok());
        let mut request = Request {
            mac: mac.map(Mac),
            ..Request::default()
        };
        let mut rest = packet.get(OPTIONS_AT..).unwrap_or_default();
        while let [code @ 1..=254, length, tail @ ..] = rest {
            let Some((value, next)) = tail.split_at_checked(usize::from(*length)) else {
                break;
            };
            match code {
                60 => request.vendor_class = String::from_utf8_lossy(value).into_owned(),
                93 => request.architecture = value.try_into().ok().map(u16::from_be_bytes),
                _ => {}
            }
            rest = next;
        }
        request
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asks by DHCP: {:?}", self.vendor_class)?;
        match self.architecture {
            Some(architecture) => write!(f, ", architecture {architecture}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_who_asks_for_what() {
        let mut packet = vec![0; OPTIONS_AT];
        packet[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        packet.extend(b"\x3c\x03PXE\x5d\x02\0\x07\xff");
        let request = Request::parse(&packet);
        assert_eq!(request.mac, Some(Mac([2, 0, 0, 0, 0, 9])));
        assert_eq!(request.to_string(), "asks by DHCP: \"PXE\", architecture 7");
        assert_eq!(Request::parse(&packet[..20]), Request::default());
        packet.truncate(OPTIONS_AT + 3);
        assert_eq!(Request::parse(&packet).vendor_class, "");
    }
}
