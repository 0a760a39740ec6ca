//! What the service costs, measured against what the machine can do at all.
//!
//! `cargo bench` runs every part, `cargo bench -- NAME…` only those named, `--quick` shortens each.
//! A part loads the release binary over loopback and, in turns with it, a floor: the least that
//! could do the same work. Machines differ and are noisy, the ratio of the two much less so. A
//! figure below its aim is printed and fails nothing; an answer other than 2xx, a wrong length or a
//! lost heartbeat ends the run with an error.
//!
//! The files lie under `target/`, or in the folder named by `BENCH_DIR`, and go when the run ends.

mod board;
mod floors;
mod heartbeats;
mod load;
mod onboard;
mod process;
mod start;
mod table;
mod user_data;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, future, io, task, thread};

use table::Row;
use tokio::signal::unix::{SignalKind, signal};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One part: its name on the command line, and what measures it.
type Part = (&'static str, fn(&Plan) -> Result<Vec<Row>>);

const PARTS: [Part; 5] = [
    ("user-data", user_data::run),
    ("heartbeats", heartbeats::run),
    ("board", board::run),
    ("onboard", onboard::run),
    ("start", start::run),
];

/// No run may take longer, whatever hangs.
const LONGEST_RUN: Duration = Duration::from_secs(300);

/// What every part needs to know.
struct Plan {
    dir: PathBuf,
    quick: bool,
    until: Instant,
    interrupted: Arc<AtomicBool>,
}

impl Plan {
    /// How often to repeat what a full run does `full` times.
    fn rounds(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(3) } else { full }
    }

    /// To be asked before each round, so that an interrupted run still stops its children and
    /// removes its files.
    fn go_on(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        if Instant::now() > self.until {
            return Err(format!("still not done after {LONGEST_RUN:?}").into());
        }
        Ok(())
    }

    /// A new folder `name` for one part's files.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.dir.join(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    }
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [first, address, body] if first == floors::SERVE_BARE_AXUM => {
            floors::serve_bare_axum(address, body)
        }
        _ => {
            // Cargo adds --bench; without it this is `cargo test --benches`, which wants to know
            // only that it builds.
            let asked = arguments.iter().any(|argument| argument == "--bench");
            arguments.retain(|argument| argument != "--bench");
            if asked { bench(&arguments) } else { Ok(()) }
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &[String]) -> Result<()> {
    let (flags, names): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .map(String::as_str)
        .partition(|a| a.starts_with('-'));
    let known = PARTS.map(|(name, _)| name);
    if flags.iter().any(|flag| *flag != "--quick") || names.iter().any(|name| !known.contains(name))
    {
        return Err(format!("usage: cargo bench -- [--quick] [{}]…", known.join("|")).into());
    }

    let parent = env::var_os("BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    fs::create_dir_all(&parent)?;
    let dir = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(parent)?;
    let plan = Plan {
        dir: dir.path().canonicalize()?,
        quick: !flags.is_empty(),
        until: Instant::now() + LONGEST_RUN,
        interrupted: watch_signals()?,
    };

    let machine = table::machine(&plan.dir)?;
    let mut rows = Vec::new();
    for (name, part) in PARTS {
        if names.is_empty() || names.contains(&name) {
            eprintln!("measuring {name} …");
            rows.extend(part(&plan).map_err(|error| format!("{name}: {error}"))?);
        }
    }
    println!("{machine}\n");
    print!("{}", table::table(&rows));
    dir.close()?;
    Ok(())
}

/// A flag that SIGINT and SIGTERM raise in place of ending the process, which would leave servers
/// and files behind.
fn watch_signals() -> io::Result<Arc<AtomicBool>> {
    let raised = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&raised);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::spawn(move || {
        runtime.block_on(future::poll_fn(|context| {
            let either =
                interrupt.poll_recv(context).is_ready() || terminate.poll_recv(context).is_ready();
            if either {
                task::Poll::Ready(())
            } else {
                task::Poll::Pending
            }
        }));
        flag.store(true, Ordering::Relaxed);
    });
    Ok(raised)
}
