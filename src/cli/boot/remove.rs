//! `gb10-provision-api boot remove`: an image is taken out of the boot folder.

use std::path::Path;
use std::process::ExitCode;

use tracing::info;

use crate::cli::operator;
use crate::images::{self, ImageError};
use crate::message_id;
use crate::service::journal;
use crate::service::settings::Settings;
use crate::site::{ImageName, SiteFiles};

/// Removes the image, unless boxes are installed from it.
pub(super) fn run(settings: &Settings, boot: &Path, name: &ImageName, force: bool) -> ExitCode {
    let removed = match force {
        true => Ok(()),
        false => unless_used(settings, boot, name),
    };
    match removed.and_then(|()| images::remove(boot, name)) {
        Ok(()) => {
            journal::init_for_operator();
            let who = operator().who;
            info!(message_id = message_id::IMAGE_REMOVED, gb10.image = %name, who, "image removed: {name}, by {who}");
            println!("removed: {name}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            if let ImageError::InUse(..) = error {
                eprintln!("nothing is removed; --force removes it all the same");
            }
            ExitCode::FAILURE
        }
    }
}

/// An error where boxes are installed from it, or where nobody can tell.
fn unless_used(settings: &Settings, boot: &Path, name: &ImageName) -> Result<(), ImageError> {
    let staged = images::staged(boot)
        .map_err(|error| ImageError::Io(images::folder(boot), "reading", error))?;
    if !staged.contains(name) {
        // Told by who removes it.
        return Ok(());
    }
    let site_files = SiteFiles::load(&settings.data_path);
    let unreadable = site_files
        .faults_of_boots()
        .into_iter()
        .map(|fault| format!("it may be, {fault}"));
    let mut reasons: Vec<_> = unreadable.collect();
    let site = site_files.site().unwrap_or_default();
    reasons.extend(images::users(name, &site, &site_files.devices(), &staged));
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(ImageError::InUse(name.clone(), reasons)),
    }
}
