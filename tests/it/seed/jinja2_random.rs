//! Random templates, rendered by Python's Jinja2 and here: the same text, or refused here.
//!
//! `JINJA2_CASES=20000 JINJA2_SEED=7 cargo test --test it seed::jinja2_random -- --nocapture` tries
//! as many, others with each seed, and prints how many were the same and how many were refused.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use gb10_provision_api::seed::jinja;
use minijinja::Value;
use serde::Deserialize;

use crate::support::needs::{Need, needs};

/// Cases of a plain run.
const CASES: usize = 600;

/// Of what Python renders, at most this part may be refused here, in percent.
const REFUSED: usize = 8;

/// How deep an expression or a statement nests.
const DEPTH: usize = 3;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok(String),
    #[allow(dead_code, reason = "told where one differs")]
    Error(String),
}

/// The templates of a case, by name. `main` is the one that is rendered.
type Case = BTreeMap<String, String>;

/// Makes templates at random, from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// The pattern with its letters replaced: `I` an integer, `F` a number, `S` a string, `L` a
    /// list, `D` a dict, `A` anything, `B` a condition.
    fn fill(&mut self, pattern: &str, depth: usize) -> String {
        let mut filled = String::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '@' => match chars.next() {
                    Some('I') => filled += &self.integer(depth),
                    Some('F') => filled += &self.number(depth),
                    Some('S') => filled += &self.string(depth),
                    Some('L') => filled += &self.list(depth),
                    Some('D') => filled += &self.dict(depth),
                    Some('B') => filled += &self.condition(depth),
                    _ => filled += &self.anything(depth),
                },
                c => filled.push(c),
            }
        }
        filled
    }

    fn choose(&mut self, plain: &[&str], nested: &[&str], depth: usize) -> String {
        if depth == 0 || self.below(4) == 0 {
            let pattern = self.one_of(plain);
            return self.fill(pattern, 0);
        }
        let pattern = self.one_of(nested);
        self.fill(pattern, depth - 1)
    }

    fn integer(&mut self, depth: usize) -> String {
        self.choose(
            &[
                "0",
                "1",
                "2",
                "3",
                "7",
                "10",
                "-1",
                "-3",
                "255",
                "4096",
                "site.vlan",
                "n",
                "true",
            ],
            &[
                "(@I + @I)",
                "(@I - @I)",
                "@I * 2",
                "(@I // @I)",
                "(@I % @I)",
                "-@I",
                "@I ** 2 % 997",
                "@L|length",
                "@S|length",
                "@S|int",
                "@S|int(base=16)",
                "@S|int(7, 16)",
                "@F|int",
                "@I|abs",
                "@L|count",
                "@S.find(@S)",
                "@S.count(@S)",
                "@L.count(@A)",
                "@L|sum",
                "@L|first",
                "@L|max",
                "@L|min",
                "(@I if @B else @I)",
                "@L[@I]",
                "@D|length",
                "@I|round",
                "@S|wordcount",
                "@L|sum(start=@I)",
                "@S.index(@S)",
                "ns.x",
                "range(@I)|sum",
                "range(@I, @I)|length",
            ],
            depth,
        )
    }

    fn number(&mut self, depth: usize) -> String {
        self.choose(
            &[
                "0.5",
                "1.0",
                "-2.25",
                "1e16",
                "0.0001",
                "3.14159",
                "site.ratio",
                "device.temp",
                "1e-7",
                "12",
                "0",
                "2.5",
            ],
            &[
                "@I",
                "@F + @F",
                "@F * @F",
                "@F / @I",
                "@F - @I",
                "@I / @I",
                "@F|round(@I)",
                "@F|round(1, 'floor')",
                "@F|round(method='ceil')",
                "@S|float",
                "@F|abs",
                "@F // @F",
                "@F % @F",
                "@F ** 2",
                "-@F",
                "@F|round",
                "@S|float(@F)",
            ],
            depth,
        )
    }

    fn string(&mut self, depth: usize) -> String {
        self.choose(
            &[
                "''",
                "'a'",
                "'ab c'",
                "\"x'y\"",
                "'Hello, World'",
                "'0x1f'",
                "'12'",
                "' pad '",
                "mac",
                "hostname",
                "site.name",
                "site.motd",
                "device.notes",
                "'a\\nb'",
                "'é<&>'",
                "'k=v'",
                "'3.7'",
                "'A-b-c'",
            ],
            &[
                "(@S ~ @A)",
                "(@A ~ @A ~ @S)",
                "(@S + @S)",
                "@S|upper",
                "@S|lower",
                "@S|title",
                "@S|capitalize",
                "@S|trim",
                "@S|trim(@S)",
                "@S|replace(@S, @S)",
                "@S|replace(@S, @S, @I)",
                "@L|join(@S)",
                "@L|join",
                "@S.upper()",
                "@S.strip()",
                "@S.strip(@S)",
                "@S.replace(@S, @S)",
                "@S.split(@S)|join('|')",
                "@S.title()",
                "@S.capitalize()",
                "@S[@I:@I]",
                "@S[::-1]",
                "@S[@I:]",
                "@S[:@I]",
                "@S|reverse",
                "@A|string",
                "@S * 3",
                "'%s' % @S",
                "'%s-%s' % (@A, @A)",
                "'%05d|%x' % (@I, @I)",
                "'%.2f' % @F",
                "'%s'|format(@A)",
                "'%-6s|'|format(@S)",
                "'{} {}'.format(@A, @A)",
                "'{:>8}|{:<5}|'.format(@S, @S)",
                "'{:.1%}'.format(@F)",
                "'{:05d}'.format(@I)",
                "'{:,}'.format(@I)",
                "'{:.3f}'.format(@F)",
                "'{0}{0}{1}'.format(@A, @S)",
                "'{x}'.format(x=@A)",
                "@S|center(@I)",
                "@S.center(@I)",
                "@S.ljust(@I, '.')",
                "@S.rjust(@I)",
                "@S.zfill(@I)",
                "@S|indent(2)",
                "@S|indent(first=true)",
                "@S|truncate(@I)",
                "@S|truncate(9, true, '..', 0)",
                "@A|tojson",
                "@S|urlencode",
                "@S|e",
                "@S|e|upper",
                "@S|string",
                "@I|filesizeformat",
                "@I|filesizeformat(true)",
                "@S|default(@S)",
                "(@S if @B else @S)",
                "@S.join(@L)",
                "@S.swapcase()",
                "@S.removeprefix(@S)",
                "@S.partition(@S)|last",
                "@L|first",
                "@L|last",
                "@S[@I]",
                "@D.get(@S, @S)",
                "@S|striptags",
                "@S.lstrip('a')",
                "@D[@S]",
                "(@S or @S)",
                "@S.splitlines()|join('/')",
                "nothere|default(@S)",
                "nothere.x|default(@S)",
                "@S.rsplit(@S, 1)|join('~')",
                "@F|string",
                "'%d%%' % @F",
                "'{!r}'.format(@A)",
                "'%r' % @S",
                "@S|safe",
            ],
            depth,
        )
    }

    fn list(&mut self, depth: usize) -> String {
        self.choose(
            &[
                "[]",
                "[1, 2, 3]",
                "['b', 'A', 'c']",
                "site.dns",
                "site.packages",
                "site.admins",
                "site.ntp",
                "(1, 2)",
                "('x',)",
                "range(4)",
                "device.disks",
                "[3, 1, 2]",
                "['a', 1, none]",
                "[[1, 2], [3, 4]]",
                "[0.5, 2]",
                "[true, 1]",
                "'xyz'",
            ],
            &[
                "[@A, @A]",
                "[@S, @S, @S]",
                "[@I, @I, @I]",
                "(@A, @A)",
                "@L|list",
                "@L|sort",
                "@L|sort(reverse=true)",
                "@L|sort(case_sensitive=true)",
                "@L|sort(attribute='name')",
                "@L|unique|list",
                "@L|reverse|list",
                "@L|map('upper')|list",
                "@L|map('int', base=16)|list",
                "@L|map('replace', 'a', 'b')|list",
                "@L|map('default', @S)|list",
                "@L|map(attribute='name')|list",
                "@L|map(attribute='uid', default=@I)|list",
                "@L|map('round', method='ceil')|list",
                "@L|map('string')|list",
                "@L|select('odd')|list",
                "@L|select('gt', @I)|list",
                "@L|select|list",
                "@L|reject('in', @L)|list",
                "@L|reject('none')|list",
                "@L|selectattr('sudo')|list",
                "@L|selectattr('uid', 'ge', 1002)|list",
                "@L|rejectattr('name', 'equalto', 'Bob')|list",
                "@L|batch(2)|list",
                "@L|batch(2, @A)|list",
                "@L|slice(2)|list",
                "@L|slice(3, @I)|list",
                "(@L + @L)",
                "@L * 2",
                "@L[@I:@I]",
                "@L[::2]",
                "@L[::-1]",
                "@S.split()",
                "@S.split(@S)",
                "@S.split(':', 1)",
                "@S.split(':', maxsplit=1)",
                "@D.keys()|list",
                "@D.values()|list",
                "@D.items()|list",
                "@D|dictsort",
                "@D|dictsort(true)",
                "@D|dictsort(by='value')",
                "@D|list",
                "@S|list",
                "@D|items|list",
                "@L|groupby('shell')",
                "@L|groupby('sudo')|map('first')|list",
                "@L|groupby('shell')|map(attribute='grouper')|list",
                "range(@I)|list",
                "range(@I, @I, @I)",
                "@S.partition(@S)",
                "(@L if @B else @L)",
                "@L|map('length')|list",
                "@L|map('first')|list",
                "@L or @L",
                "@S.splitlines()",
                "@L|map('lower')|unique|sort",
                "@L|select('string')|map('title')|list",
                "@L|map('join', '-')|list",
                "@D.copy()|list",
                "@L|sort(attribute='uid,name')",
                "@L|map('abs')|list",
                "@L|map('tojson')|list",
            ],
            depth,
        )
    }

    fn dict(&mut self, depth: usize) -> String {
        self.choose(
            &[
                "{}",
                "{'a': 1, 'b': 2}",
                "site.zones",
                "device.tags",
                "{'B': 'x', 'a': 'y'}",
                "{1: 'one', 2: 'two'}",
                "{'k': none}",
            ],
            &[
                "{@S: @A}",
                "{@S: @A, @S: @A}",
                "dict(a=@A, b=@A)",
                "dict(@D, z=@A)",
                "site.admins[@I]",
                "{@I: @S, 'x': @A}",
                "(@D if @B else @D)",
                "dict(@D.items())",
                "@D.copy()",
                "dict(@L|batch(2))",
            ],
            depth,
        )
    }

    fn condition(&mut self, depth: usize) -> String {
        self.choose(
            &[
                "true",
                "false",
                "none",
                "site.dhcp",
                "nothere",
                "site.proxy",
                "''",
                "0",
                "[]",
            ],
            &[
                "@I < @I",
                "@I <= @F",
                "@S < @S",
                "@A == @A",
                "@A != @A",
                "@L == @L",
                "@S in @S",
                "@A in @L",
                "@S in @D",
                "@A not in @L",
                "not @B",
                "@B and @B",
                "@B or @B",
                "@A is defined",
                "@A is none",
                "@A is string",
                "@A is number",
                "@A is mapping",
                "@A is sequence",
                "@A is iterable",
                "none is iterable",
                "@I is odd",
                "@I is even",
                "@I is divisibleby @I",
                "@A is boolean",
                "@A is integer",
                "@A is float",
                "@A is true",
                "@A is sameas none",
                "@S is upper",
                "@S is lower",
                "@I is gt @I",
                "@A is eq @A",
                "@A is in @L",
                "1 < @I < 10",
                "@I == @I == @I",
                "@S.startswith(@S)",
                "@S.endswith(@S)",
                "@S.isdigit()",
                "@S.isalpha()",
                "@S.isupper()",
                "@A is not none",
                "nothere is defined",
                "site.nothere is undefined",
                "@D.x is defined",
                "@L.0 is defined",
                "@D[@A] is defined",
                "@L[@I] is defined",
                "@A",
                "@A is escaped",
                "@F > @I",
                "@L < @L",
                "@S == @S",
                "@A is callable",
                "'upper' is filter",
                "@S is filter",
                "@A >= @A",
                "@S is test",
            ],
            depth,
        )
    }

    fn anything(&mut self, depth: usize) -> String {
        match self.below(12) {
            0 | 1 => self.integer(depth),
            2 => self.number(depth),
            3..=5 => self.string(depth),
            6 | 7 => self.list(depth),
            8 => self.dict(depth),
            9 => format!("({})", self.condition(depth)),
            10 => self
                .one_of(&[
                    "none",
                    "true",
                    "nothere",
                    "site.nothere",
                    "x",
                    "y",
                    "item",
                    "n",
                    "loop",
                    "u.name",
                ])
                .to_owned(),
            _ => {
                let pattern = self.one_of(&[
                    "(@A or @A)",
                    "(@A and @A)",
                    "(@A if @B)",
                    "(@A if @B else @A)",
                    "@A|default(@A, true)",
                    "@L|last",
                    "@L|first",
                    "@D.a",
                    "@D['a']",
                    "@A|d(@A)",
                    "@L|map('upper')",
                    "@A.b",
                    "@A[@A]",
                    "caller",
                    "x is defined",
                ]);
                self.fill(pattern, depth.saturating_sub(1))
            }
        }
    }

    fn body(&mut self, depth: usize) -> String {
        (0..=self.below(2)).map(|_| self.statement(depth)).collect()
    }

    fn statement(&mut self, depth: usize) -> String {
        if depth == 0 || self.below(3) == 0 {
            return match self.below(6) {
                0 => self.fill("{% set x = @A %}", 1),
                1 => "{{ x is defined }}{{ x|default('-')|string }};".to_owned(),
                2 => "{{ y is defined }}{{ n }};".to_owned(),
                3 => self.fill("{% set y = @A %}", 1),
                4 => self.fill("{{ @S }};", 1),
                _ => self
                    .one_of(&[
                        "text",
                        " ",
                        "\n",
                        "{# c #}",
                        "{{- n -}}",
                        "{% set n = n + 1 %}",
                        "{% set _ = acc.append(n) %}",
                        "{{ acc }}",
                        "{% set acc = acc + [n] %}",
                        "{% set ns.x = ns.x + 1 %}",
                        "{{ ns.x }}",
                    ])
                    .to_owned(),
            };
        }
        let pattern = self.one_of(&[
            "{% if @B %}&{% elif @B %}&{% else %}&{% endif %}",
            "{% if @B %}&{% endif %}",
            "{% for item in @L %}&{% endfor %}",
            "{% for item in @L %}&{% else %}&{% endfor %}{{ item is defined }}",
            "{% for item in @L if @B %}&{{ loop.index }}{% else %}&{% endfor %}",
            "{% for item in @L %}{{ loop.index0 }}{{ loop.length }}{{ loop.revindex }}{{ loop.first }}{{ ':' if not loop.last }}{% endfor %}",
            "{% for c in @S %}{{ c }}{{ ':' if loop.index is even and not loop.last }}{{ loop.revindex0 }}{% endfor %}",
            "{% for a, b in @L %}{{ a }}={{ b }}&{% endfor %}",
            "{% for a, b in ['xy', 'zw'] %}{{ a }}{{ b }}{% endfor %}",
            "{% for k, v in @D.items() %}{{ k }}:{{ v }},&{% endfor %}",
            "{% for k, v in @D|dictsort %}{{ k }}:{{ v }},{% endfor %}",
            "{% for k in @D %}{{ k }}&{% endfor %}",
            "{% for item in @L %}{{ loop.cycle('a', 'b') }}{{ loop.previtem|default('-') }}{{ loop.nextitem|default('-') }}{% endfor %}",
            "{% for item in @L %}{{ loop.changed(item) }}{% endfor %}",
            "{% for item in @L %}{% for x in @L %}{{ loop.index }}&{% endfor %}{{ loop.index }}{% endfor %}",
            "{% for d in device.disks recursive %}{{ d.name }}{{ loop.depth }}{% if d.children %}({{ loop(d.children) }}){% endif %}&{% endfor %}",
            "{% filter upper %}&{% endfilter %}",
            "{% filter replace('a', 'b')|trim %}&{% endfilter %}",
            "{% set x %}&{% endset %}{{ x }}",
            "{% set x | upper %}&{% endset %}{{ x|length }}",
            "{% with %}&{% endwith %}",
            "{% with x = @A, y = x %}&{{ y is defined }}{% endwith %}",
            "{% with n = n + 1 %}&{% endwith %}",
            "{% autoescape false %}&{% endautoescape %}",
            "{% macro m(a, b=@A, c=a) %}[&{{ a is defined }}{{ b|string }}{{ c is defined }}]{% endmacro %}{{ m(@A) }}{{ m(@A, @A) }}{{ m(b=@A) }}",
            "{% macro m(a) %}{% set n = n + 1 %}{% with n = n + 1 %}{{ n }}{% endwith %}{% filter replace(n|string, 'N') %}{{ n }}&{% endfilter %}{% for i in range(n) %}{{ i }}{% endfor %}{% endmacro %}{{ m() }}",
            "{% set hostname = 'set' %}{% macro m() %}{% set hostname = hostname ~ '-' %}{{ hostname }}&{% endmacro %}{{ m() }}{{ hostname }}",
            "{% set l = [1] %}{% set k = l %}{% set _ = k.append(@A) %}{{ l }}{% set _ = l.extend(@L) %}{{ k|length }}{% set _ = l.insert(@I, @A) %}{{ k }}",
            "{{ 'a' ~ ('b' if @B) ~ @S }}",
            "{% macro m(x='d') %}{{ x }}&{% endmacro %}{{ m() }}{{ m(nothere) }}",
            "{% macro w(k) %}<{{ caller(k) }}>{% endmacro %}{% call(z) w(@S) %}{{ z }}&{% endcall %}",
            "{% macro w() %}<{{ caller() }}>{% endmacro %}{% for i in [1, 2] %}{% call w() %}{{ loop.index }}&{% endcall %}{% endfor %}",
            "{% include 'p.j2' %}{{ x is defined }}{{ pm is defined }}",
            "{% for item in @L %}{% include './p.j2' %}{% endfor %}",
            "{% include 'p.j2' without context %}",
            "{% include ['no.j2', 'p.j2'] ignore missing %}",
            "{% import 'q.j2' as q %}{{ q.qm(@A) }}{{ q.qv }}{{ q.nothere is defined }}",
            "{% import 'q.j2' as q with context %}{{ q.qm(@A) }}{{ q.qc }}",
            "{% from 'q.j2' import qm, qv as x, hostname %}{{ qm(@S) }}{{ x }}{{ hostname is defined }}",
            "{% set a, b = (@A, @A) %}{{ a is defined }}{{ b is none }}",
            "{% set a, b = 'xy' %}{{ a }}{{ b }}",
            "{{ @A }}", "{{ @L }}", "{{ @D }}", "{{ @F }}", "{{ @I }}", "{{ @B }}", "{{ @S }}", "{{ @A if @B }}",
            "{% raw %}{{ x }}{% endraw %}&",
            "{%- if @B -%} & {%- endif -%} t",
            "{% set g = @L|map('string') %}{{ g|join }}{{ 'x' if g }}",
            "{% block b scoped %}&{% endblock %}",
            "{% set l = [] %}{% for item in @L %}{% set _ = l.append(@A) %}{% endfor %}{{ l|length }}",
        ]);
        let mut made = String::new();
        for part in pattern.split_inclusive('&') {
            match part.strip_suffix('&') {
                Some(part) => {
                    made += &self.fill(part, depth - 1);
                    made += &self.body(depth - 1);
                }
                None => made += &self.fill(part, depth - 1),
            }
        }
        made
    }

    fn case(&mut self) -> Case {
        let mut main = "{% set n = 3 %}{% set acc = [] %}{% set ns = namespace(x=1) %}".to_owned();
        match self.below(3) {
            0 => main += &self.fill("{{ @A }}", DEPTH),
            1 => main += &self.statement(DEPTH),
            _ => main += &self.body(2),
        }
        let mut case = Case::from([("main".to_owned(), main)]);
        let mut part = "{{ x is defined }}{{ loop is defined }}".to_owned();
        let _ = write!(
            part,
            "{}{{% macro pm() %}}{{% endmacro %}}{{{{ n|default('?') }}}}",
            self.body(1)
        );
        case.insert("p.j2".to_owned(), part);
        let module = "{% set qv = 5 %}{% set qc = hostname|default('none') %}{% macro qm(a, b=qv) %}{{ a is defined }}{{ b }}{{ hostname|default('?') }}{{ x is defined }}{% endmacro %}";
        case.insert("q.j2".to_owned(), module.to_owned());
        case
    }
}

/// What becomes of a case here.
fn rendered(case: &Case, context: &Value) -> Result<String, String> {
    let mut environment = jinja::environment();
    let texts = case.clone();
    jinja::set_loader(&mut environment, move |name| Ok(texts.get(name).cloned()));
    let template = environment
        .get_template("main")
        .map_err(|error| error.to_string())?;
    template
        .render(context)
        .map_err(|error| format!("{error:#}"))
}

fn number(variable: &str, default: usize) -> usize {
    env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn a_random_template_renders_as_in_python_or_is_refused() {
    needs!(Need::Python(&["jinja2"]));
    let count = number("JINJA2_CASES", CASES);
    let mut random = Random(number("JINJA2_SEED", 1) as u64);
    let cases: Vec<Case> = (0..count).map(|_| random.case()).collect();
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/seed/jinja2"));
    let made = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(made.path(), serde_json::to_vec(&cases).expect("JSON")).expect("written");
    let output = Command::new("/usr/bin/python3")
        .arg(folder.join("render.py"))
        .arg(made.path())
        .output()
        .expect("render.py starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "render.py failed: {complaint}");
    let theirs: Vec<Outcome> = serde_json::from_slice(&output.stdout).expect("JSON");
    let context = std::fs::read_to_string(folder.join("context.json")).expect("context.json");
    let context: Value = serde_json::from_str(&context).expect("JSON");
    let (mut same, mut failed, mut refused, mut differ) = (0, 0, 0, 0);
    let mut report = String::new();
    for (case, theirs) in cases.iter().zip(&theirs) {
        let ours = rendered(case, &context);
        match (theirs, &ours) {
            (Outcome::Ok(one), Ok(other)) if one == other => same += 1,
            (Outcome::Error(_), Err(_)) => failed += 1,
            (Outcome::Ok(_), Err(reason)) => {
                refused += 1;
                if env::var_os("JINJA2_REFUSED").is_some() {
                    println!(
                        "refused: {}\n    {}",
                        reason.lines().next().unwrap_or_default(),
                        case["main"]
                    );
                }
            }
            _ => {
                differ += 1;
                let _ = writeln!(
                    report,
                    "{case:?}\n  in Python: {theirs:?}\n  here:      {ours:?}"
                );
            }
        }
    }
    println!(
        "{count} templates: {same} the same, {failed} fail in both, {refused} refused here, {differ} differ"
    );
    assert!(differ == 0, "{differ} of {count} differ:\n{report}");
    assert!(
        refused * 100 <= (same + refused) * REFUSED,
        "{refused} of {} are refused",
        same + refused
    );
}
