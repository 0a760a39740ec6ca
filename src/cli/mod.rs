//! The command line.

mod boot;
mod check;
mod completions;
mod doctor;
mod forget;
mod manifest;
mod progress;
mod reached;
mod render;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use listenfd::ListenFd;
use tracing::error;

use self::boot::BootAction;
use self::manifest::ManifestAction;
use crate::device::mac::MacAddr;
use crate::excerpt::excerpt;
use crate::files::layout;
use crate::seed::{SeedFile, Templates};
use crate::service::settings::Settings;
use crate::service::{self, journal};
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
    command: Option<Command>,

    /// The settings.
    #[command(flatten)]
    settings: Settings,
}

/// What there is to do besides serving.
#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Try every staged template and JSON file; print each fault, exit 1 if there is one
    Check {
        /// Print one JSON object, for machines
        #[arg(long)]
        json: bool,
    },
    /// Print a file of a box's seed as that box would get it; nothing goes on record
    Render {
        /// The MAC of the box, or of another port of it
        mac: MacAddr,
        /// user-data, meta-data, vendor-data or network-config
        #[arg(default_value = "user-data", value_parser = seed_file)]
        file: SeedFile,
        /// The address of this host that the box reaches, as in `lan_ip` and `provision_url`
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "10.88.0.1:8088")]
        reached_at: SocketAddr,
    },
    /// Write or check the list of payloads that devices fetch, {DATA_PATH}/onboard/manifest.json
    Manifest {
        /// What to do with it.
        #[command(subcommand)]
        action: ManifestAction,
    },
    /// Stage, list or remove what boxes boot from the network, {DATA_PATH}/boot
    Boot {
        /// What to do with it.
        #[command(subcommand)]
        action: BootAction,
    },
    /// Say what stands between this host and the first ready box; exit 1 if anything does
    Doctor(doctor::Options),
    /// Take devices off the record; works whether the service runs or not
    Forget {
        /// The MACs that they are on record under
        #[arg(required = true, value_name = "MAC")]
        macs: Vec<MacAddr>,
    },
    /// Print the completions of a shell
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

impl Cli {
    /// Does what the command line says.
    pub fn run(self) -> ExitCode {
        let Self { command, settings } = self;
        match command {
            None => serve(&settings),
            Some(Command::Check { json }) => check::run(&settings, json),
            Some(Command::Render {
                mac,
                file,
                reached_at,
            }) => render::run(&settings, mac, file, reached_at),
            Some(Command::Manifest { action }) => manifest::run(&settings, &action),
            Some(Command::Boot { action }) => boot::run(&settings, action),
            Some(Command::Doctor(options)) => doctor::run(&settings, options),
            Some(Command::Forget { macs }) => forget::run(&settings, &macs),
            Some(Command::Completions { shell }) => completions::run(shell),
        }
    }
}

fn serve(settings: &Settings) -> ExitCode {
    // As listenfd asks, before there is any thread.
    let inherited = ListenFd::from_env();
    let quotas = journal::init(&settings.log);
    match service::run(settings, inherited, &quotas) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn seed_file(name: &str) -> Result<SeedFile, &'static str> {
    SeedFile::from_name(name).ok_or("expected user-data, meta-data, vendor-data or network-config")
}

/// The templates of the settings' folder.
fn templates(settings: &Settings, site_files: &Arc<SiteFiles>) -> Templates {
    Templates::load(
        layout::templates(&settings.data_path),
        settings.fallback_password_hash.reveal(),
        Arc::clone(site_files),
    )
}

/// A number of things: `1 fault`, `2 faults`.
fn count(number: usize, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{s}")
}

/// Who runs this, for the journal: the user behind sudo, or the number of the user.
fn who() -> String {
    let uid = rustix::process::getuid().as_raw();
    std::env::var("SUDO_USER").map_or_else(|_| format!("uid {uid}"), |name| excerpt(&name))
}
