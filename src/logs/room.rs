//! Which logs give way to the one that came last. Pure.

use std::collections::HashMap;

use super::{FILE_BYTES, LogFile, UPLOADS};
use crate::device::mac::MacAddr;

/// Files kept of one box.
pub const FILES_OF_BOX: usize = 3;

/// Files kept in all.
pub const FILES: usize = 4096;

/// What may lie in the folder in all, in bytes: with what is on its way there.
pub const ALL_BYTES: u64 = 1024 * 1024 * 1024;

/// The part of that for files that are whole.
pub const KEPT_BYTES: u64 = ALL_BYTES - (UPLOADS * FILE_BYTES) as u64;

/// A file, and whose it is.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The box.
    pub mac: MacAddr,
    /// The file.
    pub log: LogFile,
}

/// What gives way, of all that is kept, the oldest first, now that `newest` has sent one more.
///
/// Of a box more than [`FILES_OF_BOX`] are never kept. Where there is too much in all, the oldest
/// goes of those whose box has another one; only where every box has but one, the oldest of these.
/// So a box that sends again and again takes the place of its own former logs, and not of the last
/// one that another box has.
pub fn give_way(kept: &[Kept], newest: MacAddr) -> Vec<&LogFile> {
    let mut of_box: HashMap<MacAddr, usize> = HashMap::new();
    for kept in kept {
        *of_box.entry(kept.mac).or_default() += 1;
    }
    let mut bytes: u64 = kept.iter().map(|kept| kept.log.bytes).sum();
    let mut left: Vec<&Kept> = kept.iter().collect();
    let mut gone = Vec::new();
    loop {
        let has = |kept: &&Kept, count: usize| of_box.get(&kept.mac).is_some_and(|of| *of > count);
        let is_too_much = bytes > KEPT_BYTES || left.len() > FILES;
        let next = left.iter().position(|kept| has(kept, FILES_OF_BOX));
        let next = next.or_else(|| {
            let of_several = || left.iter().position(|kept| has(kept, 1));
            let of_another = || left.iter().position(|kept| kept.mac != newest);
            is_too_much.then(|| of_several().or_else(of_another))?
        });
        let Some(next) = next else {
            return gone;
        };
        let Kept { mac, log } = left.remove(next);
        bytes -= log.bytes;
        of_box.entry(*mac).and_modify(|count| *count -= 1);
        gone.push(log);
    }
}
