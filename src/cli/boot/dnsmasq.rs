//! `gb10-provision-api boot dnsmasq`: the configuration of dnsmasq that fits this host.

use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::ExitCode;

use super::super::reached::reached_at;
use super::grub;
use crate::dnsmasq::Interface;
use crate::doctor::configuration::{Kind, Planned};
use crate::files::layout;
use crate::files::replace::replace;
use crate::service::settings::Settings;
use crate::site::SiteFiles;

/// Prints it, or writes it to a file.
pub(super) fn run(
    settings: &Settings,
    interface: &Interface,
    is_proxy: bool,
    file: Option<&Path>,
    given: Option<SocketAddrV4>,
) -> ExitCode {
    let site_files = SiteFiles::load(&settings.data_path);
    for fault in site_files.faults_of_boots() {
        eprintln!("{}/{fault}", settings.data_path.display());
    }
    let boot = layout::boot(&settings.data_path);
    if !boot.is_dir() {
        eprintln!(
            "note: {} is not there yet, boot stage makes it; or DATA_PATH is meant to be another",
            boot.display()
        );
    }
    let kind = match is_proxy {
        true => Kind::Proxy,
        false => Kind::Direct,
    };
    let reached_at = reached_at(given);
    let rendered = planned(settings, &site_files)
        .and_then(|planned| planned.render(&settings.data_path, interface, reached_at, kind));
    let outcome = rendered.and_then(|text| match file {
        Some(file) => replace(file, &text).map_err(|failed| failed.of(file)),
        None => io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| error.to_string()),
    });
    match (outcome, file) {
        (Ok(()), Some(file)) => {
            println!("written: {}", file.display());
            // What TFTP is to serve belongs to it.
            let written = grub::run(settings, Some(reached_at), true);
            println!("now: systemctl restart dnsmasq");
            written
        }
        (Ok(()), None) => ExitCode::SUCCESS,
        (Err(reason), _) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// By what it is planned.
pub(in crate::cli) fn planned(
    settings: &Settings,
    site_files: &SiteFiles,
) -> Result<Planned, String> {
    let site = site_files.site().map_err(|fault| fault.to_string())?;
    Ok(Planned {
        allowed: settings.allowed_networks.clone(),
        names_router: site.has_mirror(),
    })
}
