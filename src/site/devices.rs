//! `devices.json`: what the operator says of single devices.

use std::collections::{BTreeMap, HashMap};

use minijinja::Value;
use serde::Deserialize;
use serde_with::{Map, serde_as};

use super::booting::{ImageName, KernelArgs};
use super::names::HostName;
use super::staged_json::{Parse, typed};
use crate::device::boot::Policy;
use crate::device::mac::MacAddr;
use crate::files::Place;

/// All devices of `devices.json`. In order, so that a fault that two of them make reads the same
/// each time.
#[derive(Debug, Default)]
pub struct Devices {
    known: BTreeMap<MacAddr, KnownDevice>,
    /// Every MAC of a box to the one that its record has.
    primary: HashMap<MacAddr, MacAddr>,
    /// Of boxes that are cabled to one another, each to the other, by the MACs of their records.
    pairs: BTreeMap<MacAddr, MacAddr>,
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
    pub hostname: Option<HostName>,
    /// The other MACs of the same box: a GB10 has six or so.
    #[serde(default)]
    pub macs: Vec<MacAddr>,
    /// Any MAC of the box that the cable between their ConnectX ports leads to. One of the two may
    /// name the other, or both.
    pub pair: Option<MacAddr>,
    /// When it is installed; without a word of its own, as the settings say.
    pub install: Option<Policy>,
    /// What it is for, in the site's words.
    pub role: Option<String>,
    /// The image that it is installed from, where that is not the site's.
    pub image: Option<ImageName>,
    /// Arguments for the kernel of its installer, instead of the site's.
    pub kernel_args: Option<KernelArgs>,
    /// Its variables for templates.
    #[serde(default)]
    pub vars: BTreeMap<String, Value>,
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

    /// What the device on record under this MAC is for, where that is said.
    pub fn role(&self, mac: MacAddr) -> Option<String> {
        self.known.get(&mac)?.role.clone()
    }

    /// The policy of the device on record under this MAC, where it has one of its own.
    pub fn policy(&self, mac: MacAddr) -> Option<Policy> {
        self.known.get(&mac)?.install
    }

    /// The other MACs of the device on record under this one.
    pub fn ports(&self, mac: MacAddr) -> &[MacAddr] {
        self.known.get(&mac).map_or(&[], |known| &known.macs)
    }

    /// The MAC of the box that the one on record under this MAC is paired with.
    pub fn pair(&self, mac: MacAddr) -> Option<MacAddr> {
        self.pairs.get(&mac).copied()
    }

    /// Whether nothing is known of any device.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What is known of the device on record under this MAC.
    pub fn get(&self, mac: MacAddr) -> Option<&KnownDevice> {
        self.known.get(&mac)
    }
}

impl Parse for Devices {
    fn parse(text: &str) -> Result<Self, (Option<Place>, String)> {
        let KnownDevices(devices) = typed(text)?;
        let lines: Vec<_> = text.lines().collect();
        let fault = |mac: MacAddr, reason: String| {
            let line = lines.iter().rposition(|line| names(line, mac));
            (line.map(|line| Place::from(line + 1)), reason)
        };
        let mut known = BTreeMap::new();
        for (mac, device) in devices {
            if known.insert(mac, device).is_some() {
                return Err(fault(mac, format!("{mac} is listed twice")));
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
        let mut devices = Self {
            known,
            primary,
            pairs: BTreeMap::new(),
        };
        devices.pairs = devices
            .find_pairs()
            .map_err(|(mac, reason)| (place_of_pair(&lines, mac), reason))?;
        Ok(devices)
    }
}

impl Devices {
    /// Who is paired with whom. Where a box were paired with itself or with two others: the device
    /// that names it so, and what is wrong.
    fn find_pairs(&self) -> Result<BTreeMap<MacAddr, MacAddr>, (MacAddr, String)> {
        let mut pairs = BTreeMap::new();
        for (&mac, device) in &self.known {
            let Some(other) = device.pair.map(|pair| self.primary(pair)) else {
                continue;
            };
            if other == mac {
                return Err((mac, format!("{mac} is paired with itself")));
            }
            for (one, other) in [(mac, other), (other, mac)] {
                let before = pairs.insert(one, other);
                if let Some(before) = before.filter(|before| *before != other) {
                    let reason = format!("{one} is paired with two boxes, {before} and {other}");
                    return Err((mac, reason));
                }
            }
        }
        Ok(pairs)
    }
}

/// Where a device names the box that it is paired with: the first such line of its entry.
fn place_of_pair(lines: &[&str], mac: MacAddr) -> Option<Place> {
    let is_key = |line: &&str| {
        let parts: Vec<_> = line.split('"').collect();
        let mut pairs = parts.windows(2);
        pairs.any(|two| two[0].parse() == Ok(mac) && two[1].trim_start().starts_with(':'))
    };
    let entry = lines.iter().position(is_key)?;
    let within = &lines[entry..];
    let line = within.iter().position(|line| line.contains("\"pair\""));
    Some(Place::from(entry + line.unwrap_or_default() + 1))
}

/// Whether a MAC stands in a line, in whatever spelling.
fn names(line: &str, mac: MacAddr) -> bool {
    line.split('"').any(|text| text.parse() == Ok(mac))
}
