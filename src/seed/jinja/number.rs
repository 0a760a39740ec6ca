//! The filters of Jinja2 that make numbers, or write them for people.

use minijinja::{Error, State, Value};

use super::python::{Class, class, refused, too_large, whole};
use super::text::defined;
use super::{Args, bind, flag};

/// Prefixes of units, from thousands on.
const PREFIXES: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];

/// `int`: what is no number is the default.
pub(super) fn int(_: &State, value: &Value, args: Args) -> Result<Value, Error> {
    let [default, base] = bind(["default", "base"], args.into_values())?;
    let default = default.unwrap_or_else(|| 0.into());
    let base = base.map(u32::try_from).transpose()?.unwrap_or(10);
    if !(base == 0 || (2..=36).contains(&base)) {
        // Python takes the default for what it cannot read by such a base.
        return Err(refused("a base is 0, or from 2 to 36"));
    }
    match class(defined(value)?) {
        Class::Bool => Ok(i64::from(value.is_true()).into()),
        Class::Int => Ok(value.clone()),
        Class::Float => truncated(f64::try_from(value.clone())?, default, false),
        Class::Str => {
            let text = value.as_str().unwrap_or_default();
            match integer(text, base)? {
                Some(integer) => Ok(integer),
                None => match float_of(text) {
                    Some(float) => truncated(float, default, true),
                    None => Ok(default),
                },
            }
        }
        Class::Other => Err(refused("this is no number")),
        _ => Ok(default),
    }
}

fn truncated(float: f64, default: Value, was_text: bool) -> Result<Value, Error> {
    match float.is_nan() || was_text && float.is_infinite() {
        true => Ok(default),
        false => whole(float),
    }
}

/// A text as Python's `int()` reads it, if it is one.
fn integer(text: &str, base: u32) -> Result<Option<Value>, Error> {
    let text = strip(text);
    let (is_negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let mut base = base;
    let mut digits = lower.as_str();
    for (prefix, of_prefix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if (base == of_prefix || base == 0)
            && let Some(rest) = lower.strip_prefix(prefix)
        {
            (base, digits) = (of_prefix, rest.strip_prefix('_').unwrap_or(rest));
            break;
        }
    }
    if base == 0 {
        base = 10;
        if digits.starts_with('0') && digits.contains(|c: char| c.is_ascii_digit() && c != '0') {
            return Ok(None);
        }
    }
    if !digits.is_ascii() {
        return match digits.chars().all(|c| c.is_numeric() || c == '_') {
            true => Err(refused("digits beyond ASCII are no number here")),
            false => Ok(None),
        };
    }
    let is_digit = |c: char| c.is_digit(base);
    let plain = digits.replace('_', "");
    let is_spaced = digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    if plain.is_empty() || is_spaced || !plain.chars().all(is_digit) {
        return Ok(None);
    }
    let value = i128::from_str_radix(&plain, base);
    let value = value.map_err(|_| too_large())?;
    Ok(Some(if is_negative { -value } else { value }.into()))
}

/// A text as Python's `float()` reads it, if it is one.
fn float_of(text: &str) -> Option<f64> {
    let text = strip(text);
    let mut before = ' ';
    for (index, c) in text.char_indices() {
        let after = text[index + c.len_utf8()..].chars().next().unwrap_or(' ');
        if c == '_' && !(before.is_ascii_digit() && after.is_ascii_digit()) {
            return None;
        }
        before = c;
    }
    text.replace('_', "").parse().ok()
}

/// Without Python's white space around it.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether Python takes a character for white space.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `float`: what is no number is the default.
pub(super) fn float(_: &State, value: &Value, args: Args) -> Result<Value, Error> {
    let [default] = bind(["default"], args.into_values())?;
    let default = default.unwrap_or_else(|| 0.0.into());
    match class(defined(value)?) {
        Class::Bool => Ok(f64::from(u8::from(value.is_true())).into()),
        Class::Int => Ok((i128::try_from(value.clone())? as f64).into()),
        Class::Float => Ok(value.clone()),
        Class::Str => {
            let text = value.as_str().unwrap_or_default();
            if !text.is_ascii() && text.chars().any(|c| c.is_numeric() && !c.is_ascii()) {
                return Err(refused("digits beyond ASCII are no number here"));
            }
            Ok(float_of(text).map_or(default, Value::from))
        }
        Class::Other => Err(refused("this is no number")),
        _ => Ok(default),
    }
}

/// `abs`.
pub(super) fn abs(value: &Value) -> Result<Value, Error> {
    match class(defined(value)?) {
        Class::Bool => Ok(i64::from(value.is_true()).into()),
        Class::Int => {
            let magnitude = i128::try_from(value.clone())?.checked_abs();
            magnitude.map(Value::from).ok_or_else(too_large)
        }
        Class::Float => Ok(f64::try_from(value.clone())?.abs().into()),
        _ => Err(refused(format!("{} has no magnitude", value.kind()))),
    }
}

/// `round`: half to even, as Python has it; an integer stays one.
pub(super) fn round(_: &State, value: &Value, args: Args) -> Result<Value, Error> {
    let [precision, method] = bind(["precision", "method"], args.into_values())?;
    let method = method.unwrap_or_else(|| "common".into());
    let precision = precision.unwrap_or_else(|| 0.into());
    if class(&precision) != Class::Int {
        return Err(refused("round takes a number of digits"));
    }
    let precision = i32::try_from(precision)
        .ok()
        .filter(|precision| precision.abs() <= 15);
    let precision = precision.ok_or_else(|| refused("round takes up to 15 digits"))?;
    let of = class(defined(value)?);
    if !of.is_number() {
        return Err(refused(format!("{} cannot be rounded", value.kind())));
    }
    if method.as_str() == Some("common") && of != Class::Float {
        let integer = i128::try_from(value.clone())?;
        let unit = 10_i128.pow(precision.min(0).unsigned_abs());
        let rest = integer.rem_euclid(unit);
        let is_odd = (integer - rest) / unit % 2 != 0;
        let is_up = rest * 2 > unit || rest * 2 == unit && is_odd;
        let rounded = (integer - rest).checked_add(if is_up { unit } else { 0 });
        return rounded.map(Value::from).ok_or_else(too_large);
    }
    let number = match of {
        Class::Float => f64::try_from(value.clone())?,
        _ => {
            let integer = i128::try_from(value.clone())?;
            match integer.abs() < 1 << 53 {
                true => integer as f64,
                false => return Err(refused("an integer is too large to be rounded")),
            }
        }
    };
    let factor = 10_f64.powi(precision);
    let rounded = match (method.as_str(), usize::try_from(precision)) {
        (Some("common"), Ok(precision)) => {
            format!("{number:.precision$}").parse().unwrap_or(number)
        }
        (Some("common"), Err(_)) => {
            let unit = 10_f64.powi(-precision);
            (number / unit).round_ties_even() * unit
        }
        (Some("ceil"), _) => (number * factor).ceil() / factor,
        (Some("floor"), _) => (number * factor).floor() / factor,
        _ => return Err(refused("round goes by common, ceil or floor")),
    };
    match number.is_finite() {
        // Of an integer, ceil and floor make -0.0 never.
        true if rounded == 0.0 && method.as_str() != Some("common") => Ok(0.0.into()),
        true => Ok(rounded.into()),
        false => Err(refused("what is not finite cannot be rounded")),
    }
}

/// `filesizeformat`.
pub(super) fn filesizeformat(state: &State, value: &Value, args: Args) -> Result<String, Error> {
    let [binary] = bind(["binary"], args.into_values())?;
    let is_binary = flag(binary);
    let bytes = float(
        state,
        value,
        minijinja::value::Rest(vec![Value::from(()).into()]),
    )?;
    let bytes = f64::try_from(bytes).map_err(|_| refused("this is no size"))?;
    let base: f64 = if is_binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok("1 Byte".to_owned());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes.trunc() as i64));
    }
    let (mut unit, mut name) = (base, "");
    for prefix in PREFIXES {
        (unit, name) = (unit * base, prefix);
        if bytes < unit {
            break;
        }
    }
    let name = match (is_binary, name) {
        (false, name) => format!("{name}B"),
        (true, "k") => "KiB".to_owned(),
        (true, name) => format!("{name}iB"),
    };
    Ok(format!("{:.1} {name}", base * bytes / unit))
}

/// `odd`, `even`, `divisibleby`: the remainder of an integer.
pub(super) fn remainder(value: &Value, divisor: i128) -> Result<i128, Error> {
    match class(defined(value)?) {
        Class::Bool | Class::Int if divisor != 0 => {
            Ok(i128::try_from(value.clone())?.rem_euclid(divisor.abs()))
        }
        _ => Err(refused(format!("{} has no remainder here", value.kind()))),
    }
}
