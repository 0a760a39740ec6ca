//! Changing records by hand, whether a service runs or not.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::Subject;
use super::clients::{Changes, Clients};
use super::error::{During, StoreError};
use super::file::StateFile;
use crate::device::boot::Boot;
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
    if StateFile::new(folder.clone()).stamp()?.is_none() {
        return Ok(Vec::new());
    }
    change(folder, |clients| {
        let (rest, forgotten) = clients.without(macs);
        Ok(((!forgotten.is_empty()).then_some(rest), forgotten))
    })
}

/// Changes what is to become of the boots of these devices, which get a record where they have
/// none, in a state of at most `max_clients` devices. Each comes with the name that `devices.json`
/// gives it. `alter` tells whether it changed anything; the devices for which it did are returned.
///
/// # Errors
/// The file is as it was then.
pub fn alter_boots(
    folder: PathBuf,
    devices: &[(MacAddr, Option<String>)],
    max_clients: usize,
    mut alter: impl FnMut(&mut Boot) -> Result<bool, serde_json::Error>,
) -> Result<Vec<MacAddr>, StoreError> {
    change(folder, |clients| {
        let unconfirmed = HashSet::new();
        let mut changes = Changes::to(clients, max_clients, &unconfirmed);
        let mut altered = Vec::new();
        for (mac, hostname) in devices {
            let mut boot = clients.boot(*mac, &[]);
            if !alter(&mut boot).during("changing a record")? {
                continue;
            }
            let subject = Subject {
                mac: *mac,
                is_confirmed: true,
            };
            changes.change(subject, |record| {
                record.set_boot(*mac, hostname.as_deref(), &boot)
            })?;
            altered.push(*mac);
        }
        match changes.is_empty() {
            true => Ok((None, altered)),
            false => Ok((Some(changes.apply()?), altered)),
        }
    })
}

/// Replaces the records by what `alter` makes of them, if anything, under the lock.
fn change<T>(
    folder: PathBuf,
    alter: impl FnOnce(&Clients) -> Result<(Option<Clients>, T), StoreError>,
) -> Result<T, StoreError> {
    let file = StateFile::new(folder);
    file.make_folder()?;
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
    let (next, outcome) = alter(&clients)?;
    if let Some(mut next) = next {
        file.replace(&clients, &mut next)?;
    }
    Ok(outcome)
}
