//! `gb10-provision-api probe`: one line and an exit status, for a monitoring system.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::out::print;
use super::reached::asked_at;
use crate::doctor::probe::{self, Finding, Level};
use crate::service::settings::address;

/// The exit status of wrong usage: by that of other commands a monitoring system would take it for
/// the worst.
pub(super) const WRONG_USAGE: u8 = Level::Unknown.status();

/// Longest that systemd may take to say where the service listens, in seconds.
const SYSTEMD: u32 = 3;

/// What a question that hangs in the system itself may take beyond the time that it has.
const BEYOND: Duration = Duration::from_secs(2);

/// How to ask.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where to ask; without it, where gb10-provision-api.socket listens, or else 10.88.0.1:8088
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    reached_at: Option<SocketAddr>,
    /// Longest that the answer may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
}

/// Asks, and says how it is. It ends in time, whatever hangs.
pub(super) fn run(options: &Options) -> ExitCode {
    let limit = Duration::from_secs(options.timeout.into());
    let (tell, told) = mpsc::channel();
    let Options {
        reached_at,
        timeout,
    } = *options;
    let asked = thread::Builder::new().spawn(move || {
        let began = Instant::now();
        let at = reached_at.unwrap_or_else(|| asked_at(timeout.min(SYSTEMD)));
        let left = limit.saturating_sub(began.elapsed());
        let answer = probe::gather(at, left.max(Duration::from_millis(1)));
        // Where nobody waits any more there is nobody to tell.
        let _ = tell.send(probe::judge(at, &answer));
    });
    let finding = match asked {
        Ok(_) => told.recv_timeout(limit + BEYOND).unwrap_or_else(|_| {
            let text = format!("this host was too busy to ask within {timeout} s");
            Finding::of(Level::Unknown, text)
        }),
        Err(error) => Finding::of(Level::Unknown, format!("no thread could be made: {error}")),
    };
    let level = finding.level;
    match print(&finding.line()) {
        Ok(()) => ExitCode::from(level.status()),
        Err(_) => ExitCode::from(WRONG_USAGE),
    }
}

/// What a monitoring system is told of wrong usage; the rest stands on standard error.
pub(super) fn tell_wrong_usage(reason: &str) {
    let finding = Finding::of(Level::Unknown, format!("wrong usage: {reason}"));
    let _ = print(&finding.line());
}
