//! Which records are of devices that nothing confirms: neither the neighbour table nor
//! `devices.json` knows their MAC, so anybody may have invented it. In a full table they give way.
//!
//! This is written into the lock file, which has no other content: the records themselves are read
//! by others. It is a hint, not a promise, and so not fsynced: a device that is missing in it
//! counts as confirmed.

use std::collections::HashSet;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

use tracing::debug;

use crate::device::mac::MacAddr;

/// The devices that nothing confirms.
#[derive(Default)]
pub(super) struct Unconfirmed(HashSet<MacAddr>);

impl Unconfirmed {
    /// Reads what the lock file says. One that cannot be read is as good as none.
    pub(super) fn load(lock_file: &Path) -> Self {
        let text = fs::read(lock_file).unwrap_or_default();
        Self(serde_json::from_slice(&text).unwrap_or_default())
    }

    /// The devices.
    pub(super) fn macs(&self) -> &HashSet<MacAddr> {
        &self.0
    }

    /// Takes in what a round found out, and writes it down if it is new. `lock` is the lock file,
    /// which the round holds.
    pub(super) fn update(
        &mut self,
        new: impl IntoIterator<Item = MacAddr>,
        confirmed_or_gone: impl IntoIterator<Item = MacAddr>,
        lock: BorrowedFd<'_>,
    ) {
        let mut is_changed = false;
        for mac in new {
            is_changed |= self.0.insert(mac);
        }
        for mac in confirmed_or_gone {
            is_changed |= self.0.remove(&mac);
        }
        if is_changed && let Err(reason) = self.write(lock) {
            debug!(%reason, "what is unconfirmed cannot be written down: {reason}");
        }
    }

    fn write(&self, lock: BorrowedFd<'_>) -> std::io::Result<()> {
        let text = serde_json::to_vec(&self.0)?;
        rustix::fs::ftruncate(lock, 0)?;
        rustix::io::pwrite(lock, &text, 0)?;
        Ok(())
    }
}
