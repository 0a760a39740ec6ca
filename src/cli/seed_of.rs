//! The seed of one box, as the service would render it.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::HeaderMap;

use super::templates;
use crate::device::mac::MacAddr;
use crate::embedded::onboarding_file;
use crate::files::layout;
use crate::http::public_url::provision_url;
use crate::onboard::{Folder, Unreachable};
use crate::seed::{Device, Onboarding, Rendered, SeedFile, Templates};
use crate::service::settings::Settings;
use crate::site::SiteFiles;

/// Longest onboarding file that a seed brings along, in bytes.
const ONBOARDING_BYTES: u64 = 512 * 1024;

/// A box, and all that its seed is made of.
pub(super) struct SeedOf {
    /// The MAC that it is on record under.
    pub(super) mac: MacAddr,
    /// What the site says.
    pub(super) site_files: Arc<SiteFiles>,
    templates: Templates,
    device: Device,
}

impl SeedOf {
    /// That of the box with this MAC, or with a port of this MAC, which reaches us at that address.
    pub(super) fn new(settings: &Settings, mac: MacAddr, reached_at: SocketAddr) -> Self {
        let site_files = Arc::new(SiteFiles::load(&settings.data_path));
        let templates = templates(settings, &site_files);
        let devices = site_files.devices();
        let mac = devices.primary(mac);
        let device = Device {
            mac: Some(mac),
            known: devices.get(mac).cloned().unwrap_or_default(),
            lan: reached_at,
            provision_url: provision_url(&settings.public_url, &HeaderMap::new(), reached_at),
            onboarding: Onboarding::default(),
        };
        Self {
            mac,
            site_files,
            templates,
            device,
        }
    }

    /// A file of it, and the files that this is made of. What brings the onboarding along brings the
    /// staged one, where there is such.
    pub(super) fn render(
        &mut self,
        settings: &Settings,
        file: SeedFile,
    ) -> Result<(Rendered, Vec<PathBuf>), String> {
        if file == SeedFile::DgxOs {
            let folder = layout::onboard(&settings.data_path);
            let program = onboarding_text(&folder, Onboarding::PROGRAM)?;
            let unit = onboarding_text(&folder, Onboarding::UNIT)?;
            self.device.onboarding = Onboarding::new(&program, &unit);
        }
        let explained = self.templates.explain(file, &self.device);
        explained.map_err(|error| match file {
            // Served to nobody.
            SeedFile::DgxOs => error.to_string(),
            _ => format!("the box would get a 503: {error}"),
        })
    }
}

/// The staged onboarding file of that path, else the built-in one, as the service has it.
fn onboarding_text(folder: &Path, path: &str) -> Result<String, String> {
    let failed = |reason: String| format!("{}: {reason}", folder.join(path).display());
    let opened = Folder::open(folder).map_err(Unreachable::from);
    let file = match opened.and_then(|folder| folder.open_file(path)) {
        Ok(file) => file,
        Err(Unreachable::Missing | Unreachable::NotRegular) => {
            return Ok(onboarding_file(path).unwrap_or_default().to_owned());
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    let mut text = String::new();
    let read = file.take(ONBOARDING_BYTES + 1).read_to_string(&mut text);
    match read {
        Err(error) => Err(failed(format!("cannot be read: {error}"))),
        Ok(size) if size as u64 > ONBOARDING_BYTES => {
            Err(failed(format!("is longer than {ONBOARDING_BYTES} bytes")))
        }
        Ok(_) => Ok(text),
    }
}
