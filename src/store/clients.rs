//! The records, as one version of `clients.json` has them.
//!
//! The file is one JSON object keyed by MAC, a record a line, sorted by key.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_with::{Map, serde_as};

use super::Subject;
use super::error::{During, StoreError};
use super::file::Source;
use crate::device::boot::Boot;
use crate::device::compact::compact;
use crate::device::mac::MacAddr;
use crate::device::record::ClientRecord;
use crate::device::story::Story;
use crate::device::view::{Row, Standing, Totals};

/// All records as one version of `clients.json` has them.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    lines: Lines,
    /// The file that these records are in; none before there is one.
    pub(super) source: Option<Source>,
}

type Lines = BTreeMap<Arc<str>, Arc<Line>>;

/// One record, and its line in the file: `"aa:bb:cc:dd:ee:ff": {…}`.
#[derive(Debug)]
struct Line {
    record: ClientRecord,
    text: Bytes,
    record_at: usize,
    /// What boards and tables show, once somebody asks.
    row: OnceLock<Arc<Row>>,
    /// How the device stands, once somebody counts.
    standing: OnceLock<Standing>,
}

impl Line {
    fn new(key: &str, mut record: ClientRecord) -> Result<Self, serde_json::Error> {
        let (text, record_at) = record.write(key)?;
        Ok(Self {
            record,
            text,
            record_at,
            row: OnceLock::new(),
            standing: OnceLock::new(),
        })
    }

    fn row(&self, mac: MacAddr) -> Arc<Row> {
        let row = self
            .row
            .get_or_init(|| Arc::new(Row::of(mac, &self.record)));
        Arc::clone(row)
    }

    /// The line of something that is no record, and is kept as it is.
    fn foreign(key: &str, value: &RawValue) -> Result<Self, serde_json::Error> {
        let head = format!("{}: ", serde_json::to_string(key)?);
        Ok(Self {
            record: ClientRecord::default(),
            record_at: head.len(),
            text: format!("{head}{}", compact(value)).into(),
            row: OnceLock::new(),
            standing: OnceLock::new(),
        })
    }

    /// The record, to be changed. What is none is kept in the one that takes its place.
    fn to_change(&self) -> Result<ClientRecord, StoreError> {
        let text = &self.text[self.record_at..];
        match text.first() {
            Some(b'{') => Ok(self.record.clone()),
            _ => serde_json::from_slice(text)
                .map(ClientRecord::in_place_of)
                .during("reading what stands in the place of a record"),
        }
    }
}

impl Clients {
    /// The record of one device, as JSON text.
    pub fn record(&self, mac: MacAddr) -> Option<Bytes> {
        let line = self.line(mac)?;
        Some(line.text.slice(line.record_at..))
    }

    /// The record of one device.
    pub fn get(&self, mac: MacAddr) -> Option<&ClientRecord> {
        Some(&self.line(mac)?.record)
    }

    /// The devices that are on record.
    pub fn macs(&self) -> impl Iterator<Item = MacAddr> {
        self.lines.keys().filter_map(|key| key.parse().ok())
    }

    /// Whether the device is on record.
    pub fn has(&self, mac: MacAddr) -> bool {
        self.line(mac).is_some()
    }

    /// What a device was told to boot, and what came of it. `ports` are its other MACs: it may have
    /// been installed under one of these, before `devices.json` said that they are one box.
    pub fn boot(&self, mac: MacAddr, ports: &[MacAddr]) -> Boot {
        let of = |mac: MacAddr| self.line(mac).map(|line| line.record.boot());
        let mut boot = of(mac).unwrap_or_default();
        for other in ports.iter().filter_map(|port| of(*port)) {
            boot.adopt(&other);
        }
        boot
    }

    /// When a device was last heard of in any way.
    pub fn last_heard_of(&self, mac: MacAddr) -> Option<Timestamp> {
        self.line(mac)?.record.last_heard_of()
    }

    fn line(&self, mac: MacAddr) -> Option<&Line> {
        self.lines.get(mac.to_string().as_str()).map(Arc::as_ref)
    }

    /// The content of the file, in pieces: one JSON object, a record a line.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> {
        let separators = std::iter::once("{\n").chain(std::iter::repeat(",\n"));
        let lines = self.lines.values().zip(separators);
        let end = if self.lines.is_empty() {
            "{\n}\n"
        } else {
            "\n}\n"
        };
        lines
            .flat_map(|(line, before)| [Bytes::from_static(before.as_bytes()), line.text.clone()])
            .chain([Bytes::from_static(end.as_bytes())])
    }

    /// How long the file is, in bytes.
    pub fn bytes(&self) -> usize {
        self.pieces().map(|piece| piece.len()).sum()
    }

    /// How many devices are on record.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether no device is on record.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many devices stand how. What did not change since a former version costs nothing.
    pub fn totals(&self) -> Totals {
        let is_device = |key: &str| key.parse::<MacAddr>().is_ok();
        let devices = self.lines.iter().filter(|(key, _)| is_device(key));
        let standing = |line: &Line| *line.standing.get_or_init(|| Standing::of(&line.record));
        devices.map(|(_, line)| standing(line)).collect()
    }

    /// One line per device, by MAC. What did not change since a former version costs nothing.
    pub fn rows(&self) -> impl Iterator<Item = Arc<Row>> {
        let devices = self
            .lines
            .iter()
            .filter_map(|(key, line)| Some((key.parse().ok()?, line)));
        devices.map(|(mac, line)| line.row(mac))
    }

    /// The story of one device.
    pub fn story(&self, mac: MacAddr) -> Option<Story> {
        Some(Story::of(mac, &self.line(mac)?.record))
    }

    /// The records of all devices, by MAC.
    pub fn records(&self) -> impl Iterator<Item = (MacAddr, &ClientRecord)> {
        let lines = self.lines.iter();
        lines.filter_map(|(key, line)| Some((key.parse().ok()?, &line.record)))
    }

    /// When any device last reported.
    pub fn last_heartbeat(&self) -> Option<Timestamp> {
        self.lines
            .values()
            .filter_map(|line| line.record.last_heartbeat())
            .max()
    }

    /// Reads the file's text, and says what in it is not as it should be. Keys that are MACs in
    /// another spelling become canonical, except where that would make two records one. What is
    /// not a record stays as it is; of a key that stands twice the last one counts.
    pub(super) fn parse(
        text: &str,
        source: Source,
    ) -> Result<(Self, Vec<Oddity>), serde_json::Error> {
        let Entries(entries) = serde_json::from_str(text)?;
        let mut oddities = Vec::new();
        let mut records = BTreeMap::new();
        for (key, raw) in entries {
            if records.insert(key.clone(), raw).is_some() {
                oddities.push(Oddity::Twice(key));
            }
        }
        let mut lines = Lines::new();
        for (key, raw) in &records {
            let mac = key.parse::<MacAddr>();
            let canonical = mac.as_ref().map(MacAddr::to_string);
            let key = match canonical {
                Ok(canonical)
                    if !records.contains_key(&canonical)
                        && !lines.contains_key(canonical.as_str()) =>
                {
                    canonical
                }
                _ => key.clone(),
            };
            let line = match ClientRecord::deserialize(*raw) {
                Ok(record) => Line::new(&key, record)?,
                Err(_) => {
                    if mac.is_ok() {
                        oddities.push(Oddity::NoRecord(key.clone()));
                    }
                    Line::foreign(&key, raw)?
                }
            };
            lines.insert(Arc::from(key), Arc::new(line));
        }
        let clients = Self {
            lines,
            source: Some(source),
        };
        Ok((clients, oddities))
    }

    /// The record that gives way to a new one in a full table: of those that nothing confirms the
    /// one that was not heard of for the longest time.
    fn first_to_give_way(
        &self,
        unconfirmed: &HashSet<MacAddr>,
        is_kept: impl Fn(MacAddr) -> bool,
    ) -> Option<MacAddr> {
        let candidates = unconfirmed.iter().copied().filter(|mac| !is_kept(*mac));
        let records = candidates.filter_map(|mac| Some((mac, self.line(mac)?)));
        records
            .min_by_key(|(_, line)| line.record.last_heard_of())
            .map(|(mac, _)| mac)
    }

    /// Without the records of these devices. Also says which of them were there.
    pub(super) fn without(&self, macs: &[MacAddr]) -> (Self, Vec<MacAddr>) {
        let mut rest = self.clone();
        let was_there = |mac: &&MacAddr| rest.lines.remove(mac.to_string().as_str()).is_some();
        let forgotten = macs.iter().filter(was_there).copied().collect();
        (rest, forgotten)
    }
}

/// The content of the file, keys that stand twice included.
#[serde_as]
#[derive(Deserialize)]
struct Entries<'a>(
    #[serde(borrow)]
    #[serde_as(as = "Map<_, _>")]
    Vec<(String, &'a RawValue)>,
);

/// What in the file is not as it should be, and does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Oddity {
    /// A key stands twice: the first of them is lost.
    Twice(String),
    /// What stands under a MAC is not a record.
    NoRecord(String),
}

/// The records that a round changes.
pub(super) struct Changes<'a> {
    clients: &'a Clients,
    max_clients: usize,
    unconfirmed: &'a HashSet<MacAddr>,
    records: BTreeMap<MacAddr, ClientRecord>,
    new: usize,
    gave_way: BTreeSet<MacAddr>,
}

impl<'a> Changes<'a> {
    pub(super) fn to(
        clients: &'a Clients,
        max_clients: usize,
        unconfirmed: &'a HashSet<MacAddr>,
    ) -> Self {
        Self {
            clients,
            max_clients,
            unconfirmed,
            records: BTreeMap::new(),
            new: 0,
            gave_way: BTreeSet::new(),
        }
    }

    /// Whether nothing is changed.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The devices whose records gave way to new ones.
    pub(super) fn gave_way(&self) -> Vec<MacAddr> {
        self.gave_way.iter().copied().collect()
    }

    /// Changes one record. Tells whether it is the first of that device. A change that leaves an
    /// empty record makes none.
    pub(super) fn change(
        &mut self,
        Subject { mac, is_confirmed }: Subject,
        change: impl FnOnce(&mut ClientRecord) -> Result<(), serde_json::Error>,
    ) -> Result<bool, StoreError> {
        if !self.records.contains_key(&mac) && !self.clients.has(mac) {
            self.make_room(is_confirmed)?;
        }
        let (record, is_new) = match (self.records.entry(mac), self.clients.line(mac)) {
            (Entry::Occupied(entry), _) => (entry.into_mut(), false),
            (Entry::Vacant(entry), Some(line)) => (entry.insert(line.to_change()?), false),
            (Entry::Vacant(entry), None) => {
                self.new += 1;
                (entry.insert(ClientRecord::default()), true)
            }
        };
        change(record).during("changing a record")?;
        if is_new && record.is_empty() {
            self.records.remove(&mac);
            self.new -= 1;
            return Err(StoreError::NotOnRecord);
        }
        Ok(is_new)
    }

    /// Makes room for one more record, where there is none: for that of a device which something
    /// confirms others give way.
    fn make_room(&mut self, is_confirmed: bool) -> Result<(), StoreError> {
        if self.clients.len() + self.new - self.gave_way.len() < self.max_clients {
            return Ok(());
        }
        if !is_confirmed {
            return Err(StoreError::TooManyClients(self.max_clients));
        }
        let is_kept = |mac| self.gave_way.contains(&mac) || self.records.contains_key(&mac);
        let mac = self.clients.first_to_give_way(self.unconfirmed, is_kept);
        self.gave_way
            .insert(mac.ok_or(StoreError::TooManyClients(self.max_clients))?);
        Ok(())
    }

    /// All records with the changes.
    pub(super) fn apply(self) -> Result<Clients, StoreError> {
        let mut next = self.clients.clone();
        for mac in self.gave_way {
            next.lines.remove(mac.to_string().as_str());
        }
        for (mac, record) in self.records {
            let key = mac.to_string();
            let line = Line::new(&key, record).during("writing a record")?;
            next.lines.insert(Arc::from(key), Arc::new(line));
        }
        Ok(next)
    }
}
