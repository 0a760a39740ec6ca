//! A client's record: what is kept of one device, as one line of JSON.
//!
//! A record is JSON that another version may have written, the former Python service included.
//! So the values are held as the JSON text that was read: fields, stage names, number and time
//! formats which this version does not know survive to the letter, only white space goes. And the
//! history is held as one text that a report is added to: however long it is, a report costs no
//! more than copying it. Pure: nothing here reads a clock, a file or a socket.
//!
//! | file | concern |
//! |---|---|
//! | `mod` | what is entered, and how that is bounded |
//! | `checked` | the facts and the warnings of a box |
//! | `shown` | what is read of a record |

mod checked;
mod shown;

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::device::boot::Boot;
use crate::device::fetches::{Fetches, SeedFetches};
use crate::device::fields::Fields;
use crate::device::heartbeat::{Detail, Report, Sender, default_hostname};
use crate::device::history::{Event, History, Rfc3339};
use crate::device::mac::MacAddr;
use crate::device::sightings::{Seen, Sightings};
use crate::device::stage::{Phase, Stage};

/// The field with the history, always the last of a record.
const STAGES: &str = "stages";
/// The field that counts the events which the limits dropped.
const EVENTS_DROPPED: &str = "events_dropped";
/// The field that counts the details which the limits cut short.
const DETAILS_SHORTENED: &str = "details_shortened";
/// The field that tells what this host saw itself.
const SEED: &str = "seed";
/// The field that tells what the device was told to boot.
const BOOT: &str = "boot";
/// The field that says that the device is silent for too long.
const STALLED: &str = "stalled";
/// The field that says when a device that is ready last reported of being checked again.
const RECHECKING: &str = "rechecking";
/// The field that keeps what stood in the place of the record and was none.
const BEFORE: &str = "before";

/// What bounds a record.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Events kept of a device.
    pub events: usize,
    /// Bytes of the record's JSON. The newest event is kept even if it is longer.
    pub bytes: usize,
}

/// What entering sightings showed that was not on record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noticed {
    /// How often the device was reinstalled, if it is again.
    pub reinstalls: Option<u64>,
    /// After how many installations that never ended it is given up.
    pub gave_up: Option<u64>,
}

/// What is kept of one device: `{mac, ip, hostname, current_stage, last_heartbeat, stages}`.
#[derive(Debug, Clone, Default)]
pub struct ClientRecord {
    /// All but the history.
    fields: Fields,
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
        for (field, value) in self.fields.iter() {
            serde_json::to_writer(&mut head, field)?;
            head.push(b':');
            head.extend_from_slice(value.as_bytes());
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

    /// The record of a device in whose place there was something else, which is kept in it.
    pub fn in_place_of(foreign: &RawValue) -> Self {
        let mut record = Self::default();
        record.fields.read(BEFORE.to_owned(), foreign);
        record
    }

    /// Enters a report, and keeps the record within `limits`: of bytes, facts and warnings have half
    /// at most; of the history the oldest details are cut short before the oldest events are dropped.
    pub fn enter(&mut self, report: &Report, limits: Limits) -> Result<(), serde_json::Error> {
        let timestamp = Rfc3339(report.at);
        let Sender {
            mac,
            ip,
            hostname,
            arp_mac,
            ..
        } = &report.sender;
        // The address of a sender that is another device says nothing of this one.
        let is_its_own = arp_mac.is_none() || !self.fields.has("ip");
        self.identify(*mac, is_its_own.then_some(*ip), hostname.as_deref())?;
        let was_ready = self.is_ready() || self.is_rechecking();
        self.fields.set("current_stage", &report.stage)?;
        self.fields.set("last_heartbeat", &timestamp)?;
        self.resume();
        self.recheck(report, was_ready)?;
        self.enter_checked(report)?;
        let added = self.added_to_the_last(report);
        self.history.add(&Event {
            stage: report.stage,
            phase: report.phase,
            timestamp,
            detail: added.as_ref().or(report.detail.as_ref()),
            arp_mac: *arp_mac,
        })?;
        if (report.stage, report.phase) == (Stage::Ready, Phase::Done)
            && let Some(mut seed) = self.seed().filter(SeedFetches::is_reinstalling)
        {
            seed.ready();
            self.fields.set(SEED, &seed)?;
        }
        if let Some(mut boot) = self.told() {
            boot.reported(report.stage, report.phase, report.at)?;
            self.fields.set(BOOT, &boot)?;
        }
        self.keep_within(limits)
    }

    /// Enters whether a device that was ready is being checked again by this report. It stays ready
    /// until a check fails.
    fn recheck(&mut self, report: &Report, was_ready: bool) -> Result<(), serde_json::Error> {
        match (report.stage, report.phase) {
            (Stage::Ready, Phase::Done) | (_, Phase::Fail) => self.fields.remove(RECHECKING),
            (Stage::Verify | Stage::Ready, _) if was_ready => {
                self.fields.set(RECHECKING, &Rfc3339(report.at))?;
            }
            _ => self.fields.remove(RECHECKING),
        }
        Ok(())
    }

    /// The detail of a report that tells more of the last event, behind what that says: the newest
    /// event is what operators read. None if it has to stand by itself.
    fn added_to_the_last(&self, report: &Report) -> Option<Detail> {
        if !report.is_addition {
            return None;
        }
        let (at, reason) = self.history.last_detail(report.stage, report.phase)?;
        // A box that has fetched its seed since is at another try.
        let is_same_try = self.seed().and_then(|seed| seed.latest()) <= Some(at);
        let more = report.detail.as_ref().map_or("", Detail::as_str);
        is_same_try.then(|| Detail::of_reason(&reason, more))
    }

    fn keep_within(&mut self, limits: Limits) -> Result<(), serde_json::Error> {
        self.keep_checked_within(limits.bytes / 2)?;
        let mut dropped = self.history.keep_last(limits.events);
        let fields = self
            .fields
            .iter()
            .map(|(field, value)| field.len() + value.len() + 4);
        let fields = fields.sum::<usize>() + STAGES.len() + 8;
        if fields + self.history.bytes() > limits.bytes {
            let cut = self
                .history
                .keep_within(limits.bytes.saturating_sub(fields))?;
            dropped += cut.events;
            if cut.details > 0 {
                self.fields.count(DETAILS_SHORTENED, cut.details as u64)?;
            }
        }
        if dropped > 0 {
            self.fields.count(EVENTS_DROPPED, dropped as u64)?;
        }
        Ok(())
    }

    /// Enters what this host saw itself: that the device asked what to boot, or fetched its seed.
    /// Neither stage nor identity changes by that.
    pub fn enter_sightings(&mut self, sightings: &Sightings) -> Result<Noticed, serde_json::Error> {
        let mut noticed = Noticed::default();
        if self.is_empty() {
            let hostname = sightings.hostname.as_deref();
            self.identify(sightings.mac, Some(sightings.ip), hostname)?;
        }
        self.resume();
        for seen in self.told().unwrap_or_default().not_entered(sightings) {
            match seen {
                Seen::Asked(asked) => {
                    let mut boot = self.boot();
                    if boot.asked(asked)? {
                        noticed.gave_up = Some(boot.attempts());
                    }
                    self.fields.set(BOOT, &boot)?;
                }
                Seen::Fetched(fetches) => {
                    let reinstalls = self.enter_fetches(fetches)?;
                    noticed.reinstalls = reinstalls.or(noticed.reinstalls);
                    if let Some(mut boot) = self.told() {
                        boot.fetched(fetches.last.at())?;
                        self.fields.set(BOOT, &boot)?;
                    }
                }
            }
        }
        Ok(noticed)
    }

    /// Enters fetches of the seed: a device that installed, and then starts from PXE again, is
    /// being installed again. How often so far is returned where it shows by these fetches.
    fn enter_fetches(&mut self, fetches: &Fetches) -> Result<Option<u64>, serde_json::Error> {
        let last = &fetches.last;
        let mut seed = match self.seed() {
            // Whatever somebody else means by it.
            None if self.fields.has(SEED) => return Ok(None),
            seed => seed.unwrap_or_default(),
        };
        let is_install = |stage: &str, _: &str| stage == Stage::Install.name();
        let installed_since =
            (self.history).tells_of(is_install, seed.latest(), Some(last.at()))?;
        seed.add(fetches)?;
        let reinstalls = match installed_since {
            false => None,
            true => {
                // It may have become ready before its fetches are entered, which takes a moment.
                let is_ready = |stage: &str, phase: &str| {
                    (stage, phase) == (Stage::Ready.name(), Phase::Done.name())
                };
                let is_ready = self.history.tells_of(is_ready, Some(last.at()), None)?;
                Some(seed.reinstalled(!is_ready)?)
            }
        };
        self.fields.set(SEED, &seed)?;
        Ok(reinstalls)
    }

    /// Enters that the device is silent for too long, since it was last heard of. False if that is
    /// on record, or if nothing is awaited of the device.
    pub fn stall(&mut self) -> Result<bool, serde_json::Error> {
        if self.is_stalled() || !self.is_awaited() {
            return Ok(false);
        }
        let since = self.last_heard_of().map(Rfc3339);
        self.fields.set(STALLED, &since)?;
        Ok(true)
    }

    /// Enters that the device was heard of since.
    pub fn resume(&mut self) {
        self.fields.remove(STALLED);
    }

    /// Enters what an operator wants of the device's boots.
    pub fn set_boot(
        &mut self,
        mac: MacAddr,
        hostname: Option<&str>,
        boot: &Boot,
    ) -> Result<(), serde_json::Error> {
        if self.is_empty() {
            self.identify(mac, None, hostname)?;
        }
        self.fields.set(BOOT, boot)
    }

    /// Enters whose record this is. A name that is on record stays, unless another is given.
    fn identify(
        &mut self,
        mac: MacAddr,
        ip: Option<IpAddr>,
        hostname: Option<&str>,
    ) -> Result<(), serde_json::Error> {
        self.fields.set("mac", &mac)?;
        if let Some(ip) = ip {
            self.fields.set("ip", &ip)?;
        }
        let kept: Option<String> = self.fields.get("hostname");
        match (hostname, kept) {
            (Some(name), _) => self.fields.set("hostname", &name),
            (None, Some(kept)) if !kept.is_empty() => Ok(()),
            (None, _) => self.fields.set("hostname", &default_hostname(&mac.slug())),
        }
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
                        record.fields.read(field, map.next_value()?);
                    }
                }
                Ok(record)
            }
        }
        deserializer.deserialize_map(RecordVisitor)
    }
}
