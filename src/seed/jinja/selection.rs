//! The filters of Jinja2 that choose among the items of a sequence, or make others of them.

use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};

use minijinja::value::{Kwargs, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::compare::{equal, hashable, order};
use super::operator::item;
use super::python::{Class, Once, class, items, refused};
use super::sequence::{at, folded};
use super::text::text;
use super::{bind, flag};

/// `unique`.
pub(super) fn unique(state: &mut State, value: &Value, args: Vec<Value>) -> Result<Value, Error> {
    let [case_sensitive, attribute] = bind(["case_sensitive", "attribute"], args)?;
    let case_sensitive = flag(case_sensitive);
    let (mut seen, mut unique): (Vec<Value>, Vec<Value>) = Default::default();
    'items: for value in items(state, value)? {
        let key = folded(at(&value, attribute.as_ref())?, case_sensitive);
        hashable(&key)?;
        for other in &seen {
            if equal(state, other, &key, 1)? {
                continue 'items;
            }
        }
        seen.push(key);
        unique.push(value);
    }
    Ok(Once::of(unique))
}

/// `min` and `max`.
pub(super) fn extreme(
    state: &mut State,
    value: &Value,
    args: Vec<Value>,
    better: Ordering,
) -> Result<Value, Error> {
    let [case_sensitive, attribute] = bind(["case_sensitive", "attribute"], args)?;
    let case_sensitive = flag(case_sensitive);
    let mut best: Option<(Value, Value)> = None;
    for value in items(state, value)? {
        let key = folded(at(&value, attribute.as_ref())?, case_sensitive);
        best = match best {
            Some(best) if order(state, &key, &best.0, 1)? != better => Some(best),
            _ => Some((key, value)),
        };
    }
    Ok(best.map(|(_, value)| value).unwrap_or_default())
}

/// One of them, whichever.
pub(super) fn random(state: &mut State, value: &Value, _: Vec<Value>) -> Result<Value, Error> {
    if !matches!(
        class(value),
        Class::Str | Class::List | Class::Tuple | Class::Range
    ) {
        return Err(refused(format!(
            "{} has no random item: make it a list before",
            value.kind()
        )));
    }
    let chosen = RandomState::new().hash_one(0);
    match value.len() {
        Some(0) | None => Ok(Value::UNDEFINED),
        Some(length) if class(value) == Class::Range => {
            let index = chosen % length as u64;
            item(value, &index.into())
        }
        Some(_) => {
            let items = items(state, value)?;
            let index = chosen % items.len() as u64;
            Ok(items[usize::try_from(index).unwrap_or(0)].clone())
        }
    }
}

/// `map`, by a filter or an attribute.
pub(super) fn map(state: &mut State, value: &Value, args: Vec<Value>) -> Result<Value, Error> {
    if !value.is_true() {
        return Ok(Once::of(Vec::new()));
    }
    let is_by_attribute = args.first().is_some_and(Value::is_kwargs);
    let mut mapped = Vec::new();
    if is_by_attribute {
        let (by_name,): (Kwargs,) = from_args(&args)?;
        let attribute = by_name.get::<Value>("attribute")?;
        let default = by_name.get::<Option<Value>>("default")?;
        by_name.assert_all_used()?;
        for value in items(state, value)? {
            let mut found = value;
            let parts: Vec<Value> = match attribute.as_str() {
                Some(path) => path.split('.').map(Value::from).collect(),
                None => vec![attribute.clone()],
            };
            for part in parts {
                found = at(&found, Some(&part))?;
                if let Some(default) = default.as_ref().filter(|default| !default.is_none())
                    && found.is_undefined()
                {
                    found = default.clone();
                }
            }
            mapped.push(found);
        }
        return Ok(Once::of(mapped));
    }
    let (name, rest) = args.split_first().ok_or(ErrorKind::MissingArgument)?;
    let name = name
        .as_str()
        .ok_or_else(|| refused("map takes the name of a filter"))?;
    for value in items(state, value)? {
        let args: Vec<Value> = [&[value], rest].concat();
        mapped.push(state.apply_filter(name, &args)?);
    }
    Ok(Once::of(mapped))
}

/// `select`, `reject` and the same by an attribute.
pub(super) fn selected(
    state: &mut State,
    value: &Value,
    args: Vec<Value>,
    by_attribute: bool,
    is_wanted: bool,
) -> Result<Value, Error> {
    if !value.is_true() {
        return Ok(Once::of(Vec::new()));
    }
    let mut rest = args.as_slice();
    let mut path = None;
    if by_attribute {
        let (first, others) = rest.split_first().ok_or(ErrorKind::MissingArgument)?;
        (path, rest) = (Some(first), others);
    }
    let mut chosen = Vec::new();
    for value in items(state, value)? {
        let tested = at(&value, path)?;
        let is_so = match rest.split_first() {
            None => tested.is_true(),
            Some((test, rest)) => {
                let args: Vec<Value> = [&[tested], rest].concat();
                let test = text(state, test)?;
                state.perform_test(&test, &args)?
            }
        };
        if is_so == is_wanted {
            chosen.push(value);
        }
    }
    Ok(Once::of(chosen))
}
