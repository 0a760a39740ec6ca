//! What a text says, as JSON, for those who look into it.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};

use super::parser::{EventKind, Parser};
use super::resolver::{Tag, tag_of};
use super::root;

/// Most values that a text may come to: aliases multiply them.
const MAX_VALUES: usize = 100_000;

/// A value, and what it is as a key.
#[derive(Clone)]
struct Item {
    value: Value,
    /// As it is written; collections are no keys.
    key: String,
    is_merge: bool,
}

/// A collection that has no end yet.
struct Open<'t> {
    is_mapping: bool,
    anchor: Option<&'t str>,
    /// How many values there were before it.
    before: usize,
    items: Vec<Item>,
}

/// The value of a text. A key that is no text is given as it is written. None where the text is not
/// sound, where it holds nothing, and where aliases make it too large.
pub fn value(text: &str) -> Option<Value> {
    // It also bounds the depth.
    root(text).ok()?;
    let mut parser = Parser::new(text).ok()?;
    let mut anchors: HashMap<&str, (Item, usize)> = HashMap::new();
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut count = 0;
    loop {
        let (is_mapping, properties) = match parser.next().ok()?.kind {
            EventKind::SequenceStart(properties) => (false, properties),
            EventKind::MappingStart(properties) => (true, properties),
            kind => {
                let (item, anchor, before) = match kind {
                    EventKind::Alias(name) => {
                        let (item, size) = anchors.get(name)?.clone();
                        count += size;
                        (item, None, count)
                    }
                    EventKind::Scalar {
                        properties,
                        text,
                        is_open,
                    } => {
                        let tag = tag_of(&text, properties.tag.as_deref(), is_open);
                        count += 1;
                        (scalar(tag, &text), properties.anchor, count - 1)
                    }
                    EventKind::CollectionEnd => {
                        let ended = open.pop()?;
                        (
                            collection(ended.is_mapping, ended.items),
                            ended.anchor,
                            ended.before,
                        )
                    }
                    _ => return None,
                };
                if count > MAX_VALUES {
                    return None;
                }
                if let Some(anchor) = anchor {
                    anchors.insert(anchor, (item.clone(), count - before));
                }
                match open.last_mut() {
                    Some(around) => around.items.push(item),
                    None => return Some(item.value),
                }
                continue;
            }
        };
        open.push(Open {
            is_mapping,
            anchor: properties.anchor,
            before: count,
            items: Vec::new(),
        });
        count += 1;
    }
}

fn scalar(tag: Tag, text: &str) -> Item {
    let number = |number: Option<Number>| number.map_or(Value::from(0), Value::Number);
    let value = match tag {
        Tag::Null => Value::Null,
        Tag::Bool => Value::Bool(matches!(
            text.trim_end().to_ascii_lowercase().as_str(),
            "yes" | "true" | "on"
        )),
        // What it is worth matters where it is written plainly alone.
        Tag::Int => number(text.trim_end().parse().ok().map(|int: i64| int.into())),
        Tag::Float => number(text.trim_end().parse().ok().and_then(Number::from_f64)),
        _ => Value::from(text),
    };
    Item {
        value,
        key: text.to_owned(),
        is_merge: tag == Tag::Merge,
    }
}

fn collection(is_mapping: bool, items: Vec<Item>) -> Item {
    let value = match is_mapping {
        true => mapping(items),
        false => items.into_iter().map(|item| item.value).collect(),
    };
    Item {
        value,
        key: String::new(),
        is_merge: false,
    }
}

fn mapping(items: Vec<Item>) -> Value {
    let (mut pairs, mut merged) = (Map::new(), Vec::new());
    let mut items = items.into_iter();
    while let (Some(key), Some(item)) = (items.next(), items.next()) {
        match (key.is_merge, item.value) {
            (true, Value::Array(list)) => merged.extend(list),
            (true, value) => merged.push(value),
            (false, value) => _ = pairs.insert(key.key, value),
        }
    }
    for value in merged {
        if let Value::Object(more) = value {
            for (key, value) in more {
                pairs.entry(key).or_insert(value);
            }
        }
    }
    Value::Object(pairs)
}
