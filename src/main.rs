//! The command line in, an exit code out.

use std::process::ExitCode;

use clap::Parser;
use gb10_provision_api::cli::{self, Cli, Command};
use gb10_provision_api::{journal, service};
use listenfd::ListenFd;
use tracing::error;

fn main() -> ExitCode {
    let Cli { command, config } = Cli::parse();
    match command {
        Some(Command::Check) => return cli::check(&config),
        Some(Command::Manifest { action }) => return cli::manifest(&config, &action),
        Some(Command::Completions { shell }) => return cli::completions(shell),
        None => {}
    }
    // As listenfd asks, before there is any thread.
    let inherited = ListenFd::from_env();
    journal::init(&config.log);
    match service::run(&config, inherited) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}
