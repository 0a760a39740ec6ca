//! JSON as the text that it is: each value with its text and its line, so that what is not changed
//! can be written as it was, and a fault can be named by its line.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_with::{Map, serde_as};

use super::{DEPTH, at};
use crate::excerpt::excerpt;
use crate::files::fault::Fault;

/// A value of the manifest.
pub(super) struct Node<'a> {
    /// Its text.
    pub(super) raw: &'a str,
    /// The line that it begins in, from 1.
    pub(super) line: usize,
    pub(super) value: Value<'a>,
}

pub(super) enum Value<'a> {
    Object(Vec<(String, Node<'a>)>),
    Array(Vec<Node<'a>>),
    Text(String),
    /// A number, a boolean or null: its text says all.
    Plain,
}

impl<'a> Node<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&Node<'a>> {
        match &self.value {
            Value::Object(fields) => {
                let found = fields.iter().find(|(field, _)| field == name);
                found.map(|(_, node)| node)
            }
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match (&self.value, self.raw) {
            (Value::Object(_), _) => "an object",
            (Value::Array(_), _) => "an array",
            (Value::Text(_), _) => "a string",
            (Value::Plain, "null") => "null",
            (Value::Plain, "true" | "false") => "a boolean",
            (Value::Plain, _) => "a number",
        }
    }

    pub(super) fn not(&self, name: &str, wanted: &str) -> Fault {
        at(
            self.line,
            format!("{name} is {}, not {wanted}", self.kind()),
        )
    }
}

/// The members of an object, also those that come twice.
#[serde_as]
#[derive(Deserialize)]
pub(super) struct Members<'a>(
    #[serde_as(as = "Map<_, _>")]
    #[serde(borrow)]
    Vec<(String, &'a RawValue)>,
);

/// Reads a whole manifest, whose root is an object.
pub(super) fn document(text: &str) -> Result<Node<'_>, Fault> {
    let newlines: Vec<_> = text.match_indices('\n').map(|(at, _)| at).collect();
    let reader = Reader { text, newlines };
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| not_json(&error, 1))?;
    let node = reader.node(raw.get(), 0)?;
    match node.value {
        Value::Object(_) => Ok(node),
        _ => Err(node.not("the manifest", "an object")),
    }
}

/// An error in a piece of text that begins in this line.
pub(super) fn not_json(error: &serde_json::Error, first: usize) -> Fault {
    let reason = error.to_string();
    // The line and column there are those in the piece.
    let reason = reason.split(" at line ").next().unwrap_or_default();
    at(
        first + error.line().saturating_sub(1),
        format!("not JSON: {reason}"),
    )
}

pub(super) struct Reader<'a> {
    text: &'a str,
    newlines: Vec<usize>,
}

impl<'a> Reader<'a> {
    /// Takes apart a piece of the text that is known to be one value.
    fn node(&self, raw: &'a str, depth: usize) -> Result<Node<'a>, Fault> {
        let offset = (raw.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let line = 1 + self.newlines.partition_point(|newline| *newline < offset);
        let wrong = |error: serde_json::Error| not_json(&error, line);
        if depth > DEPTH {
            return Err(at(line, format!("nested deeper than {DEPTH} levels")));
        }
        let value = match raw.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(raw).map_err(wrong)?;
                let mut names = BTreeSet::new();
                let mut fields = Vec::with_capacity(members.len());
                for (name, member) in members {
                    let node = self.node(member.get(), depth + 1)?;
                    if !names.insert(name.clone()) {
                        let name = excerpt(&name);
                        return Err(at(node.line, format!("the name {name} comes twice")));
                    }
                    fields.push((name, node));
                }
                Value::Object(fields)
            }
            Some(b'[') => {
                let items: Vec<&'a RawValue> = serde_json::from_str(raw).map_err(wrong)?;
                let items = items
                    .into_iter()
                    .map(|item| self.node(item.get(), depth + 1));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Some(b'"') => Value::Text(serde_json::from_str(raw).map_err(wrong)?),
            _ => Value::Plain,
        };
        Ok(Node { raw, line, value })
    }
}

/// The manifest with these payloads, a line each; the rest is as it was, indented by two spaces.
pub(super) fn with_payloads(document: &Node, lines: &[String]) -> String {
    let list = match lines {
        [] => "[]".to_owned(),
        lines => format!("[\n    {}\n  ]", lines.join(",\n    ")),
    };
    let mut members = Vec::new();
    if let Value::Object(fields) = &document.value {
        members.extend(
            fields
                .iter()
                .map(|(name, node)| (name.as_str(), reindent(node.raw))),
        );
    }
    set(&mut members, "payloads", list);
    let members: Vec<_> = (members.iter())
        .map(|(name, value)| format!("  {}: {value}", quoted(name)))
        .collect();
    format!("{{\n{}\n}}\n", members.join(",\n"))
}

/// Gives a field its value, at the end where there is none of the name. Whether that changed it.
pub(super) fn set<'a>(fields: &mut Vec<(&'a str, String)>, name: &'a str, value: String) -> bool {
    match fields.iter_mut().find(|(field, _)| *field == name) {
        Some((_, old)) if *old == value => false,
        Some((_, old)) => {
            *old = value;
            true
        }
        None => {
            fields.push((name, value));
            true
        }
    }
}

pub(super) fn one_line(fields: &[(&str, String)]) -> String {
    let fields: Vec<_> = (fields.iter())
        .map(|(name, value)| format!("{}: {value}", quoted(name)))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A JSON value without the line breaks in it.
pub(super) fn inline(raw: &str) -> String {
    relaid(raw, |_, closes| match closes {
        true => String::new(),
        false => " ".to_owned(),
    })
}

/// A member of the root with the line breaks that it has, and two spaces for each level.
pub(super) fn reindent(raw: &str) -> String {
    relaid(raw, |depth, _| format!("\n{}", "  ".repeat(depth + 1)))
}

/// Puts something else for each line break and the indentation after it. `instead` gets the level
/// of what follows, and whether that line break is just inside a bracket.
pub(super) fn relaid(raw: &str, instead: impl Fn(usize, bool) -> String) -> String {
    let mut out = String::with_capacity(raw.len());
    let (mut depth, mut inside, mut escaped) = (0_usize, false, false);
    let mut rest = raw.chars().peekable();
    while let Some(c) = rest.next() {
        if !inside && (c == '\n' || c == '\r') {
            while rest.next_if(char::is_ascii_whitespace).is_some() {}
            let closes = matches!(rest.peek(), Some(']' | '}'));
            let kept = out.trim_end_matches([' ', '\t']).len();
            out.truncate(kept);
            let inner = closes || out.ends_with(['[', '{']);
            out += &instead(depth - usize::from(closes), inner);
            continue;
        }
        match c {
            '"' if !escaped => inside = !inside,
            '[' | '{' if !inside => depth += 1,
            ']' | '}' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = inside && c == '\\' && !escaped;
        out.push(c);
    }
    out
}
