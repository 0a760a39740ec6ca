//! `gb10-provision-api completions`: what a shell needs to complete our command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// Prints the completions of a shell.
pub fn run(shell: Shell) -> ExitCode {
    let mut command = Cli::command();
    clap_complete::generate(
        shell,
        &mut command,
        "gb10-provision-api",
        &mut std::io::stdout(),
    );
    ExitCode::SUCCESS
}
