//! Jinja2 templates, rendered as Python's Jinja2 renders them.
//!
//! Operators' templates were written for Python (`jinja2.Environment` with its defaults, plus a
//! strict undefined), so [minijinja] is mended here where its text differs: how a value is
//! printed, filters that differ or lack an argument, and methods of Python's strings.
//! `tests/it/seed/jinja2.rs` compares both, byte for byte, and lists every known difference.
//!
//! Python reads a template as a text file, so whoever loads one must first turn CRLF and CR into
//! LF. What stays different, too:
//! - It renders in Python and fails here: `"%02d" % n` (write `"%02d"|format(n)`), `{{ 1, 2 }}`
//!   without parentheses, `+3`, names beyond ASCII, integers beyond 128 bits, `varargs` and
//!   `kwargs` of a macro, its default that names another argument, `super.super()`, `namespace` of
//!   a dict, methods that change a list or dict, rarer methods of strings and arguments of filters,
//!   the test `callable`, and the filters `center`, `forceescape`, `pprint`, `random`, `urlize`,
//!   `wordcount`, `wordwrap` and `xmlattr`.
//! - It fails in Python and renders here: a slice or a sum of something undefined, comparing and
//!   sorting values of different kinds, `attr` on a dict, and what only minijinja has. Includes without context and imports see the context, included templates and
//!   blocks see the loop around them.
//! - Other text: `x.keys` is the item of a dict that in Python is its method (`x["keys"]` is the
//!   same in both); `~` writes floats from 1e16 and below 1e-4 without an exponent; `+` does not
//!   escape what is added to an escaped string; `\/`, `\a`, `\v` and `\f` in a template's strings;
//!   unprintable characters in a printed list; printed views, groups and escaped strings in a list.

use std::array;

use minijinja::value::{Kwargs, Rest, ValueOrKwargs, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State};
use minijinja::{UndefinedBehavior, Value, filters};
use minijinja_contrib::{filters as contrib, globals};

mod depth;
mod filter;
mod method;
mod text;

pub use depth::too_deep;
use filter::{by_name, number};
use text::text;

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
    env.remove_global("debug"); // else `{% if debug %}` is true
    env.remove_filter("pprint"); // an error is better than other text
    env.add_function("cycler", |items: Rest<Value>| globals::cycler(items.0));
    env.add_function("joiner", globals::joiner);
    env.add_test("sequence", |value: &Value| value.len().is_some()); // strings and dicts, too
    env.add_filter("default", filter::default);
    env.add_filter("d", filter::default);
    env.add_filter("escape", filter::escape);
    env.add_filter("e", filter::escape);
    env.add_filter("filesizeformat", contrib::filesizeformat);
    env.add_filter("float", number(Value::from_function(filters::float), 0.0));
    env.add_filter("indent", filter::indent);
    env.add_filter("int", number(Value::from_function(filters::int), 0));
    env.add_filter("items", filters::items); // of an undefined there are none
    env.add_filter("join", filter::join);
    env.add_filter("string", text);
    env.add_filter("striptags", contrib::striptags);
    env.add_filter("tojson", filter::tojson);
    env.add_filter("urlencode", filter::urlencode);
    let (dictsort, truncate) = (filters::dictsort, contrib::truncate);
    let (min, max, sort, unique) = (filters::min, filters::max, filters::sort, filters::unique);
    let keyed = ["case_sensitive", "attribute"];
    by_name(&mut env, "min", keyed, Value::from_function(min));
    by_name(&mut env, "max", keyed, Value::from_function(max));
    by_name(&mut env, "unique", keyed, Value::from_function(unique));
    let sorted = ["reverse", "case_sensitive", "attribute"];
    by_name(&mut env, "sort", sorted, Value::from_function(sort));
    let sorted = ["case_sensitive", "by", "reverse"];
    by_name(&mut env, "dictsort", sorted, Value::from_function(dictsort));
    let cut = ["length", "killwords", "end", "leeway"];
    by_name(&mut env, "truncate", cut, Value::from_function(truncate));
    env
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
