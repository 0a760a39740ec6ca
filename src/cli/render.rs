//! `gb10-provision-api render`: a file of a box's seed, as the box would get it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use super::seed_of::SeedOf;
use crate::device::mac::MacAddr;
use crate::seed::{Origin, SeedFile};
use crate::service::settings::Settings;

/// Prints the file, and on standard error what it was made of. Nothing goes on record.
pub(super) fn run(
    settings: &Settings,
    mac: MacAddr,
    file: SeedFile,
    reached_at: SocketAddr,
) -> ExitCode {
    let mut seed = SeedOf::new(settings, mac, reached_at);
    for fault in seed.site_files.faults_of_boots() {
        eprintln!("{}/{fault}", settings.data_path.display());
    }
    let (rendered, files) = match seed.render(settings, file) {
        Ok(explained) => explained,
        Err(reason) => {
            eprintln!("{}: {reason}", file.name());
            return ExitCode::FAILURE;
        }
    };
    let origin = match rendered.origin {
        Origin::Nothing => "empty, since none is staged",
        origin => origin.name(),
    };
    eprintln!("{} of {}: {origin}", file.name(), seed.mac);
    for file in files.iter().filter(|_| rendered.origin != Origin::Nothing) {
        eprintln!("  from {}", file.display());
    }
    if let Some(fault) = &rendered.fault {
        eprintln!("not what is staged: {fault}");
    }
    match io::stdout().write_all(rendered.text.as_bytes()) {
        Ok(()) if rendered.fault.is_none() => ExitCode::SUCCESS,
        // Whoever reads it may have seen enough.
        _ => ExitCode::FAILURE,
    }
}
