//! The warnings of a box's checks: what is not as it should be, and did not end its stage.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::excerpt::excerpt;

/// Most warnings of one stage.
pub const MAX_WARNINGS: usize = 64;

/// Most names of checks in a heartbeat.
pub const MAX_NAMES: usize = 256;

/// Longest name of a check, in bytes.
const CHECK_BYTES: usize = 40;

/// Longest reason, in bytes of UTF-8.
pub const REASON_BYTES: usize = 500;

/// A warning of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Entry")]
pub struct Warning {
    /// The name of the check.
    pub check: String,
    /// What it found.
    pub reason: String,
    /// Whether the check fails by default, and the site makes it a warning.
    #[serde(skip_serializing_if = "is_false")]
    pub waived: bool,
}

/// The same as a box sends it.
#[derive(Deserialize)]
struct Entry {
    check: String,
    reason: String,
    waived: Option<bool>,
}

impl TryFrom<Entry> for Warning {
    type Error = String;
    fn try_from(entry: Entry) -> Result<Self, String> {
        let Entry {
            check,
            reason,
            waived,
        } = entry;
        is_name(&check).map_err(|reason| format!("check: {reason}"))?;
        if reason.len() > REASON_BYTES {
            return Err(format!(
                "reason: {} bytes long: at most {REASON_BYTES} are kept",
                reason.len()
            ));
        }
        Ok(Self {
            check,
            reason,
            waived: waived.unwrap_or(false),
        })
    }
}

/// Fails for what is no name of a check.
fn is_name(check: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=CHECK_BYTES).contains(&check.len()) && check.bytes().all(plain) {
        return Ok(());
    }
    Err(format!(
        "{} is no name of a check: expected 1 to {CHECK_BYTES} lower-case letters, digits and hyphens",
        excerpt(check)
    ))
}

/// Reads a list of names of checks.
///
/// # Errors
/// It is none, has too many, or one is no name.
pub fn names(value: Value) -> Result<Vec<String>, String> {
    let names: Vec<String> = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if names.len() > MAX_NAMES {
        let many = names.len();
        return Err(format!("{many} entries: at most {MAX_NAMES} are read"));
    }
    names.iter().try_for_each(|name| is_name(name))?;
    Ok(names)
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The warnings of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfStage {
    /// The stage, also one that this version does not know.
    pub stage: String,
    /// Its warnings, as the box listed them.
    pub warnings: Vec<Warning>,
}

/// Reads the list of a heartbeat.
///
/// # Errors
/// It is no list, too long, or has an entry that is no warning.
pub fn received(value: Value) -> Result<Vec<Warning>, String> {
    let Value::Array(entries) = value else {
        return Err("no list: expected a list of objects with check and reason".to_owned());
    };
    if entries.len() > MAX_WARNINGS {
        return Err(format!(
            "{} entries: at most {MAX_WARNINGS} are kept",
            entries.len()
        ));
    }
    let entries = entries.into_iter().enumerate();
    let read = |(index, entry)| {
        serde_json::from_value(entry).map_err(|error| format!("[{index}]: {error}"))
    };
    entries.map(read).collect()
}
