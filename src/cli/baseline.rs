//! `gb10-provision-api baseline`: the versions that boxes may have, from a box that was accepted.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use super::out::print;
use crate::device::mac::MacAddr;
use crate::device::view::Standing;
use crate::files::layout::BASELINE_FILE;
use crate::files::replace::replace;
use crate::service::settings::Settings;
use crate::site::baseline::of_versions;
use crate::terminal::records::Records;

/// What there is to do with the baseline.
#[derive(Debug, Clone, Subcommand)]
pub enum BaselineAction {
    /// Print the baseline that allows just the versions of a box that is ready
    From {
        /// The MAC of the box, at whichever port
        mac: MacAddr,
        /// Write it to {DATA_PATH}/baseline.json instead
        #[arg(long)]
        write: bool,
        /// Also where there is one already
        #[arg(long, requires = "write")]
        force: bool,
    },
}

/// Does it.
pub(super) fn run(settings: &Settings, action: &BaselineAction) -> ExitCode {
    let BaselineAction::From { mac, write, force } = action;
    let text = match text(&settings.data_path, *mac) {
        Ok(text) => text,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::FAILURE;
        }
    };
    let path = settings.data_path.join(BASELINE_FILE);
    let done = match write {
        false => print(text.trim_end()).map_err(|error| error.to_string()),
        true => self::write(&path, &text, *force),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// The baseline by the facts of a box that is ready.
fn text(data_path: &Path, mac: MacAddr) -> Result<String, String> {
    let records = Records::read(data_path);
    let records = records.map_err(|error| format!("the records cannot be read: {error}"))?;
    let story = records.story(mac);
    let story = story.ok_or_else(|| format!("no box with that MAC is on record: {mac}"))?;
    let row = story.row;
    if row.standing != Standing::Ready {
        return Err(format!(
            "{} is not ready, it stands at: {}; expected a box that was accepted",
            row.mac,
            row.stands()
        ));
    }
    if row.versions.is_empty() {
        return Err(format!(
            "{} has sent no facts with a version: a box does when it is verified",
            row.mac
        ));
    }
    if row.warnings > 0 {
        eprintln!("note: its checks warn of something: clients {}", row.mac);
    }
    Ok(of_versions(&row.versions))
}

fn write(path: &Path, text: &str, is_forced: bool) -> Result<(), String> {
    if path.symlink_metadata().is_ok() && !is_forced {
        return Err(format!(
            "{} is there already: --force replaces it",
            path.display()
        ));
    }
    replace(path, text).map_err(|failed| failed.of(path))?;
    println!("written: {}", path.display());
    Ok(())
}
