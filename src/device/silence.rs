//! Who is silent for too long.
//!
//! Silence is measured by a clock that nobody sets. Of the time before this process began only what
//! is on record is known, by the clock on the wall; so after a start every box has a while to speak,
//! as if it had been heard of a little before its time was up.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::mac::MacAddr;
use super::record::ClientRecord;

/// What a stage may be silent beyond its own time limit, before it counts as stalled.
pub const BEYOND_STAGE: Duration = Duration::from_secs(5 * 60);

/// What a box has at least to speak after the service began.
const AFTER_START: Duration = Duration::from_secs(5 * 60);

/// How long a box may be silent.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    /// Where its stage has no limit of its own.
    pub stall_after: Duration,
    /// The limits that the manifest gives stages, by their names.
    pub stages: BTreeMap<String, Duration>,
}

impl Patience {
    /// With the box of this record.
    pub fn with(&self, record: &ClientRecord) -> Duration {
        let stage = record.current_stage();
        let of_stage = stage.and_then(|stage| self.stages.get(&stage));
        of_stage.map_or(self.stall_after, |limit| limit.saturating_add(BEYOND_STAGE))
    }

    /// With any box at least: below that nothing needs to be looked up.
    pub fn least(&self) -> Duration {
        self.stall_after.min(BEYOND_STAGE)
    }
}

/// What is known of when boxes were heard of.
#[derive(Debug, Default)]
pub struct Silences {
    boxes: BTreeMap<MacAddr, Silence>,
}

#[derive(Debug)]
struct Silence {
    /// By the clock that nobody sets, when this was looked at first or the box was heard of since.
    from: Duration,
    /// How long it was silent by then.
    before: Duration,
    /// When it was last heard of by its record.
    on_record: Option<Timestamp>,
}

impl Silences {
    /// How long the box was not heard of, at `now` by the clock that nobody sets. `heard` is when
    /// this process heard of it, by the same clock, and `wall` is the time of the record's clock,
    /// which counts only for what was before.
    pub fn of(
        &mut self,
        mac: MacAddr,
        record: &ClientRecord,
        patience: Duration,
        heard: Option<Duration>,
        now: Duration,
        wall: Timestamp,
    ) -> Duration {
        let on_record = record.last_heard_of();
        let silence = self.boxes.entry(mac).or_insert_with(|| {
            let before = on_record.map(|at| wall.duration_since(at));
            let before: Duration = before.and_then(|it| it.try_into().ok()).unwrap_or_default();
            Silence {
                from: now,
                before: before.min(patience.saturating_sub(AFTER_START.min(patience))),
                on_record,
            }
        });
        // Another process may have put it on record.
        if silence.on_record != on_record {
            *silence = Silence {
                from: now,
                before: Duration::ZERO,
                on_record,
            };
        }
        if let Some(heard) = heard.filter(|heard| *heard > silence.from) {
            (silence.from, silence.before) = (heard, Duration::ZERO);
        }
        silence.before + now.saturating_sub(silence.from)
    }

    /// Drops what is known of boxes that are not on record any more.
    pub fn keep(&mut self, is_on_record: impl Fn(MacAddr) -> bool) {
        self.boxes.retain(|mac, _| is_on_record(*mac));
    }
}
