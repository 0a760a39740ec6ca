//! How Python compares values: what equals what, what comes first, and what is in what.

use std::cmp::Ordering;

use minijinja::{Error, State, Value};

use super::python::{Class, Range, class, items, refused, too_deep};
use super::text::{MAX_DEPTH, defined};

/// The classes of two values that are to be compared, in lists of that depth.
fn classes(state: &State, a: &Value, b: &Value, depth: usize) -> Result<(Class, Class), Error> {
    defined(a)?;
    defined(b)?;
    state.consume_fuel(u64::from(depth > 0))?;
    match depth > MAX_DEPTH {
        true => Err(too_deep()),
        false => Ok((class(a), class(b))),
    }
}

/// Python's `==`.
pub(super) fn equal(state: &State, a: &Value, b: &Value, depth: usize) -> Result<bool, Error> {
    let (of_a, of_b) = classes(state, a, b, depth)?;
    Ok(match (of_a, of_b) {
        (Class::List, Class::List)
        | (Class::Tuple, Class::Tuple)
        | (Class::Range, Class::Range) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in items(state, a)?.iter().zip(&items(state, b)?) {
                if !equal(state, a, b, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Class::Dict, Class::Dict) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for key in items(state, a)? {
                let (of_a, of_b) = (a.get_item(&key)?, b.get_item(&key)?);
                if of_b.is_undefined() || !equal(state, &of_a, &of_b, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        _ if of_a == of_b && matches!(of_a, Class::View | Class::Once | Class::Other) => {
            return Err(refused("this cannot be compared: make lists of it before"));
        }
        _ if of_a == of_b || of_a.is_number() && of_b.is_number() => a == b,
        _ => false,
    })
}

/// Python's order, for `<` and `sort`. What differs in class has none.
pub(super) fn order(state: &State, a: &Value, b: &Value, depth: usize) -> Result<Ordering, Error> {
    let (of_a, of_b) = classes(state, a, b, depth)?;
    match (of_a, of_b) {
        (Class::Str, Class::Str) => Ok(a.as_str().cmp(&b.as_str())),
        (Class::List, Class::List) | (Class::Tuple, Class::Tuple) => {
            let (a, b) = (items(state, a)?, items(state, b)?);
            for (a, b) in a.iter().zip(&b) {
                if !equal(state, a, b, depth + 1)? {
                    return order(state, a, b, depth + 1);
                }
            }
            Ok(a.len().cmp(&b.len()))
        }
        _ if of_a.is_number() && of_b.is_number() => {
            let is_nan = |value: &Value| f64::try_from(value.clone()).is_ok_and(f64::is_nan);
            match is_nan(a) || is_nan(b) {
                true => Err(refused("nan has no order")),
                false => Ok(a.cmp(b)),
            }
        }
        _ => Err(refused(format!(
            "{} and {} have no order",
            a.kind(),
            b.kind()
        ))),
    }
}

/// Python's `item in container`.
pub(super) fn contains(state: &State, container: &Value, item: &Value) -> Result<bool, Error> {
    defined(container)?;
    match class(container) {
        Class::Str => match defined(item)?.as_str() {
            Some(item) => Ok(container.as_str().unwrap_or_default().contains(item)),
            None => Err(refused("only a string can be in a string")),
        },
        Class::Dict => {
            hashable(item)?;
            // An item may be there and undefined.
            Ok(container
                .try_iter()?
                .any(|key| key == *item && class(&key) != Class::Undefined))
        }
        Class::Range => match class(defined(item)?) {
            Class::Int | Class::Bool => {
                let range = container.downcast_object_ref::<Range>();
                let value = i128::try_from(item.clone()).ok();
                Ok(range
                    .zip(value)
                    .is_some_and(|(range, value)| range.contains(value)))
            }
            Class::Float => Err(refused("a float in a range: write its bounds")),
            _ => Ok(false),
        },
        _ => {
            for other in items(state, container)? {
                if equal(state, &other, item, 1)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// Refuses what can be no key of a dict.
pub(super) fn hashable(value: &Value) -> Result<(), Error> {
    match class(defined(value)?) {
        Class::List | Class::Dict | Class::View => {
            Err(refused(format!("{} can be no key", value.kind())))
        }
        Class::Tuple => value.try_iter()?.try_for_each(|item| hashable(&item)),
        _ => Ok(()),
    }
}
