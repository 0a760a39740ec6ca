//! A staged JSON file, kept current: read again when it changes, its last good version in force
//! while it has a fault.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::files::Fault;
use crate::files::stamp::Watch;
use crate::message_id;

/// What can be read from a staged JSON file.
pub trait Parse: Default {
    /// Reads the file's text. A fault's line counts from 1.
    fn parse(text: &str) -> Result<Self, (Option<usize>, String)>;
}

/// The text as a `T`.
pub fn typed<T: DeserializeOwned>(text: &str) -> Result<T, (Option<usize>, String)> {
    serde_json::from_str(text).map_err(|error| (Some(error.line()), error.to_string()))
}

/// A JSON file of which the last good version counts.
pub struct StagedJson<T> {
    path: PathBuf,
    name: &'static str,
    read: Mutex<Option<ReadFile<T>>>,
}

struct ReadFile<T> {
    value: Arc<T>,
    fault: Option<Fault>,
    watch: Watch,
}

impl<T: Parse> StagedJson<T> {
    /// Reads the file of that name in the folder, and warns of a fault.
    pub fn new(folder: &Path, name: &'static str) -> Self {
        let file = Self {
            path: folder.join(name),
            name,
            read: Mutex::new(None),
        };
        file.current();
        file
    }

    /// The value in force, and what is wrong with the file if it is not the file's.
    pub fn current(&self) -> (Arc<T>, Option<Fault>) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match read.take() {
            Some(before) if before.watch.still_holds(&self.path) => before,
            before => self.read_again(before),
        };
        let outcome = (Arc::clone(&now.value), now.fault.clone());
        *read = Some(now);
        outcome
    }

    fn read_again(&self, before: Option<ReadFile<T>>) -> ReadFile<T> {
        let watch = Watch::at(&self.path);
        let parsed = match std::fs::read_to_string(&self.path) {
            Ok(text) => T::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
            Err(error) => Err((None, format!("cannot be read: {error}"))),
        };
        match parsed {
            Ok(value) => {
                if before.is_some_and(|before| before.fault.is_some()) {
                    info!(file = self.name, "{} is in order again", self.name);
                }
                ReadFile {
                    value: Arc::new(value),
                    fault: None,
                    watch,
                }
            }
            Err((line, reason)) => {
                let fault = Fault {
                    line,
                    ..Fault::new(self.name, reason)
                };
                let (value, known) = match before {
                    Some(before) => (before.value, before.fault.as_ref() == Some(&fault)),
                    None => (Arc::default(), false),
                };
                if !known {
                    warn!(
                        message_id = message_id::TEMPLATE_BROKEN,
                        gb10.template = self.name,
                        line,
                        reason = fault.reason,
                        "a staged file has a fault, its last good version stays in force: {fault}"
                    );
                }
                ReadFile {
                    value,
                    fault: Some(fault),
                    watch,
                }
            }
        }
    }
}
