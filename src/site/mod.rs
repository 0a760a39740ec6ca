//! What the operator says of the site and of single devices: `site.json` and `devices.json`.
//!
//! Both are optional, and are read again when they change. A fault in one never stops a boot: its
//! last good version stays in force, and the journal has a warning with the line.

pub mod devices;
pub mod password;
mod staged_json;
mod values;

use std::path::Path;
use std::sync::Arc;

pub use devices::{Devices, KnownDevice};
use staged_json::StagedJson;
pub use values::Site;

use crate::files::Fault;
use crate::files::layout::{DEVICES_FILE, SITE_FILE};

/// `{DATA_PATH}/site.json` and `{DATA_PATH}/devices.json`, always as they are on the disk.
pub struct SiteFiles {
    site: StagedJson<Site>,
    devices: StagedJson<Devices>,
}

impl SiteFiles {
    /// Reads both, and warns of faults.
    pub fn load(data_path: &Path) -> Self {
        Self {
            site: StagedJson::new(data_path, SITE_FILE),
            devices: StagedJson::new(data_path, DEVICES_FILE),
        }
    }
    /// The site's values.
    pub fn site(&self) -> Arc<Site> {
        self.site.current().0
    }

    /// What is known of single devices.
    pub fn devices(&self) -> Arc<Devices> {
        self.devices.current().0
    }

    /// What is wrong with the files as they are now.
    pub fn faults(&self) -> Vec<Fault> {
        [self.site.current().1, self.devices.current().1]
            .into_iter()
            .flatten()
            .collect()
    }
}
