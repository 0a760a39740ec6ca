//! One question to the service, for a monitoring system: Nagios, Icinga, Zabbix, cron.
//!
//! The answer is a line and an exit status, as the guidelines of the Monitoring Plugins have them.
//! It is made of `/healthz` alone, so that whoever may connect to the port may ask.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http;
use crate::excerpt::one_line;

/// Longest that a reason of the service may be, in characters.
const REASON: usize = 200;

/// How it is, as monitoring systems have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// All is well.
    Ok,
    /// Somebody should have a look.
    Warning,
    /// Boxes are not served.
    Critical,
    /// That cannot be found out.
    Unknown,
}

impl Level {
    /// The exit status that says so.
    pub const fn status(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What the service answered, and how long that took.
pub type Answer = io::Result<(u16, Value, Duration)>;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub level: Level,
    text: String,
    figures: String,
}

impl Finding {
    /// Without figures.
    pub fn of(level: Level, text: impl Into<String>) -> Self {
        Self {
            level,
            text: text.into(),
            figures: String::new(),
        }
    }

    /// The line. Nothing in the text is taken for the beginning of the figures, for a control
    /// character or for another line.
    pub fn line(&self) -> String {
        let text = one_line(&self.text, usize::MAX).replace('|', "/");
        let line = format!("GB10 {}: {text}", self.level.name());
        match self.figures.is_empty() {
            true => line,
            false => format!("{line} | {}", self.figures),
        }
    }
}

/// Asks the service, for so long at most.
pub fn gather(at: SocketAddr, limit: Duration) -> Answer {
    let began = Instant::now();
    let (status, body) = http::get(at, "/healthz", limit)?;
    let value = serde_json::from_slice(&body).unwrap_or_default();
    Ok((status, value, began.elapsed()))
}

/// What the answer means.
pub fn judge(at: SocketAddr, answer: &Answer) -> Finding {
    match answer {
        Ok((status, health, took)) => of_health(at, *status, health, *took),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Finding::of(
                Level::Critical,
                format!("the port is closed: nobody listens on {at}"),
            ),
            ErrorKind::TimedOut => {
                Finding::of(Level::Critical, format!("no answer of {at} in time"))
            }
            // What this host lacks to ask says nothing of the service.
            ErrorKind::PermissionDenied | ErrorKind::OutOfMemory => unasked(at, error),
            _ if error.raw_os_error().is_some_and(is_of_this_process) => unasked(at, error),
            _ => Finding::of(Level::Critical, format!("{at} does not answer: {error}")),
        },
    }
}

fn unasked(at: SocketAddr, error: &io::Error) -> Finding {
    Finding::of(Level::Unknown, format!("{at} cannot be asked: {error}"))
}

/// No more files may be open, of this process or of all.
fn is_of_this_process(code: i32) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| errno.raw_os_error() == code)
}

fn of_health(at: SocketAddr, status: u16, health: &Value, took: Duration) -> Finding {
    let counts = Counts::of(health);
    let said = |field: &str| health[field].as_str().map(|said| one_line(said, REASON));
    let (level, text) = match (status, health["status"].as_str()) {
        (503, Some("failing")) => {
            let reason = said("reason").unwrap_or_else(|| "no reason is given".to_owned());
            (
                Level::Critical,
                format!("heartbeats cannot be recorded: {reason}; "),
            )
        }
        (200, Some("degraded")) => {
            let text = "a staged template has a fault, and boxes get the fallback; ";
            (Level::Warning, text.to_owned())
        }
        (200, Some("ok")) => match counts {
            Some(Counts {
                failed, stalled, ..
            }) if failed + stalled > 0 => (Level::Warning, String::new()),
            _ => (Level::Ok, String::new()),
        },
        _ => {
            let text = format!("at {at} something else answers, with status {status}");
            return Finding::of(Level::Critical, text);
        }
    };
    let summary = counts.map_or_else(|| "it does not count boxes".to_owned(), Counts::words);
    let time = format!("time={:.3}s;;;0", took.as_secs_f64());
    Finding {
        level,
        text: text + &summary,
        figures: counts.map_or(time.clone(), |counts| {
            format!("{} {time}", counts.figures())
        }),
    }
}

/// How many boxes stand how.
#[derive(Clone, Copy)]
struct Counts {
    devices: u64,
    ready: u64,
    on_their_way: u64,
    failed: u64,
    stalled: u64,
}

impl Counts {
    /// None of a service that does not count them.
    fn of(health: &Value) -> Option<Self> {
        let count = |field: &str| health[field].as_u64();
        Some(Self {
            devices: count("clients")?,
            ready: count("ready")?,
            on_their_way: count("on_their_way")?,
            failed: count("failed")?,
            stalled: count("stalled")?,
        })
    }

    fn words(self) -> String {
        let Self {
            devices,
            ready,
            on_their_way,
            failed,
            stalled,
        } = self;
        let boxes = if devices == 1 { "box" } else { "boxes" };
        format!(
            "{devices} {boxes}: {failed} failed, {stalled} stalled, {on_their_way} on their way, {ready} ready"
        )
    }

    /// Each with the threshold above which there is a warning, where it has one, and the least.
    fn figures(self) -> String {
        let Self {
            devices,
            ready,
            on_their_way,
            failed,
            stalled,
        } = self;
        format!(
            "devices={devices};;;0 ready={ready};;;0 on_their_way={on_their_way};;;0 failed={failed};0;;0 stalled={stalled};0;;0"
        )
    }
}
