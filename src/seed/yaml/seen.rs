//! Which texts were found sound: boxes ask for the same ones at every boot.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Most texts that are remembered, by a number of eight bytes each.
const MAX_TEXTS: usize = 8192;

/// Texts that need no second look.
#[derive(Default)]
pub struct Seen {
    hasher: RandomState,
    sound: Mutex<HashSet<u64>>,
}

impl Seen {
    /// Does the check, unless it is known how it ends.
    pub fn check<E>(&self, text: &str, check: impl FnOnce(&str) -> Result<(), E>) -> Result<(), E> {
        let number = self.hasher.hash_one(text);
        let sound = || self.sound.lock().unwrap_or_else(PoisonError::into_inner);
        if sound().contains(&number) {
            return Ok(());
        }
        check(text)?;
        let mut sound = sound();
        if sound.len() >= MAX_TEXTS {
            sound.clear();
        }
        sound.insert(number);
        Ok(())
    }
}
