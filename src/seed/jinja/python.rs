//! Values as Python has them: of which class one is, and what it yields.

use std::sync::atomic::{AtomicBool, Ordering as Access};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::text::{MAX_DEPTH, defined};

/// Python's classes, as far as they matter to a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Undefined,
    None,
    Bool,
    Int,
    Float,
    Str,
    List,
    Tuple,
    Dict,
    View,
    Range,
    Once,
    /// A macro, a module, a loop, a function: what Python prints with an address.
    Other,
}

impl Class {
    /// Whether it can be calculated with.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Bool | Self::Int | Self::Float)
    }
}

/// The class of a value.
pub(super) fn class(value: &Value) -> Class {
    match value.kind() {
        ValueKind::Undefined => Class::Undefined,
        ValueKind::None => Class::None,
        ValueKind::Bool => Class::Bool,
        ValueKind::Number if value.is_integer() => Class::Int,
        ValueKind::Number => Class::Float,
        ValueKind::String => Class::Str,
        _ if value.is_tuple() || value.downcast_object_ref::<Group>().is_some() => Class::Tuple,
        _ if value.downcast_object_ref::<View>().is_some() => Class::View,
        _ if value.downcast_object_ref::<Range>().is_some() => Class::Range,
        _ if value.downcast_object_ref::<Once>().is_some() => Class::Once,
        ValueKind::Seq => Class::List,
        ValueKind::Map if is_dict(value) => Class::Dict,
        _ => Class::Other,
    }
}

/// Whether a value of the engine's kind "map" is a dict: loops, macros, modules and namespaces are
/// such, too.
fn is_dict(value: &Value) -> bool {
    let of_engine = [
        "::vm::",
        "::functions::",
        "::namespace_object::",
        "minijinja_contrib::",
    ];
    value.as_object().is_some_and(|object| {
        !of_engine
            .iter()
            .any(|part| object.type_name().contains(part))
    })
}

/// A failure that Python has, too, or a refusal: what cannot be done with a value.
pub(super) fn refused(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

pub(super) fn too_deep() -> Error {
    refused("lists are nested too deep")
}

pub(super) fn too_large() -> Error {
    refused("an integer has more than 128 bits")
}

/// The integer that is left of a float without its fraction.
pub(super) fn whole(float: f64) -> Result<Value, Error> {
    match float.trunc() {
        whole if whole.abs() < 1e38 => Ok((whole as i128).into()),
        _ => Err(refused("a float is too large for an integer")),
    }
}

/// A text made of another one. It is escaped if that is.
pub(super) fn made_of(value: &Value, text: String) -> Value {
    match value.is_safe() {
        true => Value::from_safe_string(text),
        false => text.into(),
    }
}

/// A list that a template made: it can grow by `append`.
#[derive(Debug, Default)]
pub(super) struct List {
    items: Mutex<Vec<Value>>,
    /// Whether it is part of another list. If it grew then, it might come to hold itself.
    is_part: AtomicBool,
}

impl List {
    pub(super) fn of(items: Vec<Value>) -> Value {
        Value::from_object(Self {
            items: Mutex::new(items),
            is_part: AtomicBool::new(false),
        })
    }

    fn items(&self) -> Vec<Value> {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.clone()
    }

    /// Changes the list. What is put into it must not change any more.
    pub(super) fn change(
        &self,
        state: &State,
        added: &[Value],
        change: impl FnOnce(&mut Vec<Value>),
    ) -> Result<(), Error> {
        for value in added {
            freeze(state, value, 0)?;
        }
        if self.is_part.load(Access::Relaxed) {
            return Err(refused(
                "a list that is part of another one cannot grow: fill it before",
            ));
        }
        // Twice the room of what is added, as the engine counts.
        state.consume_fuel(1 + added.len() as u64)?;
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut items);
        Ok(())
    }
}

/// Lets no list within a value grow any more.
fn freeze(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    if let Some(list) = value.downcast_object_ref::<List>() {
        if list.is_part.swap(true, Access::Relaxed) {
            return Ok(());
        }
        return list
            .items()
            .iter()
            .try_for_each(|item| freeze(state, item, depth + 1));
    }
    match class(value) {
        Class::Tuple | Class::List => {
            let mut items = items(state, value)?.into_iter();
            items.try_for_each(|item| freeze(state, &item, depth + 1))
        }
        Class::Dict => {
            let mut keys = items(state, value)?.into_iter();
            keys.try_for_each(|key| freeze(state, &value.get_item(&key)?, depth + 1))
        }
        _ => Ok(()),
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        Some(items.len())
    }
}

/// An iterator of Python's: what `map` yields can be had once.
#[derive(Debug)]
pub(super) struct Once(Mutex<Option<Vec<Value>>>);

impl Once {
    pub(super) fn of(items: Vec<Value>) -> Value {
        Value::from_object(Self(Mutex::new(Some(items))))
    }
}

impl Object for Once {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

/// `dict.keys()`, `values()` or `items()`.
#[derive(Debug)]
pub(super) struct View {
    pub(super) name: &'static str,
    items: Vec<Value>,
}

impl View {
    pub(super) fn of(name: &'static str, items: Vec<Value>) -> Value {
        Value::from_object(Self { name, items })
    }
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }
}

/// What `groupby` yields: a pair with names.
#[derive(Debug)]
pub(super) struct Group(pub(super) [Value; 2]);

impl Object for Group {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some("grouper") => Some(self.0[0].clone()),
            Some("list") => Some(self.0[1].clone()),
            Some(_) => None,
            None => self.0.get(key.as_usize()?).cloned(),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.to_vec())
    }
}

/// `range(…)`, which makes no list.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) start: i64,
    pub(super) stop: i64,
    pub(super) step: i64,
}

impl Range {
    pub(super) fn len(&self) -> usize {
        let (start, stop, step) = (
            i128::from(self.start),
            i128::from(self.stop),
            i128::from(self.step),
        );
        let steps = (stop - start + step - step.signum()) / step;
        usize::try_from(steps).unwrap_or(0)
    }

    pub(super) fn get(&self, index: usize) -> Option<Value> {
        let index = i64::try_from(index).ok().filter(|_| index < self.len())?;
        Some(Value::from(self.start + index * self.step))
    }

    pub(super) fn contains(&self, value: i128) -> bool {
        let (start, stop, step) = (
            i128::from(self.start),
            i128::from(self.stop),
            i128::from(self.step),
        );
        let is_within = if step > 0 {
            start <= value && value < stop
        } else {
            stop < value && value <= start
        };
        is_within && (value - start) % step == 0
    }
}

impl Object for Range {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key.as_usize()?)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.len())
    }
}

/// What a value yields when it is iterated. An iterator yields it once.
pub(super) fn items(state: &State, value: &Value) -> Result<Vec<Value>, Error> {
    defined(value)?;
    let items: Vec<Value> = match class(value) {
        Class::Str => {
            let text = value.as_str().unwrap_or_default();
            state.consume_fuel(text.len() as u64 / 2)?;
            text.chars().map(Value::from).collect()
        }
        Class::Once => {
            let once = value.downcast_object_ref::<Once>();
            let taken = once.and_then(|once| {
                let mut items = once.0.lock().unwrap_or_else(PoisonError::into_inner);
                items.take()
            });
            taken.ok_or_else(|| {
                refused("an iterator yields nothing more the second time: make it a list before")
            })?
        }
        Class::View => {
            let view = value.downcast_object_ref::<View>();
            let items = view.map(|view| view.items.clone()).unwrap_or_default();
            state.consume_fuel(items.len() as u64 / 2)?;
            items
        }
        Class::List | Class::Tuple | Class::Dict | Class::Range => {
            let length = value.len().unwrap_or(0);
            state.consume_fuel(length as u64 / 2)?;
            value.try_iter()?.collect()
        }
        _ => return Err(refused(format!("{} cannot be iterated", value.kind()))),
    };
    Ok(items)
}

/// A pair, as Python's tuple.
pub(super) fn pair(one: Value, other: Value) -> Value {
    Tuple::from([one, other]).into()
}
