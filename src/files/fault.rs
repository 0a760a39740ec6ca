//! What is wrong with a file that an operator staged, and where.

use std::fmt;

/// A fault. No variable of a device and no text of the file is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, relative to its folder.
    pub file: String,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

impl Fault {
    /// A fault of the file as a whole.
    pub fn new(file: &str, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            reason: reason.into(),
        }
    }

    /// Whether this is what the other fault tells of, perhaps for another device.
    pub fn is_cause_of(&self, other: &Self) -> bool {
        (&self.file, self.line) == (&other.file, other.line) && self.reason.ends_with(&other.reason)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}
