//! What a box says of itself beside its stage: its facts, one JSON object that it gathers when it is
//! verified and ready.
//!
//! The object is kept as it came. What this program understands of it is here: the versions that a
//! baseline judges, and the box's network ports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use serde_with::{DeserializeFromStr, SerializeDisplay};

use super::compact::{depth, without_white_space};
use super::fields::Fields;
use super::mac::MacAddr;
use super::stage::{UnknownName, named};

/// Longest JSON of facts, in bytes, without white space.
pub const FACTS_BYTES: usize = 32 * 1024;

/// So deep objects and lists may stand within one another.
const FACTS_DEPTH: usize = 16;

/// Longest version that is looked at, in bytes; …
const VERSION_BYTES: usize = 256;
/// … and the most of one part: more than a box has ports.
const MAX_VERSIONS: usize = 32;

named! {
    /// A part of a box whose version a baseline names.
    Part, "part of a box":
    /// The kernel, as `uname -r` has it.
    Kernel = "kernel",
    /// The GPU driver.
    Driver = "driver",
    /// The BIOS.
    Bios = "bios",
    /// The embedded controller.
    Ec = "ec",
    /// The firmware of each network port.
    NicFirmware = "nic_firmware",
    /// The firmware of each NVMe disk.
    NvmeFirmware = "nvme_firmware",
    /// The release of the operating system.
    OsRelease = "os_release",
    /// The release of DGX OS that runs.
    DgxRelease = "dgx_release",
}

impl Part {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 8] = [
        Self::Kernel,
        Self::Driver,
        Self::Bios,
        Self::Ec,
        Self::NicFirmware,
        Self::NvmeFirmware,
        Self::OsRelease,
        Self::DgxRelease,
    ];
}

/// The facts of a box: a JSON object without white space, as the box sent it.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Facts(Box<RawValue>);

impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Facts {}

impl Facts {
    /// Takes what a box sent.
    ///
    /// # Errors
    /// It is no object, too long or too deep.
    pub fn received(value: &RawValue) -> Result<Self, String> {
        if !value.get().starts_with('{') {
            return Err(format!("{}: expected an object", kind(value.get())));
        }
        let facts = without_white_space(value);
        let (bytes, levels) = (facts.get().len(), depth(facts.get()));
        if bytes > FACTS_BYTES {
            return Err(format!(
                "{bytes} bytes long: at most {FACTS_BYTES} are kept"
            ));
        }
        if levels > FACTS_DEPTH {
            return Err(format!(
                "objects and lists are nested {levels} deep: at most {FACTS_DEPTH} are kept"
            ));
        }
        Ok(Self(facts))
    }

    /// Takes what a record has, whoever wrote it, if that is an object.
    pub fn on_record(value: Box<RawValue>) -> Option<Self> {
        value.get().starts_with('{').then_some(Self(value))
    }

    /// The JSON.
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// The versions that a baseline judges, as far as they are known.
    pub fn versions(&self) -> Versions {
        let facts: Value = serde_json::from_str(self.json()).unwrap_or_default();
        let found = Part::ALL.map(|part| (part, values(&facts, part)));
        let known = found.into_iter().filter(|(_, values)| !values.is_empty());
        Versions(known.collect())
    }

    /// The network ports that it names.
    pub fn nics(&self) -> Vec<Nic> {
        let facts: Known = serde_json::from_str(self.json()).unwrap_or_default();
        let read = |nic| serde_json::from_value(nic).ok();
        facts.nics.into_iter().filter_map(read).collect()
    }

    /// The facts in lines, as people read them: each with its name and what it is. Of a list of
    /// things each has a line of its own.
    pub fn lines(&self) -> Vec<(String, String)> {
        let facts: Fields = serde_json::from_str(self.json()).unwrap_or_default();
        let mut lines = Vec::new();
        for (name, value) in facts.iter() {
            match serde_json::from_str::<Vec<&RawValue>>(value) {
                Ok(things) if things.iter().any(|thing| thing.get().starts_with('{')) => {
                    let things = things.iter().map(|thing| words(thing.get()));
                    lines.extend(things.map(|thing| (name.to_owned(), thing)));
                }
                _ => lines.push((name.to_owned(), words(value))),
            }
        }
        lines
    }
}

/// What the facts of another version may lack, or have otherwise.
#[derive(Default, Deserialize)]
struct Known {
    #[serde(default)]
    nics: Vec<Value>,
}

/// A network port of a box, by its facts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Nic {
    /// What the kernel calls it.
    pub name: Option<String>,
    /// Its address, as the box has it, which may be none of a device.
    pub mac: Option<String>,
}

impl Nic {
    /// Its address, where that is one that a device can have for good: not all-zero, as a fault of
    /// the driver leaves it, and not made up by software for a bridge or a container.
    pub fn own_mac(&self) -> Option<MacAddr> {
        let mac: MacAddr = self.mac.as_ref()?.parse().ok()?;
        (!mac.is_made_up()).then_some(mac)
    }
}

/// The values of a part in facts: none where it is absent, one or, of what there are several of,
/// each once.
fn values(facts: &Value, part: Part) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let one = |name: &str| facts.get(name).and_then(text).into_iter().collect();
    let of_each = |list: &str| {
        let things = facts.get(list).and_then(Value::as_array);
        let things = things.into_iter().flatten();
        let firmware = things.filter_map(|thing| thing.get("firmware").and_then(text));
        firmware.collect()
    };
    let mut values: Vec<String> = match part {
        Part::NicFirmware => of_each("nics"),
        Part::NvmeFirmware => of_each("nvme"),
        // What the factory installed is not what runs after an update.
        Part::DgxRelease if facts.get("dgx_ota").is_some_and(Value::is_string) => one("dgx_ota"),
        part => one(part.name()),
    };
    values.retain(|value| !value.is_empty());
    for value in &mut values {
        if value.len() > VERSION_BYTES {
            value.truncate(value.floor_char_boundary(VERSION_BYTES));
            value.push('…');
        }
    }
    values.sort();
    values.dedup();
    values.truncate(MAX_VERSIONS);
    values
}

/// JSON as people read it: texts without quotes, and objects and lists of one level without brackets.
fn words(json: &str) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    if let Ok(text) = serde_json::from_str::<String>(json) {
        return text;
    }
    if let Ok(fields) = serde_json::from_str::<Fields>(json) {
        let fields = fields
            .iter()
            .map(|(name, value)| format!("{name} {}", inner(value)));
        return joined(fields.collect());
    }
    match serde_json::from_str::<Vec<&RawValue>>(json) {
        Ok(list) => joined(list.iter().map(|value| inner(value.get())).collect()),
        Err(_) => json.to_owned(),
    }
}

/// JSON within an object or a list.
fn inner(json: &str) -> String {
    serde_json::from_str::<String>(json)
        .or_else(|_| serde_json::from_str::<Vec<String>>(json).map(|texts| texts.join("+")))
        .unwrap_or_else(|_| json.to_owned())
}

/// What JSON text is, for an error.
fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "true or false",
        _ => "a number",
    }
}

/// The versions of a box's parts, as far as its facts have them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions(Vec<(Part, Vec<String>)>);

impl Versions {
    /// Each part that is known, with its values.
    pub fn iter(&self) -> impl Iterator<Item = (Part, &[String])> {
        let parts = self.0.iter();
        parts.map(|(part, values)| (*part, values.as_slice()))
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A part of a box that is outside the baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Which part.
    pub field: Part,
    /// Its values that the baseline does not allow.
    pub found: Vec<String>,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.found.join(", "))
    }
}
