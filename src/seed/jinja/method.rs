//! The methods of Python's strings that minijinja-contrib lacks, or has with other results.

use minijinja::value::{Tuple, from_args};
use minijinja::{Error, ErrorKind, State, Value, filters};
use minijinja_contrib::pycompat;

use super::compare::{contains, equal, hashable};
use super::format::str_format;
use super::names::is_method;
use super::number::is_space;
use super::operator::received;
use super::python::{Class, List, View, class, items, refused};
use super::sequence::pairs;
use super::text::{defined, joined, pay_for};
use super::{bind, flag};

/// The methods of Python's values: those of its strings that minijinja-contrib lacks or that
/// yield something else there, then minijinja-contrib's.
pub(super) fn method(
    state: &mut State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let args: Vec<Value> = args.iter().map(received).collect();
    let args = args.as_slice();
    match class(value) {
        Class::Str => {
            let text = value.as_str().unwrap_or_default();
            args.iter().try_for_each(|arg| defined(arg).map(drop))?;
            pay_for(state, size_of_result(text, name, args))?;
            if value.is_safe() || args.iter().any(Value::is_safe) {
                return Err(refused(
                    "an escaped text has no methods here: escape it at the end",
                ));
            }
            match string_method(state, text, name, args)? {
                Some(result) => Ok(result),
                None => pycompat::unknown_method_callback(state, value, name, args),
            }
        }
        Class::List | Class::Tuple | Class::Range => sequence_method(state, value, name, args),
        Class::Dict => dict_method(state, value, name, args),
        Class::Other => pycompat::unknown_method_callback(state, value, name, args),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

/// The methods of Python's lists and tuples. Only a list that the template made can change.
fn sequence_method(
    state: &State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match name {
        "count" => {
            let (wanted,) = from_args::<(&Value,)>(args)?;
            let mut count = 0;
            for item in items(state, value)? {
                count += usize::from(equal(state, &item, wanted, 1)?);
            }
            return Ok(count.into());
        }
        "index" => {
            let (wanted,) = from_args::<(&Value,)>(args)?;
            for (index, item) in items(state, value)?.iter().enumerate() {
                if equal(state, item, wanted, 1)? {
                    return Ok(index.into());
                }
            }
            return Err(refused("index finds no such item"));
        }
        "copy" if class(value) == Class::List => return Ok(List::of(items(state, value)?)),
        "append" | "extend" | "insert" => {}
        _ if is_method(value, name) => {
            return Err(refused(format!(
                "`{name}` changes a list, which only append, extend and insert do here"
            )));
        }
        _ => return Err(ErrorKind::UnknownMethod.into()),
    }
    let list = value.downcast_object_ref::<List>();
    let list = list.ok_or_else(|| {
        refused("only a list that the template made can grow: write |list behind it")
    })?;
    match name {
        "append" => {
            let (item,) = from_args::<(Value,)>(args)?;
            let added = item.clone();
            list.change(state, &[item], |items| items.push(added))?;
        }
        "extend" => {
            let (added,) = from_args::<(&Value,)>(args)?;
            let added = items(state, added)?;
            list.change(state, &added.clone(), |items| items.extend(added))?;
        }
        _ => {
            let (index, item) = from_args::<(i64, Value)>(args)?;
            let added = item.clone();
            list.change(state, &[item], |items| {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let index = if index < 0 {
                    index.saturating_add(length)
                } else {
                    index
                };
                items.insert(usize::try_from(index.clamp(0, length)).unwrap_or(0), added);
            })?;
        }
    }
    Ok(().into())
}

/// The methods of Python's dicts. None can change here.
fn dict_method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let is_empty = args.is_empty();
    match name {
        "keys" if is_empty => Ok(View::of("keys", items(state, value)?)),
        "values" if is_empty => {
            let values = items(state, value)?.into_iter();
            let values = values.map(|key| value.get_item(&key));
            Ok(View::of("values", values.collect::<Result<_, _>>()?))
        }
        "items" if is_empty => Ok(View::of("items", pairs(state, value)?)),
        "copy" if is_empty => Ok(value.clone()),
        "get" => {
            let (key, default) = match args {
                [key] => (key, Value::from(())),
                [key, default] => (key, default.clone()),
                _ => return Err(ErrorKind::TooManyArguments.into()),
            };
            hashable(key)?;
            match contains(state, value, key)? {
                true => value.get_item(key),
                false => Ok(default),
            }
        }
        _ if is_method(value, name) => Err(refused(format!(
            "`{name}` changes a dict, which nothing can here: write dict(old, key=value)"
        ))),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

/// The methods of Python's `str` for [`method`], or nothing if it is none of these.
fn string_method(
    state: &mut State,
    text: &str,
    name: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "join" => {
            let (of,) = from_args::<(&Value,)>(args)?;
            let of = Value::from(items(state, of)?);
            if of.try_iter()?.any(|item| class(&item) != Class::Str) {
                return Err(refused("`join` takes only strings here: write |join"));
            }
            joined(state, text, &of)?.into()
        }
        "splitlines" => {
            let [keepends] = bind(["keepends"], args.to_vec())?;
            let keepends = flag(keepends);
            let mut lines: Vec<Value> = Vec::new();
            let mut rest = text;
            while !rest.is_empty() {
                let end = rest.find(is_line_end).unwrap_or(rest.len());
                let next = match &rest[end..] {
                    crlf if crlf.starts_with("\r\n") => end + 2,
                    after => end + after.chars().next().map_or(0, char::len_utf8),
                };
                lines.push(rest[..if keepends { next } else { end }].into());
                rest = &rest[next..];
            }
            List::of(lines)
        }
        "format" => str_format(state, text, args)?.into(),
        "strip" | "lstrip" | "rstrip" => {
            let (chars,) = from_args::<(Option<&str>,)>(args)?;
            let is_stripped =
                |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
            match name {
                "strip" => text.trim_matches(is_stripped),
                "lstrip" => text.trim_start_matches(is_stripped),
                _ => text.trim_end_matches(is_stripped),
            }
            .into()
        }
        "swapcase" => {
            let swapped = text.chars().flat_map(|c| match c.is_uppercase() {
                true => c.to_lowercase().collect::<Vec<_>>(),
                false => c.to_uppercase().collect(),
            });
            swapped.collect::<String>().into()
        }
        "casefold" if text.is_ascii() => text.to_ascii_lowercase().into(),
        "index" | "rindex" => {
            let (wanted,) = from_args::<(&str,)>(args)?;
            let found = if name == "index" {
                text.find(wanted)
            } else {
                text.rfind(wanted)
            };
            let at = found.ok_or_else(|| refused("index finds no such text"))?;
            text[..at].chars().count().into()
        }
        "isdecimal" | "isdigit" | "isnumeric" if text.is_ascii() => {
            (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).into()
        }
        "isdecimal" | "isdigit" | "isnumeric" => {
            return Err(refused("digits beyond ASCII are not told apart here"));
        }
        "istitle" | "isidentifier" | "isprintable" | "expandtabs" | "encode" | "translate"
        | "maketrans" | "format_map" => {
            return Err(refused(format!("texts have no `{name}` here")));
        }
        "ljust" | "rjust" | "center" | "zfill" => padded(text, name, args)?.into(),
        "partition" | "rpartition" => {
            let (separator,) = from_args::<(&str,)>(args)?;
            if separator.is_empty() {
                return Err(refused("a text is not split at nothing"));
            }
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
            if separator.as_ref().and_then(Value::as_str) == Some("") {
                return Err(refused("a text is not split at nothing"));
            }
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
fn size_of_result(text: &str, name: &str, args: &[Value]) -> usize {
    let argument = |index: usize| args.get(index).and_then(Value::as_str);
    match name {
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
        _ => text.len(),
    }
}

/// Whether a line ends with a character, for `str.splitlines`.
fn is_line_end(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Python's `str.ljust`, `rjust`, `center` and `zfill`.
pub(super) fn padded(text: &str, how: &str, args: &[Value]) -> Result<String, Error> {
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
