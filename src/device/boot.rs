//! Boots from the network: what a box was told at each, and what came of it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use super::fields::Fields;
use super::history::Rfc3339;
use super::sightings::{Seen, Sightings};
use super::stage::{Phase, Stage, UnknownName, named};

named! {
    /// What a box that boots from the network is told.
    Decision, "decision":
    /// To boot the installer, which erases the disk.
    Install = "install",
    /// To boot its own disk.
    Local = "local",
}

named! {
    /// When a box is installed.
    Policy, "policy":
    /// Until an installation was reported done; after that only on an operator's word.
    Once = "once",
    /// Only on an operator's word.
    Armed = "armed",
    /// At every boot from the network.
    Always = "always",
    /// Not at all.
    Never = "never",
}

named! {
    /// Who gets a box's user-data.
    SeedAccess, "seed access":
    /// Whoever asks for it.
    Open = "open",
    /// The box alone, from the gate's word to install until the installation is done.
    Window = "window",
}

/// A box asked what to boot.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When, by this host's clock.
    pub at: Timestamp,
    /// What it was told.
    pub decision: Decision,
    /// Why, in an operator's words.
    pub reason: String,
    /// Whether that is because its installations never end.
    pub is_given_up: bool,
    /// How often it asked.
    pub count: u64,
}

impl Asked {
    /// Takes in the next one.
    pub fn join(&mut self, next: Self) {
        let count = self.count + next.count;
        let is_given_up = self.is_given_up || next.is_given_up;
        *self = Self {
            count,
            is_given_up,
            ..next
        };
    }
}

/// The value of `boot` in a record, unknown fields included.
///
/// | field | |
/// |---|---|
/// | `decision`, `reason`, `timestamp` | what the box was told last, why, and when |
/// | `asked` | how often it asked |
/// | `attempts` | installations that began since one was reported done, or since it was armed |
/// | `installed` | when an installation was last reported done, or what a record of another version has for that |
/// | `installing` | true from the decision to install until that is done, or the box asks again |
/// | `begun` | when the box fetched its user-data after that decision |
/// | `armed` | who wants it installed again, and since when |
/// | `given_up` | true once it was told to boot its disk because of its attempts |
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Boot(Fields);

/// An operator's word that a box is to be installed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Arming {
    timestamp: Rfc3339,
    by: String,
}

impl Boot {
    /// Of a box that never asked, and reported at `time`, in whatever format, that it is installed.
    pub fn of_installed(time: &str) -> Self {
        let mut boot = Self::default();
        // A text is always JSON.
        let _ = boot.0.set("installed", &time);
        boot
    }

    /// Enters that the box asked. Tells whether it is given up by that, and was not before.
    pub fn asked(&mut self, asked: &Asked) -> Result<bool, serde_json::Error> {
        if self.is_of(asked) {
            return Ok(false); // that is on record
        }
        self.0.set("decision", &asked.decision)?;
        self.0.set("reason", &asked.reason)?;
        self.0.set("timestamp", &Rfc3339(asked.at))?;
        self.0.count("asked", asked.count)?;
        self.0.count("attempts", 0)?;
        self.0.remove("begun");
        match asked.decision {
            Decision::Install => self.0.set("installing", &true)?,
            Decision::Local => self.0.remove("installing"),
        }
        let is_new = asked.is_given_up && !self.is_given_up();
        // It may have been armed since it was told, or an attempt more been allowed.
        let may_stay = asked.decision == Decision::Local && !self.is_armed_since(asked.at);
        if !may_stay {
            self.0.remove("given_up");
        } else if is_new {
            self.0.set("given_up", &true)?;
        }
        Ok(is_new)
    }

    /// Enters that the box fetched its user-data: the installation that it was told to make begins.
    pub fn fetched(&mut self, at: Timestamp) -> Result<(), serde_json::Error> {
        if !self.is_installing() || self.0.has("begun") {
            return Ok(());
        }
        self.0.set("begun", &Rfc3339(at))?;
        self.0.count("attempts", 1)
    }

    /// Whether what is known of the last time that the box asked is that one. A record keeps
    /// milliseconds.
    fn is_of(&self, asked: &Asked) -> bool {
        let last: Option<String> = self.0.get("timestamp");
        last.is_some_and(|last| last == Rfc3339(asked.at).to_string())
    }

    /// Those of the sightings that are not on record: all after the last time that it asked. What
    /// could not be entered may be on record all the same, where the disk failed after that.
    pub fn not_entered<'a>(
        &self,
        sightings: &'a Sightings,
    ) -> impl Iterator<Item = &'a Seen> + use<'a> {
        let is_entered = |seen: &Seen| matches!(seen, Seen::Asked(asked) if self.is_of(asked));
        let entered = sightings.iter().position(is_entered);
        sightings.iter().skip(entered.map_or(0, |last| last + 1))
    }

    /// Enters sightings, of which the first may be on record.
    pub fn saw(&mut self, sightings: &Sightings) {
        for seen in self.not_entered(sightings) {
            // What cannot be entered here cannot be entered in the record, either, which says so.
            let _ = match seen {
                Seen::Asked(asked) => self.asked(asked).map(drop),
                Seen::Fetched(fetches) => self.fetched(fetches.last.at()),
            };
        }
    }

    /// Enters a report. The installation is done by the installer's word, or by the first word of
    /// what it installed: `first_boot`, or whichever stage the box begins with. But such a word says
    /// nothing of an installation that has not begun.
    pub fn reported(
        &mut self,
        stage: Stage,
        phase: Phase,
        at: Timestamp,
    ) -> Result<(), serde_json::Error> {
        match (stage, phase) {
            (Stage::Install, Phase::Done) => self.done(at, self.is_installing()),
            (Stage::Install, _) => {
                // The word to install may be lost, with the process that gave it a moment before.
                if self.is_armed() {
                    self.0.set("installing", &true)?;
                }
                self.fetched(at)
            }
            _ if self.is_installed() && !self.is_installing() => Ok(()),
            _ => self.done(at, self.0.has("begun")),
        }
    }

    fn done(&mut self, at: Timestamp, as_told: bool) -> Result<(), serde_json::Error> {
        self.0.set("installed", &Rfc3339(at))?;
        if as_told || !self.is_armed() {
            self.0.set("attempts", &0)?;
            for field in ["installing", "begun", "armed", "given_up"] {
                self.0.remove(field);
            }
        }
        Ok(())
    }

    /// Takes in what is on record of the same box under another MAC: that it is installed.
    pub fn adopt(&mut self, other: &Self) {
        if other.is_installed() && !self.is_installed() {
            let time: String = other.0.get("installed").unwrap_or_default();
            // A text is always JSON.
            let _ = self.0.set("installed", &time);
        }
    }

    /// Enters that an operator wants the box installed, whatever became of it before.
    pub fn arm(&mut self, at: Timestamp, by: &str) -> Result<(), serde_json::Error> {
        let by = by.to_owned();
        let timestamp = Rfc3339(at);
        self.0.set("armed", &Arming { timestamp, by })?;
        self.0.set("attempts", &0)?;
        self.0.remove("given_up");
        Ok(())
    }

    /// Takes that back. Tells whether the box was armed.
    pub fn disarm(&mut self) -> bool {
        let was_armed = self.is_armed();
        self.0.remove("armed");
        was_armed
    }

    /// Whether an operator wants the box installed.
    pub fn is_armed(&self) -> bool {
        self.0.has("armed")
    }

    /// Whether an operator wants that since a later time than this.
    fn is_armed_since(&self, at: Timestamp) -> bool {
        let arming: Option<Arming> = self.0.get("armed");
        arming.is_some_and(|arming| arming.timestamp.0 > at)
    }

    /// Whether an installation was ever reported done.
    pub fn is_installed(&self) -> bool {
        self.0.has("installed")
    }

    /// Installations that began since one was reported done, or since the box was armed.
    pub fn attempts(&self) -> u64 {
        self.0.get("attempts").unwrap_or(0)
    }

    /// Whether it was told to boot its disk because its installations never end.
    pub fn is_given_up(&self) -> bool {
        self.0.get("given_up").unwrap_or(false)
    }

    /// Whether it was told to install, and that is not done.
    pub fn is_installing(&self) -> bool {
        self.0.get("installing").unwrap_or(false)
    }

    /// What it was told last, and why.
    pub fn last_told(&self) -> Option<(Decision, String)> {
        Some((self.0.get("decision")?, self.0.get("reason")?))
    }

    /// When it asked last.
    pub fn last_asked(&self) -> Option<Timestamp> {
        self.0.get::<Rfc3339>("timestamp").map(|at| at.0)
    }
}
