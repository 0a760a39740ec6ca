//! The settings: from the environment, or from flags of the same names, which win.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};
use ipnet::IpNet;
use jiff::SignedDuration;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::device::boot::{Policy, SeedAccess};
use crate::gate::Rules;
use crate::http::public_url::PublicUrl;
use crate::net::neighbours::ARP_TABLE;
use crate::site::password::{DEFAULT_FALLBACK_PASSWORD_HASH, PasswordHash};

/// Every setting, each with its default. Those that are `global` concern the commands, too, and may
/// stand behind one; the service's own stand before, and a command's help has none of them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings (flag or environment; the flag wins)")]
pub struct Settings {
    /// Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot
    /// (boot/) and state (state/)
    #[arg(
        long,
        env,
        global = true,
        value_name = "FOLDER",
        default_value = "./data"
    )]
    pub data_path: PathBuf,

    /// Addresses to listen on where systemd passes no socket, separated by commas
    #[arg(
        long,
        env,
        value_name = "ADDRESS:PORT",
        value_parser = address,
        value_delimiter = ',',
        default_value = "127.0.0.1:8088"
    )]
    pub listen: Vec<SocketAddr>,

    /// Networks whose devices are served, separated by commas; other peers are disconnected
    #[arg(
        long,
        env,
        value_name = "CIDR",
        value_parser = network,
        value_delimiter = ',',
        default_value = "10.88.0.0/24,127.0.0.0/8,::1/128"
    )]
    pub allowed_networks: Vec<IpNet>,

    /// Names by which operators reach this host besides its own, separated by commas
    #[arg(long, env, value_name = "NAME", value_delimiter = ',')]
    pub server_names: Vec<String>,

    /// Base of the URLs for boxes, where they reach this host through another server; without it
    /// they go where the box asked
    #[arg(
        long,
        env,
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    pub public_url: PublicUrl,

    /// Connections open at once; further ones wait
    #[arg(long, env, value_name = "N", value_parser = at_least_one, default_value = "1024")]
    pub max_connections: NonZeroUsize,

    /// Connections open at once of one address; further ones are closed
    #[arg(long, env, value_name = "N", value_parser = at_least_one, default_value = "32")]
    pub peer_connections: NonZeroUsize,

    /// Pages that follow the board at once, besides those connections; further ones are refused
    #[arg(long, env, value_name = "N", value_parser = at_least_one, default_value = "32")]
    pub max_viewers: NonZeroUsize,

    /// Devices on record; a report of a further one is answered with 507
    #[arg(long, env, value_name = "N", value_parser = at_least_one, default_value = "4096")]
    pub max_clients: NonZeroUsize,

    /// Events kept of one device; the oldest are dropped, and counted in its record
    #[arg(long, env, value_name = "N", value_parser = at_least_one, default_value = "1000")]
    pub history_limit: NonZeroUsize,

    /// Bytes kept of one device; the oldest details are cut short, then the oldest events dropped
    #[arg(
        long,
        env,
        value_name = "BYTES",
        value_parser = at_least_one,
        default_value = "262144"
    )]
    pub record_bytes: NonZeroUsize,

    /// When a box that boots from the network is installed: once, armed, always or never
    #[arg(long, env, value_name = "POLICY", default_value = "once")]
    pub install: Policy,

    /// Installations that may begin without one being reported done; then the box boots its disk
    #[arg(long, env, value_name = "N", value_parser = at_least_one, default_value = "3")]
    pub install_attempts: NonZeroUsize,

    /// Who gets a box's user-data: open (whoever asks) or window (that box, while it is installed)
    #[arg(long, env, value_name = "ACCESS", default_value = "open")]
    pub seed_access: SeedAccess,

    /// How long a box may be silent on its way before it counts as stalled, unless the manifest gives
    /// its stage a time limit: then that and 5 minutes
    #[arg(long, env, value_name = "TIME", value_parser = span, default_value = "15min")]
    pub stall_after: Duration,

    /// Crypt hash (crypt(5), as `openssl passwd -6` prints it) of the password that the fallback
    /// and the embedded default set; without it the password is gb10-change-me. The first login
    /// must choose another
    #[arg(long, env, value_name = "HASH", hide_env_values = true, hide_default_value = true, default_value = DEFAULT_FALLBACK_PASSWORD_HASH, value_parser = PasswordHashParser)]
    pub fallback_password_hash: PasswordHash,

    /// The kernel's ARP table
    #[arg(long, env, value_name = "FILE", default_value = ARP_TABLE)]
    pub arp_table: PathBuf,

    /// What is logged: error, warn, info, debug or trace, for all or by TARGET=LEVEL
    #[arg(long, env, value_name = "LEVEL", default_value = "info", value_parser = log_filter)]
    pub log: Targets,
}

/// Reads an address with its port.
pub fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let expected = "expected an address and a port, such as 10.88.0.1:8088 or [::1]:8088";
    text.parse().map_err(|_| expected)
}

/// Reads a network.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let expected =
        "expected a network, such as 10.88.0.0/24, ::1/128, or 10.88.0.7/32 for one address";
    text.parse().map_err(|_| expected)
}

/// Reads a time, as systemd.time(7) has it.
fn span(text: &str) -> Result<Duration, &'static str> {
    let expected = "expected a time of a second or more, such as 90s, 15min or 1h 30min";
    let span: SignedDuration = text.parse().map_err(|_| expected)?;
    let span = Duration::try_from(span).map_err(|_| expected)?;
    match span.as_secs() {
        0 => Err(expected),
        _ => Ok(span),
    }
}

/// Reads how many there may be of something.
fn at_least_one(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number, 1 or more")
}

impl Settings {
    /// By what it is decided which boxes are installed.
    pub fn rules(&self) -> Rules {
        Rules {
            policy: self.install,
            attempts: self.install_attempts.get() as u64,
        }
    }
}

/// Reads what is logged. A word alone must be a level: taken for a target, as [`Targets`] takes it,
/// a misspelt level would silence everything, the reason of a failed start included.
fn log_filter(text: &str) -> Result<Targets, String> {
    let expected = "expected off, error, warn, info, debug, trace or TARGET=LEVEL";
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    match text
        .split(',')
        .find(|word| !word.contains('=') && !is_level(word))
    {
        Some(word) => Err(format!("unknown level {word:?}: {expected}")),
        None => text.parse().map_err(|_| expected.to_owned()),
    }
}

/// Reads a [`PasswordHash`]. Unlike clap's own parsers it does not repeat a wrong value, which may
/// be the password itself, into the journal.
#[derive(Clone)]
struct PasswordHashParser;

impl TypedValueParser for PasswordHashParser {
    type Value = PasswordHash;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<PasswordHash, clap::Error> {
        let text = value.to_str().unwrap_or_default();
        text.parse().map_err(|reason| {
            let setting = argument.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{setting}': {reason}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}
