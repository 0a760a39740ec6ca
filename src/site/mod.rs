//! What the operator says of the site, of single devices, and of the versions that they may have:
//! `site.json`, `devices.json` and `baseline.json`.
//!
//! All are optional, and are read again when they change. A fault in one never stops a boot: its
//! last good version stays in force, and the journal has a warning with the line. So it does while it
//! cannot be read; where one of the first two never could be, no seed is served.

pub mod baseline;
mod booting;
pub mod devices;
pub mod glob;
mod known;
mod names;
mod oddities;
pub mod password;
mod staged_json;
pub mod suggestion;
mod time_zone;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use baseline::Baseline;
pub use booting::{ImageName, KernelArgs};
pub use devices::{Devices, KnownDevice};
pub use known::Known;
pub use oddities::oddities;
use staged_json::{Current, StagedJson};
pub use values::Site;

use crate::files::Fault;
use crate::files::layout::{BASELINE_FILE, DEVICES_FILE, SITE_FILE};

/// The operator's files in `{DATA_PATH}`, always as they are on the disk.
pub struct SiteFiles {
    site: StagedJson<Site>,
    devices: StagedJson<Devices>,
    baseline: StagedJson<Baseline>,
}

impl SiteFiles {
    /// Reads all, and warns of faults.
    pub fn load(data_path: &Path) -> Self {
        Self {
            site: StagedJson::new(data_path, SITE_FILE),
            devices: StagedJson::new(data_path, DEVICES_FILE),
            baseline: StagedJson::new(data_path, BASELINE_FILE),
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

    /// The same for a box that asks which one it is paired with. An error where there is a
    /// `devices.json` of which no good version was ever read: nobody knows.
    pub fn devices_for_pairs(&self) -> Result<Arc<Devices>, Fault> {
        let current = self.devices.current();
        match current.fault {
            Some(fault) if current.value.is_empty() => Err(fault),
            _ => Ok(current.value),
        }
    }

    /// Which versions boxes may have, to show who has others: any, as long as `baseline.json` cannot
    /// be read.
    pub fn baseline(&self) -> Arc<Baseline> {
        self.baseline.current().value
    }

    /// The same for boxes, which are judged by it. An error where there is a `baseline.json` of which
    /// no good version was ever read: without it a box would pass that must not.
    pub fn baseline_for_boxes(&self) -> Result<Arc<Baseline>, Fault> {
        let current = self.baseline.current();
        match current.fault {
            Some(fault) if current.value.text().is_none() => Err(fault),
            _ => Ok(current.value),
        }
    }

    /// What `devices.json` and `baseline.json` say now.
    pub fn known(&self) -> Known {
        Known {
            devices: self.devices(),
            baseline: self.baseline(),
        }
    }

    /// Where those of the files lie that seeds are made of, and that are there.
    pub fn paths(&self) -> Vec<PathBuf> {
        let paths = [self.site.path(), self.devices.path()];
        let there = paths.into_iter().filter(|path| path.exists());
        there.map(Path::to_owned).collect()
    }

    /// What is wrong with the files as they are now.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = self.faults_of_boots();
        faults.extend(self.baseline.current().fault);
        faults
    }

    /// What is wrong with those by which boxes boot and are installed.
    pub fn faults_of_boots(&self) -> Vec<Fault> {
        [self.site.current().fault, self.devices.current().fault]
            .into_iter()
            .flatten()
            .collect()
    }
}
