//! The filters of Jinja2 that yield something else in minijinja, or lack an argument there.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, State, Value, filters};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::text::{defined, joined, json, pay_for, text};
use super::{Args, bind};

/// What Python's `urllib.parse.quote` encodes in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~');
/// What it encodes in a path.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// Adds a filter of minijinja's that takes only by name what Jinja2 takes by position, too.
pub(super) fn by_name<const N: usize>(
    env: &mut Environment<'static>,
    name: &'static str,
    parameters: [&'static str; N],
    filter: Value,
) {
    env.add_filter(name, move |state: &mut State, value: Value, args: Args| {
        let named = parameters
            .into_iter()
            .zip(bind(parameters, args.into_values())?);
        let named: Kwargs = named.filter_map(|(name, arg)| Some((name, arg?))).collect();
        filter.call(state, &[defined(&value)?.clone(), named.into()])
    });
}

/// `default`, whose second argument minijinja takes by position only.
pub(super) fn default(value: &Value, args: Args) -> Result<Value, Error> {
    let [instead, boolean] = bind(["default_value", "boolean"], args.into_values())?;
    let missing = value.is_undefined() || is_true(boolean) && !value.is_true();
    Ok(if missing {
        instead.unwrap_or_else(|| "".into())
    } else {
        value.clone()
    })
}

/// `escape`, with the entities of Python's markupsafe.
pub(super) fn escape(state: &State, value: &Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    let text = text(state, value)?;
    pay_for(state, text.len() * "&amp;".len())?;
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let escaped = escaped.replace('\'', "&#39;").replace('"', "&#34;");
    Ok(Value::from_safe_string(escaped))
}

/// `indent`, which in minijinja drops the last newline and takes no text to indent with.
pub(super) fn indent(state: &State, value: &Value, args: Args) -> Result<String, Error> {
    let [width, first, blank] = bind(["width", "first", "blank"], args.into_values())?;
    let (first, blank) = (is_true(first), is_true(blank));
    let by = match width.unwrap_or(4.into()) {
        width if width.as_str().is_some() => text(state, &width)?,
        width => " ".repeat(u16::try_from(width)?.into()),
    };
    let text = text(state, value)?
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    pay_for(state, by.len() * (1 + text.matches('\n').count()))?;
    let lines = text.split('\n').enumerate();
    let lines = lines.map(|(index, line)| match index {
        0 if !first => line.to_owned(),
        1.. if !blank && line.is_empty() => String::new(),
        _ => format!("{by}{line}"),
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// `join`, which in minijinja makes nothing of what is undefined.
pub(super) fn join(state: &mut State, value: Value, args: Args) -> Result<String, Error> {
    let [with, attribute] = bind(["d", "attribute"], args.into_values())?;
    let items = match attribute {
        None => value,
        Some(attribute) => {
            let attribute = Kwargs::from_iter([("attribute", attribute)]);
            state.apply_filter("map", &[value, attribute.into()])?
        }
    };
    let with = with.map(|with| text(state, &with)).transpose()?;
    joined(state, &with.unwrap_or_default(), defined(&items)?)
}

/// `int` or `float`, which in minijinja fail for a text that is no number, and in Python are zero;
/// nor does Python mind space around a number.
pub(super) fn number(
    filter: Value,
    zero: impl Into<Value>,
) -> impl Fn(&mut State, Value, Args) -> Result<Value, Error> + Send + Sync + 'static {
    let zero = zero.into();
    move |state, value, args| {
        let [default, base] = bind(["default", "base"], args.into_values())?;
        let trimmed = value.as_str().map(|text| text.trim().into());
        let value = trimmed.unwrap_or(value);
        let default = default.unwrap_or_else(|| zero.clone());
        let args: Vec<Value> = [value, default].into_iter().chain(base).collect();
        filter.call(state, &args)
    }
}

/// `tojson`: what minijinja writes with its keys in their order, non-ASCII as it is and `null`
/// for what is undefined, Python writes sorted, in ASCII and not at all.
pub(super) fn tojson(state: &State, value: &Value, args: Args) -> Result<Value, Error> {
    let [indent] = bind(["indent"], args.into_values())?;
    let indent = indent.filter(|indent| !indent.is_none());
    let indent = indent.map(u16::try_from).transpose()?;
    let written = json(state, value, indent.map(usize::from), 0)?;
    Ok(Value::from_safe_string(written))
}

/// `urlencode`: a text as a path, a dict or a list of pairs as a query.
pub(super) fn urlencode(state: &State, value: &Value) -> Result<String, Error> {
    let encoded = |value: &Value, kept| -> Result<String, Error> {
        let text = text(state, value)?;
        pay_for(state, text.len() * "%20".len())?;
        Ok(utf8_percent_encode(&text, kept).to_string())
    };
    let pairs = match value.kind() {
        ValueKind::Map => filters::items(value)?,
        ValueKind::Seq | ValueKind::Iterable => value.clone(),
        _ => return encoded(value, PATH),
    };
    let part = |pair: &Value, index| -> Result<String, Error> {
        let part = encoded(&pair.get_item_by_index(index)?, QUERY)?;
        Ok(part.replace("%20", "+"))
    };
    let pair = |pair: Value| Ok(format!("{}={}", part(&pair, 0)?, part(&pair, 1)?));
    let query = pairs.try_iter()?.map(pair);
    Ok(query.collect::<Result<Vec<_>, Error>>()?.join("&"))
}

/// Whether a flag was given and is true.
fn is_true(flag: Option<Value>) -> bool {
    flag.is_some_and(|flag| flag.is_true())
}
