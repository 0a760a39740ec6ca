//! What the installer's webhook events say of an installation.
//!
//! cloud-init, curtin and subiquity post an event for every step (cloud-init's `reporting` module,
//! handler `webhook`): a name with slashes, `event_type` start or finish, and with finish a
//! `result`. A whole autoinstall posts hundreds; the few that tell an operator how far it is
//! become reports of the stage `install`. Pure: nothing here reads a clock or a file.

use serde::Deserialize;

use crate::onboarding::{Detail, Phase};

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

impl Event {
    /// Reads the body of a webhook. A body that is no such event is one that says nothing.
    pub fn from_json(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// The milestone that this event is, if it is one.
    ///
    /// `cause` has the first failure of a step of the same installation: the event that ends it
    /// does not repeat it.
    pub fn milestone(&self, cause: Option<&str>) -> Option<Milestone> {
        let (phase, detail) = match (self.name.as_str(), self.event_type.as_str()) {
            (INSTALL, "start") => (Phase::Start, "the installer runs".to_owned()),
            (INSTALL, "finish") if self.failed() => (
                Phase::Fail,
                cause.unwrap_or("the installation failed").to_owned(),
            ),
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
    pub fn failure(&self) -> Option<String> {
        let is_step = self.event_type == "finish" && self.failed() && self.name != INSTALL;
        if !is_step {
            return None;
        }
        let step = self.step().unwrap_or_else(|| self.name.clone());
        Some(self.with_description(&format!("{step} failed")))
    }

    /// Whether a new installation begins, so that causes of an earlier one are void.
    pub fn begins(&self) -> bool {
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
