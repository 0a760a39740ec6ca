//! The vocabulary of onboarding: stages, phases, a heartbeat, and a client's record.
//!
//! Pure: nothing here reads a clock, a file or a socket.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use serde_with::{DeserializeFromStr, NoneAsEmptyString, SerializeDisplay, serde_as};

use crate::excerpt::excerpt;
use crate::mac::MacAddr;

/// Longest `detail` of a heartbeat, in bytes of UTF-8.
pub const DETAIL_BYTES: usize = 4096;

/// An enum whose values have one name each, in JSON, in the journal and in errors.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $what:literal: $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, SerializeDisplay, DeserializeFromStr)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every name, in order.
            pub const NAMES: &'static [&'static str] = &[$($text,)+];

            /// The name in JSON and in the journal.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownName { what: $what, got: excerpt(text), allowed: Self::NAMES }),
                }
            }
        }
    };
}

/// A name that is none of those which are allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got} is no {what}: expected one of {}", allowed.join(", "))]
pub struct UnknownName {
    what: &'static str,
    got: String,
    allowed: &'static [&'static str],
}

named! {
    /// Where on its way from PXE to ready a device is.
    Stage, "stage":
    /// The installer runs.
    Install = "install",
    /// The installed system boots for the first time.
    FirstBoot = "first_boot",
    /// Links and addresses.
    Network = "network",
    /// Disks and file systems.
    Storage = "storage",
    /// The GPU driver.
    Driver = "driver",
    /// The container runtime and its GPU hook.
    ContainerRuntime = "container_runtime",
    /// The site's own payloads.
    Payload = "payload",
    /// The final checks.
    Verify = "verify",
    /// The device is in service.
    Ready = "ready",
}

named! {
    /// How a stage goes.
    Phase, "phase":
    /// The stage began.
    Start = "start",
    /// The stage goes on.
    Progress = "progress",
    /// The stage ended well.
    Done = "done",
    /// The stage ended badly.
    Fail = "fail",
}

/// What a device says of itself: the body of `POST /heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The MAC that the device claims; without one the neighbour table decides.
    pub mac: Option<MacAddr>,
    /// The stage that the device is in.
    pub stage: Stage,
    /// How that stage goes.
    pub phase: Phase,
    /// What was checked or found, in the device's own words.
    pub detail: Option<Detail>,
}

/// The `detail` of a heartbeat: a text of at most [`DETAIL_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Detail(String);

impl TryFrom<String> for Detail {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.len() {
            0..=DETAIL_BYTES => Ok(Self(text)),
            long => Err(format!(
                "{long} bytes long: at most {DETAIL_BYTES} are kept"
            )),
        }
    }
}

/// Why the body of a heartbeat was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// The body is no JSON at all; the text says where it breaks.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but no object.
    #[error("the body is {0}: expected a JSON object with stage and phase")]
    NotAnObject(&'static str),
    /// A field is missing or has a wrong value.
    #[error("{field}: {reason}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What came and what was expected.
        reason: String,
        /// The allowed values, where they are a list.
        allowed: &'static [&'static str],
    },
}

/// `mac` as devices send it: absent, null and empty (an unset variable) all mean "not known here".
#[serde_as]
#[derive(Deserialize)]
struct ClaimedMac(#[serde_as(as = "NoneAsEmptyString")] Option<MacAddr>);

impl Heartbeat {
    /// Reads the body of a heartbeat. Fields that it does not know are ignored, so that a newer
    /// device can report to an older server.
    pub fn from_json(body: &[u8]) -> Result<Self, HeartbeatError> {
        let value = serde_json::from_slice(body)
            .map_err(|error| HeartbeatError::NotJson(error.to_string()))?;
        let mut object = match value {
            Value::Object(object) => object,
            Value::Array(_) => return Err(HeartbeatError::NotAnObject("an array")),
            Value::Null => return Err(HeartbeatError::NotAnObject("null")),
            _ => return Err(HeartbeatError::NotAnObject("a single value")),
        };
        Ok(Self {
            mac: optional::<ClaimedMac>(&mut object, "mac", &[])?.and_then(|claimed| claimed.0),
            stage: required(&mut object, "stage", Stage::NAMES)?,
            phase: required(&mut object, "phase", Phase::NAMES)?,
            detail: optional(&mut object, "detail", &[])?,
        })
    }
}

fn optional<T: DeserializeOwned>(
    object: &mut Map<String, Value>,
    field: &'static str,
    allowed: &'static [&'static str],
) -> Result<Option<T>, HeartbeatError> {
    match object.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            serde_json::from_value(value)
                .map(Some)
                .map_err(|error| HeartbeatError::Field {
                    field,
                    reason: error.to_string(),
                    allowed,
                })
        }
    }
}

fn required<T: DeserializeOwned>(
    object: &mut Map<String, Value>,
    field: &'static str,
    allowed: &'static [&'static str],
) -> Result<T, HeartbeatError> {
    optional(object, field, allowed)?.ok_or_else(|| HeartbeatError::Field {
        field,
        reason: format!("missing: expected one of {}", allowed.join(", ")),
        allowed,
    })
}

/// A heartbeat as it was received: from whom, when, and what the neighbour table says of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// The device that it belongs to.
    pub mac: MacAddr,
    /// The address that it came from.
    pub ip: IpAddr,
    /// When it arrived, by this host's clock.
    pub at: Timestamp,
    /// The stage reported.
    pub stage: Stage,
    /// The phase reported.
    pub phase: Phase,
    /// The device's own words.
    pub detail: Option<Detail>,
    /// The sender's address in the neighbour table, where it is another than `mac`.
    pub arp_mac: Option<MacAddr>,
}

/// One entry of a record's `stages`.
#[derive(Serialize)]
struct Event<'a> {
    stage: Stage,
    phase: Phase,
    timestamp: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a Detail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arp_mac: Option<MacAddr>,
}

/// A time as all records spell it: RFC 3339, UTC, milliseconds.
#[derive(Clone, Copy, SerializeDisplay)]
struct Rfc3339(Timestamp);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

/// The host name of a device for which nobody chose another.
pub fn default_hostname(mac_slug: &str) -> String {
    format!("gb10-pxe-{mac_slug}")
}

/// What is kept of one device: `{mac, ip, hostname, current_stage, last_heartbeat, stages}`.
///
/// A record is JSON that another version may have written, the former Python service included.
/// So the values are held as the JSON text that was read: fields, stage names, number and time
/// formats which this version does not know survive to the letter, only white space goes.
#[derive(Debug, Default)]
pub struct ClientRecord {
    fields: IndexMap<String, Box<RawValue>>,
    stages: Vec<Box<RawValue>>,
}

/// Counts the events that the history limit dropped from the front of `stages`.
const EVENTS_DROPPED: &str = "events_dropped";

impl ClientRecord {
    /// Reads a record from its JSON text.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The record as JSON text on one line.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Enters a report, and drops the oldest events beyond `history_limit`.
    pub fn enter(
        &mut self,
        report: &Report,
        history_limit: usize,
    ) -> Result<(), serde_json::Error> {
        let timestamp = Rfc3339(report.at);
        let hostname = match self.get::<String>("hostname") {
            Some(name) if !name.is_empty() => name,
            _ => default_hostname(&report.mac.slug()),
        };
        self.set("mac", &report.mac)?;
        self.set("ip", &report.ip)?;
        self.set("hostname", &hostname)?;
        self.set("current_stage", &report.stage)?;
        self.set("last_heartbeat", &timestamp)?;
        self.stages.push(to_raw_value(&Event {
            stage: report.stage,
            phase: report.phase,
            timestamp,
            detail: report.detail.as_ref(),
            arp_mac: report.arp_mac,
        })?);
        let excess = self.stages.len().saturating_sub(history_limit);
        if excess > 0 {
            self.stages.drain(..excess);
            let before: u64 = self.get(EVENTS_DROPPED).unwrap_or(0);
            self.set(EVENTS_DROPPED, &before.saturating_add(excess as u64))?;
        }
        Ok(())
    }

    /// The stage of the last report, also where this version does not know it.
    pub fn current_stage(&self) -> Option<String> {
        self.get("current_stage")
    }

    /// The phase of the last report.
    pub fn current_phase(&self) -> Option<Phase> {
        #[derive(Deserialize)]
        struct Last {
            phase: Phase,
        }
        let last: Last = serde_json::from_str(self.stages.last()?.get()).ok()?;
        Some(last.phase)
    }

    /// When the device was last heard of, as the record spells it.
    pub fn last_heartbeat(&self) -> Option<String> {
        self.get("last_heartbeat")
    }

    fn get<'a, T: Deserialize<'a>>(&'a self, field: &str) -> Option<T> {
        serde_json::from_str(self.fields.get(field)?.get()).ok()
    }

    fn set(&mut self, field: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        // An entry that is there keeps its place, so that a diff shows what changed.
        self.fields.insert(field.to_owned(), to_raw_value(value)?);
        Ok(())
    }
}

/// The same JSON on one line: without the white space between tokens.
fn compact(value: &RawValue) -> Box<RawValue> {
    let text = value.get();
    if !text.contains(['\n', '\r']) {
        return value.to_owned();
    }
    let (mut in_string, mut escaped) = (false, false);
    let kept = text.chars().filter(|&c| {
        let keep = in_string || !c.is_ascii_whitespace();
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
        keep
    });
    RawValue::from_string(kept.collect()).unwrap_or_else(|_| value.to_owned())
}

impl Serialize for ClientRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len() + 1))?;
        for (field, value) in &self.fields {
            map.serialize_entry(field, value)?;
        }
        map.serialize_entry("stages", &self.stages)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for ClientRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecordVisitor;
        impl<'de> Visitor<'de> for RecordVisitor {
            type Value = ClientRecord;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a client's record (an object)")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClientRecord, A::Error> {
                let mut record = ClientRecord::default();
                while let Some(field) = map.next_key::<String>()? {
                    if field == "stages" {
                        let events = map.next_value::<Option<Vec<&RawValue>>>()?;
                        record.stages = events
                            .unwrap_or_default()
                            .into_iter()
                            .map(compact)
                            .collect();
                    } else {
                        record.fields.insert(field, compact(map.next_value()?));
                    }
                }
                Ok(record)
            }
        }
        deserializer.deserialize_map(RecordVisitor)
    }
}
