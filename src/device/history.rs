//! The history in a client's record: its events, held as the JSON text that they were read or
//! written as.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, Value};
use serde_with::{DeserializeFromStr, SerializeDisplay, skip_serializing_none};

use super::compact::{compact, has_line_breaks};
use super::fields::Fields;
use super::heartbeat::Detail;
use super::mac::MacAddr;
use super::stage::{Phase, Stage};

/// Longest detail of an event that was cut short, in bytes of JSON, but for the mark of the cut.
const SHORT_DETAIL: usize = 128;

/// The events of a device, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Their JSON with commas between them: a part of the line that the record was written as.
    text: Bytes,
    /// What was added since.
    added: String,
    events: usize,
    last_phase: Option<Phase>,
}

impl History {
    /// The history that consists of these events.
    pub fn of(events: &[&RawValue]) -> Self {
        let mut text =
            String::with_capacity(events.iter().map(|event| event.get().len() + 1).sum());
        for event in events {
            if !text.is_empty() {
                text.push(',');
            }
            match has_line_breaks(event.get()) {
                false => text.push_str(event.get()),
                true => text.push_str(compact(event).get()),
            }
        }
        let last = events
            .last()
            .and_then(|event| serde_json::from_str::<PastEvent>(event.get()).ok());
        Self {
            text: text.into(),
            added: String::new(),
            events: events.len(),
            last_phase: last.and_then(|event| event.phase.parse().ok()),
        }
    }

    /// Adds an event.
    pub fn add(&mut self, event: &Event) -> Result<(), serde_json::Error> {
        if self.events > 0 {
            self.added.push(',');
        }
        self.added.push_str(&serde_json::to_string(event)?);
        self.events += 1;
        self.last_phase = Some(event.phase);
        Ok(())
    }

    /// Calls `with` with every event.
    fn read<T>(&self, with: impl FnOnce(Vec<&RawValue>) -> T) -> Result<T, serde_json::Error> {
        let mut list = vec![b'['];
        list.extend_from_slice(&self.text);
        list.extend_from_slice(self.added.as_bytes());
        list.push(b']');
        serde_json::from_slice(&list).map(with)
    }

    /// Drops the oldest events beyond `limit`. Returns how many.
    ///
    /// That costs no more than a look at their text: a device that reports without end is at its
    /// limit all the time.
    pub fn keep_last(&mut self, limit: usize) -> usize {
        let excess = self.events.saturating_sub(limit);
        for _ in 0..excess {
            if self.text.is_empty() {
                // What was added begins with the comma after the last of `text`.
                self.added.drain(..end_of_first(self.added.as_bytes()));
            } else {
                self.text = self.text.slice(end_of_first(&self.text)..);
                if self.text.is_empty() {
                    self.added.drain(..self.added.len().min(1));
                }
            }
        }
        self.events -= excess;
        excess
    }

    /// How long the JSON of all events is, in bytes.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.added.len()
    }

    /// Makes the history shorter than `limit` bytes, and well so, since that costs a look at all of
    /// it: cuts the oldest details short, then drops the oldest events. The newest stays as it is.
    pub fn keep_within(&mut self, limit: usize) -> Result<Cut, serde_json::Error> {
        let target = limit - limit / 4;
        let mut cut = Cut::default();
        let short = self.read(|events| {
            let mut events: Vec<Cow<'_, str>> =
                events.into_iter().map(|event| event.get().into()).collect();
            let mut total: usize = events.iter().map(|event| event.len() + 1).sum();
            let older = events.len().saturating_sub(1);
            for event in events.iter_mut().take(older) {
                if total > target
                    && let Some(short) = with_short_detail(event)
                {
                    total -= event.len() - short.len();
                    *event = short.into();
                    cut.details += 1;
                }
            }
            while total > target && cut.events < older {
                total -= events[cut.events].len() + 1;
                cut.events += 1;
            }
            events[cut.events..].join(",")
        })?;
        self.events -= cut.events;
        self.settle(short.into());
        Ok(cut)
    }

    /// Whether an event that is `wanted`, by the names of its stage and phase, happened after
    /// `since` and before `until`, where these are given.
    pub fn tells_of(
        &self,
        wanted: impl Fn(&str, &str) -> bool,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<bool, serde_json::Error> {
        let is_one = |event: &RawValue| {
            let Ok(event) = serde_json::from_str::<PastEvent>(event.get()) else {
                return false;
            };
            let Rfc3339(at) = event.timestamp;
            wanted(&event.stage, &event.phase)
                && since.is_none_or(|since| at > since)
                && until.is_none_or(|until| at < until)
        };
        self.read(|events| events.into_iter().any(is_one))
    }

    /// The time of the last event that is `wanted`, by the names of its stage and phase: as it
    /// stands there, which may be in another format than ours, or empty.
    pub fn time_of_last(
        &self,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<Option<String>, serde_json::Error> {
        self.read(|events| {
            events.into_iter().rev().find_map(|event| {
                let event = serde_json::from_str::<ForeignEvent>(event.get()).ok()?;
                let time = || event.timestamp.as_str().unwrap_or_default().to_owned();
                wanted(&event.stage, &event.phase).then(time)
            })
        })
    }

    /// Every event that is one, the oldest first, whoever wrote it.
    pub fn reports(&self) -> Vec<PastReport> {
        let read = |event: &RawValue| serde_json::from_str(event.get()).ok();
        let all = self.read(|events| events.into_iter().filter_map(read).collect());
        all.unwrap_or_default()
    }

    /// The events at the end that are all of the last one's stage, the oldest first.
    pub fn last_run(&self) -> Vec<PastReport> {
        let mut run: Vec<PastReport> = Vec::new();
        let all = self.read(|events| {
            for event in events.into_iter().rev() {
                match serde_json::from_str::<PastReport>(event.get()) {
                    Ok(event) if run.last().is_none_or(|it| it.stage == event.stage) => {
                        run.push(event);
                    }
                    _ => break,
                }
            }
        });
        run.reverse();
        all.map(|()| run).unwrap_or_default()
    }

    /// When the last event happened and its detail, if it is of this stage and phase.
    pub fn last_detail(&self, stage: Stage, phase: Phase) -> Option<(Timestamp, String)> {
        let last = self.read(|events| {
            let last: LastEvent = serde_json::from_str(events.last()?.get()).ok()?;
            let is_of = (last.stage.as_str(), last.phase.as_str()) == (stage.name(), phase.name());
            let Rfc3339(at) = last.timestamp;
            is_of.then_some((at, last.detail))
        });
        last.ok().flatten()
    }

    /// The phase of the last event, where this version knows it.
    pub fn last_phase(&self) -> Option<Phase> {
        self.last_phase
    }

    /// The JSON of all events with commas between them, in two parts.
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.text, self.added.as_bytes()]
    }

    /// Takes the parts as they were written together.
    pub fn settle(&mut self, text: Bytes) {
        self.text = text;
        self.added = String::new();
    }
}

/// What a history lost to the limits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Details that were cut short.
    pub details: usize,
    /// Events that were dropped.
    pub events: usize,
}

/// The event with a detail of at most [`SHORT_DETAIL`] bytes; none if it has no longer one.
fn with_short_detail(event: &str) -> Option<String> {
    let mut fields: Fields = serde_json::from_str(event).ok()?;
    let detail: String = fields.get("detail")?;
    let written = |text: &str| serde_json::to_string(text).map_or(usize::MAX, |json| json.len());
    if written(&detail) <= SHORT_DETAIL {
        return None;
    }
    let mut end = detail.floor_char_boundary(SHORT_DETAIL);
    while end > 0 && written(&detail[..end]) > SHORT_DETAIL {
        // A control character takes six bytes.
        end = detail.floor_char_boundary(end - end.div_ceil(8).min(end));
    }
    fields.set("detail", &format!("{}…", &detail[..end])).ok()?;
    let short = serde_json::to_string(&fields).ok()?;
    (short.len() < event.len()).then_some(short)
}

/// Where the second of several JSON values begins that stand behind each other with commas between
/// them; the end of the text where there is one value.
fn end_of_first(values: &[u8]) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (index, byte) in values.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return index + 1,
            _ => {}
        }
    }
    values.len()
}

/// One entry of the history.
#[derive(Serialize)]
pub struct Event<'a> {
    /// The stage reported.
    pub stage: Stage,
    /// The phase reported.
    pub phase: Phase,
    /// When it arrived, by this host's clock.
    pub timestamp: Rfc3339,
    /// The device's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a Detail>,
    /// The sender's address in the neighbour table, where it is of another box.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arp_mac: Option<MacAddr>,
}

/// One entry of the history, as far as it matters later.
#[derive(Deserialize)]
struct PastEvent {
    stage: String,
    phase: String,
    timestamp: Rfc3339,
}

/// One entry of the history, whoever wrote it.
#[derive(Deserialize)]
struct ForeignEvent {
    stage: String,
    phase: String,
    #[serde(default)]
    timestamp: Value,
}

/// One entry of the history, whoever wrote it, to be shown.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastReport {
    /// The stage, also where this version does not know it.
    pub stage: String,
    /// The phase, likewise.
    pub phase: String,
    /// When, as it stands there, which may be in another format than ours.
    #[serde(default, deserialize_with = "if_it_fits")]
    pub timestamp: Option<String>,
    /// The device's own words.
    #[serde(default, deserialize_with = "if_it_fits")]
    pub detail: Option<String>,
    /// The sender's address in the neighbour table, where it is of another box.
    #[serde(default, deserialize_with = "if_it_fits")]
    pub arp_mac: Option<MacAddr>,
}

impl PastReport {
    /// When, where the time is one that can be reckoned with.
    pub fn at(&self) -> Option<Rfc3339> {
        self.timestamp.as_ref()?.parse().ok()
    }
}

/// A value that another version may have written otherwise.
fn if_it_fits<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// The newest entry, if it has a detail.
#[derive(Deserialize)]
struct LastEvent {
    stage: String,
    phase: String,
    timestamp: Rfc3339,
    detail: String,
}

/// A time as all records spell it: RFC 3339, UTC, milliseconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, SerializeDisplay, DeserializeFromStr,
)]
pub struct Rfc3339(pub Timestamp);

impl FromStr for Rfc3339 {
    type Err = jiff::Error;
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}
