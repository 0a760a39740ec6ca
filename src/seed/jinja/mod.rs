//! Jinja2 templates, rendered as Python's Jinja2 renders them, or refused.
//!
//! Operators' templates were written for Python (`jinja2.Environment` with its defaults, plus a
//! strict undefined). [minijinja] renders them here, and is made to agree in two places:
//! - [`rewrite`] writes each template anew before it is compiled: operators become calls of
//!   [`operator`], scopes are made explicit, includes leave nothing behind.
//! - Filters, tests and methods are ours where minijinja's make other text, take fewer arguments
//!   or other values: [`filter`] and [`format`] for texts, [`number`], [`sequence`] and
//!   [`selection`], [`method`]. [`python`] has the values.
//!
//! What Python renders and this does not is refused, with a word; nothing is to be rendered to
//! other text. `tests/it/seed/jinja2.rs` compares both, byte for byte, and lists every refusal that
//! is known; `jinja2_random.rs` does the same with random templates.
//!
//! Python reads a template as a text file, so whoever loads one must first turn CRLF and CR into
//! LF.

use std::array;

use minijinja::value::{Kwargs, Rest, ValueOrKwargs, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State};
use minijinja::{UndefinedBehavior, Value, filters};
use minijinja_contrib::{filters as contrib, globals};

mod arithmetic;
mod compare;
mod depth;
mod filter;
mod format;
mod method;
mod names;
mod number;
mod operator;
mod python;
mod rewrite;
mod selection;
mod sequence;
mod text;

pub use depth::too_deep;
use filter::{by_name, of_text};
pub use number::is_space;
use python::{Class, class, refused};
use rewrite::Sees;
use text::{defined, text};

/// What one rendering may use up: a step costs 1, and so do 64 bytes that it makes. The default
/// template takes some 200; 8 MiB of text takes all of it. The engine sees to it, and
/// [`text::pay_for`] where it charges too late.
const FUEL: u64 = 128 * 1024;

/// The stack that a thread needs to render any template: [`FUEL`] buys some 16,000 lists in one
/// another, and comparing such takes 3 KiB for each.
pub const STACK: usize = 64 << 20;

/// The arguments of a call in a template, for [`bind`].
type Args = Rest<ValueOrKwargs>;

/// An environment in which a Jinja2 template renders to what Python's Jinja2 renders it to.
pub fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    env.set_formatter(print);
    env.set_unknown_method_callback(method::method);
    env.set_path_join_callback(|name, _| joined_path(name).into());
    env.remove_global("debug"); // else `{% if debug %}` is true
    for name in ["bool", "chain", "lines", "pprint", "split", "zip"] {
        env.remove_filter(name); // only minijinja has them, or makes other text
    }
    for name in ["endingwith", "int", "safe", "startingwith"] {
        env.remove_test(name);
    }
    operator::add(&mut env);
    sequence::add(&mut env);
    add_texts(&mut env);
    add_tests(&mut env);
    env.add_function("dict", operator::dict);
    env.add_function("namespace", |state: &mut State, args: Args| {
        let dict = operator::dict(state, args)?;
        minijinja::functions::namespace(Some(dict.into()))
    });
    env.add_function("cycler", |items: Rest<Value>| globals::cycler(items.0));
    env.add_function("joiner", globals::joiner);
    env.add_filter("abs", number::abs);
    env.add_filter("filesizeformat", number::filesizeformat);
    env.add_filter("float", number::float);
    env.add_filter("int", number::int);
    env.add_filter("round", number::round);
    env
}

/// Adds what makes texts.
fn add_texts(env: &mut Environment<'static>) {
    env.add_filter("capitalize", filter::capitalize);
    env.add_filter("center", filter::center);
    env.add_filter("d", filter::default);
    env.add_filter("default", filter::default);
    env.add_filter("e", filter::escape);
    env.add_filter("escape", filter::escape);
    env.add_filter("forceescape", filter::forceescape);
    env.add_filter("format", format::filter);
    env.add_filter("indent", filter::indent);
    env.add_filter("join", filter::join);
    env.add_filter("replace", filter::replace);
    env.add_filter("string", filter::string);
    env.add_filter("tojson", filter::tojson);
    env.add_filter("trim", filter::trim);
    env.add_filter("urlencode", filter::urlencode);
    env.add_filter("wordcount", filter::wordcount);
    env.add_filter("lower", of_text(Value::from_function(filters::lower)));
    env.add_filter("safe", of_text(Value::from_function(filters::safe)));
    env.add_filter("striptags", filter::striptags);
    env.add_filter("title", of_text(Value::from_function(filters::title)));
    env.add_filter("upper", of_text(Value::from_function(filters::upper)));
    let cut = ["length", "killwords", "end", "leeway"];
    by_name(
        env,
        "truncate",
        cut,
        Value::from_function(contrib::truncate),
    );
}

/// Adds the tests that minijinja has otherwise.
fn add_tests(env: &mut Environment<'static>) {
    env.add_test("boolean", |value: &Value| class(value) == Class::Bool);
    env.add_test("callable", |value: &Value| match class(value) {
        Class::Other | Class::Undefined => Err(refused("what can be called is not told here")),
        _ => Ok(false),
    });
    env.add_test("divisibleby", |value: &Value, args: Args| {
        let [by] = bind(["num"], args.into_values())?;
        let by = by.ok_or(ErrorKind::MissingArgument)?;
        Ok::<_, Error>(number::remainder(value, i128::try_from(defined(&by)?.clone())?)? == 0)
    });
    env.add_test("even", |value: &Value| {
        Ok::<_, Error>(number::remainder(value, 2)? == 0)
    });
    env.add_test("odd", |value: &Value| {
        Ok::<_, Error>(number::remainder(value, 2)? == 1)
    });
    env.add_test("false", |value: &Value| {
        class(value) == Class::Bool && !value.is_true()
    });
    env.add_test("float", |value: &Value| class(value) == Class::Float);
    env.add_test("integer", |value: &Value| class(value) == Class::Int);
    env.add_test("iterable", |value: &Value| match class(value) {
        Class::Undefined => Err(ErrorKind::UndefinedError.into()),
        Class::None | Class::Bool | Class::Int | Class::Float => Ok(false),
        Class::Other => Err(refused("whether this is iterable is not told here")),
        _ => Ok(true),
    });
    env.add_test("lower", |state: &State, value: &Value| {
        let text = text(state, value)?;
        Ok::<_, Error>(
            text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        )
    });
    env.add_test("upper", |state: &State, value: &Value| {
        let text = text(state, value)?;
        Ok::<_, Error>(
            text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        )
    });
    env.add_test("in", |state: &State, value: &Value, args: Args| {
        let [seq] = bind(["seq"], args.into_values())?;
        compare::contains(state, &seq.ok_or(ErrorKind::MissingArgument)?, value)
    });
    env.add_test("mapping", |value: &Value| class(value) == Class::Dict);
    env.add_test("number", |value: &Value| class(value).is_number());
    env.add_test("sameas", |value: &Value, other: &Value| {
        match (class(value), class(other)) {
            (Class::None | Class::Bool, Class::None | Class::Bool) => {
                Ok(value == other && class(value) == class(other))
            }
            (Class::Int, Class::Int) if is_small(value) && is_small(other) => Ok(value == other),
            (one, other) if one != other => Ok(false),
            _ => Err(refused(
                "only true, false and none are told to be the same: write ==",
            )),
        }
    });
    env.add_test("sequence", |value: &Value| match class(value) {
        Class::Str | Class::List | Class::Tuple | Class::Dict | Class::Range => Ok(true),
        Class::Other | Class::Undefined => {
            Err(refused("whether this is a sequence is not told here"))
        }
        _ => Ok(false),
    });
}

/// Whether Python has a small integer once only.
fn is_small(value: &Value) -> bool {
    i64::try_from(value.clone()).is_ok_and(|integer| (-5..=256).contains(&integer))
}

/// Lets an environment read its templates by a function: `read` is given a name as Jinja2's
/// `FileSystemLoader` takes it, and has the text as Python reads a text file.
pub fn set_loader(
    env: &mut Environment<'static>,
    read: impl Fn(&str) -> Result<Option<String>, Error> + Send + Sync + 'static,
) {
    env.set_loader(move |name| {
        let sees = match name.starts_with(WITHOUT_CONTEXT) {
            true => Sees::Nothing,
            false => Sees::Context,
        };
        Ok(read(own_name(name))?.map(|source| rewrite::rewritten(&source, sees)))
    });
}

/// A template's text as the environment renders it, for one that no loader reads.
pub fn rewritten(source: &str) -> String {
    rewrite::rewritten(source, Sees::Context)
}

/// What the name of a template begins with that sees no context. A path of an operator's never
/// does: it is joined before.
const WITHOUT_CONTEXT: &str = "./";

/// The name that the operator gave the template that the engine calls so.
pub fn own_name(name: &str) -> &str {
    name.strip_prefix(WITHOUT_CONTEXT).unwrap_or(name)
}

/// A template's name without the steps that go nowhere.
fn joined_path(name: &str) -> String {
    let (prefix, name) = match name.strip_prefix(operator::WITHOUT) {
        Some(name) => (WITHOUT_CONTEXT, name),
        None => ("", name),
    };
    let steps = name.split('/').filter(|step| !matches!(*step, "" | "."));
    prefix.to_owned() + &steps.collect::<Vec<_>>().join("/")
}

/// Prints what stands in `{{ }}`. An undefined value was refused before, all but that of an `if`
/// without `else`, which prints nothing in Python, too.
fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Ok(());
    }
    let printed = match state.auto_escape() {
        AutoEscape::None => match value.as_str() {
            Some(text) => return out.write_str(text).map_err(Error::from),
            None => text(state, value)?,
        },
        _ => text(state, &filter::escape(state, value)?)?,
    };
    out.write_str(&printed).map_err(Error::from)
}

/// Whether a flag was given and is true.
fn flag(value: Option<Value>) -> bool {
    value.is_some_and(|value| value.is_true())
}

/// Assigns arguments to parameters, by position or by name, as a call in Python does.
fn bind<const N: usize>(names: [&str; N], args: Vec<Value>) -> Result<[Option<Value>; N], Error> {
    let (by_position, by_name): (&[Value], Kwargs) = from_args(&args)?;
    if by_position.len() > N {
        return Err(ErrorKind::TooManyArguments.into());
    }
    let mut bound = array::from_fn(|index| by_position.get(index).cloned());
    for (slot, name) in bound.iter_mut().zip(names) {
        if slot.is_none() && by_name.has(name) {
            *slot = Some(by_name.get(name)?);
        }
    }
    by_name.assert_all_used()?;
    Ok(bound)
}
