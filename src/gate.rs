//! The install gate: whether a box that boots from the network is installed or boots its disk, and
//! whether its seed is served. Pure: what was seen of the box comes in, a decision and its reason
//! go out.
//!
//! Nothing here may loop. curtin puts the network in front of a box's boot order, so a box that
//! was installed asks again at each boot: what ends that is a report that the installation is done,
//! and where none ever comes, [`Rules::attempts`].

use jiff::{SignedDuration, Timestamp};

use crate::device::boot::{Boot, Decision, Policy};

/// How long after the last that was heard of an installation its seed is still served.
pub const WINDOW: SignedDuration = SignedDuration::from_hours(4);

/// By what it is decided.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// When a box is installed.
    pub policy: Policy,
    /// After so many installations that began, and were not reported done, a box is given up.
    pub attempts: u64,
}

impl Rules {
    /// The rules for a box: it may have a policy of its own.
    pub fn of_box(self, own: Option<Policy>) -> Self {
        let policy = own.unwrap_or(self.policy);
        Self { policy, ..self }
    }
}

/// A decision and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What the box is told.
    pub decision: Decision,
    /// Why, in an operator's words: one line, without a secret.
    pub reason: String,
    /// Whether it is told so because its installations never end.
    pub is_given_up: bool,
}

impl Verdict {
    /// What a box is told that cannot be judged: to leave its disk as it is.
    pub fn local(reason: impl Into<String>) -> Self {
        Self {
            decision: Decision::Local,
            reason: reason.into(),
            is_given_up: false,
        }
    }

    fn install(reason: impl Into<String>) -> Self {
        Self {
            decision: Decision::Install,
            ..Self::local(reason)
        }
    }
}

/// What a box is told.
pub fn decide(rules: Rules, boot: &Boot) -> Verdict {
    let Rules { policy, attempts } = rules;
    let begun = boot.attempts();
    if policy == Policy::Never {
        return Verdict::local("the policy is never");
    }
    if begun >= attempts {
        let reason = format!("given up: {begun} installations began, and none was reported done");
        return Verdict {
            is_given_up: true,
            ..Verdict::local(reason)
        };
    }
    let why = match (policy, boot.is_armed(), boot.is_installed()) {
        (_, true, _) => "an operator armed it",
        (Policy::Always, _, _) => "the policy is always",
        (Policy::Once, _, false) => "it was never installed",
        (Policy::Once, _, true) => return Verdict::local("it is installed"),
        (Policy::Armed | Policy::Never, _, _) => {
            return Verdict::local("the policy is armed, and it is not");
        }
    };
    match begun {
        0 => Verdict::install(why),
        _ => Verdict::install(format!("{why}, attempt {} of {attempts}", begun + 1)),
    }
}

/// What a box is told where records were lost. Which boxes are installed is not known then, and a box
/// that nobody knows is more likely to have lost its record than to be new.
pub fn decide_without_records(rules: Rules, boot: &Boot) -> Verdict {
    let verdict = decide(rules, boot);
    let is_by_history = rules.policy == Policy::Once && !boot.is_armed();
    match verdict.decision {
        Decision::Install if is_by_history => Verdict::local(
            "it may be installed: clients.json was corrupt, and was moved aside with all records",
        ),
        _ => verdict,
    }
}

/// Whether an installation that the gate let begin is under way, so that its seed may be served:
/// until it is done, and as long as there was a word of the box within [`WINDOW`] before `now`. A
/// clock that was set back closes nothing.
pub fn is_window_open(boot: &Boot, last_heard_of: Option<Timestamp>, now: Timestamp) -> bool {
    let last = boot.last_asked().max(last_heard_of);
    boot.is_installing() && last.is_some_and(|last| now.duration_since(last) < WINDOW)
}
