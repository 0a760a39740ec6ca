//! `gb10-provision-api boot grub`: GRUB's configuration, for the server of TFTP.

use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::sync::Arc;

use super::super::reached::reached_at;
use super::super::templates;
use crate::files::layout;
use crate::files::replace::replace;
use crate::seed::{Device, SeedFile};
use crate::service::settings::Settings;
use crate::site::SiteFiles;

/// Prints it, or writes it to where TFTP serves it.
pub(super) fn run(settings: &Settings, given: Option<SocketAddrV4>, write: bool) -> ExitCode {
    let site_files = Arc::new(SiteFiles::load(&settings.data_path));
    let device = Device::that_boots(reached_at(given).into());
    let templates = templates(settings, &site_files);
    let rendered = match templates.explain(SeedFile::GrubCfg, &device) {
        Ok((rendered, _)) => rendered,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(fault) = &rendered.fault {
        eprintln!("the embedded grub.cfg, for what is staged has a fault: {fault}");
    }
    let path = layout::boot(&settings.data_path).join(layout::GRUB_CFG);
    let outcome = match write {
        true => replace(&path, &rendered.text).map_err(|failed| failed.of(&path)),
        false => io::stdout()
            .write_all(rendered.text.as_bytes())
            .map_err(|error| error.to_string()),
    };
    match outcome {
        Ok(()) if write => println!("written: {}", path.display()),
        Ok(()) => {}
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::FAILURE;
        }
    }
    match rendered.fault {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    }
}
