//! What is wrong with a file that an operator staged, and where.

use std::fmt;

/// Longest reason, in bytes: a few lines of a terminal.
const REASON_BYTES: usize = 512;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in it, from 1, where that is known.
    pub column: Option<usize>,
}

impl From<usize> for Place {
    /// A line as a whole.
    fn from(line: usize) -> Self {
        Self { line, column: None }
    }
}

/// A fault. No variable of a device and no text of the file is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, relative to its folder.
    pub file: String,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The column in the line, from 1, where that is known.
    pub column: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

impl Fault {
    /// A fault of the file as a whole. A reason may repeat a piece of the file, and is cut where it
    /// gets long.
    pub fn new(file: &str, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        if reason.len() > REASON_BYTES {
            reason.truncate(reason.floor_char_boundary(REASON_BYTES));
            reason.push('…');
        }
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            reason,
        }
    }

    /// The same fault, at a place of the file if one is given.
    pub fn at(self, place: Option<Place>) -> Self {
        Self {
            line: place.map(|place| place.line),
            column: place.and_then(|place| place.column),
            ..self
        }
    }

    /// Whether this is what the other fault tells of, perhaps for another device.
    pub fn is_cause_of(&self, other: &Self) -> bool {
        (&self.file, self.line) == (&other.file, other.line) && self.reason.ends_with(&other.reason)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, "{number}:")?;
        }
        write!(f, " {}", self.reason)
    }
}
