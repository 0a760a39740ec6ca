//! What Ubuntu's installer would refuse or ignore in an autoinstall.
//!
//! The installer drops a key that it does not know with no more than a warning in its log, and ends
//! over a value of the wrong type, at a box to which nobody has a keyboard. So the autoinstall in a
//! user-data is held against a table of the keys that are documented, before a box asks for it.
//! What is in doubt counts as right: a false alarm costs more trust than a gap.

mod shape;
mod table;

use serde_json::{Map, Value};

use crate::nearest::{is_nearly, listed};
use shape::{check, shown};

/// The key of a cloud-config that the installer reads.
const WRAPPER: &str = "autoinstall";

/// Something in a user-data that the installer would refuse or ignore.
///
/// Names of keys and types are in it, but no value of the text, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The keys on the way to it, as in `autoinstall.late-commands[0]`.
    pub path: String,
    /// What came, and what was expected.
    pub reason: String,
}

impl Finding {
    fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
        }
    }
}

/// What the installer would not take in a user-data, which is a cloud-config.
///
/// Keys that are cloud-init's are not looked at. Neither is a user-data without an autoinstall,
/// unless there are signs that it was to have one.
pub fn findings(user_data: &Value) -> Vec<Finding> {
    let Some(cloud_config) = user_data.as_object() else {
        return Vec::new();
    };
    let Some(autoinstall) = cloud_config.get(WRAPPER) else {
        return without_wrapper(cloud_config).into_iter().collect();
    };
    let mut found: Vec<Finding> = misplaced(cloud_config)
        .map(|key| Finding::new(key, "a key of autoinstall's beside it: indent it below"))
        .collect();
    check(&table::AUTOINSTALL_SHAPE, autoinstall, WRAPPER, &mut found);
    if let Some(sections) = autoinstall.as_object() {
        found.extend(nobody_can_log_in(sections));
        found.extend(no_disk_laid_out(sections));
    }
    found
}

/// The keys at the top of a cloud-config that only an autoinstall has.
fn misplaced(cloud_config: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let keys = cloud_config.keys().map(String::as_str);
    keys.filter(|key| table::AUTOINSTALL.has(key) && !table::OF_CLOUD_CONFIG_TOO.contains(key))
}

/// What shows that a cloud-config without an autoinstall was to have one.
fn without_wrapper(cloud_config: &Map<String, Value>) -> Option<Finding> {
    let mut keys = cloud_config.keys();
    if let Some(key) = keys.find(|key| is_nearly(key, WRAPPER)) {
        let reason = "unknown key, and there is no `autoinstall`: did you mean that?";
        return Some(Finding::new(shown(key), reason));
    }
    // One such key may be another program's.
    let keys: Vec<&str> = misplaced(cloud_config).collect();
    (keys.len() > 1).then(|| {
        let keys = listed(keys.into_iter(), "and");
        Finding::new(WRAPPER, format!("missing: {keys} belong below it"))
    })
}

/// Whether the installer leaves a section to somebody at the box.
fn is_interactive(sections: &Map<String, Value>, name: &str) -> bool {
    let interactive = sections.get("interactive-sections");
    let mut names = interactive.and_then(Value::as_array).into_iter().flatten();
    names.any(|section| section == "*" || section == name)
}

/// The installer of the server wants to know who can log in to what it installed.
fn nobody_can_log_in(sections: &Map<String, Value>) -> Option<Finding> {
    let has_identity = sections.get("identity").is_some_and(|it| !it.is_null());
    // Its mere presence counts.
    let has_user_data = sections.contains_key("user-data");
    // The desktop asks at its first boot.
    let source = sections.get("source").and_then(|source| source.get("id"));
    let is_server = match source {
        Some(Value::String(id)) => id.starts_with("ubuntu-server"),
        Some(_) => false,
        None => true,
    };
    let layout = sections.get("storage").and_then(|it| it.get("layout"));
    let only_reset = layout.and_then(|layout| layout.get("reset-partition-only"));
    let installs = only_reset.is_none_or(|only| only == false);
    let is_missing = !has_identity && !has_user_data && !is_interactive(sections, "identity");
    (is_missing && is_server && installs).then(|| {
        let reason = "neither `identity` nor `user-data`: the installer refuses that";
        Finding::new(WRAPPER, reason)
    })
}

/// With a `storage` that says nothing of disks there is no root file system.
fn no_disk_laid_out(sections: &Map<String, Value>) -> Option<Finding> {
    let storage = sections.get("storage")?.as_object()?;
    let says = storage.contains_key("layout") || storage.contains_key("config");
    (!says && !is_interactive(sections, "storage")).then(|| {
        let reason = "neither `layout` nor `config`: no disk would be used";
        Finding::new("autoinstall.storage", reason)
    })
}
