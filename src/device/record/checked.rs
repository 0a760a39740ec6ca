//! The facts and the warnings of a box.

use serde_json::value::RawValue;

use super::ClientRecord;
use crate::device::facts::{Facts, Versions};
use crate::device::fields::Fields;
use crate::device::heartbeat::{Checked, Report};
use crate::device::history::Rfc3339;
use crate::device::stage::{Phase, Stage};
use crate::device::warning::{OfStage, Warning};

/// The field with the facts that the box sent last.
const FACTS: &str = "facts";
/// The field that says when they arrived. Without facts beside it there was no room for them.
const FACTS_AT: &str = "facts_at";
/// The field with the warnings of each stage, those of the stage that ended last at the end.
const WARNINGS: &str = "warnings";
/// The field that counts the warnings for which there was no room.
const WARNINGS_DROPPED: &str = "warnings_dropped";

impl ClientRecord {
    /// Enters what the checks of a box found: facts until newer ones come, and the warnings of a
    /// stage until it ends again. A new installation has none of those before it.
    pub(super) fn enter_checked(&mut self, report: &Report) -> Result<(), serde_json::Error> {
        let Checked {
            facts,
            warnings,
            again,
        } = &report.checked;
        if let Some(facts) = facts {
            self.fields.set(FACTS, facts)?;
            self.fields.set(FACTS_AT, &Rfc3339(report.at))?;
        }
        let mut lists = match self.warning_lists() {
            // Whatever somebody else means by it.
            None if self.fields.has(WARNINGS) && warnings.is_empty() => return Ok(()),
            lists => lists.unwrap_or_default(),
        };
        match (report.stage, report.phase) {
            (Stage::Install, Phase::Start) => lists = Fields::default(),
            (stage, Phase::Done | Phase::Fail) => {
                lists = without(&lists, again)?;
                lists.remove(stage.name());
                if !warnings.is_empty() {
                    lists.set(stage.name(), warnings)?;
                }
            }
            (_, Phase::Start | Phase::Progress) => return Ok(()),
        }
        self.set_warnings(&lists)
    }

    /// The list of each stage, where that is what the field has.
    fn warning_lists(&self) -> Option<Fields> {
        let lists: Fields = self.fields.get(WARNINGS)?;
        let are_lists = lists.iter().all(|(_, list)| list.starts_with('['));
        are_lists.then_some(lists)
    }

    fn set_warnings(&mut self, lists: &Fields) -> Result<(), serde_json::Error> {
        match lists.is_empty() {
            true => {
                self.fields.remove(WARNINGS);
                Ok(())
            }
            false => self.fields.set(WARNINGS, lists),
        }
    }

    /// Makes facts and warnings fit into so many bytes: the warnings of the stage that ended longest
    /// ago give way first, the last of them before the others, and the facts only then.
    pub(super) fn keep_checked_within(&mut self, room: usize) -> Result<(), serde_json::Error> {
        // What somebody else means by these names stays.
        let facts = self.facts().map_or(0, |facts| facts.json().len());
        let lists = self.warning_lists().unwrap_or_default();
        let warnings = lists
            .iter()
            .map(|(stage, list)| stage.len() + list.len() + 4);
        let mut excess = (facts + warnings.sum::<usize>()).saturating_sub(room);
        if excess == 0 {
            return Ok(());
        }
        let (mut kept, mut dropped) = (Fields::default(), 0);
        for (stage, list) in lists.iter() {
            let mut entries: Vec<&RawValue> = serde_json::from_str(list)?;
            while excess > 0
                && let Some(entry) = entries.pop()
            {
                excess = excess.saturating_sub(entry.get().len() + 1);
                dropped += 1;
            }
            if !entries.is_empty() {
                kept.set(stage, &entries)?;
            }
        }
        if dropped > 0 {
            self.set_warnings(&kept)?;
            self.fields.count(WARNINGS_DROPPED, dropped)?;
        }
        if facts > room {
            self.fields.remove(FACTS);
        }
        Ok(())
    }

    /// The facts that the box sent last.
    pub fn facts(&self) -> Option<Facts> {
        self.fields.get(FACTS).and_then(Facts::on_record)
    }

    /// When they arrived.
    pub fn facts_at(&self) -> Option<Rfc3339> {
        self.fields.get(FACTS_AT)
    }

    /// The versions in them that a baseline judges.
    pub fn versions(&self) -> Versions {
        self.facts()
            .map(|facts| facts.versions())
            .unwrap_or_default()
    }

    /// The warnings of each stage, those of the stage that ended last at the end. What is none to
    /// this version is left out.
    pub fn warnings(&self) -> Vec<OfStage> {
        let lists = self.warning_lists().unwrap_or_default();
        let of_stage = |(stage, list): (&str, &str)| {
            let entries: Vec<&RawValue> = serde_json::from_str(list).unwrap_or_default();
            let warnings = entries.into_iter();
            let warnings =
                warnings.filter_map(|entry| serde_json::from_str::<Warning>(entry.get()).ok());
            OfStage {
                stage: stage.to_owned(),
                warnings: warnings.collect(),
            }
        };
        let stages = lists.iter().map(of_stage);
        stages.filter(|stage| !stage.warnings.is_empty()).collect()
    }
}

/// The lists without the warnings of these checks.
fn without(lists: &Fields, checks: &[String]) -> Result<Fields, serde_json::Error> {
    if checks.is_empty() {
        return Ok(lists.clone());
    }
    let mut left = Fields::default();
    for (stage, list) in lists.iter() {
        let mut entries: Vec<&RawValue> = serde_json::from_str(list)?;
        // What is none to this version stays.
        let warning = |entry: &RawValue| serde_json::from_str::<Warning>(entry.get()).ok();
        entries.retain(|entry| warning(entry).is_none_or(|of| !checks.contains(&of.check)));
        if !entries.is_empty() {
            left.set(stage, &entries)?;
        }
    }
    Ok(left)
}
