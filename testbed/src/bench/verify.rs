//! How many questions a `bootd` answers, beside a bare loop that only does what cannot be left
//! out: receive, check the signature, sign, send.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bootd_protocol::verify::MAX_LEN;
use bootd_protocol::verify::header::{Envelope, Header, Kind, seal};
use bootd_protocol::verify::key::{KeyId, PublicKey};
use bootd_protocol::verify::message::{Action, Verdict};

use super::Bench;
use super::load::{self, Outcome, Question};
use super::memory::megabytes;
use super::proc::{self, Cpus, Memory};

/// How the master is loaded.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Nodes in the catalog
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub nodes: u16,
    /// For how long, each for bootd and the bare loop
    #[arg(long, value_name = "S", default_value_t = 5)]
    pub seconds: u8,
    /// Questions that wait for their answers at any time
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub outstanding: u16,
    /// bootd's log level: at info it writes a line for each question
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log: String,
}

/// A load, and what it cost the one who answered.
struct Measured {
    outcome: Outcome,
    /// CPU time by thread.
    cpu: BTreeMap<String, Duration>,
}

impl Measured {
    /// CPU milliseconds for 10,000 answers.
    fn cost(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e7 / f64::from(self.outcome.answered().max(1))
    }

    fn whole_cost(&self) -> f64 {
        self.cost(self.cpu.values().sum())
    }
}

/// Measures, and prints a Markdown table.
///
/// # Errors
/// `bootd` does not start, or answers anything but *run*; a socket fails.
pub fn run(options: &Options) -> Result<()> {
    let lanes = usize::from(options.outstanding);
    ensure!(
        (1..=options.nodes).contains(&options.outstanding),
        "--outstanding is from 1 to the number of nodes"
    );
    let limit = Duration::from_secs(u64::from(options.seconds.max(1)));
    let cpus = Cpus::choose()?;
    proc::pin(cpus.map(|it| it.master))?;
    let bench = Bench::start(options.nodes, &options.log)?;
    let most = bench.pace()? * u32::from(options.seconds.max(1));
    let mut questions = bench.questions(usize::try_from(most)?.max(lanes), lanes)?;
    let bare = bench.bare_loop(cpus, &mut questions, limit)?;
    // The nodes have their answers, so they boot and ask anew.
    drop(questions);
    let mut questions = bench.questions(usize::try_from(most)?.max(lanes), lanes)?;
    proc::pin(cpus.map(|it| it.load))?;
    let before = proc::cpu_times(bench.pid()?)?;
    let outcome = load::run(bench.address, &mut questions, limit)?;
    let mut cpu = proc::cpu_times(bench.pid()?)?;
    for (name, time) in &mut cpu {
        *time -= before.get(name).copied().unwrap_or_default();
    }
    let bootd = Measured { outcome, cpu };
    print(options, &bootd, &bare, proc::memory(bench.pid()?)?);
    bench.stop()
}

impl Bench {
    /// Questions that this CPU can check and answer in a second, roughly: no more need be signed
    /// beforehand.
    fn pace(&self) -> Result<u32> {
        let question = self.question(0, 1)?;
        let (rounds, begun) = (200, Instant::now());
        for _ in 0..rounds {
            std::hint::black_box(self.answer(&question.datagram, self.members[0].identity.key)?);
        }
        Ok(rounds * 1000 / u32::try_from(begun.elapsed().as_millis())?.max(1))
    }

    fn answer(&self, datagram: &[u8], key: PublicKey) -> Result<Vec<u8>> {
        let question = Envelope::parse(datagram)?;
        question.check(&key)?;
        let header = Header {
            kind: Kind::Verdict,
            epoch: 1,
            ..question.header
        };
        let verdict = Verdict {
            action: Action::Run,
            hostname: "node-00000".into(),
            reason: String::new(),
        };
        Ok(seal(&header, &verdict.to_body(), 0, &self.key))
    }

    /// The same load on the bare loop.
    fn bare_loop(
        &self,
        cpus: Option<Cpus>,
        questions: &mut [Vec<Question>],
        limit: Duration,
    ) -> Result<Measured> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        let (outcome, cpu) = thread::scope(|scope| {
            let server = scope.spawn(|| {
                proc::pin(cpus.map(|it| it.master))?;
                self.serve_bare(&socket)
            });
            proc::pin(cpus.map(|it| it.load))?;
            let outcome = load::run(address, questions, limit);
            stop_bare(address)?;
            let cpu = server.join().map_err(|_| anyhow!("the loop panicked"))??;
            anyhow::Ok((outcome.context("the bare loop")?, cpu))
        })?;
        let cpu = BTreeMap::from([("loop".to_owned(), cpu)]);
        Ok(Measured { outcome, cpu })
    }

    /// Serves until an empty datagram comes; the CPU time it took.
    fn serve_bare(&self, socket: &UdpSocket) -> Result<Duration> {
        let keys = self.members.iter().map(|it| it.identity.key);
        let keys: HashMap<KeyId, PublicKey> = keys.map(|key| (key.id(), key)).collect();
        let begun = proc::own_cpu_time()?;
        let mut buffer = [0; MAX_LEN];
        loop {
            let (len, from) = socket.recv_from(&mut buffer)?;
            let datagram = &buffer[..len];
            if datagram.is_empty() {
                return Ok(proc::own_cpu_time()?.saturating_sub(begun));
            }
            let node = Envelope::parse(datagram)?.header.node;
            let key = keys.get(&node).context("a node of the catalog")?;
            socket.send_to(&self.answer(datagram, *key)?, from)?;
        }
    }
}

fn stop_bare(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.send_to(&[], address)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "its result")]
fn print(options: &Options, bootd: &Measured, bare: &Measured, memory: Memory) {
    let row = |what: &str, [bootd, bare]: [String; 2]| println!("| {what} | {bootd} | {bare} |");
    let both = |value: &dyn Fn(&Measured) -> String| [value(bootd), value(bare)];
    println!(
        "{} nodes, {} questions outstanding, answers signed and checked; questions are signed \
         and answers checked outside of the timed part; bootd logs at {}\n",
        options.nodes, options.outstanding, options.log
    );
    row("verify", ["bootd".into(), "bare loop".into()]);
    row("---", ["---:".into(), "---:".into()]);
    let rate = |it: &Measured| format!("{:.0}", it.outcome.rate());
    row("verifications per second", both(&rate));
    for (name, per_thousand) in [("p50", 500), ("p99", 990), ("max", 1000)] {
        let micros = |it: &Measured| it.outcome.latency(per_thousand).as_micros().to_string();
        row(&format!("latency {name}, µs"), both(&micros));
    }
    let cost = |it: &Measured| format!("{:.0}", it.whole_cost());
    row("CPU time per 10,000, ms", both(&cost));
    for (thread, cpu) in bootd.cpu.iter().filter(|(_, cpu)| !cpu.is_zero()) {
        let cost = format!("{:.0}", bootd.cost(*cpu));
        row(&format!("- of it thread {thread}"), [cost, String::new()]);
    }
    row("answers", both(&|it| it.outcome.answered().to_string()));
    row("lost", both(&|it| it.outcome.lost.to_string()));
    let peak = megabytes(memory.peak);
    row("largest resident memory, MB", [peak, String::new()]);
    println!(
        "\nbootd to bare loop: {:.2} of its rate, {:.2} times its CPU time",
        bootd.outcome.rate() / bare.outcome.rate(),
        bootd.whole_cost() / bare.whole_cost()
    );
}
