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

/// The cases that Python renders and that are refused here, and why. What is mended must leave this
/// list; other text is never on it.
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
        "22-undefined-sequence",
        "that of an if without else is one in Python",
    ),
    ("30-unary-plus", "not in minijinja's grammar"),
    (
        "33-dict-key-named-like-method",
        "Python finds the method first",
    ),
    ("40-for-recursive-nested", "the engine counts the depth on"),
    (
        "41-read-within-before-set-in-a-macro",
        "a name is the macro's own from its beginning in Python",
    ),
    ("43-test-callable", "minijinja has no such test"),
    ("50-macro-varargs", "minijinja has no varargs and kwargs"),
    (
        "52-include-in-macro",
        "a macro sees what it names, an included template does not",
    ),
    (
        "54-block-not-scoped",
        "minijinja's blocks are always scoped",
    ),
    ("54-super-super", "minijinja's super has no super"),
    ("63-striptags-lone-bracket", "minijinja takes it for a tag"),
    ("65-escape-plus", "+ does not escape the other side"),
    ("66-cycler-current", "minijinja's cycler has only next"),
    ("66-map-printed", "Python prints an address"),
    ("66-pprint", "left out"),
    ("66-urlize", "left out"),
    ("66-wordwrap", "left out"),
    ("66-xmlattr", "left out"),
    ("70-str-encode", "there are no bytes in a seed"),
    ("70-str-expandtabs", "left out"),
    ("70-str-is-rarer", "left out"),
    ("70-str-len", "left out"),
    ("70-str-rsplit-space-limited", "left out"),
    ("71-dict-update", "values do not change in minijinja"),
    (
        "71-list-grows-within-another",
        "a list might come to hold itself",
    ),
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
    jinja::set_loader(&mut environment, move |name| {
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
fn every_known_difference_is_a_refusal_and_never_other_text() {
    needs!(Need::Python(&["jinja2"]));
    let cases = compared();
    let mut wrong = String::new();
    for (known, why) in KNOWN {
        let case = cases.iter().find(|(case, _, _)| case == known);
        let (_, theirs, ours) = case.unwrap_or_else(|| panic!("{known} is no case"));
        if let (Outcome::Ok(_), Outcome::Error(_)) = (theirs, ours) {
            continue;
        }
        wrong += &format!("{known} ({why})\n  in Python: {theirs}\n  here:      {ours}\n");
    }
    assert!(
        wrong.is_empty(),
        "no refusal of what Python renders:\n{wrong}"
    );
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
        let refused = &jinja::rewritten(refused);
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
fn a_refusal_says_what_to_write_and_in_which_line() {
    let environment = jinja::environment();
    let long = "{% macro m() %}\n{% include 'p' %}{% endmacro %}";
    for (refused, line, word) in [
        ("{{ {'keys': 1}.keys }}", 1, "write [\"keys\"]"),
        (
            "\n\n{% for i in [1] %}{% block b %}{% endblock %}{% endfor %}",
            3,
            "block b scoped",
        ),
        (
            "{# c #}\n{% macro m() %}{{ varargs }}{% endmacro %}",
            2,
            "give the macro a list",
        ),
        (long, 2, "an include within a macro"),
        (
            "{% if true %}\n{{ 1 < 'a' }}{% endif %}",
            2,
            "have no order",
        ),
        ("\n{{ [1]|map('string') }}", 2, "write |list"),
        ("\n{% do [].append(1) %}", 2, "{% set _ = … %}"),
        ("{{ 'a\\/b' }}", 1, "write the character"),
        ("{{ {'a': 1}.update(b=2) }}", 1, "dict(old, key=value)"),
        (
            "{% set l = site %}\n{% set _ = l.append(1) %}",
            2,
            "write |list behind it",
        ),
        ("{{ _py_math(1) }}", 1, "are ours"),
    ] {
        let source = jinja::rewritten(refused);
        let site = context! { site => Value::from(vec![1]) };
        let error = environment.render_str(&source, site).expect_err(refused);
        assert!(error.to_string().contains(word), "{refused}: {error}");
        assert_eq!(error.line(), Some(line), "{refused}: {error}");
    }
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
