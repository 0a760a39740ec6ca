//! Python's arithmetic: integers of 128 bits, floats, and what `+`, `*` and `%` do with texts.

use minijinja::{Error, State, Value};

use super::format::percent;
use super::operator::unescaped;
use super::python::{Class, List, class, items, refused, too_large};
use super::text::{defined, pay_for, text};

/// Integers up to this one are floats without a loss.
const EXACT: i128 = 1 << 53;

/// A number of Python's.
#[derive(Debug, Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    fn of(value: &Value) -> Result<Option<Self>, Error> {
        Ok(match class(value) {
            Class::Bool => Some(Self::Int(value.is_true().into())),
            Class::Int => Some(Self::Int(
                i128::try_from(value.clone()).map_err(|_| too_large())?,
            )),
            Class::Float => Some(Self::Float(f64::try_from(value.clone())?)),
            _ => None,
        })
    }

    /// As a float, where nothing is lost.
    fn float(self) -> Result<f64, Error> {
        match self {
            Self::Int(int) if int.abs() > EXACT => {
                Err(refused("an integer is too large for this with a float"))
            }
            Self::Int(int) => Ok(int as f64),
            Self::Float(float) => Ok(float),
        }
    }
}

/// `left op right`.
pub(super) fn calculated(
    state: &State,
    left: &Value,
    op: &str,
    right: &Value,
) -> Result<Value, Error> {
    defined(left)?;
    defined(right)?;
    if op == "~" {
        unescaped(state)?;
        let joined = text(state, left)? + &text(state, right)?;
        pay_for(state, joined.len())?;
        return Ok(joined.into());
    }
    if let (Some(a), Some(b)) = (Number::of(left)?, Number::of(right)?) {
        return match (a, b) {
            (Number::Int(a), Number::Int(b)) => integer(a, op, b),
            _ => float(a.float()?, op, b.float()?).map(Value::from),
        };
    }
    match (op, class(left), class(right)) {
        ("%", Class::Str, _) => {
            unescaped(state)?;
            percent(state, left, right)
        }
        ("+", Class::Str, Class::Str) => match (left.is_safe(), right.is_safe()) {
            (false, false) => {
                let joined = text(state, left)? + right.as_str().unwrap_or_default();
                pay_for(state, joined.len())?;
                Ok(joined.into())
            }
            _ => Err(refused(
                "an escaped text is not added to: escape the whole text at the end",
            )),
        },
        ("+", Class::List, Class::List) => {
            let joined = [items(state, left)?, items(state, right)?].concat();
            pay_for(state, size_of_val(joined.as_slice()))?;
            Ok(List::of(joined))
        }
        ("+", Class::Tuple, Class::Tuple) => {
            let joined = [items(state, left)?, items(state, right)?].concat();
            Ok(minijinja::value::Tuple::from(joined).into())
        }
        ("*", Class::Str | Class::List | Class::Tuple, Class::Int | Class::Bool) => {
            repeated(state, left, right)
        }
        ("*", Class::Int | Class::Bool, Class::Str | Class::List | Class::Tuple) => {
            repeated(state, right, left)
        }
        _ => Err(refused(format!(
            "tried to use {op} operator on unsupported types {} and {}",
            left.kind(),
            right.kind()
        ))),
    }
}

fn repeated(state: &State, value: &Value, times: &Value) -> Result<Value, Error> {
    let times = i64::try_from(times.clone())?.max(0);
    let times = usize::try_from(times).unwrap_or(usize::MAX);
    if let Some(text) = value.as_str() {
        if value.is_safe() {
            return Err(refused(
                "an escaped text is not repeated: escape the whole text at the end",
            ));
        }
        pay_for(state, text.len().saturating_mul(times))?;
        return Ok(text.repeat(times).into());
    }
    let items = items(state, value)?;
    pay_for(state, size_of_val(items.as_slice()).saturating_mul(times))?;
    let repeated = (0..times)
        .flat_map(|_| items.iter().cloned())
        .collect::<Vec<_>>();
    Ok(match class(value) {
        Class::Tuple => minijinja::value::Tuple::from(repeated).into(),
        _ => List::of(repeated),
    })
}

fn integer(a: i128, op: &str, b: i128) -> Result<Value, Error> {
    let result = match op {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "/" => return float(Number::Int(a).float()?, op, Number::Int(b).float()?).map(Value::from),
        "//" | "%" if b == 0 => return Err(refused("division by zero")),
        "//" => a
            .checked_div(b)
            .map(|quotient| quotient - i128::from(a % b != 0 && (a < 0) != (b < 0))),
        "%" => a.checked_rem(b).map(|rest| {
            if rest != 0 && (rest < 0) != (b < 0) {
                rest + b
            } else {
                rest
            }
        }),
        _ if b < 0 => {
            return float(Number::Int(a).float()?, op, Number::Int(b).float()?).map(Value::from);
        }
        _ if matches!(a, 0 | 1) => Some(if b == 0 { 1 } else { a }),
        _ => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
    };
    result.map(Value::from).ok_or_else(too_large)
}

fn float(a: f64, op: &str, b: f64) -> Result<f64, Error> {
    if b == 0.0 && matches!(op, "/" | "//" | "%") {
        return Err(refused("division by zero"));
    }
    // The remainder has the sign of the divisor.
    let rest = || {
        let rest = a % b;
        match rest != 0.0 && (rest < 0.0) != (b < 0.0) {
            true => rest + b,
            false => rest.copysign(if rest == 0.0 { b } else { rest }),
        }
    };
    Ok(match op {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        "%" => rest(),
        "//" => {
            // As Python goes about it, for the last bit.
            let remainder = a % b;
            let is_off = remainder != 0.0 && (remainder < 0.0) != (b < 0.0);
            let quotient = (a - remainder) / b - f64::from(u8::from(is_off));
            let floor = quotient.floor();
            match () {
                () if quotient == 0.0 => 0.0_f64.copysign(a / b),
                () if quotient - floor > 0.5 => floor + 1.0,
                () => floor,
            }
        }
        _ => {
            let power = a.powf(b);
            let is_none = a < 0.0 && b.fract() != 0.0 || a == 0.0 && b < 0.0;
            match !is_none && (power.is_finite() || !a.is_finite() || !b.is_finite()) {
                true => power,
                false => return Err(refused("this power is no float")),
            }
        }
    })
}

/// `-value`.
pub(super) fn negative(value: &Value) -> Result<Value, Error> {
    match Number::of(defined(value)?)? {
        Some(Number::Int(int)) => int.checked_neg().map(Value::from).ok_or_else(too_large),
        Some(Number::Float(float)) => Ok((-float).into()),
        None => Err(refused(format!("{} has no negative", value.kind()))),
    }
}
