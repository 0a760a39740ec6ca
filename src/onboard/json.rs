//! JSON whose values know their lines, so that a fault can name its own, and keep their spelling,
//! so that no number loses a digit.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_with::{Map, serde_as};

use super::format::{DEPTH, at};
use crate::excerpt::excerpt;
use crate::files::Fault;

pub(super) struct Node {
    /// The line that it begins in, from 1.
    pub(super) line: usize,
    value: Value,
}

enum Value {
    Object(IndexMap<String, Node>),
    Array(Vec<Node>),
    /// Anything else, as it is spelled.
    Scalar(String),
}

impl Node {
    /// Reads a text. A name that an object has twice is an error, as is nesting too deep.
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        let newlines: Vec<_> = text.match_indices('\n').map(|(at, _)| at).collect();
        // Each piece is a part of the text, which tells where it begins.
        let line_of = |piece: &str| {
            let at = (piece.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            1 + newlines.partition_point(|newline| *newline < at)
        };
        let whole: &RawValue = serde_json::from_str(text).map_err(|error| not_json(&error, 1))?;
        Self::of(whole.get(), 0, &line_of)
    }

    /// Takes apart a piece of the text that is one value.
    fn of(raw: &str, depth: usize, line_of: &dyn Fn(&str) -> usize) -> Result<Self, Fault> {
        let line = line_of(raw);
        if depth > DEPTH {
            return Err(at(line, format!("nested deeper than {DEPTH} levels")));
        }
        let wrong = |error| not_json(&error, line);
        let inner = |value: &RawValue| Self::of(value.get(), depth + 1, line_of);
        let value = match raw.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(raw).map_err(wrong)?;
                let mut nodes = IndexMap::new();
                for (name, value) in members {
                    if nodes.contains_key(&name) {
                        let twice = format!("the name {} comes twice", excerpt(&name));
                        return Err(at(line_of(value.get()), twice));
                    }
                    nodes.insert(name, inner(value)?);
                }
                Value::Object(nodes)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(wrong)?;
                Value::Array(items.into_iter().map(inner).collect::<Result<_, _>>()?)
            }
            first => {
                // Half a surrogate pair has gone unnoticed until here.
                if first == Some(&b'"') {
                    serde_json::from_str::<String>(raw).map_err(wrong)?;
                }
                Value::Scalar(raw.to_owned())
            }
        };
        Ok(Self { line, value })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Object(members) => members.get(name),
            _ => None,
        }
    }

    /// The items of the array of that name; none where there is no such array.
    pub(super) fn items(&self, name: &str) -> &[Self] {
        self.get(name).map(Self::list).unwrap_or_default()
    }

    /// The items of an array; none of anything else.
    pub(super) fn list(&self) -> &[Self] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The members of the object of that name; none where there is no such object.
    pub(super) fn members(&self, name: &str) -> impl Iterator<Item = (&str, &Self)> {
        let members = match self.get(name).map(|node| &node.value) {
            Some(Value::Object(members)) => Some(members),
            _ => None,
        };
        let members = members.into_iter().flatten();
        members.map(|(name, node)| (name.as_str(), node))
    }

    /// As [`Self::items`], to be changed.
    pub(super) fn items_mut(&mut self, name: &str) -> Option<&mut Vec<Self>> {
        if let Value::Object(members) = &mut self.value
            && let Value::Array(items) = &mut members.get_mut(name)?.value
        {
            return Some(items);
        }
        None
    }

    /// Gives a field of an object this array, at the end where the field is new.
    pub(super) fn set_items(&mut self, name: &str, items: Vec<Self>) {
        self.set_value(name, Value::Array(items));
    }

    /// Gives a field of an object a string or a number, at the end where the field is new.
    pub(super) fn set(&mut self, name: &str, scalar: impl Into<serde_json::Value>) {
        self.set_value(name, Value::Scalar(scalar.into().to_string()));
    }

    fn set_value(&mut self, name: &str, value: Value) {
        if let Value::Object(members) = &mut self.value {
            let line = self.line;
            members.insert(name.to_owned(), Self { line, value });
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Object(_) => "an object",
            Value::Array(_) => "an array",
            Value::Scalar(json) => match json.as_bytes().first() {
                Some(b'"') => "a string",
                Some(b't' | b'f') => "a boolean",
                Some(b'n') => "null",
                _ => "a number",
            },
        }
    }

    /// The content of a string, and the JSON of all else.
    pub(super) fn text(&self) -> String {
        let json = self.json(2);
        serde_json::from_str(&json).unwrap_or(json)
    }

    /// The text of a field; empty where it is missing.
    pub(super) fn text_of(&self, name: &str) -> String {
        self.get(name).map(Self::text).unwrap_or_default()
    }

    /// The line of a field; its own where the field is missing.
    pub(super) fn line_of(&self, name: &str) -> usize {
        self.get(name).unwrap_or(self).line
    }

    /// Its JSON, as it stands in this level of the manifest: the first two have a line for each
    /// member and item.
    pub(super) fn json(&self, level: usize) -> String {
        let json = |node: &Self| node.json(level + 1);
        let (open, inner, close): (_, Vec<_>, _) = match &self.value {
            Value::Scalar(json) => return json.clone(),
            Value::Array(items) => ("[", items.iter().map(json).collect(), "]"),
            Value::Object(members) => {
                let member =
                    |(name, node): (&String, _)| format!("{}: {}", quoted(name), json(node));
                ("{", members.iter().map(member).collect(), "}")
            }
        };
        if level > 1 || inner.is_empty() {
            return format!("{open}{}{close}", inner.join(", "));
        }
        let (before, last) = ("  ".repeat(level + 1), "  ".repeat(level));
        let inner = inner.join(&format!(",\n{before}"));
        format!("{open}\n{before}{inner}\n{last}{close}")
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An error in a piece of the text that begins in this line.
fn not_json(error: &serde_json::Error, first: usize) -> Fault {
    let reason = error.to_string();
    // The line and column there are those in the piece.
    let reason = reason.split(" at line ").next().unwrap_or_default();
    let line = first + error.line().saturating_sub(1);
    at(line, format!("not JSON: {reason}"))
}

/// The members of an object, also those that come twice.
#[serde_as]
#[derive(Deserialize)]
struct Members<'a>(
    #[serde_as(as = "Map<_, _>")]
    #[serde(borrow)]
    Vec<(String, &'a RawValue)>,
);
