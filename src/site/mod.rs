//! What the operator says of the site and of single devices: `site.json` and `devices.json`.
//!
//! Both are optional, and are read again when they change. A fault in one never stops a boot: its
//! last good version stays in force, and the journal has a warning with the line. So it does while it
//! cannot be read; where it never could be, no seed is served.

mod booting;
pub mod devices;
mod names;
mod oddities;
pub mod password;
mod staged_json;
mod time_zone;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use booting::{ImageName, KernelArgs};
pub use devices::{Devices, KnownDevice};
pub use oddities::oddities;
use staged_json::{Current, StagedJson};
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

    /// The site's values. An error where `site.json` cannot be read and never could: a seed without
    /// its values is not what the operator wants.
    pub fn site(&self) -> Result<Arc<Site>, Fault> {
        self.site.current().readable()
    }

    /// What is known of single devices: nothing, as long as `devices.json` cannot be read.
    pub fn devices(&self) -> Arc<Devices> {
        self.devices.current().value
    }

    /// The same, with whether it could be read: a seed has to know.
    pub fn known_devices(&self) -> Current<Devices> {
        self.devices.current()
    }

    /// Where those of the two lie that are there.
    pub fn paths(&self) -> Vec<PathBuf> {
        let paths = [self.site.path(), self.devices.path()];
        let there = paths.into_iter().filter(|path| path.exists());
        there.map(Path::to_owned).collect()
    }

    /// What is wrong with the files as they are now.
    pub fn faults(&self) -> Vec<Fault> {
        [self.site.current().fault, self.devices.current().fault]
            .into_iter()
            .flatten()
            .collect()
    }
}
