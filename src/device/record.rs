//! A client's record: what is kept of one device, as one line of JSON.
//!
//! A record is JSON that another version may have written, the former Python service included.
//! So the values are held as the JSON text that was read: fields, stage names, number and time
//! formats which this version does not know survive to the letter, only white space goes. And the
//! history is held as one text that a report is added to: however long it is, a report costs no
//! more than copying it. Pure: nothing here reads a clock, a file or a socket.

use std::fmt;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::fetches::{Fetches, SeedFetches};
use super::heartbeat::{Report, Sender, default_hostname};
use super::history::{Event, History, Rfc3339, compact};
use super::stage::{Phase, Stage};

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
        let history_at = head.len();
        let [written, added] = self.history.parts();
        let line = Bytes::from([head.as_slice(), written, added, b"]}"].concat());
        self.history.settle(line.slice(history_at..line.len() - 2));
        Ok((line, record_at))
    }

    /// Enters a report, and drops the oldest events beyond `history_limit`.
    pub fn enter(
        &mut self,
        report: &Report,
        history_limit: usize,
    ) -> Result<(), serde_json::Error> {
        let timestamp = Rfc3339(report.at);
        let Sender {
            mac,
            ip,
            hostname,
            arp_mac,
            ..
        } = &report.sender;
        let kept = || {
            self.get::<String>("hostname")
                .filter(|name| !name.is_empty())
        };
        let hostname = hostname.clone().or_else(kept);
        let hostname = hostname.unwrap_or_else(|| default_hostname(&mac.slug()));
        self.set("mac", mac)?;
        self.set("ip", ip)?;
        self.set("hostname", &hostname)?;
        self.set("current_stage", &report.stage)?;
        self.set("last_heartbeat", &timestamp)?;
        self.history.add(&Event {
            stage: report.stage,
            phase: report.phase,
            timestamp,
            detail: report.detail.as_ref(),
            arp_mac: *arp_mac,
        })?;
        if (report.stage, report.phase) == (Stage::Ready, Phase::Done)
            && let Some(mut seed) = self
                .get::<SeedFetches>(SEED)
                .filter(|seed| seed.reinstalling)
        {
            seed.reinstalling = false;
            self.set(SEED, &seed)?;
        }
        let excess = self.history.keep_last(history_limit);
        if excess > 0 {
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
            self.set("ip", &last.ip())?;
            let default = || default_hostname(&mac.slug());
            self.set("hostname", &hostname.clone().unwrap_or_else(default))?;
        }
        let before: Option<SeedFetches> = self.get(SEED);
        let since = before.as_ref().map(SeedFetches::latest);
        let is_install = |stage: &str, _: &str| stage == Stage::Install.name();
        let installed_since = (self.history).tells_of(is_install, since, Some(last.at()))?;
        let mut seed = match before {
            Some(seed) => seed.and(last, *count),
            None => SeedFetches::new(first, last, *count),
        };
        if installed_since {
            // It may have become ready before its fetches are entered, which takes a moment.
            let is_ready = |stage: &str, phase: &str| {
                (stage, phase) == (Stage::Ready.name(), Phase::Done.name())
            };
            seed.reinstalling = !self.history.tells_of(is_ready, Some(last.at()), None)?;
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
        self.history.last_phase()
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
