//! What the operators of a rewritten template call: Python's arithmetic, comparisons, attributes.

use std::cmp::Ordering;
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Tuple, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};

use super::Args;
use super::arithmetic::{calculated, negative};
use super::compare::{contains, equal, hashable, order};
use super::names::is_method;
use super::python::{Class, List, Range, class, items, made_of, refused};
use super::rewrite::OURS;
use super::text::defined;

/// Adds the functions to an environment.
pub(super) fn add(env: &mut Environment<'static>) {
    let mut function = |name: &str, function: fn(&mut State, &[Value]) -> Result<Value, Error>| {
        env.add_function(
            format!("{OURS}{name}"),
            move |state: &mut State, args: Rest<Value>| function(state, &args.0),
        );
    };
    function("math", |state, args| {
        let (first, rest) = args.split_first().ok_or(ErrorKind::MissingArgument)?;
        let mut result = first.clone();
        for step in rest.chunks_exact(2) {
            let op = step[0].as_str().unwrap_or_default();
            result = calculated(state, &result, op, &step[1])?;
        }
        Ok(result)
    });
    function("negative", |_, args| negative(one(args)?));
    function("compare", |state, args| {
        let (mut left, rest) = args.split_first().ok_or(ErrorKind::MissingArgument)?;
        for step in rest.chunks_exact(2) {
            if !compared(state, left, step[0].as_str().unwrap_or_default(), &step[1])? {
                return Ok(false.into());
            }
            left = &step[1];
        }
        Ok(true.into())
    });
    function("attr", |_, args| {
        attribute(one(args)?, args[1].as_str().unwrap_or_default())
    });
    function("item", |_, args| item(one(args)?, &args[1]));
    function("slice", |state, args| sliced(state, one(args)?, &args[1..]));
    function("iter", |state, args| {
        let mut items = items(state, one(args)?)?;
        if args[1].is_true() {
            // Each is unpacked, which the engine does with lists alone.
            for item in &mut items {
                if matches!(class(item), Class::Str | Class::Dict | Class::Once) {
                    *item = self::items(state, item)?.into();
                }
            }
        }
        Ok(items.into())
    });
    function("list", |state, args| {
        Ok(List::of(items(state, one(args)?)?))
    });
    function("dict", |_, args| {
        let mut pairs = Vec::new();
        for pair in one(args)?.try_iter()? {
            let key = pair.get_item_by_index(0)?;
            hashable(&key)?;
            pairs.push((key, pair.get_item_by_index(1)?));
        }
        Ok(Value::from_pairs(pairs))
    });
    function("given", |_, args| match one(args)? {
        value if value.is_undefined() => Ok(Value::from_object(Given)),
        value => Ok(value.clone()),
    });
    function("defined", |_, args| defined(one(args)?).cloned());
    function("received", |_, args| Ok(received(one(args)?)));
    function("without", |state, args| match one(args)?.as_str() {
        Some(name) => Ok(format!("{WITHOUT}{name}").into()),
        None => {
            let names = items(state, one(args)?)?;
            let names = names.iter().map(|name| format!("{WITHOUT}{name}"));
            Ok(names.map(Value::from).collect::<Vec<_>>().into())
        }
    });
    function("refused", |_, args| {
        let reason = one(args)?.as_str().unwrap_or_default().to_owned();
        Err(Error::new(ErrorKind::SyntaxError, reason))
    });
    env.add_global(format!("{OURS}undefined"), Value::UNDEFINED);
    env.add_function("range", range);
    for (name, op) in [
        ("eq", "=="),
        ("equalto", "=="),
        ("==", "=="),
        ("ne", "!="),
        ("!=", "!="),
        ("lt", "<"),
        ("lessthan", "<"),
        ("<", "<"),
        ("le", "<="),
        ("<=", "<="),
        ("gt", ">"),
        ("greaterthan", ">"),
        (">", ">"),
        ("ge", ">="),
        (">=", ">="),
    ] {
        env.add_test(
            name,
            move |state: &mut State, value: Value, other: Value| {
                compared(state, &value, op, &other)
            },
        );
    }
}

/// What the name of a template begins with that is to see no context.
pub(super) const WITHOUT: char = '\u{1}';

fn one(args: &[Value]) -> Result<&Value, Error> {
    args.first()
        .ok_or_else(|| ErrorKind::MissingArgument.into())
}

/// An argument that was given and is undefined, on its way to a macro.
#[derive(Debug)]
pub(super) struct Given;

impl Object for Given {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// An argument as it was given.
pub(super) fn received(value: &Value) -> Value {
    match value.downcast_object_ref::<Given>() {
        Some(_) => Value::UNDEFINED,
        None => value.clone(),
    }
}

fn range(args: Rest<Value>) -> Result<Value, Error> {
    let integer = |value: &Value| match class(value) {
        Class::Int | Class::Bool => i64::try_from(value.clone()),
        _ => Err(refused("range takes integers")),
    };
    let bounds = args.0.iter().map(integer).collect::<Result<Vec<_>, _>>()?;
    let (start, stop, step) = match bounds[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => return Err(refused("range takes one to three integers")),
    };
    let most = i64::from(i32::MAX);
    match step == 0 || [start, stop, step].iter().any(|bound| bound.abs() > most) {
        true => Err(refused("a range goes by steps, and not beyond 31 bits")),
        false => Ok(Value::from_object(Range { start, stop, step })),
    }
}

fn compared(state: &State, left: &Value, op: &str, right: &Value) -> Result<bool, Error> {
    Ok(match op {
        "==" => equal(state, left, right, 0)?,
        "!=" => !equal(state, left, right, 0)?,
        "in" => contains(state, right, left)?,
        "not in" => !contains(state, right, left)?,
        _ => match (op, order(state, left, right, 0)?) {
            ("<", order) => order == Ordering::Less,
            ("<=", order) => order != Ordering::Greater,
            (">", order) => order == Ordering::Greater,
            (_, order) => order != Ordering::Less,
        },
    })
}

/// `value.name`: in Python the methods of a class come before the items.
pub(super) fn attribute(value: &Value, name: &str) -> Result<Value, Error> {
    if is_method(defined(value)?, name) {
        return Err(refused(format!(
            "`{name}` is a method in Python: write [\"{name}\"] for the item"
        )));
    }
    match class(value) {
        Class::Dict => value.get_item(&name.into()),
        Class::Tuple | Class::Other => value.get_attr(name),
        _ => Ok(Value::UNDEFINED),
    }
}

/// `value[key]`: in Python the items come before the methods.
pub(super) fn item(value: &Value, key: &Value) -> Result<Value, Error> {
    let found = match class(defined(value)?) {
        Class::Dict => match class(defined(key)?) {
            Class::List | Class::Dict => return Ok(Value::UNDEFINED),
            _ => value.get_item(key)?,
        },
        Class::Str | Class::List | Class::Tuple | Class::Range => match class(defined(key)?) {
            Class::Int | Class::Bool => {
                let length = match value.as_str() {
                    Some(text) => text.chars().count(),
                    None => value.len().unwrap_or(0),
                };
                let index = i128::try_from(key.clone())?;
                let index = if index < 0 {
                    index + length as i128
                } else {
                    index
                };
                match (usize::try_from(index), value.as_str()) {
                    (Err(_), _) => Value::UNDEFINED,
                    (Ok(index), Some(text)) => text
                        .chars()
                        .nth(index)
                        .map_or(Value::UNDEFINED, Value::from),
                    (Ok(index), None) if index < length => value.get_item_by_index(index)?,
                    _ => Value::UNDEFINED,
                }
            }
            _ => match key.as_str() {
                Some(name) => return attribute(value, name),
                None => Value::UNDEFINED,
            },
        },
        Class::Other => value.get_item(key)?,
        _ => Value::UNDEFINED,
    };
    match key.as_str() {
        Some(name) if found.is_undefined() && is_method(value, name) => attribute(value, name),
        _ => Ok(found),
    }
}

/// `value[start:stop:step]`.
fn sliced(state: &State, value: &Value, bounds: &[Value]) -> Result<Value, Error> {
    let of = class(defined(value)?);
    if !matches!(of, Class::Str | Class::List | Class::Tuple | Class::Range) {
        return Err(refused(format!("{} has no slices", value.kind())));
    }
    let bound = |index: usize| match bounds.get(index) {
        Some(bound) if !bound.is_none() => match class(defined(bound)?) {
            Class::Int | Class::Bool => Ok(Some(i64::try_from(bound.clone())?)),
            _ => Err(refused("the bounds of a slice are integers")),
        },
        _ => Ok(None),
    };
    let (start, stop, step) = (bound(0)?, bound(1)?, bound(2)?.unwrap_or(1));
    if step == 0 || of == Class::Range {
        return Err(refused(
            "a slice by steps of 0, or of a range: make it a list before",
        ));
    }
    let items = items(state, value)?;
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let (low, high) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let clamp = |bound: Option<i64>, default| match bound {
        None => default,
        Some(bound) if bound < 0 => bound.saturating_add(length).max(low),
        Some(bound) => bound.min(high),
    };
    let (start, stop) = match step > 0 {
        true => (clamp(start, low), clamp(stop, high)),
        false => (clamp(start, high), clamp(stop, low)),
    };
    let mut chosen = Vec::new();
    let mut at = start;
    while if step > 0 { at < stop } else { at > stop } {
        if let Some(item) = usize::try_from(at).ok().and_then(|at| items.get(at)) {
            chosen.push(item.clone());
        }
        at = at.saturating_add(step);
    }
    Ok(match of {
        Class::Str => {
            let text: String = chosen.iter().filter_map(Value::as_str).collect();
            made_of(value, text)
        }
        Class::Tuple => Tuple::from(chosen).into(),
        _ => List::of(chosen),
    })
}

/// Refuses what would have to escape its parts, within `{% autoescape true %}`.
pub(super) fn unescaped(state: &State) -> Result<(), Error> {
    match state.auto_escape() {
        AutoEscape::None => Ok(()),
        _ => Err(refused(
            "texts are not put together within autoescape: do it before",
        )),
    }
}

/// `dict(…)`.
pub(super) fn dict(state: &mut State, args: Args) -> Result<Value, Error> {
    let args = args.into_values();
    let (given, by_name): (&[Value], Kwargs) = from_args(&args)?;
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    if let Some(given) = given.first() {
        match class(defined(given)?) {
            Class::Dict => {
                for key in given.try_iter()? {
                    pairs.push((key.clone(), given.get_item(&key)?));
                }
            }
            _ => {
                for pair in items(state, given)? {
                    let [key, value] = <[Value; 2]>::try_from(items(state, &pair)?)
                        .map_err(|_| refused("dict takes pairs"))?;
                    hashable(&key)?;
                    pairs.push((key, value));
                }
            }
        }
    }
    for name in by_name.args().map(str::to_owned).collect::<Vec<_>>() {
        pairs.push((name.as_str().into(), by_name.get(&name)?));
    }
    by_name.assert_all_used()?;
    match given.len() > 1 {
        true => Err(ErrorKind::TooManyArguments.into()),
        false => Ok(Value::from_pairs(pairs)),
    }
}
