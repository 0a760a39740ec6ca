//! How Python writes a value: as text, as `repr()` and as JSON.

use std::slice;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// The value, unless it is undefined: that must not become text unnoticed.
pub(super) fn defined(value: &Value) -> Result<&Value, Error> {
    if value.is_undefined() {
        Err(ErrorKind::UndefinedError.into())
    } else {
        Ok(value)
    }
}

/// Python's `str()`.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match defined(value)?.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => repr(value),
    }
}

/// The texts of the items, with another text between them.
pub(super) fn joined(with: &str, items: &Value) -> Result<String, Error> {
    let texts = items.try_iter()?.map(|item| text(&item));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join(with))
}

/// Python's `repr()`: minijinja writes some floats in another way.
fn repr(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined => "Undefined".to_owned(),
        ValueKind::Number => format(FormatStyle::StrFormat, "{}", slice::from_ref(value))?,
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| repr(&item));
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
                let value = repr(&value.get_item(&key)?)?;
                pairs.push(format!("{}: {value}", repr(&key)?));
            }
            format!("{{{}}}", pairs.join(", "))
        }
        _ => format!("{value:?}"),
    })
}

/// Python's `json.dumps`, as `tojson` calls it.
pub(super) fn json(value: &Value, indent: Option<usize>, depth: usize) -> Result<String, Error> {
    let container = |open, parts: Vec<String>, close| match indent {
        Some(width) if !parts.is_empty() => {
            let outer = format!("\n{}", " ".repeat(width * depth));
            let inner = format!("{outer}{}", " ".repeat(width));
            format!(
                "{open}{inner}{}{outer}{close}",
                parts.join(&format!(",{inner}"))
            )
        }
        _ => format!("{open}{}{close}", parts.join(", ")),
    };
    let within = |value: &Value| json(value, indent, depth + 1);
    Ok(match value.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number => repr(value)?
            .replace("nan", "NaN")
            .replace("inf", "Infinity"),
        ValueKind::String => json_string(&text(value)?),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| within(&item));
            container('[', items.collect::<Result<_, _>>()?, ']')
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
            container(
                '{',
                keys.iter().map(pair).collect::<Result<_, Error>>()?,
                '}',
            )
        }
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("{kind} in JSON"),
            ));
        }
    })
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
