//! A staged JSON file, kept current: read again when it changes, its last good version in force
//! while it has a fault or cannot be read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::files::staged::{Kept, Trouble};
use crate::files::{Fault, Place};
use crate::message_id;

/// What can be read from a staged JSON file.
pub trait Parse: Default {
    /// What comes of it that the file never could be read, as the end of a sentence.
    const WHILE_UNREAD: &str = "no seed is served until it can";

    /// Reads the file's text.
    fn parse(text: &str) -> Result<Self, (Option<Place>, String)>;
}

/// The text as a `T`.
pub fn typed<T: DeserializeOwned>(text: &str) -> Result<T, (Option<Place>, String)> {
    serde_json::from_str(text).map_err(|error| (Some(place_of(&error)), reason_of(&error)))
}

/// Where the reader of JSON was when it found the error.
fn place_of(error: &serde_json::Error) -> Place {
    Place {
        line: error.line(),
        // None before the first character of a line.
        column: Some(error.column()).filter(|column| *column > 0),
    }
}

/// What it found. It tells the place at the end, which stands before the reason here.
fn reason_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    without_value(text.strip_suffix(&place).unwrap_or(&text))
}

/// What serde says of a value of the wrong type, without the value: it may be a password.
fn without_value(reason: &str) -> String {
    let is_of_value = |kind| reason.starts_with(kind);
    if !["invalid type: ", "invalid value: "]
        .iter()
        .any(is_of_value)
    {
        return reason.to_owned();
    }
    // The value stands between quotes, and may have the words behind it in itself.
    match (reason.find(['`', '"']), reason.rfind(", expected")) {
        (Some(value), Some(expected)) if value < expected => {
            format!("{}{}", reason[..value].trim_end(), &reason[expected..])
        }
        _ => reason.to_owned(),
    }
}

/// A JSON file of which the last good version counts.
pub struct StagedJson<T> {
    path: PathBuf,
    name: &'static str,
    /// What counts where there is no file.
    default: Arc<T>,
    read: Mutex<Option<Kept<Arc<T>>>>,
}

/// What counts of a JSON file.
pub struct Current<T> {
    /// The value in force: the file's, its last good one or, without one, the default.
    pub value: Arc<T>,
    /// What is wrong with the file if the value is not the file's.
    pub fault: Option<Fault>,
    /// Whether there may be a file with a value, of which nothing could be read yet.
    pub is_unread: bool,
}

impl<T> Current<T> {
    /// The value, or the fault where it only stands in for one that could not be read yet.
    pub fn readable(self) -> Result<Arc<T>, Fault> {
        match self.fault {
            Some(fault) if self.is_unread => Err(fault),
            _ => Ok(self.value),
        }
    }
}

impl<T: Parse> StagedJson<T> {
    /// Reads the file of that name in the folder, and warns of a fault.
    pub fn new(folder: &Path, name: &'static str) -> Self {
        let file = Self {
            path: folder.join(name),
            name,
            default: Arc::default(),
            read: Mutex::new(None),
        };
        file.current();
        file
    }

    /// Where the file lies, whether it is there or not.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What counts now.
    pub fn current(&self) -> Current<T> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match read.take() {
            Some(before) if before.still_holds(&self.path) => before,
            before => self.read_again(before),
        };
        let current = Current {
            value: Arc::clone(now.good.as_ref().unwrap_or(&self.default)),
            fault: now.trouble.as_ref().map(|trouble| self.fault(trouble)),
            is_unread: now.good.is_none() && now.trouble.as_ref().is_some_and(|it| it.is_unread),
        };
        *read = Some(now);
        current
    }

    fn read_again(&self, before: Option<Kept<Arc<T>>>) -> Kept<Arc<T>> {
        let known = before.as_ref().and_then(|before| before.trouble.clone());
        let was_there = before.as_ref().is_some_and(|before| before.good.is_some());
        let now = Kept::read(&self.path, before, |text| T::parse(&text).map(Arc::new));
        match &now.trouble {
            None if known.is_some() => info!(file = self.name, "{} is in order again", self.name),
            None if was_there && now.good.is_none() => {
                warn!(
                    file = self.name,
                    "{} is gone, its values are no longer in force", self.name
                );
            }
            Some(trouble) if known.as_ref() != Some(trouble) => self.report(trouble, &now),
            _ => {}
        }
        now
    }

    fn report(&self, trouble: &Trouble, now: &Kept<Arc<T>>) {
        let fault = self.fault(trouble);
        let (line, reason) = (fault.line, &fault.reason);
        match (&now.good, trouble.is_unread) {
            (None, true) => warn!(
                message_id = message_id::STAGED_UNREADABLE,
                gb10.template = self.name,
                reason,
                "a staged file cannot be read, {}: {fault}",
                T::WHILE_UNREAD
            ),
            (Some(_), true) => warn!(
                message_id = message_id::STAGED_UNREADABLE,
                gb10.template = self.name,
                reason,
                "a staged file cannot be read, its last good version stays in force: {fault}"
            ),
            (_, false) => warn!(
                message_id = message_id::TEMPLATE_BROKEN,
                gb10.template = self.name,
                line,
                reason,
                "a staged file has a fault, its last good version stays in force: {fault}"
            ),
        }
    }

    fn fault(&self, trouble: &Trouble) -> Fault {
        Fault::new(self.name, trouble.reason.clone()).at(trouble.place)
    }
}
