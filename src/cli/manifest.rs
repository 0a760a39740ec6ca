//! `gb10-provision-api manifest`: writes or checks the manifest of the onboarding folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::count;
use super::progress::{bar, show};
use crate::files::layout;
use crate::onboard::FolderError;
use crate::onboard::manifest::{self, MANIFEST_FILE};
use crate::service::settings::Settings;

/// What there is to do with the manifest.
#[derive(Debug, Clone, Subcommand)]
pub enum ManifestAction {
    /// Update the list from the staged files: sizes, checksums, added and removed files
    Write {
        /// Folder of the payloads, relative to the onboarding folder
        #[arg(long, value_name = "FOLDER", default_value = "payload")]
        payload: PathBuf,
    },
    /// Print each fault of the manifest and of the files that it lists; exit 1 on a fault
    Check,
}

/// Writes or checks the manifest of the onboarding folder.
pub fn run(settings: &Settings, action: &ManifestAction) -> ExitCode {
    let folder = layout::onboard(&settings.data_path);
    let outcome = match action {
        ManifestAction::Write { payload } => write(&folder, payload),
        ManifestAction::Check => check(&folder),
    };
    match outcome {
        Ok(code) => code,
        Err(FolderError::Faults(faults)) => {
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

fn write(folder: &Path, payload: &Path) -> Result<ExitCode, FolderError> {
    let bar = bar();
    let written = manifest::write(folder, payload, &|done, total| show(&bar, done, total));
    bar.finish_and_clear();
    let written = written?;
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
        "{}/{MANIFEST_FILE}: {}, {} added, {} updated, {} removed",
        folder.display(),
        count(written.payloads, "payload"),
        written.added.len(),
        written.updated.len(),
        written.removed.len()
    );
    Ok(ExitCode::SUCCESS)
}

fn check(folder: &Path) -> Result<ExitCode, FolderError> {
    if !folder.is_dir() {
        println!(
            "{}: no such folder, so the embedded defaults are served",
            folder.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let bar = bar();
    let checked = manifest::check(folder, &|done, total| show(&bar, done, total));
    bar.finish_and_clear();
    let checked = checked?;
    if !checked.staged {
        println!(
            "{}/{MANIFEST_FILE}: no such file, so the embedded default is served",
            folder.display()
        );
    }
    for fault in &checked.faults {
        eprintln!("{}/{fault}", folder.display());
    }
    println!(
        "{}/{MANIFEST_FILE}: {}, {}",
        folder.display(),
        count(checked.payloads, "payload"),
        count(checked.faults.len(), "fault")
    );
    match checked.faults.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}
