//! The story of one box: what a click on the board opens, and `gb10-provision-api clients MAC`.

use std::time::Duration;

use serde::Serialize;
use serde_with::skip_serializing_none;

use super::facts::Facts;
use super::fetches::Fetch;
use super::history::{PastReport, Rfc3339};
use super::mac::MacAddr;
use super::record::ClientRecord;
use super::stage::Phase;
use super::view::Row;
use super::warning::OfStage;

/// All that is on record of one box, as operators read it.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize)]
pub struct Story {
    /// Its line.
    #[serde(flatten)]
    pub row: Row,
    /// Its way, stage by stage, the oldest first.
    pub stages: Vec<Leg>,
    /// The first fetch of its user-data, and the last where there were more.
    pub fetches: Vec<Fetch>,
    /// Every event that is kept, the oldest first.
    pub events: Vec<PastReport>,
    /// How many older events the limits dropped.
    pub events_dropped: u64,
    /// What its checks warn of, by their stages.
    pub warnings_by_stage: Vec<OfStage>,
    /// What it said of itself last.
    pub facts: Option<Facts>,
    /// When that arrived.
    pub facts_at: Option<Rfc3339>,
    /// The logs of its failed installations that are kept, by the names of their files; whoever has
    /// the folder at hand sets them.
    pub logs: Vec<String>,
}

/// One stage of a box's way: a run of events of that stage.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leg {
    /// The stage.
    pub stage: String,
    /// The phase that it came to.
    pub phase: String,
    /// Its first event.
    pub began: Option<Rfc3339>,
    /// Its last event so far.
    pub last: Option<Rfc3339>,
    /// Seconds from its first event to its last; none where a clock jumped back in between.
    pub seconds: Option<u64>,
    /// How many events it has.
    pub events: usize,
}

impl Story {
    /// The story of the box that is on record under `mac`.
    pub fn of(mac: MacAddr, record: &ClientRecord) -> Self {
        let events = record.history().reports();
        let seed = record.seed();
        let fetches = seed.map(|seed| {
            let last = (seed.count() > 1).then(|| seed.last()).flatten();
            seed.first().into_iter().chain(last).collect()
        });
        Self {
            row: Row::of(mac, record),
            stages: legs(&events),
            fetches: fetches.unwrap_or_default(),
            events,
            events_dropped: record.events_dropped(),
            warnings_by_stage: record.warnings(),
            facts: record.facts(),
            facts_at: record.facts_at(),
            logs: Vec::new(),
        }
    }
}

/// Runs of events of one stage. A stage that begins anew after it ended is a leg of its own.
fn legs(events: &[PastReport]) -> Vec<Leg> {
    let begins_anew = |before: &PastReport, next: &PastReport| {
        let has_ended = [Phase::Done, Phase::Fail]
            .iter()
            .any(|end| before.phase == end.name());
        before.stage != next.stage || has_ended && next.phase == Phase::Start.name()
    };
    events
        .chunk_by(|before, next| !begins_anew(before, next))
        .filter_map(|run| Some((run.first()?, run.last()?, run.len())))
        .map(|(first, last, events)| {
            let took = first
                .at()
                .zip(last.at())
                .map(|(began, last)| last.0.duration_since(began.0));
            let took: Option<Duration> = took.and_then(|took| took.try_into().ok());
            Leg {
                stage: last.stage.clone(),
                phase: last.phase.clone(),
                began: first.at(),
                last: last.at(),
                seconds: took.map(|took| took.as_secs()),
                events,
            }
        })
        .collect()
}
