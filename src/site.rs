//! What the operator says of the site and of single devices: `site.json` and `devices.json`.
//!
//! Both are optional, and are read again when they change. A fault in one never stops a boot: its
//! last good version stays in force, and the journal has a warning with the line.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Value;
use minijinja::value::ValueKind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_with::{DeserializeFromStr, Map, serde_as};
use tracing::{info, warn};

use crate::excerpt::excerpt;
use crate::fault::Fault;
use crate::mac::MacAddr;
use crate::message_id;
use crate::password::PasswordHash;
use crate::stamp::Watch;

/// The operator's values for templates.
const SITE_FILE: &str = "site.json";
/// What is known of single devices.
const DEVICES_FILE: &str = "devices.json";

/// Longest host name that Linux takes.
const NAME_BYTES: usize = 63;

/// `{DATA_PATH}/site.json` and `{DATA_PATH}/devices.json`, always as they are on the disk.
pub struct SiteFiles {
    site: JsonFile<Site>,
    devices: JsonFile<Devices>,
}

impl SiteFiles {
    /// Their names in the data folder.
    pub const NAMES: [&str; 2] = [SITE_FILE, DEVICES_FILE];

    /// Reads both, and warns of faults.
    pub fn load(data_path: &Path) -> Self {
        Self {
            site: JsonFile::new(data_path.join(SITE_FILE), SITE_FILE),
            devices: JsonFile::new(data_path.join(DEVICES_FILE), DEVICES_FILE),
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

/// The site's values for templates: an object, whose known fields have the types of
/// [`KnownFields`], and whose others are the site's own.
#[derive(Debug)]
pub struct Site(pub Value);

impl Default for Site {
    fn default() -> Self {
        Self(Value::from(BTreeMap::<String, Value>::new()))
    }
}

/// What the default template takes from `site.json`. Only the types matter here: a wrong one is
/// found when the file is read, with its line, instead of when a box boots.
#[derive(Deserialize)]
#[allow(dead_code)]
struct KnownFields {
    username: Option<PlainName>,
    password_hash: Option<PasswordHash>,
    authorized_keys: Option<Vec<String>>,
    timezone: Option<String>,
    locale: Option<String>,
    keyboard: Option<String>,
    apt_mirror: Option<String>,
    proxy: Option<String>,
    packages: Option<Vec<String>>,
}

/// All devices of `devices.json`. In order, so that a fault that two of them make reads the same
/// each time.
#[derive(Debug, Default)]
pub struct Devices {
    known: BTreeMap<MacAddr, KnownDevice>,
    /// Every MAC of a box to the one that its record has.
    primary: HashMap<MacAddr, MacAddr>,
}

/// The content of `devices.json`, one MAC twice included.
#[serde_as]
#[derive(Deserialize)]
struct KnownDevices(#[serde_as(as = "Map<_, _>")] Vec<(MacAddr, KnownDevice)>);

/// One device of `devices.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownDevice {
    /// Its host name.
    pub hostname: Option<PlainName>,
    /// The other MACs of the same box: a GB10 has six or so.
    #[serde(default)]
    pub macs: Vec<MacAddr>,
    /// What it is for, in the site's words.
    pub role: Option<String>,
    /// Its variables for templates.
    #[serde(default)]
    pub vars: BTreeMap<String, Value>,
}

/// A name that may stand in a URL, a file name and a shell command: one label of RFC 1123.
#[derive(Debug, Clone, PartialEq, Eq, DeserializeFromStr)]
pub struct PlainName(String);

impl PlainName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for PlainName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_label = (1..=NAME_BYTES).contains(&text.len())
            && text.bytes().all(plain)
            && !text.starts_with('-')
            && !text.ends_with('-');
        match is_label {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "{} is no plain name: expected 1 to {NAME_BYTES} letters, digits and hyphens",
                excerpt(text)
            )),
        }
    }
}

impl Devices {
    /// The MAC under which the box of this MAC is on record.
    pub fn primary(&self, mac: MacAddr) -> MacAddr {
        self.primary.get(&mac).copied().unwrap_or(mac)
    }

    /// Every device, by the MAC that it is on record under.
    pub fn iter(&self) -> impl Iterator<Item = (MacAddr, KnownDevice)> {
        self.known.iter().map(|(mac, known)| (*mac, known.clone()))
    }

    /// The host name of the device on record under this MAC, where one is given.
    pub fn hostname(&self, mac: MacAddr) -> Option<String> {
        self.known
            .get(&mac)?
            .hostname
            .as_ref()
            .map(|name| name.as_str().to_owned())
    }

    /// What is known of the device on record under this MAC.
    pub fn get(&self, mac: MacAddr) -> Option<&KnownDevice> {
        self.known.get(&mac)
    }
}

/// What can be read from a staged JSON file.
trait Parse: Default {
    /// Reads the file's text. A fault's line counts from 1.
    fn parse(text: &str) -> Result<Self, (Option<usize>, String)>;
}

fn typed<T: DeserializeOwned>(text: &str) -> Result<T, (Option<usize>, String)> {
    serde_json::from_str(text).map_err(|error| (Some(error.line()), error.to_string()))
}

impl Parse for Site {
    fn parse(text: &str) -> Result<Self, (Option<usize>, String)> {
        let values: Value = typed(text)?;
        // First, for a struct is read from an array, too.
        if values.kind() != ValueKind::Map {
            let reason = format!("{}: expected an object", values.kind());
            return Err((Some(1), reason));
        }
        let _: KnownFields = typed(text)?;
        Ok(Self(values))
    }
}

impl Parse for Devices {
    fn parse(text: &str) -> Result<Self, (Option<usize>, String)> {
        let KnownDevices(devices) = typed(text)?;
        let lines: Vec<_> = text.lines().collect();
        let fault = |mac: MacAddr, reason: String| {
            let line = lines.iter().rposition(|line| names(line, mac));
            (line.map(|line| line + 1), reason)
        };
        let mut known = BTreeMap::new();
        for (mac, device) in devices {
            if known.insert(mac, device).is_some() {
                return Err(fault(mac, format!("{mac} is a device twice")));
            }
        }
        let mut primary = HashMap::new();
        for (&mac, device) in &known {
            for &alias in std::iter::once(&mac).chain(&device.macs) {
                if let Some(other) = primary.insert(alias, mac).filter(|other| *other != mac) {
                    let reason = format!("{alias} belongs to two devices, {other} and {mac}");
                    return Err(fault(alias, reason));
                }
            }
        }
        Ok(Self { known, primary })
    }
}

/// Whether a MAC stands in a line, in whatever spelling.
fn names(line: &str, mac: MacAddr) -> bool {
    line.split('"').any(|text| text.parse() == Ok(mac))
}

/// A JSON file of which the last good version counts.
struct JsonFile<T> {
    path: PathBuf,
    name: &'static str,
    read: Mutex<Option<ReadFile<T>>>,
}

struct ReadFile<T> {
    value: Arc<T>,
    fault: Option<Fault>,
    watch: Watch,
}

impl<T: Parse> JsonFile<T> {
    fn new(path: PathBuf, name: &'static str) -> Self {
        let file = Self {
            path,
            name,
            read: Mutex::new(None),
        };
        file.current();
        file
    }

    /// The value in force, and what is wrong with the file if it is not the file's.
    fn current(&self) -> (Arc<T>, Option<Fault>) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match read.take() {
            Some(before) if before.watch.still_holds(&self.path) => before,
            before => self.read_again(before),
        };
        let outcome = (Arc::clone(&now.value), now.fault.clone());
        *read = Some(now);
        outcome
    }

    fn read_again(&self, before: Option<ReadFile<T>>) -> ReadFile<T> {
        let watch = Watch::at(&self.path);
        let parsed = match std::fs::read_to_string(&self.path) {
            Ok(text) => T::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
            Err(error) => Err((None, format!("cannot be read: {error}"))),
        };
        match parsed {
            Ok(value) => {
                if before.is_some_and(|before| before.fault.is_some()) {
                    info!(file = self.name, "{} is in order again", self.name);
                }
                ReadFile {
                    value: Arc::new(value),
                    fault: None,
                    watch,
                }
            }
            Err((line, reason)) => {
                let fault = Fault {
                    line,
                    ..Fault::new(self.name, reason)
                };
                let (value, known) = match before {
                    Some(before) => (before.value, before.fault.as_ref() == Some(&fault)),
                    None => (Arc::default(), false),
                };
                if !known {
                    warn!(
                        message_id = message_id::TEMPLATE_BROKEN,
                        gb10.template = self.name,
                        line,
                        reason = fault.reason,
                        "a staged file has a fault, its last good version stays in force: {fault}"
                    );
                }
                ReadFile {
                    value,
                    fault: Some(fault),
                    watch,
                }
            }
        }
    }
}
