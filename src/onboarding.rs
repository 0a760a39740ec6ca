//! The vocabulary of onboarding: stages, phases, a heartbeat and a report.
//!
//! Pure: nothing here reads a clock, a file or a socket.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
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

impl Detail {
    /// As much of a text as is kept.
    pub fn cut(mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(DETAIL_BYTES));
        Self(text)
    }
}

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
    /// The name that `devices.json` gives the device; without one a record keeps what it has.
    pub hostname: Option<String>,
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

/// The host name of a device for which nobody chose another.
pub fn default_hostname(mac_slug: &str) -> String {
    format!("gb10-pxe-{mac_slug}")
}
