//! What is read of a record.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{BOOT, ClientRecord, EVENTS_DROPPED, RECHECKING, SEED, STALLED};
use crate::device::boot::Boot;
use crate::device::fetches::SeedFetches;
use crate::device::history::{History, Rfc3339};
use crate::device::stage::{Phase, Stage};
use crate::device::view::Standing;

impl ClientRecord {
    /// Whether nothing is on record.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The host name of the device.
    pub fn hostname(&self) -> Option<String> {
        self.fields.get("hostname")
    }

    /// The address that the device was last heard from.
    pub fn ip(&self) -> Option<IpAddr> {
        self.fields.get("ip")
    }

    /// The events that are kept.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How many older events the limits dropped.
    pub fn events_dropped(&self) -> u64 {
        self.fields.get(EVENTS_DROPPED).unwrap_or(0)
    }

    /// The stage of the last report, also where this version does not know it.
    pub fn current_stage(&self) -> Option<String> {
        self.fields.get("current_stage")
    }

    /// The phase of the last report.
    pub fn current_phase(&self) -> Option<Phase> {
        self.history.last_phase()
    }

    /// When the device last reported, where the record has a time there.
    pub fn last_heartbeat(&self) -> Option<Timestamp> {
        let Rfc3339(at) = self.fields.get("last_heartbeat")?;
        Some(at)
    }

    /// When the device was last heard of in any way.
    pub fn last_heard_of(&self) -> Option<Timestamp> {
        let fetched = self.seed().and_then(|seed| seed.latest());
        let asked = self.told().and_then(|boot| boot.last_asked());
        self.last_heartbeat().max(fetched).max(asked)
    }

    /// Whether the device is silent for too long. Where it was heard of since, what stands there
    /// counts no more: another version may have left it.
    pub fn is_stalled(&self) -> bool {
        let since: Option<Option<Rfc3339>> = self.fields.get(STALLED);
        since.is_some_and(|since| since == self.last_heard_of().map(Rfc3339))
    }

    /// Whether anything is to come from the device: it reported that it is under way, fetched its
    /// seed, or was told to install. One that was told to boot its disk, and no more, owes nothing.
    pub fn is_awaited(&self) -> bool {
        let is_installing = || self.told().is_some_and(|boot| boot.is_installing());
        let has_begun = self.current_stage().is_some() || self.seed().is_some() || is_installing();
        let is_on_its_way = matches!(Standing::of(self), Standing::OnItsWay | Standing::Stalled);
        has_begun && (is_on_its_way || self.is_rechecking())
    }

    /// Whether the device is ready, and is being checked again: whoever is ready reports of nothing
    /// but its verification until it says that it is ready once more.
    pub fn is_rechecking(&self) -> bool {
        let last: Option<Rfc3339> = self.fields.get(RECHECKING);
        last.is_some() && last == self.last_heartbeat().map(Rfc3339) && !self.has_failed()
    }

    fn has_failed(&self) -> bool {
        self.current_phase() == Some(Phase::Fail)
    }

    /// Whether the last report is that the device is ready.
    pub fn is_ready(&self) -> bool {
        let stage = self.current_stage();
        let is_ready = stage.as_deref() == Some(Stage::Ready.name());
        is_ready && self.current_phase() == Some(Phase::Done)
    }

    pub(in crate::device) fn seed(&self) -> Option<SeedFetches> {
        self.fields.get(SEED)
    }

    /// What the device was told to boot, where it ever asked or was armed.
    pub(in crate::device) fn told(&self) -> Option<Boot> {
        self.fields.get(BOOT)
    }

    /// What the device was told to boot, and what came of it. One that reported before it ever
    /// asked has its installation by that.
    pub fn boot(&self) -> Boot {
        self.told().unwrap_or_else(|| {
            let is_past_installer = |stage: &str, phase: &str| {
                let is_installer = stage == Stage::Install.name();
                stage.parse::<Stage>().is_ok() && (!is_installer || phase == Phase::Done.name())
            };
            let time = self.history.time_of_last(is_past_installer).ok().flatten();
            // The events of a record may be lost where its stage is not.
            let is_past = |stage: &String| is_past_installer(stage, "");
            let time = time.or(self.current_stage().filter(is_past).map(|_| String::new()));
            time.map_or_else(Boot::default, |time| Boot::of_installed(&time))
        })
    }

    /// Whether the device is given up, because its installations never end.
    pub fn is_given_up(&self) -> bool {
        self.told().is_some_and(|boot| boot.is_given_up())
    }
}
