//! PID 1 of a node.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use node_initramfs::boot::boot;
use node_initramfs::console::{Console, chain};
use node_initramfs::run::restart;

/// Long enough for a person to read why.
const FAILURE_PAUSE: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let origin = Instant::now();
    let console = Console::new(origin);
    if std::process::id() != 1 {
        console
            .say("this is the init of a boot image; it runs as PID 1 of a node and nowhere else");
        return ExitCode::FAILURE;
    }
    let problem = match boot(origin) {
        Ok(never) => match never {},
        Err(problem) => problem,
    };
    console.say(format_args!("cannot boot: {}", chain(&problem)));
    console.say(format_args!(
        "restarting in {} seconds",
        FAILURE_PAUSE.as_secs()
    ));
    std::thread::sleep(FAILURE_PAUSE);
    match restart() {
        Ok(never) => match never {},
        // The end of PID 1 is a kernel panic, and that restarts the machine too.
        Err(_) => ExitCode::FAILURE,
    }
}
