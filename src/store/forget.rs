//! Taking records out by hand, whether a service runs or not.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::error::StoreError;
use super::file::StateFile;
use crate::device::mac::MacAddr;

/// How long the lock is waited for. A service holds it for milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two tries to get it.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Takes the records of these devices out of the state in `folder`, and returns which of them were
/// there. The file keeps its owner and mode: an operator is root, and the service is not. A service
/// that runs sees the change at its next look.
///
/// # Errors
/// The file is as it was then.
pub fn forget(folder: PathBuf, macs: &[MacAddr]) -> Result<Vec<MacAddr>, StoreError> {
    let file = StateFile::new(folder);
    if file.stamp()?.is_none() {
        return Ok(Vec::new());
    }
    let began = Instant::now();
    let lock = loop {
        if let Some(lock) = file.lock(FlockOperation::NonBlockingLockExclusive)? {
            break lock;
        }
        if began.elapsed() > LOCK_TIMEOUT {
            return Err(StoreError::Busy(LOCK_TIMEOUT));
        }
        std::thread::sleep(LOCK_PAUSE);
    };
    file.give_to_owner_of_folder(&lock)?;
    let clients = file.read()?;
    let (mut rest, forgotten) = clients.without(macs);
    if !forgotten.is_empty() {
        file.replace(&clients, &mut rest)?;
    }
    Ok(forgotten)
}
