//! The command line in, an exit code out.

use std::process::ExitCode;

use gb10_provision_api::cli::Cli;

fn main() -> ExitCode {
    Cli::of_arguments().run()
}
