//! `gb10-provision-api render`: a file of a box's seed, as the box would get it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::http::HeaderMap;

use super::templates;
use crate::device::mac::MacAddr;
use crate::http::public_url::provision_url;
use crate::seed::{Device, Origin, SeedFile};
use crate::service::settings::Settings;
use crate::site::SiteFiles;

/// Prints the file, and on standard error what it was made of. Nothing goes on record.
pub(super) fn run(
    settings: &Settings,
    mac: MacAddr,
    file: SeedFile,
    reached_at: SocketAddr,
) -> ExitCode {
    let site_files = Arc::new(SiteFiles::load(&settings.data_path));
    let templates = templates(settings, &site_files);
    for fault in site_files.faults() {
        eprintln!("{}/{fault}", settings.data_path.display());
    }
    let devices = site_files.devices();
    let mac = devices.primary(mac);
    let device = Device {
        mac: Some(mac),
        known: devices.get(mac).cloned().unwrap_or_default(),
        lan: reached_at,
        provision_url: provision_url(&settings.public_url, &HeaderMap::new(), reached_at),
    };
    let (rendered, files) = match templates.explain(file, &device) {
        Ok(explained) => explained,
        Err(error) => {
            eprintln!("{}: the box would get a 503: {error}", file.name());
            return ExitCode::FAILURE;
        }
    };
    let origin = match rendered.origin {
        Origin::Nothing => "empty, since none is staged",
        origin => origin.name(),
    };
    eprintln!("{} of {mac}: {origin}", file.name());
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
