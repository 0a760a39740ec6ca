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

/// How long a box was not heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Before this process first looked, as far as the clock on the wall tells.
    pub before: Duration,
    /// Since then, or since it was heard of last.
    pub since: Duration,
}

impl Silence {
    /// How long that counts for where it is longer than `patience`; none where it is not.
    pub fn over(self, patience: Duration) -> Option<Duration> {
        let after_start = AFTER_START.min(patience);
        let counts = self.before.min(patience - after_start) + self.since;
        (counts >= patience).then(|| self.whole())
    }

    /// All of it.
    pub fn whole(self) -> Duration {
        self.before + self.since
    }
}

/// What is known of when boxes were heard of.
#[derive(Debug, Default)]
pub struct Silences {
    boxes: BTreeMap<MacAddr, Known>,
}

#[derive(Debug)]
struct Known {
    /// By the clock that nobody sets, when this was looked at first or the box was heard of since.
    from: Duration,
    /// How long it was silent by then.
    before: Duration,
    /// When it was last heard of by its record.
    on_record: Option<Timestamp>,
}

impl Silences {
    /// How long the box was not heard of, at `now` by the clock that nobody sets. `heard` is when
    /// this process heard of it, by the same clock; `wall` is the time of the clock that records
    /// have, which counts only for what was before the first look.
    pub fn of(
        &mut self,
        mac: MacAddr,
        record: &ClientRecord,
        heard: Option<Duration>,
        now: Duration,
        wall: Timestamp,
    ) -> Silence {
        let on_record = record.last_heard_of();
        let known = self.boxes.entry(mac).or_insert_with(|| {
            let before = on_record.map(|at| wall.duration_since(at));
            let before = before.and_then(|it| it.try_into().ok());
            Known {
                from: now,
                // Where this process heard of it, the clock on the wall has no say at all.
                before: before.filter(|_| heard.is_none()).unwrap_or_default(),
                on_record,
            }
        });
        // Another process may have put it on record.
        let is_entered = known.on_record != on_record;
        let is_first = known.from == now;
        let heard = heard.filter(|heard| is_first || *heard > known.from);
        if let Some(from) = heard.or(is_entered.then_some(now)) {
            *known = Known {
                from,
                before: Duration::ZERO,
                on_record,
            };
        }
        Silence {
            before: known.before,
            since: now.saturating_sub(known.from),
        }
    }

    /// Drops what is known of boxes that are not on record any more.
    pub fn keep(&mut self, is_on_record: impl Fn(MacAddr) -> bool) {
        self.boxes.retain(|mac, _| is_on_record(*mac));
    }
}
