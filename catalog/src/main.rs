//! `catalog`: the operator's command over the catalog's rows.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the command's output"
)]

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // One line a cause: what was tried first, why it failed last.
            eprintln!("catalog: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::from(1)
        }
    }
}
