//! The methods of Python's strings that minijinja-contrib lacks, or has with other results.

use minijinja::value::{Tuple, from_args};
use minijinja::{Error, State, Value, filters};
use minijinja_contrib::pycompat;

use super::bind;
use super::text::{defined, joined, pay_for, text as text_of};

/// The methods of Python's values: those of its strings that minijinja-contrib lacks or that
/// yield something else there, then minijinja-contrib's.
pub(super) fn method(
    state: &mut State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        args.iter().try_for_each(|arg| defined(arg).map(drop))?;
        pay_for(state, size_of_result(state, text, name, args)?)?;
        if let Some(result) = string_method(state, text, name, args)? {
            return Ok(result);
        }
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

/// The methods of Python's `str` for [`method`], or nothing if it is none of these.
fn string_method(
    state: &mut State,
    text: &str,
    name: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "join" => joined(state, text, from_args::<(&Value,)>(args)?.0)?.into(),
        "ljust" | "rjust" | "center" | "zfill" => padded(text, name, args)?.into(),
        "partition" | "rpartition" => {
            let (separator,) = from_args::<(&str,)>(args)?;
            let (found, otherwise) = match name {
                "partition" => (text.split_once(separator), [text, "", ""]),
                _ => (text.rsplit_once(separator), ["", "", text]),
            };
            let parts = found.map_or(otherwise, |(before, after)| [before, separator, after]);
            Tuple::from(parts.map(Value::from)).into()
        }
        "removeprefix" => {
            let (prefix,) = from_args::<(&str,)>(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,) = from_args::<(&str,)>(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "split" | "rsplit" => {
            let [separator, most] = bind(["sep", "maxsplit"], args.to_vec())?;
            let most = most.map(i32::try_from).transpose()?.unwrap_or(-1);
            let limit = usize::try_from(most).ok().filter(|_| name == "rsplit");
            match (limit, separator.as_ref().and_then(Value::as_str)) {
                (Some(limit), Some(separator)) => {
                    let parts: Vec<&str> = text.rsplitn(limit + 1, separator).collect();
                    parts.into_iter().rev().map(Value::from).collect()
                }
                (Some(_), None) => return Ok(None),
                _ => {
                    let separator = separator.unwrap_or(().into());
                    let args = [text.into(), separator, most.into()];
                    Value::from_function(filters::split).call(state, &args)?
                }
            }
        }
        "title" => {
            let (mut title, mut inside) = (String::new(), false);
            for c in text.chars() {
                match inside {
                    true => title.extend(c.to_lowercase()),
                    false => title.extend(c.to_uppercase()),
                }
                inside = c.is_alphabetic();
            }
            title.into()
        }
        _ => return Ok(None),
    }))
}

/// At most how many bytes a method of a string makes that can make much of little.
fn size_of_result(state: &State, text: &str, name: &str, args: &[Value]) -> Result<usize, Error> {
    let argument = |index: usize| args.get(index).and_then(Value::as_str);
    Ok(match name {
        "replace" => {
            let (old, new) = (argument(0).unwrap_or_default(), argument(1));
            let new = new.unwrap_or_default().len();
            text.len()
                .saturating_add(text.matches(old).count().saturating_mul(new))
        }
        "split" | "rsplit" | "splitlines" => {
            let parts = match (name, argument(0)) {
                ("splitlines", _) => text.lines().count(),
                (_, Some(separator)) => 1 + text.matches(separator).count(),
                (_, None) => text.split_whitespace().count(),
            };
            parts * size_of::<Value>() + text.len()
        }
        "format" => {
            let mut largest = widest(text);
            for arg in args {
                largest += match arg.as_str() {
                    Some(text) => text.len(),
                    None => text_of(state, arg)?.len(),
                };
            }
            text.len()
                .saturating_add(text.matches('{').count().saturating_mul(largest))
        }
        _ => text.len(),
    })
}

/// The largest number in a text: no field of a format is padded to more.
fn widest(text: &str) -> usize {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    let numbers = numbers.filter(|number| !number.is_empty());
    let numbers = numbers.map(|number| number.parse().unwrap_or(usize::MAX / 2));
    numbers.max().unwrap_or(0)
}

/// Python's `str.ljust`, `rjust`, `center` and `zfill`.
fn padded(text: &str, how: &str, args: &[Value]) -> Result<String, Error> {
    let (width, fill): (u16, Option<char>) = from_args(args)?;
    let width = usize::from(width);
    let missing = width.saturating_sub(text.chars().count());
    let signed = how == "zfill" && text.starts_with(['+', '-']);
    let (sign, rest) = text.split_at(usize::from(signed));
    let (left, fill) = match how {
        "ljust" => (0, fill),
        "center" => (missing / 2 + (missing & width & 1), fill),
        "rjust" => (missing, fill),
        _ => (missing, Some('0')),
    };
    let fill = |count| fill.unwrap_or(' ').to_string().repeat(count);
    Ok(format!(
        "{sign}{}{rest}{}",
        fill(left),
        fill(missing - left)
    ))
}
