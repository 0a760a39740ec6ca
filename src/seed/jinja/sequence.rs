//! The filters of Jinja2 over sequences: `map`, `select`, `sort` and their like.

use std::cmp::Ordering;

use minijinja::{Environment, Error, State, Value};

use super::arithmetic::calculated;
use super::compare::{equal, order};
use super::names::is_method;
use super::operator::{attribute, item};
use super::python::{Class, Group, List, Once, class, items, made_of, pair, refused};
use super::selection::{extreme, map, random, selected, unique};
use super::text::defined;
use super::{Args, bind, flag};

/// Sorting shifts so many values for a unit of fuel.
const SHIFTS_OF_FUEL: usize = 16;

type Filter = fn(&mut State, &Value, Vec<Value>) -> Result<Value, Error>;

/// Adds the filters to an environment.
pub(super) fn add(env: &mut Environment<'static>) {
    let filters: [(&str, Filter); 22] = [
        ("attr", attr),
        ("batch", batch),
        ("count", length),
        ("dictsort", dictsort),
        ("first", |state, value, _| {
            Ok(items(state, value)?.into_iter().next().unwrap_or_default())
        }),
        ("groupby", groupby),
        ("items", |state, value, _| match class(value) {
            Class::Undefined => Ok(Once::of(Vec::new())),
            Class::Dict => Ok(Once::of(pairs(state, value)?)),
            _ => Err(refused("only a dict has items")),
        }),
        ("last", |state, value, _| {
            reversible(value)?;
            Ok(items(state, value)?.pop().unwrap_or_default())
        }),
        ("length", length),
        ("list", |state, value, _| Ok(List::of(items(state, value)?))),
        ("map", map),
        ("max", |state, value, args| {
            extreme(state, value, args, Ordering::Greater)
        }),
        ("min", |state, value, args| {
            extreme(state, value, args, Ordering::Less)
        }),
        ("random", random),
        ("reject", |state, value, args| {
            selected(state, value, args, false, false)
        }),
        ("rejectattr", |state, value, args| {
            selected(state, value, args, true, false)
        }),
        ("reverse", reverse),
        ("select", |state, value, args| {
            selected(state, value, args, false, true)
        }),
        ("selectattr", |state, value, args| {
            selected(state, value, args, true, true)
        }),
        ("slice", slice),
        ("sort", sort),
        ("sum", sum),
    ];
    for (name, filter) in filters.into_iter().chain([("unique", unique as Filter)]) {
        env.add_filter(name, move |state: &mut State, value: &Value, args: Args| {
            if !matches!(
                name,
                "items" | "map" | "select" | "reject" | "selectattr" | "rejectattr"
            ) {
                defined(value)?;
            }
            filter(state, value, args.into_values())
        });
    }
}

/// What stands at a path such as `disks.0.name`, or the value itself.
pub(super) fn at(value: &Value, path: Option<&Value>) -> Result<Value, Error> {
    let mut found = value.clone();
    match path.filter(|path| !path.is_none()) {
        None => {}
        Some(path) => match path.as_str() {
            Some(path) => {
                for part in path.split('.') {
                    let is_index =
                        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
                    let key = match part.parse::<u64>() {
                        Ok(index) if is_index => Value::from(index),
                        _ => Value::from(part),
                    };
                    found = item(&found, &key)?;
                }
            }
            None => found = item(&found, path)?,
        },
    }
    Ok(found)
}

/// The same in lower case where case does not matter.
pub(super) fn folded(value: Value, case_sensitive: bool) -> Value {
    match value.as_str() {
        Some(text) if !case_sensitive => text.to_lowercase().into(),
        _ => value,
    }
}

/// The items of a dict, as pairs.
pub(super) fn pairs(state: &State, dict: &Value) -> Result<Vec<Value>, Error> {
    let keys = items(state, dict)?.into_iter();
    keys.map(|key| Ok(pair(key.clone(), dict.get_item(&key)?)))
        .collect()
}

fn attr(_: &mut State, value: &Value, args: Vec<Value>) -> Result<Value, Error> {
    let [name] = bind(["name"], args)?;
    let name = name.unwrap_or_default();
    let name = name.as_str().ok_or_else(|| refused("attr takes a name"))?;
    match class(value) {
        Class::Dict if !is_method(value, name) => Ok(Value::UNDEFINED),
        _ => attribute(value, name),
    }
}

fn batch(state: &mut State, value: &Value, args: Vec<Value>) -> Result<Value, Error> {
    let [size, fill] = bind(["linecount", "fill_with"], args)?;
    let size = number(size)?.filter(|size| *size > 0);
    let size = size.ok_or_else(|| refused("batch takes a number above 0"))?;
    let items = items(state, value)?;
    let mut batches: Vec<Vec<Value>> = items.chunks(size).map(<[Value]>::to_vec).collect();
    if let (Some(last), Some(fill)) = (batches.last_mut(), fill.filter(|fill| !fill.is_none())) {
        state.consume_fuel(size as u64)?;
        last.resize(size, fill);
    }
    Ok(Once::of(batches.into_iter().map(List::of).collect()))
}

fn slice(state: &mut State, value: &Value, args: Vec<Value>) -> Result<Value, Error> {
    let [count, fill] = bind(["slices", "fill_with"], args)?;
    let count = number(count)?.filter(|count| *count > 0);
    let count = count.ok_or_else(|| refused("slice takes a number above 0"))?;
    let items = items(state, value)?;
    state.consume_fuel(count as u64)?;
    let (each, longer) = (items.len() / count, items.len() % count);
    let (mut rest, mut slices) = (items.as_slice(), Vec::new());
    for index in 0..count {
        let (slice, after) = rest.split_at(each + usize::from(index < longer));
        rest = after;
        let mut slice = slice.to_vec();
        if let Some(fill) = fill
            .as_ref()
            .filter(|fill| !fill.is_none() && index >= longer)
        {
            slice.push(fill.clone());
        }
        slices.push(List::of(slice));
    }
    Ok(Once::of(slices))
}

/// An argument that is a number from 0 on.
fn number(value: Option<Value>) -> Result<Option<usize>, Error> {
    value.map(usize::try_from).transpose()
}

fn length(_: &mut State, value: &Value, _: Vec<Value>) -> Result<Value, Error> {
    match class(value) {
        Class::Str => Ok(value.as_str().unwrap_or_default().chars().count().into()),
        Class::List | Class::Tuple | Class::Dict | Class::View | Class::Range => {
            Ok(value.len().into())
        }
        _ => Err(refused(format!(
            "{} has no length: make it a list before",
            value.kind()
        ))),
    }
}

fn dictsort(state: &mut State, value: &Value, args: Vec<Value>) -> Result<Value, Error> {
    let [case_sensitive, by, reverse] = bind(["case_sensitive", "by", "reverse"], args)?;
    if class(value) != Class::Dict {
        return Err(refused("only a dict has items"));
    }
    let by = by.unwrap_or_else(|| "key".into());
    let position = match by.as_str() {
        Some("key") => 0,
        Some("value") => 1,
        _ => return Err(refused("dictsort sorts by key or by value")),
    };
    let case_sensitive = flag(case_sensitive);
    let keyed = pairs(state, value)?.into_iter().map(|pair| {
        let key = folded(pair.get_item_by_index(position)?, case_sensitive);
        Ok((key, pair))
    });
    let keyed = keyed.collect::<Result<Vec<_>, Error>>()?;
    let sorted = sorted(state, keyed, flag(reverse))?;
    Ok(List::of(sorted.into_iter().map(|(_, pair)| pair).collect()))
}

/// Sorts by keys. Equal ones keep their order.
fn sorted(
    state: &State,
    keyed: Vec<(Value, Value)>,
    is_reversed: bool,
) -> Result<Vec<(Value, Value)>, Error> {
    // The order can fail, for which the sorts of the standard library have no place.
    let mut sorted: Vec<(Value, Value)> = Vec::with_capacity(keyed.len());
    if let [(only, _)] = keyed.as_slice() {
        defined(only)?;
    }
    for (key, value) in keyed {
        let (mut low, mut high) = (0, sorted.len());
        while low < high {
            let middle = low.midpoint(high);
            state.consume_fuel(1)?;
            let order = order(state, &key, &sorted[middle].0, 0)?;
            let is_before = match is_reversed {
                false => order == Ordering::Less,
                true => order == Ordering::Greater,
            };
            if is_before {
                high = middle
            } else {
                low = middle + 1
            }
        }
        state.consume_fuel(((sorted.len() - low) / SHIFTS_OF_FUEL) as u64)?;
        sorted.insert(low, (key, value));
    }
    Ok(sorted)
}

fn sort(state: &mut State, value: &Value, args: Vec<Value>) -> Result<Value, Error> {
    let [reverse, case_sensitive, attribute] =
        bind(["reverse", "case_sensitive", "attribute"], args)?;
    let paths: Vec<Option<Value>> = match attribute.as_ref().and_then(Value::as_str) {
        Some(paths) => paths.split(',').map(|path| Some(path.into())).collect(),
        None => vec![attribute],
    };
    let case_sensitive = flag(case_sensitive);
    let keyed = items(state, value)?.into_iter().map(|value| {
        let keys = paths
            .iter()
            .map(|path| Ok(folded(at(&value, path.as_ref())?, case_sensitive)));
        let keys = keys.collect::<Result<Vec<_>, Error>>()?;
        Ok((Value::from(keys), value))
    });
    let keyed = keyed.collect::<Result<Vec<_>, Error>>()?;
    let sorted = sorted(state, keyed, flag(reverse))?;
    Ok(List::of(
        sorted.into_iter().map(|(_, value)| value).collect(),
    ))
}

fn groupby(state: &mut State, value: &Value, args: Vec<Value>) -> Result<Value, Error> {
    let [attribute, default, case_sensitive] =
        bind(["attribute", "default", "case_sensitive"], args)?;
    let case_sensitive = flag(case_sensitive);
    let default = default.filter(|default| !default.is_none());
    let original = |value: &Value| match at(value, attribute.as_ref())? {
        missing if missing.is_undefined() => Ok(default.clone().unwrap_or(missing)),
        found => Ok::<_, Error>(found),
    };
    let keyed = items(state, value)?.into_iter();
    let keyed = keyed.map(|value| Ok((folded(original(&value)?, case_sensitive), value)));
    let keyed = keyed.collect::<Result<Vec<_>, Error>>()?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, value) in sorted(state, keyed, false)? {
        match groups.last_mut() {
            Some((last, group)) if equal(state, last, &key, 1)? => group.push(value),
            _ => groups.push((key, vec![value])),
        }
    }
    let groups = groups.into_iter().map(|(key, group)| {
        let key = if case_sensitive {
            key
        } else {
            original(&group[0])?
        };
        Ok(Value::from_object(Group([key, List::of(group)])))
    });
    Ok(List::of(groups.collect::<Result<_, Error>>()?))
}

fn sum(state: &mut State, value: &Value, args: Vec<Value>) -> Result<Value, Error> {
    let [attribute, start] = bind(["attribute", "start"], args)?;
    let mut sum = start.unwrap_or_else(|| 0.into());
    if sum.as_str().is_some() {
        return Err(refused("texts have no sum: write |join"));
    }
    for value in items(state, value)? {
        let value = at(&value, attribute.as_ref())?;
        sum = calculated(state, &sum, "+", &value)?;
    }
    Ok(sum)
}

fn reversible(value: &Value) -> Result<(), Error> {
    match class(value) {
        Class::Str | Class::List | Class::Tuple | Class::Dict | Class::View | Class::Range => {
            Ok(())
        }
        _ => Err(refused(format!(
            "{} cannot be reversed: make it a list before",
            value.kind()
        ))),
    }
}

fn reverse(state: &mut State, value: &Value, _: Vec<Value>) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let reversed: String = text.chars().rev().collect();
        return Ok(made_of(value, reversed));
    }
    let mut reversed = items(state, value)?;
    reversed.reverse();
    Ok(match class(value) {
        Class::Once => List::of(reversed),
        _ => Once::of(reversed),
    })
}
