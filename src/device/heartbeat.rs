//! What a device says of itself: the body of `POST /heartbeat`, and the report that it becomes.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::facts::Facts;
use super::fields::Fields;
use super::mac::{MacAddr, MacSource, claimed};
use super::stage::{Phase, Stage};
use super::warning::{self, Warning};

/// Longest `detail` of a heartbeat, in bytes of UTF-8.
pub const DETAIL_BYTES: usize = 4096;

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
    /// What the checks found, for programs.
    pub checked: Checked,
}

/// What a device's checks found, as far as programs are to understand it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// What the device is: kept until it sends newer ones.
    pub facts: Option<Facts>,
    /// What is not as it should be, and did not end the stage.
    pub warnings: Vec<Warning>,
    /// Checks of whichever stage that were made again: older warnings of theirs are over.
    pub again: Vec<String>,
}

/// The `detail` of a heartbeat: a text of at most [`DETAIL_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Detail(String);

/// What stands between a reason and what is added to it.
const BETWEEN: &str = "; ";

impl Detail {
    /// As much of a text as is kept.
    pub fn cut(mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(DETAIL_BYTES));
        // What was cut off is not to be kept as room, either.
        text.shrink_to_fit();
        Self(text)
    }

    /// The text of a reason with more behind it, of which the end is kept.
    pub fn of_reason(reason: &str, more: &str) -> Self {
        // The same report again, whose answer was lost.
        if reason.ends_with(more) {
            return Self::cut(reason.to_owned());
        }
        let room = |taken: usize| DETAIL_BYTES.saturating_sub(taken + BETWEEN.len());
        let reason_bytes = reason.len().min(room(more.len()).max(DETAIL_BYTES / 2));
        let reason = &reason[..reason.floor_char_boundary(reason_bytes)];
        let start = more.len().saturating_sub(room(reason.len()));
        Self(format!(
            "{reason}{BETWEEN}{}",
            &more[more.ceil_char_boundary(start)..]
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
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

/// `mac` as devices send it: absent, null, empty (an unset variable) and `unknown` all mean "not
/// known here".
struct ClaimedMac(Option<MacAddr>);

impl<'de> Deserialize<'de> for ClaimedMac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        claimed(&text).map(Self).map_err(D::Error::custom)
    }
}

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
        let mac = optional::<ClaimedMac>(&mut object, "mac", &[])?.and_then(|claimed| claimed.0);
        let stage = required(&mut object, "stage", Stage::NAMES)?;
        let phase = required(&mut object, "phase", Phase::NAMES)?;
        let detail = optional(&mut object, "detail", &[])?;
        let has_facts = !matches!(object.get("facts"), None | Some(Value::Null));
        Ok(Self {
            mac,
            stage,
            phase,
            detail,
            checked: Checked {
                facts: has_facts.then(|| facts(body)).transpose()?,
                warnings: warnings(object.remove("warnings"), phase)?,
                again: again(object.remove("checked_again"))?,
            },
        })
    }
}

/// The facts in the body of a heartbeat, to the letter: a [`Value`] would lose their order, and the
/// digits of long numbers.
fn facts(body: &[u8]) -> Result<Facts, HeartbeatError> {
    let fields: Fields =
        serde_json::from_slice(body).map_err(|error| HeartbeatError::NotJson(error.to_string()))?;
    let facts = fields.get::<Box<RawValue>>("facts").unwrap_or_default();
    Facts::received(&facts).map_err(|reason| wrong("facts", reason))
}

/// The warnings of a stage, which come when it has ended.
fn warnings(value: Option<Value>, phase: Phase) -> Result<Vec<Warning>, HeartbeatError> {
    let warnings = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => warning::received(value).map_err(|reason| wrong("warnings", reason))?,
    };
    match phase {
        Phase::Start | Phase::Progress if !warnings.is_empty() => {
            let reason = format!("came with the phase {phase}: expected done or fail");
            Err(wrong("warnings", reason))
        }
        _ => Ok(warnings),
    }
}

/// The names of the checks that were made again.
fn again(value: Option<Value>) -> Result<Vec<String>, HeartbeatError> {
    let names = value.filter(|value| !value.is_null()).map(warning::names);
    let names = names
        .transpose()
        .map_err(|reason| wrong("checked_again", reason))?;
    Ok(names.unwrap_or_default())
}

fn wrong(field: &'static str, reason: String) -> HeartbeatError {
    HeartbeatError::Field {
        field,
        reason,
        allowed: &[],
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

/// Who reports: which device, from where, and what else is known of it.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The MAC that the device is on record under.
    pub mac: MacAddr,
    /// Who said so.
    pub mac_source: MacSource,
    /// The sender's address in the neighbour table, where it is of another device than `mac`.
    pub arp_mac: Option<MacAddr>,
    /// Whether the neighbour table has the address, and this device for it.
    pub is_neighbour: bool,
    /// Whether the neighbour table or `devices.json` says that there is a device of this MAC.
    pub is_confirmed: bool,
    /// The address that the report came from.
    pub ip: IpAddr,
    /// The name that `devices.json` gives the device; without one a record keeps what it has.
    pub hostname: Option<String>,
}

/// What a device reports, as it was received.
#[derive(Debug, Clone)]
pub struct Report {
    /// Who reports.
    pub sender: Sender,
    /// When it arrived, by this host's clock.
    pub at: Timestamp,
    /// The stage reported.
    pub stage: Stage,
    /// The phase reported.
    pub phase: Phase,
    /// The device's own words.
    pub detail: Option<Detail>,
    /// What its checks found, for programs.
    pub checked: Checked,
    /// Whether it tells more of what is on record already: an installer that failed reports why by
    /// its webhook, and then the end of its log by an error command.
    pub is_addition: bool,
}

/// The host name of a device for which nobody chose another.
pub fn default_hostname(mac_slug: &str) -> String {
    format!("gb10-pxe-{mac_slug}")
}
