//! A client's record: what is kept of one device, as one line of JSON.
//!
//! A record is JSON that another version may have written, the former Python service included.
//! So the values are held as the JSON text that was read: fields, stage names, number and time
//! formats which this version does not know survive to the letter, only white space goes. And the
//! history is held as one text that a report is added to: however long it is, a report costs no
//! more than copying it. Pure: nothing here reads a clock, a file or a socket.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use indexmap::IndexMap;
use jiff::Timestamp;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::mac::MacAddr;
use crate::onboarding::{Detail, Phase, Report, Stage, default_hostname};

/// The field with the history, always the last of a record.
const STAGES: &str = "stages";
/// The field that counts the events which the history limit dropped.
const EVENTS_DROPPED: &str = "events_dropped";
/// The field that tells what this host saw itself.
const SEED: &str = "seed";

/// What is kept of one device: `{mac, ip, hostname, current_stage, last_heartbeat, stages}`.
#[derive(Debug, Clone, Default)]
pub struct ClientRecord {
    /// All but the history, in the order in which they were first set.
    fields: IndexMap<String, Box<RawValue>>,
    history: History,
}

/// The events of a device, oldest first.
#[derive(Debug, Clone, Default)]
struct History {
    /// Their JSON with commas between them: a part of the line that the record was written as.
    text: Bytes,
    /// What was added since.
    added: String,
    events: usize,
    last_phase: Option<Phase>,
}

impl History {
    fn of(events: &[&RawValue]) -> Self {
        let texts: Vec<_> = events.iter().map(|event| compact(event)).collect();
        let texts: Vec<&str> = texts.iter().map(|event| event.get()).collect();
        let last = texts
            .last()
            .and_then(|event| serde_json::from_str::<PastEvent>(event).ok());
        Self {
            text: texts.join(",").into(),
            added: String::new(),
            events: events.len(),
            last_phase: last.and_then(|event| event.phase.parse().ok()),
        }
    }

    fn add(&mut self, event: &Event) -> Result<(), serde_json::Error> {
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
}

impl ClientRecord {
    /// Writes the record as one line, `"key": {…}`. Returns it, and where in it the record begins.
    ///
    /// The history is a part of that line from then on, so that it is in memory once.
    pub fn write(&mut self, key: &str) -> Result<(Bytes, usize), serde_json::Error> {
        let mut head = serde_json::to_vec(key)?;
        head.extend_from_slice(b": ");
        let record_at = head.len();
        head.push(b'{');
        for (field, value) in &self.fields {
            serde_json::to_writer(&mut head, field)?;
            head.push(b':');
            head.extend_from_slice(value.get().as_bytes());
            head.push(b',');
        }
        serde_json::to_writer(&mut head, STAGES)?;
        head.extend_from_slice(b":[");
        let History { text, added, .. } = &self.history;
        let (history_at, history_end) = (head.len(), head.len() + text.len() + added.len());
        let line = Bytes::from([head.as_slice(), text, added.as_bytes(), b"]}"].concat());
        self.history.text = line.slice(history_at..history_end);
        self.history.added = String::new();
        Ok((line, record_at))
    }

    /// Enters a report, and drops the oldest events beyond `history_limit`.
    pub fn enter(
        &mut self,
        report: &Report,
        history_limit: usize,
    ) -> Result<(), serde_json::Error> {
        let timestamp = Rfc3339(report.at);
        let kept = || {
            self.get::<String>("hostname")
                .filter(|name| !name.is_empty())
        };
        let hostname = report.hostname.clone().or_else(kept);
        let hostname = hostname.unwrap_or_else(|| default_hostname(&report.mac.slug()));
        self.set("mac", &report.mac)?;
        self.set("ip", &report.ip)?;
        self.set("hostname", &hostname)?;
        self.set("current_stage", &report.stage)?;
        self.set("last_heartbeat", &timestamp)?;
        self.history.add(&Event {
            stage: report.stage,
            phase: report.phase,
            timestamp,
            detail: report.detail.as_ref(),
            arp_mac: report.arp_mac,
        })?;
        if (report.stage, report.phase) == (Stage::Ready, Phase::Done)
            && let Some(mut seed) = self
                .get::<SeedFetches>(SEED)
                .filter(|seed| seed.reinstalling)
        {
            seed.reinstalling = false;
            self.set(SEED, &seed)?;
        }
        let excess = self.history.events.saturating_sub(history_limit);
        if excess > 0 {
            self.history = self.history.read(|events| History::of(&events[excess..]))?;
            let before: u64 = self.get(EVENTS_DROPPED).unwrap_or(0);
            self.set(EVENTS_DROPPED, &before.saturating_add(excess as u64))?;
        }
        Ok(())
    }

    /// Enters what this host saw itself: that the device fetched its seed. Neither stage nor
    /// identity changes by that; but a device that installed, and then starts from PXE again, is
    /// being installed again: how often so far is returned where it shows by these fetches.
    pub fn enter_fetches(&mut self, fetches: &Fetches) -> Result<Option<u64>, serde_json::Error> {
        let Fetches {
            mac,
            hostname,
            first,
            last,
            count,
        } = fetches;
        if self.fields.is_empty() {
            self.set("mac", mac)?;
            self.set("ip", &last.ip)?;
            let default = || default_hostname(&mac.slug());
            self.set("hostname", &hostname.clone().unwrap_or_else(default))?;
        }
        let before: Option<SeedFetches> = self.get(SEED);
        let since = before.as_ref().map(|seed| seed.last.timestamp.0);
        let is_install = |event: &RawValue| {
            let event = serde_json::from_str::<PastEvent>(event.get()).ok();
            event.is_some_and(
                |PastEvent {
                     stage,
                     timestamp: Rfc3339(timestamp),
                     ..
                 }| {
                    stage == Stage::Install.name()
                        && since.is_none_or(|since| timestamp > since)
                        && timestamp < last.timestamp.0
                },
            )
        };
        let installed_since = self
            .history
            .read(|events| events.into_iter().any(is_install))?;
        let mut seed = match before {
            Some(seed) => SeedFetches {
                count: seed.count + count,
                last: last.clone(),
                ..seed
            },
            None => SeedFetches {
                count: *count,
                first: first.clone(),
                last: last.clone(),
                reinstalling: false,
                reinstalls: 0,
            },
        };
        if installed_since {
            seed.reinstalling = true;
            seed.reinstalls += 1;
        }
        self.set(SEED, &seed)?;
        Ok(installed_since.then_some(seed.reinstalls))
    }

    /// The stage of the last report, also where this version does not know it.
    pub fn current_stage(&self) -> Option<String> {
        self.get("current_stage")
    }

    /// The phase of the last report.
    pub fn current_phase(&self) -> Option<Phase> {
        self.history.last_phase
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
pub fn compact(value: &RawValue) -> Box<RawValue> {
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
                    if field == STAGES {
                        let events = map.next_value::<Option<Vec<&RawValue>>>()?;
                        record.history = History::of(&events.unwrap_or_default());
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

/// One entry of the history.
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

/// One entry of the history, as far as it matters later.
#[derive(Deserialize)]
struct PastEvent {
    stage: String,
    phase: String,
    timestamp: Rfc3339,
}

/// The value of [`SEED`].
#[derive(Serialize, Deserialize)]
struct SeedFetches {
    /// How often user-data was fetched.
    count: u64,
    first: Fetch,
    last: Fetch,
    /// Set by a fetch after an install was reported, until the device is ready.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    reinstalling: bool,
    /// How often that happened.
    #[serde(default, skip_serializing_if = "is_zero")]
    reinstalls: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One fetch of a device's user-data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fetch {
    timestamp: Rfc3339,
    ip: IpAddr,
    /// `staged`, `embedded` or `fallback`.
    template: String,
    /// Who said which device it is.
    mac_source: String,
}

impl Fetch {
    /// A fetch at `at` by this host's clock, from `ip`.
    pub fn new(at: Timestamp, ip: IpAddr, template: &str, mac_source: &str) -> Self {
        let (template, mac_source) = (template.to_owned(), mac_source.to_owned());
        Self {
            timestamp: Rfc3339(at),
            ip,
            template,
            mac_source,
        }
    }
}

/// Fetches of one device that are not on record yet.
#[derive(Debug, Clone)]
pub struct Fetches {
    mac: MacAddr,
    /// The name that `devices.json` gives the device.
    hostname: Option<String>,
    first: Fetch,
    last: Fetch,
    count: u64,
}

impl Fetches {
    /// The first of them.
    pub fn new(mac: MacAddr, hostname: Option<String>, fetch: Fetch) -> Self {
        Self {
            mac,
            hostname,
            first: fetch.clone(),
            last: fetch,
            count: 1,
        }
    }

    /// Adds later ones.
    pub fn join(&mut self, later: Fetches) {
        self.last = later.last;
        self.count += later.count;
    }

    /// Adds a later one.
    pub fn add(&mut self, fetch: Fetch) {
        self.last = fetch;
        self.count += 1;
    }
}

/// A time as all records spell it: RFC 3339, UTC, milliseconds.
#[derive(Debug, Clone, Copy, SerializeDisplay, DeserializeFromStr)]
struct Rfc3339(Timestamp);

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
