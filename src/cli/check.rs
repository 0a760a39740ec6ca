//! `gb10-provision-api check`: every staged template and file tried, before a box asks for it.

use std::process::ExitCode;
use std::sync::Arc;

use super::count;
use crate::files::layout;
use crate::seed::Templates;
use crate::service::settings::Settings;
use crate::site::SiteFiles;

/// Tries every staged template and prints each fault with file and line.
pub fn run(settings: &Settings) -> ExitCode {
    let folder = layout::templates(&settings.data_path);
    let site_files = Arc::new(SiteFiles::load(&settings.data_path));
    let templates = match Templates::load(
        folder.clone(),
        settings.fallback_password_hash.reveal(),
        Arc::clone(&site_files),
    ) {
        Ok(templates) => templates,
        Err(error) => {
            eprintln!("an embedded template is broken, which is a bug in this program: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (tried, faults) = templates.check();
    let site_faults = site_files.faults();
    for fault in &faults {
        eprintln!("{}/{fault}", folder.display());
    }
    for fault in &site_faults {
        eprintln!("{}/{fault}", settings.data_path.display());
    }
    let (templates, faults) = (tried.len(), faults.len() + site_faults.len());
    println!(
        "{}: {} tried, {}",
        folder.display(),
        count(templates, "template"),
        count(faults, "fault")
    );
    if templates == 0 && !folder.exists() {
        println!("no such folder, so the embedded defaults are served");
    }
    if faults == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
