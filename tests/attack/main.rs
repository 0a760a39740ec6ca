//! What one device can do to the others: each attack against the real service, from one address,
//! while a victim at another one posts heartbeats and fetches its seed.
//!
//!     cargo test --release --test attack   all attacks
//!     cargo test --release --test attack -- NAME…   those of them
//!     ATTACKED=PROGRAM …                   another build of the service, to compare
//!
//! Every attack has a service of its own, so that its memory is its own too. To add one: a function
//! in a file beside this one, and a line in [`ATTACKS`].

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)]
mod support;

mod connections;
mod memory;
mod storm;
mod swarm;
mod victim;

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{BINARY, Service, Start};
use victim::Seen;

/// How long the victim is watched during an attack.
const WATCHED: Duration = Duration::from_secs(6);

/// How long an attack has to get going.
const WARM_UP: Duration = Duration::from_secs(2);

/// How long the service has to give memory back.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest that the 99th percentile of the victim may be, beyond what it is without an attack: the
/// machine may be busy with other things.
const MOST_LATENCY: Duration = Duration::from_millis(100);

/// Most memory that the service may take at any moment, in MiB.
const MOST_MEMORY: f64 = 128.0;

/// What an attack has: the service, and the word to end.
pub struct Field<'a> {
    /// The service under attack.
    pub service: &'a Service,
    /// Says when it is over.
    pub stop: &'a AtomicBool,
    /// How many requests or connections the attack came to.
    pub done: AtomicUsize,
}

impl Field<'_> {
    /// Whether the attack is over.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Counts one more request or connection.
    pub fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// An attack: its name, what it does, and the function that does it until it is over.
type Attack = (&'static str, &'static str, fn(&Field));

/// What the others are compared with.
const NOTHING: Attack = ("nothing", "nothing, to compare with", |_| ());

const ATTACKS: [Attack; 13] = [
    (
        "silent",
        "1,024 connections that say nothing",
        connections::silent,
    ),
    (
        "slow-download",
        "1,024 downloads of 64 MiB at 256 KiB in 25 s",
        connections::slow_download,
    ),
    (
        "drip",
        "1,024 heartbeats, a byte at a time",
        connections::drip,
    ),
    (
        "unread",
        "1,024 heartbeats of a device with 1,000 events, answers unread",
        connections::unread,
    ),
    (
        "unread-clients",
        "1,024 answers of /clients, changed meanwhile, unread",
        connections::unread_clients,
    ),
    (
        "pipeline",
        "1,024 connections full of requests, answers unread",
        connections::pipeline,
    ),
    (
        "reconnect",
        "connections opened and closed as fast as can be",
        connections::reconnect,
    ),
    (
        "webhook",
        "events of 4,096 devices with names and descriptions of 120 KB",
        memory::webhook,
    ),
    (
        "upload",
        "bodies of 256 KiB on all connections",
        memory::upload,
    ),
    (
        "invented",
        "seeds and heartbeats of invented MACs without end",
        storm::invented,
    ),
    (
        "history",
        "heartbeats of one device, with details of 2,650 control characters",
        storm::history,
    ),
    (
        "lines",
        "what is not there, by names of 4 KB with a line break and an escape",
        storm::lines,
    ),
    ("health", "/healthz without end", storm::health),
];

/// What came of an attack.
struct Row {
    name: &'static str,
    what: &'static str,
    done: usize,
    seen: Seen,
    peak: f64,
    after: f64,
    kernel: f64,
}

impl Row {
    fn is_harmless(&self, usual: Duration) -> bool {
        self.seen.failures == 0
            && self.seen.percentile(99) < usual + MOST_LATENCY
            && self.peak < MOST_MEMORY
    }
}

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    let attacks: Vec<Attack> = ATTACKS
        .into_iter()
        .filter(|(name, ..)| asked(name))
        .collect();
    if attacks.is_empty() {
        eprintln!("no such attack: {names:?}");
        return ExitCode::FAILURE;
    }
    allow_open_files();
    let began = Instant::now();
    let attacks = std::iter::once(NOTHING).chain(attacks);
    let mut rows: Vec<Row> = Vec::new();
    for attack in attacks {
        let mut row = run(attack);
        let usual = rows.first().unwrap_or(&row).seen.percentile(99);
        // Once more: the machine may have been busy with something else.
        if !row.is_harmless(usual) {
            row = run(attack);
        }
        rows.push(row);
    }
    let usual = rows[0].seen.percentile(99);
    println!(
        "\n| attack | what | times | requests | p50 | p99 | slowest | failures | peak MiB | after | kernel | |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for row in &rows {
        let Row {
            name,
            what,
            done,
            seen,
            peak,
            after,
            kernel,
        } = row;
        let verdict = if row.is_harmless(usual) { "ok" } else { "HARM" };
        println!(
            "| {name} | {what} | {done} | {} | {:.1?} | {:.1?} | {:.1?} | {} | {peak:.0} | {after:.0} | {kernel:.0} | {verdict} |",
            seen.latencies.len(),
            seen.percentile(50),
            seen.percentile(99),
            seen.percentile(100),
            seen.failures,
        );
    }
    println!(
        "\n{} attacks in {:.0?}; ok is: p99 at most {MOST_LATENCY:?} above that of nothing, no failure, under {MOST_MEMORY} MiB",
        rows.len() - 1,
        began.elapsed()
    );
    match rows.iter().all(|row| row.is_harmless(usual)) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn run((name, what, attack): Attack) -> Row {
    eprintln!("{name} …");
    let folder = tempfile::tempdir().unwrap();
    connections::stage(folder.path());
    let attacked = std::env::var_os("ATTACKED").unwrap_or(BINARY.into());
    let start = Start::by(Command::new(attacked), folder.path());
    let start = start.env("LOG", "warn,gb10_provision_api::service=info");
    let service = start.service();
    let stop = AtomicBool::new(false);
    let field = Field {
        service: &service,
        stop: &stop,
        done: AtomicUsize::new(0),
    };
    let (seen, kernel) = std::thread::scope(|scope| {
        scope.spawn(|| attack(&field));
        std::thread::sleep(WARM_UP);
        let seen = victim::watch(service.address, WATCHED);
        let kernel = kernel_memory();
        stop.store(true, Ordering::Relaxed);
        (seen, kernel)
    });
    std::thread::sleep(PAUSE);
    if let Some(failure) = &seen.first_failure {
        eprintln!("{name}: the first failure: {failure}");
    }
    Row {
        name,
        what,
        done: field.done.load(Ordering::Relaxed),
        seen,
        peak: memory_of(&service, "VmHWM:"),
        after: memory_of(&service, "VmRSS:"),
        kernel,
    }
}

/// A field of `/proc/PID/status`, in MiB.
fn memory_of(service: &Service, field: &str) -> f64 {
    let pid = service.pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.unwrap().trim().trim_end_matches("kB").trim();
    kib.parse::<f64>().unwrap() / 1024.0
}

/// What the kernel holds for all its TCP connections, in MiB: the attackers' side is in it.
fn kernel_memory() -> f64 {
    let text = std::fs::read_to_string("/proc/self/net/sockstat").unwrap();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap();
    let (_, pages) = line.split_once(" mem ").unwrap();
    pages.trim().parse::<f64>().unwrap() * 4.0 / 1024.0
}

/// 1,024 connections, and what the service inherits. No more than is allowed.
fn allow_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = Some(maximum.map_or(8192, |maximum| maximum.min(8192)));
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}
