//! How Python writes a value: as text, as `repr()` and as JSON.

use std::slice;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::python::{Class, Range, View, class, items, refused};

/// How deep lists and dicts may be nested that become text, are compared or put into another.
/// Literals in a template may not be nested deeper than 150.
pub(super) const MAX_DEPTH: usize = 200;

/// What the engine counts as one unit of fuel, in bytes.
const BYTES_OF_FUEL: usize = 64;

/// The value, unless it is undefined: that must not become text unnoticed.
pub(super) fn defined(value: &Value) -> Result<&Value, Error> {
    match value.is_undefined() {
        // The engine's own error knows which variable it was.
        true => Err(value
            .get_attr("")
            .err()
            .unwrap_or_else(|| ErrorKind::UndefinedError.into())),
        false => Ok(value),
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
    for (index, item) in self::items(state, items)?.iter().enumerate() {
        let item = text(state, item)?;
        pay_for(state, item.len() + with.len())?;
        if index > 0 {
            joined += with;
        }
        joined += &item;
    }
    Ok(joined)
}

/// Python's `repr()`.
pub(super) fn repr(state: &State, value: &Value, depth: usize) -> Result<String, Error> {
    let within = |value: &Value| repr(state, value, depth + 1);
    enter(state, depth)?;
    let all = |value: &Value| {
        let items = items(state, value)?;
        items.iter().map(within).collect::<Result<Vec<_>, Error>>()
    };
    let text = match class(value) {
        Class::Undefined => "Undefined".to_owned(),
        Class::None => "None".to_owned(),
        Class::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        Class::Int | Class::Float => format(FormatStyle::StrFormat, "{}", slice::from_ref(value))?,
        Class::Str => {
            let text = value.as_str().unwrap_or_default();
            match value.is_safe() {
                true => format!("Markup({})", quoted(text)?),
                false => quoted(text)?,
            }
        }
        Class::List => format!("[{}]", all(value)?.join(", ")),
        Class::Tuple => match all(value)?.as_slice() {
            [only] => format!("({only},)"),
            items => format!("({})", items.join(", ")),
        },
        Class::Dict => {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                let value = within(&value.get_item(&key)?)?;
                pairs.push(format!("{}: {value}", within(&key)?));
            }
            format!("{{{}}}", pairs.join(", "))
        }
        Class::View => {
            let name = value.downcast_object_ref::<View>().map(|view| view.name);
            let items = all(value)?.join(", ");
            format!("dict_{}([{items}])", name.unwrap_or_default())
        }
        Class::Range => match value.downcast_object_ref::<Range>() {
            Some(Range {
                start,
                stop,
                step: 1,
            }) => format!("range({start}, {stop})"),
            Some(Range { start, stop, step }) => format!("range({start}, {stop}, {step})"),
            None => String::new(),
        },
        Class::Once => {
            return Err(refused(
                "an iterator is no text: write |list or |join behind it",
            ));
        }
        Class::Other => {
            return Err(refused(
                "this is no text: a macro or an object of the engine",
            ));
        }
    };
    pay_for(state, text.len())?;
    Ok(text)
}

/// Python's `repr()` of a string.
fn quoted(text: &str) -> Result<String, Error> {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut quoted = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted += "\\\\",
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            c if c == quote => quoted.extend(['\\', c]),
            c if c < ' ' || c == '\x7f' => quoted += &format!("\\x{:02x}", u32::from(c)),
            c if !c.is_ascii() && c.escape_debug().count() > 1 => {
                return Err(refused(
                    "a list or dict with characters that cannot be printed is no text",
                ));
            }
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    Ok(quoted)
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
    if matches!(
        class(value),
        Class::View | Class::Range | Class::Once | Class::Other
    ) {
        return Err(refused(
            "only lists, dicts and plain values become JSON: write |list before",
        ));
    }
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
            let is_text = |key: &Value| class(key) == Class::Str;
            if keys.iter().any(is_text) && !keys.iter().all(is_text)
                || keys.len() > 1 && keys.iter().any(Value::is_none)
            {
                return Err(refused(
                    "the keys of a dict have no order, which JSON needs",
                ));
            }
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
