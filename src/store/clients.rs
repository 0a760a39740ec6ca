//! The records, as one version of `clients.json` has them.
//!
//! The file is one JSON object keyed by MAC, a record a line, sorted by key.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::file::Source;
use super::{During, StoreError};
use crate::device::history::compact;
use crate::device::mac::MacAddr;
use crate::device::record::ClientRecord;
use crate::device::view::Standing;

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
}

impl Line {
    fn new(key: &str, mut record: ClientRecord) -> Result<Self, serde_json::Error> {
        let (text, record_at) = record.write(key)?;
        Ok(Self {
            record,
            text,
            record_at,
        })
    }

    /// The line of something that is no record, and is kept as it is.
    fn foreign(key: &str, value: &RawValue) -> Result<Self, serde_json::Error> {
        let text = format!("{}: {}", serde_json::to_string(key)?, compact(value));
        Ok(Self {
            record: ClientRecord::default(),
            record_at: 0,
            text: text.into(),
        })
    }
}

impl Clients {
    /// The record of one device, as JSON text.
    pub fn record(&self, mac: MacAddr) -> Option<Bytes> {
        let line = self.line(mac)?;
        Some(line.text.slice(line.record_at..))
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

    /// How many devices are on record.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether no device is on record.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many devices are ready, and how many failed, by their last report.
    pub fn ready_and_failed(&self) -> (usize, usize) {
        let count = |wanted| {
            self.lines
                .values()
                .filter(|line| Standing::of(&line.record) == wanted)
                .count()
        };
        (count(Standing::Ready), count(Standing::Failed))
    }

    /// When any device was last heard of, RFC 3339.
    pub fn last_heartbeat(&self) -> Option<String> {
        self.lines
            .values()
            .filter_map(|line| line.record.last_heartbeat())
            .max()
    }

    /// Reads the file's text. Keys that are MACs in another spelling become canonical, except
    /// where that would make two records one.
    pub(super) fn parse(text: &str, source: Source) -> Result<Self, serde_json::Error> {
        let mut lines = BTreeMap::new();
        let records: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
        for (key, raw) in &records {
            let canonical = key.parse::<MacAddr>().map(|mac| mac.to_string());
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
                Err(_) if key.parse::<MacAddr>().is_err() => Line::foreign(&key, raw)?,
                Err(error) => return Err(error),
            };
            lines.insert(Arc::from(key), Arc::new(line));
        }
        Ok(Self {
            lines,
            source: Some(source),
        })
    }
}

/// The records that a round changes.
pub(super) struct Changes<'a> {
    clients: &'a Clients,
    max_clients: usize,
    records: BTreeMap<MacAddr, ClientRecord>,
    new: usize,
}

impl<'a> Changes<'a> {
    pub(super) fn to(clients: &'a Clients, max_clients: usize) -> Self {
        Self {
            clients,
            max_clients,
            records: BTreeMap::new(),
            new: 0,
        }
    }

    /// Whether nothing is changed.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Changes one record. Tells whether it is the first of that device.
    pub(super) fn change(
        &mut self,
        mac: MacAddr,
        change: impl FnOnce(&mut ClientRecord) -> Result<(), serde_json::Error>,
    ) -> Result<bool, StoreError> {
        let (record, is_new) = match (self.records.entry(mac), self.clients.line(mac)) {
            (Entry::Occupied(entry), _) => (entry.into_mut(), false),
            (Entry::Vacant(entry), Some(line)) => (entry.insert(line.record.clone()), false),
            (Entry::Vacant(_), None) if self.clients.len() + self.new >= self.max_clients => {
                return Err(StoreError::TooManyClients(self.max_clients));
            }
            (Entry::Vacant(entry), None) => {
                self.new += 1;
                (entry.insert(ClientRecord::default()), true)
            }
        };
        change(record).during("changing a record")?;
        Ok(is_new)
    }

    /// All records with the changes.
    pub(super) fn apply(self) -> Result<Clients, StoreError> {
        let mut next = self.clients.clone();
        for (mac, record) in self.records {
            let key = mac.to_string();
            let line = Line::new(&key, record).during("writing a record")?;
            next.lines.insert(Arc::from(key), Arc::new(line));
        }
        Ok(next)
    }
}
