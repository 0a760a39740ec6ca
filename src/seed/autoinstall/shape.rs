//! What a value may look like, and what is wrong with one that does not.

use serde_json::{Map, Value};

use super::Finding;
use crate::nearest::{listed, nearest};

/// More names than these are not listed.
const MAX_LISTED: usize = 6;

/// A longer key is no name.
const MAX_KEY_BYTES: usize = 40;

/// What a value may look like.
#[derive(Debug)]
pub(super) enum Shape {
    /// Anything: the table leaves it to others.
    Open,
    /// True or false.
    Flag,
    /// An integer.
    Integer,
    /// This integer.
    Exactly(i64),
    /// Any text.
    Text,
    /// One of these texts.
    Words(&'static [&'static str]),
    /// A text for which that holds, and what such a text is called.
    Like(fn(&str) -> bool, &'static str),
    /// A key of that mapping, or `*` for all of them.
    KeyOf(&'static Mapping),
    /// A list of such values.
    List(&'static Shape),
    /// A mapping with known keys.
    Mapping(&'static Mapping),
    /// A mapping from any keys to such values.
    MappingOf(&'static Shape),
    /// One of these, told apart by their types.
    Either(&'static [Shape]),
    /// Such a value, or null, which counts as none.
    OrNull(&'static Shape),
}

/// A mapping whose keys are known.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Its keys, and what belongs to each.
    pub(super) fields: &'static [(&'static str, Shape)],
    /// Those that must be there.
    pub(super) required: &'static [&'static str],
    /// Those that exclude each other.
    pub(super) choice: Choice,
    /// What becomes of other keys.
    pub(super) others: Others,
}

/// Keys of which one mapping has one.
#[derive(Debug)]
pub(super) enum Choice {
    /// There is no such rule.
    None,
    /// There may be one of these.
    AtMostOne(&'static [&'static str]),
    /// There must be one of these, and no other.
    One(&'static [&'static str]),
}

/// What becomes of a key that is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// The installer ends.
    Refused,
    /// The installer goes on as if it were not there.
    Ignored,
    /// There may be others. One that looks like a misspelling is told.
    Likely,
    /// There are others.
    Fine,
}

impl Mapping {
    /// A mapping of which only the keys are to be told.
    pub(super) const fn of(fields: &'static [(&'static str, Shape)], others: Others) -> Self {
        Self {
            fields,
            required: &[],
            choice: Choice::None,
            others,
        }
    }

    /// The same, with keys that must be there.
    pub(super) const fn requires(self, required: &'static [&'static str]) -> Self {
        Self { required, ..self }
    }

    /// The same, with keys that exclude each other.
    pub(super) const fn chooses(self, choice: Choice) -> Self {
        Self { choice, ..self }
    }

    /// Whether the table has that key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.names().any(|name| name == key)
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|(name, _)| *name)
    }

    fn check(&self, mapping: &Map<String, Value>, path: &str, found: &mut Vec<Finding>) {
        for key in self
            .required
            .iter()
            .filter(|key| !mapping.contains_key(**key))
        {
            let fields = self.fields.iter().find(|(name, _)| name == key);
            let reason = match fields {
                Some((_, shape)) => format!("missing, expected {}", expected(shape)),
                None => "missing".to_owned(),
            };
            found.push(Finding::new(format!("{path}.{key}"), reason));
        }
        let is_there = |key: &&&'static str| mapping.contains_key(**key);
        match self.choice {
            Choice::AtMostOne(keys) | Choice::One(keys)
                if keys.iter().filter(is_there).count() > 1 =>
            {
                let keys = listed(keys.iter().copied(), "and");
                found.push(Finding::new(path, format!("{keys} exclude each other")));
            }
            Choice::One(keys) if !keys.iter().any(|key| is_there(&key)) => {
                let keys = listed(keys.iter().copied(), "or");
                found.push(Finding::new(path, format!("{keys} is missing")));
            }
            _ => {}
        }
        for (key, value) in mapping {
            let path = format!("{path}.{}", shown(key));
            match self.fields.iter().find(|(name, _)| name == key) {
                Some((_, shape)) => check(shape, value, &path, found),
                None => found.extend(self.unknown(key).map(|reason| Finding::new(path, reason))),
            }
        }
    }

    /// What is to be told of a key that is not in the table.
    fn unknown(&self, key: &str) -> Option<String> {
        let near = nearest(key, self.names());
        let what = match self.others {
            Others::Refused => "unknown key, which the installer refuses",
            Others::Ignored => "unknown key, which the installer ignores",
            Others::Likely if near.is_some() => "unknown key",
            Others::Likely | Others::Fine => return None,
        };
        Some(match near {
            Some(near) => format!("{what}; did you mean `{near}`?"),
            None if self.fields.len() <= MAX_LISTED => {
                format!("{what}; expected {}", listed(self.names(), "or"))
            }
            None => what.to_owned(),
        })
    }
}

/// Tells what is wrong with a value that is to have that shape.
pub(super) fn check(shape: &Shape, value: &Value, path: &str, found: &mut Vec<Finding>) {
    if !is_of_type(shape, value) {
        found.push(Finding::new(path, wrong_type(shape, value)));
        return;
    }
    match (shape, value) {
        (Shape::List(item), Value::Array(items)) => {
            for (index, value) in items.iter().enumerate() {
                check(item, value, &format!("{path}[{index}]"), found);
            }
        }
        (Shape::MappingOf(each), Value::Object(mapping)) => {
            for (key, value) in mapping {
                check(each, value, &format!("{path}.{}", shown(key)), found);
            }
        }
        (Shape::Mapping(known), Value::Object(mapping)) => known.check(mapping, path, found),
        (Shape::Either(shapes), value) => {
            if let Some(shape) = shapes.iter().find(|shape| is_of_type(shape, value)) {
                check(shape, value, path, found);
            }
        }
        (Shape::OrNull(shape), value) if !value.is_null() => check(shape, value, path, found),
        (Shape::Exactly(_), value) if !holds(shape, value) => {
            let reason = format!("another integer, expected {}", expected(shape));
            found.push(Finding::new(path, reason));
        }
        (shape, Value::String(text)) if !holds(shape, value) => {
            found.push(Finding::new(path, wrong_text(shape, text)));
        }
        _ => {}
    }
}

/// Whether a value is of the type that the shape is of, whatever is in it.
fn is_of_type(shape: &Shape, value: &Value) -> bool {
    match shape {
        Shape::Open => true,
        Shape::Flag => value.is_boolean(),
        Shape::Integer | Shape::Exactly(_) => is_integer(value),
        Shape::Text | Shape::Words(_) | Shape::Like(..) | Shape::KeyOf(_) => value.is_string(),
        Shape::List(_) => value.is_array(),
        Shape::Mapping(_) | Shape::MappingOf(_) => value.is_object(),
        Shape::Either(shapes) => shapes.iter().any(|shape| is_of_type(shape, value)),
        Shape::OrNull(shape) => value.is_null() || is_of_type(shape, value),
    }
}

/// Whether a value of the right type is one of those that the shape allows.
fn holds(shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        // The installer takes 1.0 for 1, too.
        (Shape::Exactly(integer), _) => value.as_f64() == Some(*integer as f64),
        (Shape::Words(words), Value::String(text)) => words.contains(&text.as_str()),
        (Shape::Like(is_such, _), Value::String(text)) => is_such(text),
        (Shape::KeyOf(mapping), Value::String(text)) => text == "*" || mapping.has(text),
        _ => true,
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// What came, what was expected, and what YAML probably did.
fn wrong_type(shape: &Shape, value: &Value) -> String {
    let came = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) if is_integer(value) => "an integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    };
    let takes_text = is_of_type(shape, &Value::String(String::new()));
    let hint = match value {
        Value::Bool(_) | Value::Number(_) if takes_text => ": put it in quotes",
        Value::Object(_) if takes_text => ": a text with a colon in it needs quotes",
        _ => "",
    };
    format!("{came}, expected {}{hint}", expected(shape))
}

/// What is wrong with a text that is not one of those expected.
fn wrong_text(shape: &Shape, text: &str) -> String {
    let near = match shape {
        Shape::Words(words) => nearest(text, words.iter().copied()),
        Shape::KeyOf(mapping) => nearest(text, mapping.names()),
        _ => None,
    };
    let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    format!("another text, expected {}{hint}", expected(shape))
}

/// How a sentence calls what the shape takes.
fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Open => "a value".to_owned(),
        Shape::Flag => "true or false".to_owned(),
        Shape::Integer => "an integer".to_owned(),
        Shape::Exactly(integer) => integer.to_string(),
        Shape::Text => "a text".to_owned(),
        Shape::Words(words) => listed(words.iter().copied(), "or"),
        Shape::Like(_, name) => (*name).to_owned(),
        Shape::KeyOf(_) => "the name of a section".to_owned(),
        Shape::List(_) => "a list".to_owned(),
        Shape::Mapping(_) | Shape::MappingOf(_) => "a mapping".to_owned(),
        Shape::Either(shapes) => {
            let shapes: Vec<String> = shapes.iter().map(expected).collect();
            shapes.join(" or ")
        }
        Shape::OrNull(shape) => expected(shape),
    }
}

/// A key, if it is a name. Where a text was taken for a mapping, it may be anything.
pub(super) fn shown(key: &str) -> &str {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = !key.is_empty() && key.len() <= MAX_KEY_BYTES && key.chars().all(is_part);
    if is_name { key } else { "…" }
}
