//! A JSON object whose values are held as the JSON text that they were read as: what this version
//! does not know survives to the letter, only white space goes.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::compact::compact;

/// The fields of an object, in the order in which they were first set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fields(IndexMap<String, Box<RawValue>>);

impl Fields {
    /// The value of a field, where it is there and a `T`.
    pub fn get<'a, T: Deserialize<'a>>(&'a self, field: &str) -> Option<T> {
        serde_json::from_str(self.0.get(field)?.get()).ok()
    }

    /// Whether the field is there, whatever its value.
    pub fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// Sets a field. One that is there keeps its place, so that a diff shows what changed.
    pub fn set(&mut self, field: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.0.insert(field.to_owned(), to_raw_value(value)?);
        Ok(())
    }

    /// Adds to a counter. One that is not a number is somebody else's, and stays as it is.
    pub fn count(&mut self, field: &str, more: u64) -> Result<(), serde_json::Error> {
        match self.get::<u64>(field) {
            None if self.has(field) => Ok(()),
            before => self.set(field, &before.unwrap_or(0).saturating_add(more)),
        }
    }

    /// Takes a field out; the others keep their order.
    pub fn remove(&mut self, field: &str) {
        self.0.shift_remove(field);
    }

    /// Takes a field in as it was read.
    pub fn read(&mut self, field: String, value: &RawValue) {
        self.0.insert(field, compact(value));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every field with its JSON text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(field, value)| (field.as_str(), value.get()))
    }
}
