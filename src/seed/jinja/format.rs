//! Python's ways to format: `"%s" % x`, `"%s"|format(x)`, `"{}".format(x)`.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, from_args};
use minijinja::{Error, State, Value};

use super::Args;
use super::operator::{attribute, item};
use super::python::{Class, class, items, refused, whole};
use super::text::{defined, pay_for, repr, text};

/// Longest number of a width or precision, in digits.
const MAX_DIGITS: usize = 4;

/// `format % values`.
pub(super) fn percent(state: &State, format: &Value, values: &Value) -> Result<Value, Error> {
    let format = format.as_str().unwrap_or_default();
    let given = match class(defined(values)?) {
        Class::Tuple => items(state, values)?,
        _ => vec![values.clone()],
    };
    printf(state, format, &given, values).map(Value::from)
}

/// The filter `format`.
pub(super) fn filter(state: &State, value: &Value, args: Args) -> Result<Value, Error> {
    let format = text(state, value)?;
    let args = args.into_values();
    let (by_position, by_name): (&[Value], Kwargs) = from_args(&args)?;
    let names: Vec<String> = by_name.args().map(str::to_owned).collect();
    if names.is_empty() {
        let all = Value::from(minijinja::value::Tuple::from(by_position));
        return printf(state, &format, by_position, &all).map(Value::from);
    }
    let mut named = Vec::new();
    for name in names {
        named.push((name.clone(), by_name.get::<Value>(&name)?));
    }
    match by_position.is_empty() {
        true => printf(state, &format, &[], &Value::from_pairs(named)).map(Value::from),
        false => Err(refused("format takes values by position or by name")),
    }
}

/// Python's `%`: with values in their order, or with a dict of them.
fn printf(
    state: &State,
    format_text: &str,
    values: &[Value],
    all: &Value,
) -> Result<String, Error> {
    let mut written = String::new();
    let mut rest = format_text;
    let mut next = values.iter();
    let (mut is_named, mut is_used) = (false, false);
    while let Some(at) = rest.find('%') {
        written += &rest[..at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            written.push('%');
            rest = after;
            continue;
        }
        let name = match rest.strip_prefix('(') {
            Some(named) => {
                let (name, after) = named
                    .split_once(')')
                    .ok_or_else(|| refused("a format has an open bracket"))?;
                rest = after;
                is_named = true;
                Some(name)
            }
            None => None,
        };
        let end = rest.find(|c: char| !"-+ #0123456789.".contains(c));
        let (flags, after) = rest.split_at(end.unwrap_or(rest.len()));
        let mut letters = after.chars();
        let conversion = letters
            .next()
            .ok_or_else(|| refused("a format ends within a field"))?;
        rest = letters.as_str();
        is_used = true;
        let value = match name {
            Some(name) if class(all) == Class::Dict => all.get_item(&name.into())?,
            Some(_) => return Err(refused("a format with names takes a dict")),
            None => next
                .next()
                .cloned()
                .ok_or_else(|| refused("a format has more fields than values"))?,
        };
        written += &converted(state, flags, conversion, defined(&value)?)?;
    }
    // One dict or list too many is none in Python.
    let is_mapping =
        values.len() == 1 && matches!(class(all), Class::Dict | Class::List | Class::Range);
    let may_remain = is_named || is_mapping && !is_used;
    if !may_remain && next.next().is_some() {
        return Err(refused("a format has fewer fields than values"));
    }
    written += rest;
    pay_for(state, written.len())?;
    Ok(written)
}

/// One value by `%`, flags and a letter.
fn converted(state: &State, flags: &str, conversion: char, value: &Value) -> Result<String, Error> {
    let of = class(value);
    let value = match (conversion, of) {
        ('s', _) => text(state, value)?.into(),
        ('r', _) => repr(state, value, 0)?.into(),
        ('d' | 'i' | 'u', Class::Float) => whole(f64::try_from(value.clone())?)?,
        ('d' | 'i' | 'u' | 'x' | 'X' | 'o' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G', Class::Bool) => {
            i64::from(value.is_true()).into()
        }
        ('d' | 'i' | 'u' | 'x' | 'X' | 'o', Class::Int) => value.clone(),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Class::Int | Class::Float) => value.clone(),
        ('c', Class::Str) if value.len() == Some(1) => value.clone(),
        _ => {
            return Err(refused(format!(
                "a format with %{conversion} cannot take {}",
                value.kind()
            )));
        }
    };
    let conversion = match conversion {
        'r' | 'c' => 's',
        'i' | 'u' => 'd',
        other => other,
    };
    pay_for(state, width(flags)?)?;
    if let Some(text) = value.as_str() {
        let align = if flags.contains('-') { '<' } else { '>' };
        let size = flags.trim_start_matches(['-', '+', ' ', '#', '0']);
        return fitted(text, size, align, ' ');
    }
    format(
        FormatStyle::Printf,
        &format!("%{flags}{conversion}"),
        &[value],
    )
}

/// How a format aligns a text, by which character, and what is left of the format.
fn alignment(spec: &str) -> (&str, char, char) {
    let is_align = |c: &char| "<>^".contains(*c);
    let mut chars = spec.chars();
    let (first, second) = (chars.next(), chars.next().filter(is_align));
    match (first, second) {
        (Some(fill), Some(align)) => (chars.as_str(), align, fill),
        (Some(align), None) if is_align(&align) => (&spec[align.len_utf8()..], align, ' '),
        _ => (spec, '<', ' '),
    }
}

/// A text cut to a precision and filled up to a width, `8.3`.
fn fitted(text: &str, size: &str, align: char, fill: char) -> Result<String, Error> {
    let (width, precision) = size.split_once('.').unwrap_or((size, ""));
    let number = |digits: &str, default: usize| match digits {
        "" => Ok(default),
        digits => digits
            .parse()
            .map_err(|_| refused("a format of a text takes a width and a precision")),
    };
    if width.starts_with('0') || size.ends_with('.') {
        return Err(refused(
            "a format of a text takes no zeros before its width",
        ));
    }
    let cut: String = text.chars().take(number(precision, usize::MAX)?).collect();
    let missing = number(width, 0)?.saturating_sub(cut.chars().count());
    let before = match align {
        '<' => 0,
        '^' => missing / 2,
        _ => missing,
    };
    let fill = |count| fill.to_string().repeat(count);
    Ok(format!("{}{cut}{}", fill(before), fill(missing - before)))
}

/// The sum of the numbers in a format: its result is no longer than that by itself.
fn width(spec: &str) -> Result<usize, Error> {
    let mut sum = 0;
    for number in spec
        .split(|c: char| !c.is_ascii_digit())
        .filter(|number| !number.is_empty())
    {
        if number.trim_start_matches('0').len() > MAX_DIGITS {
            return Err(refused("a format is too wide"));
        }
        sum += number.parse::<usize>().unwrap_or(0);
    }
    Ok(sum)
}

/// Python's `str.format`.
pub(super) fn str_format(state: &State, template: &str, args: &[Value]) -> Result<String, Error> {
    let (by_position, by_name): (&[Value], Kwargs) = from_args(args)?;
    let mut written = String::new();
    let mut rest = template;
    let mut next = 0;
    while let Some(at) = rest.find(['{', '}']) {
        written += &rest[..at];
        let (brace, after) = rest[at..].split_at(1);
        rest = after;
        if let Some(after) = rest.strip_prefix(brace) {
            written += brace;
            rest = after;
            continue;
        }
        let field = rest.split_once('}').filter(|_| brace == "{");
        let (field, after) = field.ok_or_else(|| refused("a format has a single brace"))?;
        rest = after;
        if field.contains('{') {
            return Err(refused("a format within a format: write the width"));
        }
        let (field, spec) = field.split_once(':').unwrap_or((field, ""));
        let (path, conversion) = field.split_once('!').unwrap_or((field, ""));
        let name_end = path.find(['.', '[']).unwrap_or(path.len());
        let (name, path) = path.split_at(name_end);
        let mut value = match name.parse::<usize>() {
            Ok(index) if next == 0 || next == usize::MAX => {
                next = usize::MAX;
                by_position.get(index).cloned()
            }
            Ok(_) => None,
            Err(_) if name.is_empty() && next != usize::MAX => {
                next += 1;
                by_position.get(next - 1).cloned()
            }
            Err(_) => by_name.get::<Value>(name).ok(),
        }
        .ok_or_else(|| refused("a format has a field without a value"))?;
        value = followed(value, path)?;
        let value = match conversion {
            "" => value,
            "s" => text(state, &value)?.into(),
            "r" => repr(state, &value, 0)?.into(),
            _ => return Err(refused("a format knows the conversions s and r")),
        };
        written += &formatted(state, defined(&value)?, spec)?;
        pay_for(state, written.len() / 8)?;
    }
    written += rest;
    pay_for(state, written.len())?;
    Ok(written)
}

/// What lies behind `.name` and `[key]` in a field.
fn followed(mut value: Value, mut path: &str) -> Result<Value, Error> {
    while !path.is_empty() {
        if let Some(named) = path.strip_prefix('.') {
            let end = named.find(['.', '[']).unwrap_or(named.len());
            // Python's format knows no items here.
            if class(&value) == Class::Dict {
                return Err(refused(
                    "a format finds no item of a dict by a dot: write [name]",
                ));
            }
            value = attribute(&value, &named[..end])?;
            path = &named[end..];
        } else {
            let keyed = path.strip_prefix('[').and_then(|path| path.split_once(']'));
            let (key, after) = keyed.ok_or_else(|| refused("a format has an open bracket"))?;
            let key = key
                .parse::<u32>()
                .map_or_else(|_| Value::from(key), Value::from);
            value = item(&value, &key)?;
            path = after;
        }
        defined(&value)?;
    }
    Ok(value)
}

/// One value by a format such as `>8.2f`.
fn formatted(state: &State, value: &Value, spec: &str) -> Result<String, Error> {
    let of = class(value);
    let is_number = matches!(of, Class::Int | Class::Float);
    pay_for(state, width(spec)?)?;
    match (of, spec) {
        (_, "") => text(state, value),
        (Class::Bool, _) => Err(refused("a format of a boolean: write |string or |int")),
        (_, spec) if is_number && spec.ends_with('%') => {
            let spec = spec.trim_end_matches('%');
            let precision = spec
                .strip_prefix('.')
                .map_or(spec.is_empty().then_some(6), |digits| digits.parse().ok());
            let precision: usize =
                precision.ok_or_else(|| refused("a percentage takes no width here"))?;
            let hundredth = f64::try_from(value.clone())? * 100.0;
            Ok(format!("{hundredth:.precision$}%"))
        }
        (Class::Float, spec) if !spec.ends_with(|c: char| c.is_ascii_alphabetic()) => Err(refused(
            "a format of a float needs a letter: write f, e or g behind it",
        )),
        (Class::Str, spec) => {
            let text = value.as_str().unwrap_or_default();
            let (size, align, fill) = alignment(spec.trim_end_matches('s'));
            fitted(text, size, align, fill)
        }
        (Class::Int | Class::Float, _) => format(
            FormatStyle::StrFormat,
            &format!("{{:{spec}}}"),
            std::slice::from_ref(value),
        ),
        _ => Err(refused(format!(
            "a format with a width cannot take {}",
            value.kind()
        ))),
    }
}
