//! Where everything lies below `DATA_PATH`.
//!
//! | path | what | who writes |
//! |---|---|---|
//! | `cloud-init-templates/` | staged templates of the seed | the operator |
//! | `onboard/` | staged onboarding files, their manifest among them | the operator, `manifest write` |
//! | `boot/` | what boxes boot from the network: shim, GRUB, the folder `images` | `boot stage`, `boot remove` |
//! | `site.json` | the site's values for templates | the operator |
//! | `devices.json` | what is known of single devices | the operator |
//! | `baseline.json` | which versions boxes may have | the operator, `baseline from` |
//! | `state/clients.json` | the devices' records | the service |
//! | `state/clients.json.lock` | locked by whoever changes the records | the service |
//! | `state/logs/` | logs of installations that failed | the service |

use std::path::{Path, PathBuf};

/// The operator's values for templates.
pub const SITE_FILE: &str = "site.json";
/// What is known of single devices.
pub const DEVICES_FILE: &str = "devices.json";
/// Which versions boxes may have.
pub const BASELINE_FILE: &str = "baseline.json";

/// GRUB's configuration for TFTP, below the boot folder.
pub const GRUB_CFG: &str = "grub/grub.cfg";

/// Where templates are staged.
pub fn templates(data_path: &Path) -> PathBuf {
    data_path.join("cloud-init-templates")
}

/// Where onboarding files are staged.
pub fn onboard(data_path: &Path) -> PathBuf {
    data_path.join("onboard")
}

/// What boxes boot from the network: the root of TFTP.
pub fn boot(data_path: &Path) -> PathBuf {
    data_path.join("boot")
}

/// Where the service keeps its records.
pub fn state(data_path: &Path) -> PathBuf {
    data_path.join("state")
}

/// Where the logs of installations that failed are kept.
pub fn logs(data_path: &Path) -> PathBuf {
    state(data_path).join("logs")
}
