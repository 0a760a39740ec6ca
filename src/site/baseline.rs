//! `baseline.json`: which versions of its parts a box may have.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::Deserialize;
use serde_with::{DeserializeFromStr, Map, serde_as};

use super::glob::Glob;
use super::staged_json::{Parse, typed};
use crate::device::facts::{Drift, Part, Versions};
use crate::excerpt::excerpt;
use crate::files::Place;
use crate::nearest::nearest;

/// Most patterns for one part.
const MAX_PATTERNS: usize = 64;

/// The versions that are allowed, by the parts of a box. A part that is not named may have any.
#[derive(Debug, Default)]
pub struct Baseline {
    allowed: Vec<(Part, Vec<Glob>)>,
    text: Option<Bytes>,
}

impl Baseline {
    /// The text of the file; none where there is no file.
    pub fn text(&self) -> Option<Bytes> {
        self.text.clone()
    }

    /// What of these versions it does not allow. What a box did not tell is not judged.
    pub fn drift(&self, versions: &Versions) -> Vec<Drift> {
        let of_part = |(part, values): (Part, &[String])| {
            let allowed = self.allowed(part)?;
            let is_outside = |value: &&String| !allowed.iter().any(|glob| glob.fits(value));
            let found: Vec<String> = values.iter().filter(is_outside).cloned().collect();
            (!found.is_empty()).then_some(Drift { field: part, found })
        };
        versions.iter().filter_map(of_part).collect()
    }

    /// What it allows of a part, where it names that.
    pub fn allowed(&self, part: Part) -> Option<&[Glob]> {
        let mut parts = self.allowed.iter();
        parts
            .find(|(named, _)| *named == part)
            .map(|(_, globs)| globs.as_slice())
    }
}

impl Parse for Baseline {
    const WHILE_UNREAD: &str = "boxes get no baseline until it can";

    fn parse(text: &str) -> Result<Self, (Option<Place>, String)> {
        let Entries(entries) = typed(text)?;
        let mut allowed: Vec<(Part, Vec<Glob>)> = Vec::new();
        for (Key(part), Patterns(globs)) in entries {
            if allowed.iter().any(|(named, _)| *named == part) {
                let name = format!("\"{part}\"");
                let lines: Vec<_> = text.lines().collect();
                let line = lines.iter().rposition(|line| line.contains(&name));
                let place = line.map(|line| Place::from(line + 1));
                return Err((place, format!("{part} stands there twice")));
            }
            allowed.push((part, globs));
        }
        Ok(Self {
            allowed,
            text: Some(Bytes::copy_from_slice(text.as_bytes())),
        })
    }
}

/// The content of the file, a name that stands twice included.
#[serde_as]
#[derive(Deserialize)]
struct Entries(#[serde_as(as = "Map<_, _>")] Vec<(Key, Patterns)>);

/// The name of a part.
#[derive(Debug, DeserializeFromStr)]
struct Key(Part);

impl FromStr for Key {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let hint = || match nearest(name, Part::NAMES.iter().copied()) {
            Some(near) => format!("is {near} meant?"),
            None => format!("expected one of {}", Part::NAMES.join(", ")),
        };
        let part = name.parse().map(Self);
        part.map_err(|_| format!("unknown field {}: {}", excerpt(name), hint()))
    }
}

/// What is allowed of a part.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<String>")]
struct Patterns(Vec<Glob>);

impl TryFrom<Vec<String>> for Patterns {
    type Error = String;
    fn try_from(patterns: Vec<String>) -> Result<Self, String> {
        match patterns.len() {
            0 => Err("an empty list allows nothing: expected at least one pattern".to_owned()),
            1..=MAX_PATTERNS => {
                let globs = patterns.into_iter().map(Glob::new);
                globs.collect::<Result<_, _>>().map(Self)
            }
            many => Err(format!("{many} patterns: expected at most {MAX_PATTERNS}")),
        }
    }
}

/// The baseline that allows just these versions, as the text of a file.
pub fn of_versions(versions: &Versions) -> String {
    struct Lines<'a>(&'a Versions);
    impl fmt::Display for Lines<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut before = "{\n";
            for (part, values) in self.0.iter() {
                let patterns: Vec<String> =
                    values.iter().map(|value| Glob::of_text(value)).collect();
                // Texts are always JSON.
                let patterns = serde_json::to_string(&patterns).unwrap_or_default();
                write!(f, "{before}  \"{part}\": {patterns}")?;
                before = ",\n";
            }
            f.write_str("\n}\n")
        }
    }
    Lines(versions).to_string()
}
