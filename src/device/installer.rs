//! What the installer's webhook events say of an installation.
//!
//! cloud-init, curtin and subiquity post an event for every step (cloud-init's `reporting` module,
//! handler `webhook`): a name with slashes, `event_type` start or finish, and with finish a
//! `result`. A whole autoinstall posts hundreds; the few that tell an operator how far it is
//! become reports of the stage `install`. Pure: nothing here reads a clock or a file.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::heartbeat::Detail;
use super::mac::MacAddr;
use super::record::ClientRecord;
use super::stage::{Phase, Stage};

/// Longest name of a step, in bytes. What the installer posts stays below 200; a longer name is of
/// none of its steps.
const NAME_BYTES: usize = 512;

/// Devices whose failed steps are remembered at one time.
const MAX_REMEMBERED: usize = 4096;

/// One event, as far as it matters here. All of it may be absent: what is not understood is
/// ignored.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// The step, such as `subiquity/Install/install/curtin_install`.
    pub name: String,
    /// What the step does, in the installer's words.
    pub description: String,
    /// `start`, `finish`, or a level of a message.
    pub event_type: String,
    /// `SUCCESS`, `WARN` or `FAIL`, with a finish.
    pub result: String,
}

/// A step on the way of an installation that is worth a line in a device's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Milestone {
    /// How the stage `install` goes.
    pub phase: Phase,
    /// In an operator's words.
    pub detail: Detail,
}

/// Steps whose start is a milestone, by the end of the event's name.
const STEPS: [(&str, &str); 7] = [
    ("/stage-partitioning", "partitioning"),
    ("/stage-extract", "copying the system"),
    ("/stage-curthooks", "configuring the installed system"),
    ("/installing-kernel", "installing kernel"),
    ("/configuring-bootloader", "installing boot loader"),
    ("Install/install/postinstall", "final configuration"),
    ("Install/install/configure_apt", "configuring apt"),
];

/// The whole installation.
const INSTALL: &str = "subiquity/Install/install";
/// The reading of the user-data.
const AUTOINSTALL: &str = "subiquity/load_autoinstall_config";
/// Putting its sections into effect; [`INSTALL`] waits for that, for ever where it fails.
const APPLY: &str = "subiquity/apply_autoinstall_config";
/// The commands at the beginning, and what belongs to them. Nothing follows a failure.
const EARLY: &str = "subiquity/Early/";
/// One of them, `command_0` and so on.
const EARLY_COMMAND: &str = "subiquity/Early/run_user_supplied/command_";
/// The commands at the end, `command_0` and so on.
const LATE_COMMAND: &str = "subiquity/Late/run_user_supplied/command_";

/// The failure of a step, which may be why the whole installation fails.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cause {
    step: String,
    reason: Detail,
}

/// What is remembered between the events of installations, by device.
#[derive(Debug, Default)]
pub struct Installations {
    remembered: HashMap<MacAddr, Remembered>,
}

/// What is remembered of one installation.
#[derive(Debug)]
enum Remembered {
    /// The step that will have made it fail, should it fail.
    Cause(Cause),
    /// It failed, and that was told. The steps around the one that failed end with it, and tell the
    /// same once more.
    Failed,
}

impl Installations {
    /// Takes the next event of a device. Returns the milestone that it is, if it is one.
    pub fn take(&mut self, mac: MacAddr, event: &Event) -> Option<Milestone> {
        if event.begins() {
            self.remembered.remove(&mac);
        }
        let known = self.remembered.get(&mac);
        let milestone = event.milestone(known);
        let has_room = known.is_some() || self.remembered.len() < MAX_REMEMBERED;
        let has_failed = (milestone.as_ref()).is_some_and(|told| told.phase == Phase::Fail);
        let cause = known.and_then(Remembered::cause);
        if has_failed && has_room {
            self.remembered.insert(mac, Remembered::Failed);
        } else if cause.is_some_and(|cause| cause.is_overcome_by(event)) {
            self.remembered.remove(&mac);
        } else if let (None, true, Some(cause)) = (known, has_room, event.failure()) {
            self.remembered.insert(mac, Remembered::Cause(cause));
        }
        milestone
    }
}

impl Remembered {
    fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Cause(cause) => Some(cause),
            Self::Failed => None,
        }
    }
}

impl Cause {
    /// Whether the installation went on in spite of it: the step was tried again with success, or
    /// a step around it ended well.
    fn is_overcome_by(&self, event: &Event) -> bool {
        let inner = self.step.strip_prefix(&event.name);
        let is_around = inner.is_some_and(|inner| inner.is_empty() || inner.starts_with('/'));
        event.event_type == "finish" && !event.failed() && is_around
    }
}

impl Event {
    /// Reads the body of a webhook, or what was kept of it. A body that is no such event is one
    /// that says nothing.
    pub fn from_json(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let mut event = Self::default();
        // Where it breaks off, what came before counts.
        let _ = serde_json::Deserializer::from_str(&text).deserialize_map(Fields(&mut event));
        match event.name.len() {
            0..=NAME_BYTES => event,
            _ => Self::default(),
        }
    }

    /// The milestone that this event is, if it is one, with what is known of the same
    /// installation: the event that ends it does not repeat the cause.
    fn milestone(&self, known: Option<&Remembered>) -> Option<Milestone> {
        if self.fails_all() {
            return match known {
                Some(Remembered::Failed) => None,
                Some(Remembered::Cause(cause)) if self.name == INSTALL => Some(Milestone {
                    phase: Phase::Fail,
                    detail: cause.reason.clone(),
                }),
                _ => Some(Milestone {
                    phase: Phase::Fail,
                    detail: Detail::cut(self.with_description(&self.failure_in_words())),
                }),
            };
        }
        let (phase, detail) = match (self.name.as_str(), self.event_type.as_str()) {
            (INSTALL, "start") => (Phase::Start, "the installer runs".to_owned()),
            (INSTALL, "finish") => (Phase::Done, "installed".to_owned()),
            (name, "start") => match (self.step()?, name.starts_with(LATE_COMMAND)) {
                (step, true) => (Phase::Progress, format!("running {step}")),
                (step, false) => (Phase::Progress, step),
            },
            _ => return None,
        };
        Some(Milestone {
            phase,
            detail: Detail::cut(detail),
        })
    }

    /// Whether this is the failure of a step without which there is no installation.
    fn fails_all(&self) -> bool {
        let is_needed = matches!(self.name.as_str(), INSTALL | AUTOINSTALL | APPLY)
            || self.name.starts_with(EARLY);
        is_needed && self.event_type == "finish" && self.failed()
    }

    fn failure_in_words(&self) -> String {
        match self.name.as_str() {
            INSTALL => "the installation failed".to_owned(),
            AUTOINSTALL => "the autoinstall was refused".to_owned(),
            APPLY => "the autoinstall could not be applied".to_owned(),
            name => match numbered(name, EARLY_COMMAND) {
                Some(number) => format!("early command {number} failed"),
                None => format!("{name} failed"),
            },
        }
    }

    /// What to remember as the cause, should the installation fail: the failure of one of its own
    /// steps. What runs beside it (looking for updates, for drivers, for a mirror) may fail without
    /// harm.
    fn failure(&self) -> Option<Cause> {
        let inner = self.name.strip_prefix(INSTALL);
        let is_own = inner.is_some_and(|inner| inner.starts_with('/'))
            || self.name.starts_with(LATE_COMMAND);
        if !is_own || self.event_type != "finish" || !self.failed() {
            return None;
        }
        let step = self.step().unwrap_or_else(|| self.name.clone());
        Some(Cause {
            step: self.name.clone(),
            // No more than what would go on record.
            reason: Detail::cut(self.with_description(&format!("{step} failed"))),
        })
    }

    /// Whether a new try begins, so that what was remembered of an earlier one is void: its first
    /// steps, and the installation itself. They begin in this order, and before one of them fails.
    fn begins(&self) -> bool {
        let is_first = matches!(self.name.as_str(), INSTALL | AUTOINSTALL | APPLY)
            || self.name.starts_with(EARLY);
        is_first && self.event_type == "start"
    }

    fn failed(&self) -> bool {
        self.result == "FAIL"
    }

    fn step(&self) -> Option<String> {
        if self.name.starts_with(LATE_COMMAND) {
            return numbered(&self.name, LATE_COMMAND).map(|n| format!("late command {n}"));
        }
        let step = STEPS.iter().find(|(end, _)| self.name.ends_with(end));
        step.map(|(_, words)| (*words).to_owned())
    }

    fn with_description(&self, text: &str) -> String {
        match self.description.as_str() {
            "" => text.to_owned(),
            description => format!("{text}: {description}"),
        }
    }
}

/// The number of a command, by its name.
fn numbered(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// Reads the fields of an event. Of one that is no text nothing is known, as if it were absent.
struct Fields<'a>(&'a mut Event);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event (an object)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key::<String>()? {
            let value: &RawValue = map.next_value()?;
            let into = match field.as_str() {
                "name" => &mut self.0.name,
                "description" => &mut self.0.description,
                "event_type" => &mut self.0.event_type,
                "result" => &mut self.0.result,
                _ => continue,
            };
            *into = text_of(value).unwrap_or_default();
        }
        Ok(())
    }
}

/// The text that a value is. Python escapes what is no Unicode as lone surrogates, which are none
/// either.
fn text_of(value: &RawValue) -> Option<String> {
    struct Lossy;
    impl Visitor<'_> for Lossy {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }
        fn visit_bytes<E>(self, text: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(text).into_owned())
        }
    }
    let mut value = serde_json::Deserializer::from_str(value.get());
    value.deserialize_bytes(Lossy).ok()
}

/// Whether logs of an installation are to be expected of the device of this record: one is under
/// way, by what the gate told it or by its own reports, or failed.
pub fn may_send_logs(record: &ClientRecord) -> bool {
    let is_at_install = record.current_stage().as_deref() == Some(Stage::Install.name());
    let has_failed_or_goes_on = is_at_install && record.current_phase() != Some(Phase::Done);
    has_failed_or_goes_on || record.boot().is_installing()
}
