//! What the installer's webhook events say of an installation.
//!
//! cloud-init, curtin and subiquity post an event for every step (cloud-init's `reporting` module,
//! handler `webhook`): a name with slashes, `event_type` start or finish, and with finish a
//! `result`. A whole autoinstall posts hundreds; the few that tell an operator how far it is
//! become reports of the stage `install`. Pure: nothing here reads a clock or a file.

use std::collections::HashMap;

use serde::Deserialize;

use super::heartbeat::Detail;
use super::mac::MacAddr;
use super::stage::Phase;

/// Longest name of a step, in bytes. What the installer posts stays below 200; a longer name is of
/// none of its steps.
const NAME_BYTES: usize = 512;

/// Devices whose failed steps are remembered at one time.
const MAX_REMEMBERED: usize = 4096;

/// One event, as far as it matters here. All of it may be absent: what is not understood is
/// ignored.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
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
/// The commands at the end, `command_0` and so on.
const LATE_COMMAND: &str = "subiquity/Late/run_user_supplied/command_";

/// The failure of a step, which may be why the whole installation fails.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cause {
    step: String,
    reason: Detail,
}

/// What is remembered between the events of installations: by device, the step that will have made
/// its installation fail, should it fail.
#[derive(Debug, Default)]
pub struct Installations {
    causes: HashMap<MacAddr, Cause>,
}

impl Installations {
    /// Takes the next event of a device. Returns the milestone that it is, if it is one.
    pub fn take(&mut self, mac: MacAddr, event: &Event) -> Option<Milestone> {
        if event.begins() {
            self.causes.remove(&mac);
        }
        let known = self.causes.get(&mac);
        if known.is_some_and(|known| known.is_overcome_by(event)) {
            self.causes.remove(&mac);
        } else if let Some(cause) = event.failure()
            && known.map_or(self.causes.len() < MAX_REMEMBERED, |known| {
                cause.outranks(known)
            })
        {
            self.causes.insert(mac, cause);
        }
        event.milestone(self.causes.get(&mac))
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

    /// Whether this explains a failed installation better than an earlier one: the first failure
    /// of a step of the installation does. What runs beside it (looking for updates, for drivers)
    /// may fail without harm.
    fn outranks(&self, earlier: &Cause) -> bool {
        self.is_of_the_installation() && !earlier.is_of_the_installation()
    }

    fn is_of_the_installation(&self) -> bool {
        self.step.starts_with(INSTALL) || self.step.starts_with(LATE_COMMAND)
    }
}

impl Event {
    /// Reads the body of a webhook. A body that is no such event is one that says nothing.
    pub fn from_json(body: &[u8]) -> Self {
        let event: Self = serde_json::from_slice(body).unwrap_or_default();
        match event.name.len() {
            0..=NAME_BYTES => event,
            _ => Self::default(),
        }
    }

    /// The milestone that this event is, if it is one.
    ///
    /// `cause` is a failure of a step of the same installation: the event that ends it does not
    /// repeat it.
    fn milestone(&self, cause: Option<&Cause>) -> Option<Milestone> {
        let (phase, detail) = match (self.name.as_str(), self.event_type.as_str()) {
            (INSTALL, "start") => (Phase::Start, "the installer runs".to_owned()),
            (INSTALL, "finish") if self.failed() => match cause {
                Some(cause) => {
                    return Some(Milestone {
                        phase: Phase::Fail,
                        detail: cause.reason.clone(),
                    });
                }
                None => (
                    Phase::Fail,
                    self.with_description("the installation failed"),
                ),
            },
            (INSTALL, "finish") => (Phase::Done, "installed".to_owned()),
            (AUTOINSTALL, "finish") if self.failed() => (
                Phase::Fail,
                self.with_description("the autoinstall was refused"),
            ),
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

    /// What to remember as the cause, should the installation fail: the failure of a step.
    fn failure(&self) -> Option<Cause> {
        let is_step = self.event_type == "finish" && self.failed() && self.name != INSTALL;
        if !is_step {
            return None;
        }
        let step = self.step().unwrap_or_else(|| self.name.clone());
        Some(Cause {
            step: self.name.clone(),
            // No more than what would go on record.
            reason: Detail::cut(self.with_description(&format!("{step} failed"))),
        })
    }

    /// Whether a new installation begins, so that causes of an earlier one are void.
    fn begins(&self) -> bool {
        self.name == INSTALL && self.event_type == "start"
    }

    fn failed(&self) -> bool {
        self.result == "FAIL"
    }

    fn step(&self) -> Option<String> {
        if let Some(number) = self.name.strip_prefix(LATE_COMMAND) {
            return number
                .parse::<u32>()
                .ok()
                .map(|n| format!("late command {n}"));
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
