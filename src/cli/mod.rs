//! The command line.

mod arm;
mod baseline;
mod boot;
mod check;
mod cidata;
mod clients;
mod completions;
mod doctor;
mod forget;
mod manifest;
mod out;
mod probe;
mod progress;
mod reached;
mod render;
mod seed_of;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use listenfd::ListenFd;
use tracing::error;

use self::arm::Which;
use self::baseline::BaselineAction;
use self::boot::BootAction;
use self::manifest::ManifestAction;
use crate::device::mac::MacAddr;
use crate::excerpt::{excerpt, shown};
use crate::files::layout;
use crate::seed::{SeedFile, Templates};
use crate::service::settings::{Settings, address};
use crate::service::{self, credential, installed, journal};
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
        /// user-data, meta-data, vendor-data or network-config; or dgx-os, the user-data of `cidata`
        #[arg(default_value = "user-data", value_parser = seed_file)]
        file: SeedFile,
        /// The address of this host that the box reaches, as in `lan_ip` and `provision_url`
        #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, default_value = "10.88.0.1:8088")]
        reached_at: SocketAddr,
    },
    /// Write a box's seed as the image of a USB stick that cloud-init finds by its label, CIDATA
    Cidata(cidata::Options),
    /// Write or check the list of payloads that devices fetch, {DATA_PATH}/onboard/manifest.json
    Manifest {
        /// What to do with it.
        #[command(subcommand)]
        action: ManifestAction,
    },
    /// Make the list of versions that boxes may have, {DATA_PATH}/baseline.json
    Baseline {
        /// What to do with it.
        #[command(subcommand)]
        action: BaselineAction,
    },
    /// Stage, list or remove what boxes boot from the network, {DATA_PATH}/boot
    Boot {
        /// What to do with it.
        #[command(subcommand)]
        action: BootAction,
    },
    /// Say what stands between this host and the first ready box; exit 1 if anything does
    Doctor(doctor::Options),
    /// Say where every box stands, those that need somebody first; or tell the story of one
    Clients(clients::Options),
    /// Say in one line how the service and its boxes are; exit 0, 1, 2 or 3, for Nagios and the like
    Probe(probe::Options),
    /// Take devices off the record; works whether the service runs or not
    Forget {
        /// The MACs that they are on record under
        #[arg(required = true, value_name = "MAC")]
        macs: Vec<MacAddr>,
    },
    /// Have devices installed at their next boot from the network, whatever became of them before
    Arm(Which),
    /// Take that back
    Disarm(Which),
    /// Print the completions of a shell; the package installs those of bash, zsh and fish
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The exit status where an option or a setting is wrong, as clap has it.
const WRONG_SETTING: u8 = 2;

impl Cli {
    /// The command line of this process. A command that is told of no data folder works on that of
    /// the installed service, with the service's settings.
    pub fn of_arguments() -> Self {
        let mut matches = Self::command()
            .try_get_matches()
            .unwrap_or_else(|error| refuse(&error));
        if is_told_no_folder(&matches) {
            let settings = installed::environment();
            matches = with_defaults(Self::command(), &settings)
                .try_get_matches()
                .unwrap_or_else(|error| {
                    let _ = error.print();
                    eprintln!(
                        "note: settings that are not given are those of {}",
                        installed::UNIT
                    );
                    std::process::exit(error.exit_code())
                });
        }
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| refuse(&error));
        cli.take_credential(matches.value_source("fallback_password_hash"));
        cli
    }

    /// Takes the credential that systemd passed, unless an option has the setting. A variable may be
    /// what somebody forgot in the file of settings.
    fn take_credential(&mut self, source: Option<ValueSource>) {
        if source == Some(ValueSource::CommandLine) {
            return;
        }
        match credential::own() {
            Ok(None) => {}
            Ok(Some(hash)) => {
                if source == Some(ValueSource::EnvVariable) {
                    eprintln!(
                        "note: {} is passed over: the credential {} is there",
                        credential::SETTING,
                        credential::NAME
                    );
                }
                self.settings.fallback_password_hash = hash;
            }
            Err(reason) => {
                eprintln!("error: the credential {reason}");
                std::process::exit(WRONG_SETTING.into())
            }
        }
    }

    /// Does what the command line says.
    pub fn run(self) -> ExitCode {
        let Self { command, settings } = self;
        let is_of_data = match &command {
            None | Some(Command::Completions { .. }) => false,
            // They say what is missing themselves.
            Some(Command::Doctor(_)) => false,
            // It asks the service alone.
            Some(Command::Probe(_)) => false,
            Some(Command::Boot { action }) => !matches!(action, BootAction::Dnsmasq { .. }),
            Some(_) => true,
        };
        if is_of_data && let Err(reason) = is_folder(&settings.data_path) {
            eprintln!(
                "{}: {reason}: expected the service's data folder, by --data-path or DATA_PATH",
                settings.data_path.display()
            );
            return ExitCode::FAILURE;
        }
        match command {
            None => serve(&settings),
            Some(Command::Check { json }) => check::run(&settings, json),
            Some(Command::Render {
                mac,
                file,
                reached_at,
            }) => render::run(&settings, mac, file, reached_at),
            Some(Command::Cidata(options)) => cidata::run(&settings, &options),
            Some(Command::Manifest { action }) => manifest::run(&settings, &action),
            Some(Command::Baseline { action }) => baseline::run(&settings, &action),
            Some(Command::Boot { action }) => boot::run(&settings, action),
            Some(Command::Doctor(options)) => doctor::run(&settings, options),
            Some(Command::Clients(options)) => clients::run(&settings, &options),
            Some(Command::Probe(options)) => probe::run(&options),
            Some(Command::Forget { macs }) => forget::run(&settings, &macs),
            Some(Command::Arm(which)) => arm::arm(&settings, &which),
            Some(Command::Disarm(which)) => arm::disarm(&settings, &which),
            Some(Command::Completions { shell }) => completions::run(shell),
        }
    }
}

/// Ends the process with what is wrong with the command line, or with the help that was asked for.
fn refuse(error: &clap::Error) -> ! {
    let _ = error.print();
    if !error.use_stderr() || !is_probe() {
        std::process::exit(error.exit_code())
    }
    let reason = error.to_string();
    let reason = reason.lines().next().unwrap_or_default();
    probe::tell_wrong_usage(reason.trim_start_matches("error: "));
    std::process::exit(probe::WRONG_USAGE.into())
}

/// Whether the command is `probe`, however wrong its options are.
fn is_probe() -> bool {
    let command = Cli::command().ignore_errors(true);
    let matches = command.try_get_matches();
    matches.is_ok_and(|matches| matches.subcommand_name() == Some("probe"))
}

/// Whether there is a command, and the data folder is only a guess.
fn is_told_no_folder(matches: &ArgMatches) -> bool {
    let command = matches.subcommand();
    command.is_some_and(|(name, matches)| {
        !matches!(name, "completions" | "probe")
            && matches.value_source("data_path") == Some(ValueSource::DefaultValue)
    })
}

/// The command line with these settings, by their variables, in place of the built-in defaults.
fn with_defaults(command: clap::Command, settings: &BTreeMap<String, String>) -> clap::Command {
    command.mut_args(|arg| {
        let variable = arg.get_env().and_then(|name| name.to_str());
        match variable.and_then(|name| settings.get(name)) {
            // Once in the life of the process.
            Some(value) => arg.default_value(&*value.clone().leak()),
            None => arg,
        }
    })
}

fn is_folder(path: &Path) -> Result<(), String> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err("no folder".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err("no such folder".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn serve(settings: &Settings) -> ExitCode {
    // As listenfd asks, before there is any thread.
    let inherited = ListenFd::from_env();
    let is_by_setting = inherited.len() == 0;
    let quotas = journal::init(&settings.log);
    match service::run(settings, inherited, &quotas) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason}");
            match is_by_setting && reason.is_of_the_address() {
                true => ExitCode::from(WRONG_SETTING),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn seed_file(name: &str) -> Result<SeedFile, &'static str> {
    let rendered = SeedFile::OF_SEED.into_iter().chain([SeedFile::DgxOs]);
    let mut rendered = rendered.filter(|file| file.name() == name);
    rendered
        .next()
        .ok_or("expected user-data, meta-data, vendor-data, network-config or dgx-os")
}

/// The templates of the settings' folder.
fn templates(settings: &Settings, site_files: &Arc<SiteFiles>) -> Templates {
    Templates::load(
        layout::templates(&settings.data_path),
        settings.fallback_password_hash.reveal(),
        Arc::clone(site_files),
    )
}

/// Who runs a command, for the journal.
struct Operator {
    uid: u32,
    /// The name by which sudo knows them, quoted, else the uid.
    who: String,
    /// The same for a record, which quotes by itself.
    on_record: String,
}

fn operator() -> Operator {
    let uid = rustix::process::getuid().as_raw();
    let name = std::env::var("SUDO_USER").ok();
    let by_uid = || format!("uid {uid}");
    let who = name.as_deref().map_or_else(by_uid, excerpt);
    let on_record = name.map_or_else(by_uid, |name| shown(&name).into_owned());
    Operator {
        uid,
        who,
        on_record,
    }
}

/// A number of things: `1 fault`, `2 faults`.
fn count(number: usize, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{s}")
}
