//! The filters of Jinja2 that yield something else in minijinja, or lack an argument there.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use minijinja_contrib::filters as contrib;

use super::method::padded;
use super::number::strip;
use super::operator::unescaped;
use super::python::{made_of, refused};
use super::text::{defined, joined, json, pay_for, text};
use super::{Args, bind, flag};

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
        let args = args.into_values();
        args.iter().try_for_each(|arg| defined(arg).map(drop))?;
        let named = parameters.into_iter().zip(bind(parameters, args)?);
        let named: Kwargs = named.filter_map(|(name, arg)| Some((name, arg?))).collect();
        filter.call(state, &[defined(&value)?.clone(), named.into()])
    });
}

/// `default`, whose second argument minijinja takes by position only.
pub(super) fn default(value: &Value, args: Args) -> Result<Value, Error> {
    let [instead, boolean] = bind(["default_value", "boolean"], args.into_values())?;
    let missing = value.is_undefined() || flag(boolean) && !value.is_true();
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
    if defined(value)?.as_str().is_none() {
        return Err(refused("only a text is indented: write |string before"));
    }
    let (first, blank) = (flag(first), flag(blank));
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
    unescaped(state)?;
    let [with, attribute] = bind(["d", "attribute"], args.into_values())?;
    let items = match attribute.filter(|attribute| !attribute.is_none()) {
        None => value,
        Some(attribute) => {
            let attribute = Kwargs::from_iter([("attribute", attribute)]);
            state.apply_filter("map", &[value, attribute.into()])?
        }
    };
    let with = with.map(|with| text(state, &with)).transpose()?;
    joined(state, &with.unwrap_or_default(), defined(&items)?)
}

/// A filter of a text, as which Python takes any value.
pub(super) fn of_text(
    filter: Value,
) -> impl Fn(&mut State, &Value, Args) -> Result<Value, Error> + Send + Sync + 'static {
    move |state, value, args| {
        let args = args.into_values();
        args.iter().try_for_each(|arg| defined(arg).map(drop))?;
        let value = match value.as_str() {
            Some(_) => value.clone(),
            None => text(state, value)?.into(),
        };
        let args: Vec<Value> = [&[value], args.as_slice()].concat();
        filter.call(state, &args)
    }
}

/// `center`.
pub(super) fn center(state: &State, value: &Value, args: Args) -> Result<Value, Error> {
    let [width] = bind(["width"], args.into_values())?;
    let width = width.unwrap_or(80.into());
    let centered = padded(&text(state, value)?, "center", &[width])?;
    Ok(made_of(value, centered))
}

/// `capitalize`.
pub(super) fn capitalize(state: &State, value: &Value) -> Result<Value, Error> {
    let plain = text(state, value)?;
    let mut chars = plain.chars();
    let first = chars
        .next()
        .map(|first| first.to_uppercase().collect::<String>());
    let capitalized = first.unwrap_or_default() + &chars.as_str().to_lowercase();
    Ok(made_of(value, capitalized))
}

/// `replace`.
pub(super) fn replace(state: &State, value: &Value, args: Args) -> Result<String, Error> {
    unescaped(state)?;
    let [old, new, count] = bind(["old", "new", "count"], args.into_values())?;
    let argument = |value: Option<Value>| match value {
        Some(value) => text(state, &value),
        None => Err(ErrorKind::MissingArgument.into()),
    };
    let (old, new, value) = (argument(old)?, argument(new)?, text(state, value)?);
    let count = count.filter(|count| !count.is_none());
    let count = count.map(i64::try_from).transpose()?.unwrap_or(-1);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let places = value.matches(&old).count().min(count);
    pay_for(
        state,
        value.len().saturating_add(places.saturating_mul(new.len())),
    )?;
    Ok(value.replacen(&old, &new, count))
}

/// `trim`.
pub(super) fn trim(state: &State, value: &Value, args: Args) -> Result<Value, Error> {
    let [chars] = bind(["chars"], args.into_values())?;
    let plain = text(state, value)?;
    let chars = chars.filter(|chars| !chars.is_none());
    let chars = chars.map(|chars| chars.to_str().ok_or_else(|| refused("trim takes a text")));
    let trimmed = match chars.transpose()? {
        Some(chars) => plain.trim_matches(|c| chars.contains(c)),
        None => strip(&plain),
    };
    Ok(made_of(value, trimmed.to_owned()))
}

/// `forceescape`.
pub(super) fn forceescape(state: &State, value: &Value) -> Result<Value, Error> {
    escape(state, &text(state, value)?.into())
}

/// `wordcount`.
pub(super) fn wordcount(state: &State, value: &Value) -> Result<usize, Error> {
    let plain = text(state, value)?;
    let words = plain.split(|c: char| !c.is_alphanumeric() && c != '_');
    Ok(words.filter(|word| !word.is_empty()).count())
}

/// `string`, which leaves an escaped text one.
pub(super) fn string(state: &State, value: &Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(_) => Ok(value.clone()),
        None => text(state, value).map(Value::from),
    }
}

/// `striptags`. A bracket that opens no tag is one to minijinja.
pub(super) fn striptags(state: &State, value: &Value) -> Result<String, Error> {
    let text = text(state, value)?;
    let is_open = text
        .rfind('<')
        .is_some_and(|open| text.rfind('>').is_none_or(|close| close < open));
    match is_open {
        true => Err(refused(
            "a text with a bracket that is no tag: striptags cannot tell",
        )),
        false => Ok(contrib::striptags(text)),
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
