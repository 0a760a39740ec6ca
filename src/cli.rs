//! The command line.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::Config;
use crate::seed::{Templates, templates_folder};
use crate::site::SiteFiles;

/// Serves NoCloud seeds and onboarding files to NVIDIA GB10 boxes and records their heartbeats.
///
/// Run by systemd it takes the sockets of gb10-provision-api.socket; run by hand it listens on
/// 127.0.0.1:8088 with the embedded templates. See gb10-provision-api(8).
#[derive(Debug, Parser)]
#[command(name = "gb10-provision-api", version, max_term_width = 100)]
pub struct Cli {
    /// What to do; without a command, serve.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The settings.
    #[command(flatten)]
    pub config: Config,
}

/// What there is to do besides serving.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Render every staged template for a sample device and for an unknown one; exit 1 on a fault
    Check,
    /// Print the completions of a shell
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Tries every staged template and prints each fault with file and line.
pub fn check(config: &Config) -> ExitCode {
    let folder = templates_folder(&config.data_path);
    let site_files = Arc::new(SiteFiles::load(&config.data_path));
    let templates = match Templates::load(
        folder.clone(),
        config.fallback_password_hash.reveal(),
        Arc::clone(&site_files),
    ) {
        Ok(templates) => templates,
        Err(error) => {
            eprintln!("the embedded templates are broken, which is a defect: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (tried, faults) = templates.check();
    let site_faults = site_files.faults();
    for fault in &faults {
        eprintln!("{}/{fault}", folder.display());
    }
    for fault in &site_faults {
        eprintln!("{}/{fault}", config.data_path.display());
    }
    let (templates, faults) = (tried.len(), faults.len() + site_faults.len());
    println!(
        "{}: {templates} templates tried, {faults} faults",
        folder.display()
    );
    if templates == 0 && !folder.exists() {
        println!("it is not there, so the embedded defaults are served");
    }
    if faults == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints the completions of a shell.
pub fn completions(shell: Shell) -> ExitCode {
    let mut command = Cli::command();
    clap_complete::generate(
        shell,
        &mut command,
        "gb10-provision-api",
        &mut std::io::stdout(),
    );
    ExitCode::SUCCESS
}
