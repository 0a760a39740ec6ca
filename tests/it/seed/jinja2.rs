//! What Python's Jinja2 renders a template to, `jinja::environment` renders it to.
//!
//! Each file directly in `jinja2/templates/` is a case; `jinja2/render.py` renders them all with
//! Python, and the bytes must be the same here. Where Python fails, this must fail too.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::needs::{Need, needs};
use gb10_provision_api::seed::jinja;
use minijinja::{Environment, ErrorKind, Value, context, path_loader};
use serde::Deserialize;

/// The cases in which the two differ, and why. What is mended must leave this list.
const KNOWN: &[(&str, &str)] = &[
    (
        "13-string-escape-bell",
        "minijinja knows no \\a, \\v and \\f",
    ),
    ("13-string-escape-slash", "minijinja reads \\/ as /"),
    (
        "14-unicode-identifier",
        "names are ASCII in minijinja without its feature unicode",
    ),
    ("20-floats-exponent-tilde", "~ does not ask the formatter"),
    (
        "20-integer-beyond-128-bits",
        "minijinja's integers have 128 bits",
    ),
    (
        "21-list-unprintable",
        "minijinja escapes only control characters",
    ),
    ("21-tuple-without-parentheses", "not in minijinja's grammar"),
    (
        "22-undefined-get-default",
        "an undefined argument is a missing one",
    ),
    ("22-undefined-is-iterable", "minijinja says yes"),
    (
        "22-undefined-max-attribute",
        "minijinja compares undefined values",
    ),
    (
        "22-undefined-none-sliced",
        "a slice of none is an empty list in minijinja",
    ),
    (
        "22-undefined-slice",
        "a slice of an undefined is an empty list in minijinja",
    ),
    ("22-undefined-sum", "minijinja skips undefined values"),
    (
        "22-undefined-sum-attribute",
        "minijinja skips undefined values",
    ),
    ("30-percent-format", "% is arithmetic only in minijinja"),
    ("30-unary-plus", "not in minijinja's grammar"),
    (
        "31-comparison-of-kinds",
        "minijinja orders values of any kind",
    ),
    (
        "33-dict-key-named-like-method",
        "Python finds the method first",
    ),
    (
        "41-namespace-from-dict",
        "minijinja's namespace takes one or the other",
    ),
    ("43-test-callable", "minijinja has no such test"),
    (
        "50-macro-default-uses-argument",
        "minijinja evaluates defaults before it binds arguments",
    ),
    ("50-macro-varargs", "minijinja has no varargs and kwargs"),
    (
        "52-include-sees-loop",
        "minijinja shows an included template the loop",
    ),
    (
        "52-include-without-context",
        "minijinja always passes the context",
    ),
    (
        "53-import-no-context",
        "minijinja always passes the context",
    ),
    (
        "54-block-not-scoped",
        "minijinja's blocks are always scoped",
    ),
    ("54-super-super", "minijinja's super has no super"),
    (
        "61-int-underscore",
        "minijinja takes no underscore in a number",
    ),
    (
        "61-round-of-integer-with-method",
        "minijinja leaves an integer an integer",
    ),
    (
        "62-groupby-printed",
        "the pair of a group is not known to be a tuple",
    ),
    ("62-sort-mixed-kinds", "minijinja orders values of any kind"),
    (
        "63-filesizeformat-by-name",
        "minijinja takes the flag by position only",
    ),
    (
        "63-filesizeformat-of-fraction",
        "minijinja does not cut it off",
    ),
    ("63-filesizeformat-of-text", "minijinja wants a number"),
    (
        "63-format-float-as-integer",
        "minijinja does not round silently",
    ),
    ("63-format-repr", "minijinja has no %r"),
    ("63-str-format-conversion", "minijinja has no !r"),
    ("63-striptags-lone-bracket", "minijinja takes it for a tag"),
    (
        "64-tojson-mixed-keys",
        "keys of different kinds can be sorted here",
    ),
    ("65-escape-plus", "+ does not escape the other side"),
    (
        "65-markup-in-list",
        "escaped strings are plain ones in repr",
    ),
    ("66-attr-on-dict", "minijinja's attr finds items, too"),
    (
        "66-batch-by-name",
        "minijinja takes its arguments by position only",
    ),
    ("66-center", "left out"),
    ("66-cycler-current", "minijinja's cycler has only next"),
    ("66-filter-only-here-bool", "minijinja's own filter"),
    ("66-filter-only-here-split", "minijinja's own filter"),
    ("66-forceescape", "left out"),
    ("66-pprint", "left out"),
    ("66-random", "left out"),
    (
        "66-replace-by-name",
        "minijinja takes these by position only",
    ),
    ("66-trim-by-name", "minijinja takes this by position only"),
    ("66-urlize", "left out"),
    ("66-wordcount", "left out"),
    ("66-wordwrap", "left out"),
    ("66-xmlattr", "left out"),
    ("70-str-casefold", "left out"),
    ("70-str-encode", "there are no bytes in a seed"),
    ("70-str-expandtabs", "left out"),
    (
        "70-str-index",
        "left out: find says the same, and no failure",
    ),
    ("70-str-is-rarer", "left out"),
    ("70-str-join-not-strings", "join takes any values here"),
    ("70-str-len", "left out"),
    ("70-str-rsplit-space-limited", "left out"),
    (
        "70-str-splitlines-by-name",
        "minijinja takes the flag by position only",
    ),
    ("70-str-splitlines-lone-cr", "minijinja ends lines at LF"),
    ("70-str-swapcase", "left out"),
    ("71-copy", "nothing changes, so nothing needs a copy"),
    ("71-dict-update", "values do not change in minijinja"),
    ("71-dict-views-printed", "views are printed as lists"),
    ("71-list-append", "values do not change in minijinja"),
    ("71-list-index", "left out"),
    ("71-number-methods", "left out"),
];

/// What became of one case: its text, or why there is none.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok(String),
    Error(String),
}

impl Outcome {
    /// Whether both are the same text or both failed, each for a reason in its own words.
    fn agrees_with(&self, other: &Outcome) -> bool {
        match (self, other) {
            (Outcome::Ok(one), Outcome::Ok(another)) => one == another,
            (Outcome::Error(_), Outcome::Error(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Ok(text) => write!(f, "{text:?}"),
            Outcome::Error(why) => write!(f, "fails: {why}"),
        }
    }
}

/// The folder of the cases, the context and the Python side.
fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/seed/jinja2"))
}

/// What Python makes of every case.
fn python() -> &'static BTreeMap<String, Outcome> {
    static CASES: OnceLock<BTreeMap<String, Outcome>> = OnceLock::new();
    CASES.get_or_init(|| {
        let output = Command::new("/usr/bin/python3")
            .arg(folder().join("render.py"))
            .output()
            .expect("render.py starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "render.py failed: {complaint}");
        serde_json::from_slice(&output.stdout).expect("render.py prints JSON")
    })
}

/// The environment under test, with the cases as its templates, read as Python reads a text file.
fn environment() -> Environment<'static> {
    let mut environment = jinja::environment();
    let load = path_loader(folder().join("templates"));
    environment.set_loader(move |name| {
        let source = load(name)?;
        Ok(source.map(|source| source.source().replace("\r\n", "\n").replace('\r', "\n")))
    });
    environment
}

/// The context of the Python side, its keys in the same order.
fn context() -> Value {
    let text = std::fs::read_to_string(folder().join("context.json")).expect("context.json");
    serde_json::from_str(&text).expect("context.json is JSON")
}

/// Renders all cases on both sides: the name of each, Python's outcome and ours.
fn compared() -> Vec<(&'static str, &'static Outcome, Outcome)> {
    let (environment, context) = (environment(), context());
    let render = |case: &str| {
        let template = environment.get_template(&format!("{case}.j2"))?;
        template.render(&context)
    };
    let outcome = |case: &str| match render(case) {
        Ok(text) => Outcome::Ok(text),
        Err(error) => Outcome::Error(error.to_string()),
    };
    python()
        .iter()
        .map(|(case, theirs)| (case.as_str(), theirs, outcome(case)))
        .collect()
}

/// Whether a difference in this case is on the list.
fn is_known(case: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == case)
}

#[test]
fn every_case_renders_as_in_python_or_fails_as_in_python() {
    needs!(Need::Python(&["jinja2"]));
    let mut cases = compared();
    let count = cases.len();
    cases.retain(|(case, theirs, ours)| !is_known(case) && !ours.agrees_with(theirs));
    let list = cases.iter().map(|(case, theirs, ours)| {
        format!("{case}\n  in Python: {theirs}\n  here:      {ours}\n")
    });
    let list: String = list.collect();
    assert!(
        cases.is_empty(),
        "{} of {count} differ:\n{list}",
        cases.len()
    );
}

#[test]
fn every_known_difference_is_still_one() {
    needs!(Need::Python(&["jinja2"]));
    let cases = compared();
    for (known, why) in KNOWN {
        let case = cases.iter().find(|(case, _, _)| case == known);
        let (_, theirs, ours) = case.unwrap_or_else(|| panic!("{known} is no case"));
        assert!(
            !ours.agrees_with(theirs),
            "{known} agrees: no longer true that {why}"
        );
    }
}

#[test]
fn an_undefined_variable_is_never_an_empty_string() {
    let environment = jinja::environment();
    for refused in [
        "{{ x }}",
        "{{ y.x }}",
        "a{{ x }}b",
        "{{ x.y }}",
        "{{ x|upper }}",
        "{{ [x]|join }}",
    ] {
        let rendered = environment.render_str(refused, context! { y => context! {} });
        let error = rendered.expect_err(refused);
        assert_eq!(error.kind(), ErrorKind::UndefinedError, "{refused}");
    }
    let allowed = "{% if x %}{% endif %}{{ x is defined }} {{ x|default('d') }}";
    assert_eq!(
        environment.render_str(allowed, ()).expect(allowed),
        "False d"
    );
}

#[test]
fn nothing_is_escaped_whatever_the_name() {
    let environment = jinja::environment();
    for name in [
        "a.html",
        "a.xml.j2",
        "user-data.yaml",
        "user-data.yaml.j2",
        "a.json",
        "user-data",
    ] {
        let rendered = environment.render_named_str(name, "{{ x }}", context! { x => "<'\"&\n" });
        assert_eq!(rendered.expect(name), "<'\"&\n", "{name}");
    }
}

#[test]
fn keys_keep_the_order_they_came_in() {
    let rendered = jinja::environment().render_str(
        "{{ {'b': 1, 'a': 2} }}{{ x }}",
        context! {
            x => serde_json::from_str::<Value>(r#"{"d": 1, "c": 2}"#).expect("JSON"),
        },
    );
    assert_eq!(
        rendered.expect("a text"),
        "{'b': 1, 'a': 2}{'d': 1, 'c': 2}"
    );
}

#[test]
fn a_width_beyond_reason_is_an_error_and_no_panic() {
    let environment = jinja::environment();
    for source in [
        "{{ 'a'|indent(2 ** 63) }}",
        "{{ 'a'.zfill(2 ** 62) }}",
        "{{ [1]|tojson(indent=2 ** 60) }}",
    ] {
        environment.render_str(source, ()).expect_err(source);
    }
}
