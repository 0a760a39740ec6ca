//! Why the state could not be read or changed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::files::replace::Failed;

/// Why the state could not be read or changed. No text of a record is in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process held the lock, or the disk was busy, for too long.
    #[error("the state was locked or busy for over {} s", .0.as_secs())]
    Busy(Duration),
    /// A system call failed; the state is as it was.
    #[error("{action} failed: {cause}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The system's answer.
        cause: Arc<io::Error>,
    },
    /// A new `clients.json` could not be made; the state is as it was.
    #[error("{step} the new clients.json failed: {cause}")]
    Replacing {
        /// What was being done, as in "creating".
        step: &'static str,
        /// The system's answer.
        cause: Arc<io::Error>,
    },
    /// A new device would be one more than the configured limit.
    #[error("{0} devices are on record already, which is the limit (MAX_CLIENTS)")]
    TooManyClients(usize),
    /// A change that only a device on record can have came for one that is not.
    #[error("the device is not on record")]
    NotOnRecord,
    /// `clients.json` is not an object of records. Only a reader sees this; a round moves it aside.
    #[error("clients.json is not a JSON object of records: {0}")]
    Corrupt(Arc<serde_json::Error>),
    /// `clients.json` is something that must not be replaced by a file.
    #[error("clients.json is {0}: expected a regular file")]
    NotAFile(&'static str),
    /// Too many devices that nothing confirms were reported from one address.
    #[error("{0} devices that neither ARP nor devices.json knows were reported from this address")]
    TooManyUnconfirmed(usize),
    /// Too many reports wait for the disk already: of this device, of this address or of all.
    #[error("{0} reports wait to be written already")]
    TooManyWaiting(usize),
    /// A thread of the store has ended, which only a defect can cause.
    #[error("the state is no longer being written")]
    Stopped,
}

impl From<Failed> for StoreError {
    fn from(Failed(step, cause): Failed) -> Self {
        let cause = Arc::new(cause);
        Self::Replacing { step, cause }
    }
}

impl StoreError {
    pub(super) fn writing(cause: impl Into<io::Error>) -> Self {
        Failed("writing", cause.into()).into()
    }
}

/// Names the step that failed.
pub(super) trait During<T> {
    fn during(self, action: &'static str) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, action: &'static str) -> Result<T, StoreError> {
        self.map_err(|cause| StoreError::Io {
            action,
            cause: Arc::new(cause.into()),
        })
    }
}
