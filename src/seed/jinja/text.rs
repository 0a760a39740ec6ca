//! How Python writes a value: as text, as `repr()` and as JSON.

use std::slice;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

/// How deep lists and dicts may be nested that become text. Literals in a template may not be
/// nested deeper than 150.
const MAX_DEPTH: usize = 200;

/// What the engine counts as one unit of fuel, in bytes.
const BYTES_OF_FUEL: usize = 64;

/// The value, unless it is undefined: that must not become text unnoticed.
pub(super) fn defined(value: &Value) -> Result<&Value, Error> {
    if value.is_undefined() {
        Err(ErrorKind::UndefinedError.into())
    } else {
        Ok(value)
    }
}

/// Python's `str()`.
pub(super) fn text(state: &State, value: &Value) -> Result<String, Error> {
    match defined(value)?.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => repr(state, value, 0),
    }
}

/// The texts of the items, with another text between them.
pub(super) fn joined(state: &State, with: &str, items: &Value) -> Result<String, Error> {
    let mut joined = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        let item = text(state, &item)?;
        pay_for(state, item.len() + with.len())?;
        if index > 0 {
            joined += with;
        }
        joined += &item;
    }
    Ok(joined)
}

/// Python's `repr()`: minijinja writes some floats in another way.
fn repr(state: &State, value: &Value, depth: usize) -> Result<String, Error> {
    let within = |value: &Value| repr(state, value, depth + 1);
    enter(state, depth)?;
    let text = match value.kind() {
        ValueKind::Undefined => "Undefined".to_owned(),
        ValueKind::Number => format(FormatStyle::StrFormat, "{}", slice::from_ref(value))?,
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| within(&item));
            let items = items.collect::<Result<Vec<_>, _>>()?;
            match (value.is_tuple(), items.len()) {
                (true, 1) => format!("({},)", items[0]),
                (true, _) => format!("({})", items.join(", ")),
                (false, _) => format!("[{}]", items.join(", ")),
            }
        }
        ValueKind::Map => {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                let value = within(&value.get_item(&key)?)?;
                pairs.push(format!("{}: {value}", within(&key)?));
            }
            format!("{{{}}}", pairs.join(", "))
        }
        _ => format!("{value:?}"),
    };
    pay_for(state, text.len())?;
    Ok(text)
}

/// Python's `json.dumps`, as `tojson` calls it.
pub(super) fn json(
    state: &State,
    value: &Value,
    indent: Option<usize>,
    depth: usize,
) -> Result<String, Error> {
    let container = |open, parts: Vec<String>, close| match indent {
        Some(width) if !parts.is_empty() => {
            pay_for(state, width * (depth + 1) * (parts.len() + 2))?;
            let outer = format!("\n{}", " ".repeat(width * depth));
            let inner = format!("{outer}{}", " ".repeat(width));
            let parts = parts.join(&format!(",{inner}"));
            Ok::<_, Error>(format!("{open}{inner}{parts}{outer}{close}"))
        }
        _ => Ok(format!("{open}{}{close}", parts.join(", "))),
    };
    let within = |value: &Value| json(state, value, indent, depth + 1);
    enter(state, depth)?;
    let text = match value.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number => repr(state, value, depth)?
            .replace("nan", "NaN")
            .replace("inf", "Infinity"),
        ValueKind::String => json_string(&text(state, value)?),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| within(&item));
            container('[', items.collect::<Result<_, _>>()?, ']')?
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            keys.sort();
            let pair = |key: &Value| {
                let name = match key.as_str() {
                    Some(name) => json_string(name),
                    None => format!("\"{}\"", within(key)?),
                };
                Ok(format!("{name}: {}", within(&value.get_item(key)?)?))
            };
            let pairs = keys.iter().map(pair).collect::<Result<_, Error>>()?;
            container('{', pairs, '}')?
        }
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("{kind} in JSON"),
            ));
        }
    };
    pay_for(state, text.len())?;
    Ok(text)
}

/// Bounds the depth of what is written, and pays for one value of it.
fn enter(state: &State, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        let reason = format!("lists or dicts are nested more than {MAX_DEPTH} deep");
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    state.consume_fuel(1)
}

/// Pays for so many bytes, which are about to be written. The engine charges only for what a
/// filter or method returns: too late for one that is too large.
pub(super) fn pay_for(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / BYTES_OF_FUEL) as u64)
}

/// A string in JSON, all in ASCII and with nothing in it that HTML takes for markup.
fn json_string(text: &str) -> String {
    let mut quoted = String::new();
    for c in serde_json::Value::from(text).to_string().chars() {
        match c {
            '<' | '>' | '&' | '\'' | '\x7f'.. => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    quoted += &format!("\\u{unit:04x}");
                }
            }
            _ => quoted.push(c),
        }
    }
    quoted
}
