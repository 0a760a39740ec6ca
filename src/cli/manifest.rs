//! `gb10-provision-api manifest`: the list of payloads that devices fetch.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::ManifestAction;
use crate::files::layout;
use crate::onboard::manifest::{Folder, MANIFEST_FILE, ManifestError, Progress};
use crate::service::settings::Settings;

/// Writes or checks the manifest of the onboarding folder.
pub(super) fn run(settings: &Settings, action: &ManifestAction) -> ExitCode {
    let folder = layout::onboard(&settings.data_path);
    let outcome = match action {
        ManifestAction::Write { payload } => write_manifest(&folder, payload),
        ManifestAction::Check => check_manifest(&folder),
    };
    match outcome {
        Ok(code) => code,
        Err(ManifestError::Faults(faults)) => {
            for fault in &faults {
                eprintln!("{}/{fault}", folder.display());
            }
            eprintln!("{}/{MANIFEST_FILE}: not written", folder.display());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write_manifest(folder: &Path, payload: &Path) -> Result<ExitCode, ManifestError> {
    let written = Folder::open(folder)?.write(payload, &mut Bar::new().draw())?;
    for path in &written.removed {
        println!("removed {path}: the file is gone");
    }
    for path in &written.updated {
        println!("updated {path}");
    }
    for path in &written.added {
        println!("added {path}");
    }
    println!(
        "{}/{MANIFEST_FILE}: {} payloads, {} added, {} updated, {} removed",
        folder.display(),
        written.payloads,
        written.added.len(),
        written.updated.len(),
        written.removed.len()
    );
    Ok(ExitCode::SUCCESS)
}

fn check_manifest(folder: &Path) -> Result<ExitCode, ManifestError> {
    if !folder.is_dir() {
        println!(
            "{}: not there, so the embedded defaults are served",
            folder.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let checked = Folder::open(folder)?.check(&mut Bar::new().draw())?;
    if !checked.staged {
        println!(
            "{}/{MANIFEST_FILE}: not there, so the embedded default is served",
            folder.display()
        );
    }
    for fault in &checked.faults {
        eprintln!("{}/{fault}", folder.display());
    }
    println!(
        "{}/{MANIFEST_FILE}: {} payloads, {} faults",
        folder.display(),
        checked.payloads,
        checked.faults.len()
    );
    match checked.faults.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// Width of the bar itself, in columns: the whole line fits in 80.
const BAR_COLUMNS: u64 = 24;

/// Between two drawings.
const BAR_PAUSE: Duration = Duration::from_millis(100);

/// A line on standard error that tells how far the hashing is, where that is a terminal.
struct Bar {
    started: Instant,
    terminal: bool,
}

impl Bar {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// What draws it over itself again.
    fn draw(&self) -> impl FnMut(Progress) {
        let mut drawn: Option<Instant> = None;
        move |Progress { done, total }| {
            // There may be thousands of small files, each with its report.
            let too_soon = drawn.is_some_and(|drawn| drawn.elapsed() < BAR_PAUSE);
            if !self.terminal || too_soon {
                return;
            }
            drawn = Some(Instant::now());
            let megabytes = |bytes: u64| bytes as f64 / 1e6;
            let rate = megabytes(done) / self.started.elapsed().as_secs_f64().max(0.001);
            let filled = (done.min(total) * BAR_COLUMNS).checked_div(total);
            let filled = filled.unwrap_or(BAR_COLUMNS) as usize;
            let bar = format!("{:-<1$}", "#".repeat(filled), BAR_COLUMNS as usize);
            let (done, total) = (megabytes(done), megabytes(total));
            // It is no loss where the terminal has gone.
            let _ = write!(
                std::io::stderr(),
                "\r[{bar}] {done:.0} / {total:.0} MB, {rate:.0} MB/s\x1b[K"
            );
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.terminal {
            // What is printed next has the line for itself.
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
