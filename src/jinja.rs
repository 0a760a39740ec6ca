//! Jinja2 as Python has it.

use minijinja::{AutoEscape, Environment, UndefinedBehavior};

/// An environment in which a Jinja2 template renders to what Python's Jinja2 renders it to.
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment
}
