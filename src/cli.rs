//! The command line.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::Config;
use crate::manifest::{Folder, MANIFEST_FILE, ManifestError, Progress};
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
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Render every staged template for a sample device and for an unknown one; exit 1 on a fault
    Check,
    /// Write or check the list of payloads that devices fetch, {DATA_PATH}/onboard/manifest.json
    Manifest {
        /// What to do with it.
        #[command(subcommand)]
        action: ManifestAction,
    },
    /// Print the completions of a shell
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// What there is to do with the manifest.
#[derive(Debug, Clone, Subcommand)]
pub enum ManifestAction {
    /// Make the list say what is staged: sizes and checksums, new files and such as are gone
    Write {
        /// Folder of the payloads, relative to the onboarding folder
        #[arg(long, value_name = "FOLDER", default_value = "payload")]
        payload: PathBuf,
    },
    /// Print each fault of the manifest and of the files that it lists; exit 1 on a fault
    Check,
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

/// Writes or checks the manifest of the onboarding folder.
pub fn manifest(config: &Config, action: &ManifestAction) -> ExitCode {
    let folder = config.data_path.join("onboard");
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
