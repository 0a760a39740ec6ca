//! What PyYAML reads as one mapping, `check_mapping` takes; what it does not, is refused.
//!
//! The texts are the seeds in `pyyaml/seeds/`, each with a few mutations: characters, lines,
//! indentations, and YAML's own tokens, put in, left out and exchanged. `MUTATIONS` says how many
//! there are; `MUTATION_SEED` makes others of them.

use std::ffi::OsStr;
use std::path::Path;

use crate::support::needs::{Need, needs};
use crate::support::{self, figure};
use gb10_provision_api::seed::yaml::check_mapping;

/// Without a number of its own.
const MUTATIONS: usize = 2_500;

/// What YAML gives a meaning to, here or there.
const TOKENS: &[&str] = &[
    ":",
    ": ",
    ":\n",
    "-",
    "- ",
    "-\n",
    "?",
    "? ",
    ",",
    ", ",
    "[",
    "]",
    "{",
    "}",
    "[]",
    "{}",
    "#",
    " #",
    "&",
    "&a ",
    "&a",
    "*",
    "*a",
    "*a ",
    "*common",
    "!",
    "! ",
    "!!",
    "!!str ",
    "!!int ",
    "!!float ",
    "!!bool ",
    "!!null ",
    "!!map ",
    "!!seq ",
    "!!set ",
    "!!omap ",
    "!!pairs ",
    "!!binary ",
    "!!timestamp ",
    "!!merge ",
    "!x ",
    "!x!y ",
    "!<x> ",
    "!<",
    "|",
    ">",
    "|\n",
    ">-\n",
    "|2\n",
    "|+ #\n",
    "|0\n",
    "'",
    "\"",
    "''",
    "\"\"",
    "\\",
    "\\\n",
    "\\x",
    "\\u12",
    "\\ud83d\\ude80",
    "\\U00110000",
    "\\q",
    "\\t",
    "%",
    "%YAML 1.1\n",
    "%TAG ! x\n",
    "@",
    "`",
    "---",
    "\n---\n",
    "--- ",
    "...",
    "\n...\n",
    "<<",
    "<<: ",
    "<<: *a",
    "<<: x\n",
    "=",
    "= ",
    "=: x",
    "~",
    "null",
    "yes",
    "2026-02-30",
    "2026-01-01",
    "0b_",
    "0x_",
    "1:60",
    "08",
    ".",
    ".5",
    "1e3",
    "\t",
    "\n\t",
    "\t\n",
    " ",
    "  ",
    "    ",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{2029}",
    "\u{feff}",
    "\u{7f}",
    "\u{1b}",
    "\u{80}",
    "\0",
    "\u{fffe}",
    "é",
    "日",
    "🚀",
    "::",
    ":a",
    "a:",
    "a: b",
    "\na: b\n",
    "- a: b",
    "? a\n: b",
    "{{.Names}}",
    "[::1]",
    "{to: ::/0}",
    "${x}",
    "a{b}",
    "\"b\"#c",
    "'b'c",
];

/// Random numbers, xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// A part of something of that length, mostly a short one.
    fn range(&mut self, length: usize, longest: usize) -> std::ops::Range<usize> {
        let from = self.below(length + 1);
        from..from + self.below((length - from).min(longest) + 1)
    }

    fn token(&mut self) -> &'static str {
        TOKENS[self.below(TOKENS.len())]
    }

    fn mutate(&mut self, text: &str, others: &[String]) -> String {
        if self.below(2) == 0 {
            self.mutate_characters(text, others)
        } else {
            self.mutate_lines(text, others)
        }
    }

    fn mutate_characters(&mut self, text: &str, others: &[String]) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let range = self.range(chars.len(), 4);
        let start = range.start;
        match self.below(8) {
            0 => _ = chars.drain(range),
            1 | 2 => _ = chars.splice(range, self.token().chars()),
            3..5 => _ = chars.splice(start..start, self.token().chars()),
            5 => {
                let other: Vec<char> = others[self.below(others.len())].chars().collect();
                let part = self.range(other.len(), 40);
                chars.splice(start..start, other[part].iter().copied());
            }
            6 if chars.len() > 1 => {
                let (one, other) = (self.below(chars.len()), self.below(chars.len()));
                chars.swap(one, other);
            }
            _ => {
                // A token of the text itself becomes another.
                let is_token = |c: &char| ":-?,[]{}#&*!|>'\"%@`\n ".contains(*c);
                let places: Vec<usize> = (0..chars.len())
                    .filter(|at| is_token(&chars[*at]))
                    .collect();
                if let Some(at) = places.get(self.below(places.len())) {
                    chars.splice(*at..=*at, self.token().chars());
                }
            }
        }
        chars.into_iter().collect()
    }

    fn mutate_lines(&mut self, text: &str, others: &[String]) -> String {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let at = self.below(lines.len());
        let Some(line) = lines.get(at).cloned() else {
            return self.token().to_owned();
        };
        let indentation = line.len() - line.trim_start_matches(' ').len();
        match self.below(9) {
            0 => _ = lines.remove(at),
            1 => lines.insert(at, line),
            2 => {
                let other = self.below(lines.len());
                lines.swap(at, other);
            }
            3 => lines[at].insert_str(0, &" ".repeat(1 + self.below(4))),
            4 => _ = lines[at].drain(..self.below(indentation + 1)),
            5 => lines[at].insert_str(indentation, self.token()),
            6 => {
                let end = line.trim_end_matches(['\r', '\n']).len();
                lines[at].insert_str(end, self.token());
            }
            7 => {
                let other = &others[self.below(others.len())];
                let other: Vec<&str> = other.split_inclusive('\n').collect();
                lines.insert(at, other[self.below(other.len())].to_owned());
            }
            _ => lines[at] = line.replace(' ', if self.below(2) == 0 { "\t" } else { "  " }),
        }
        lines.concat()
    }
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/seed/pyyaml"))
}

/// What the mutations are made of.
fn seeds() -> Vec<String> {
    let mut paths: Vec<_> = std::fs::read_dir(folder().join("seeds"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut seeds: Vec<String> = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    // As an editor on Windows writes it.
    let with_crlf: Vec<String> = seeds[..4]
        .iter()
        .map(|text| text.replace('\n', "\r\n"))
        .collect();
    seeds.extend(with_crlf);
    seeds
}

fn number(variable: &str, default: usize) -> usize {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().expect(variable))
}

/// The same ones each time, unless others are asked for.
fn dice() -> Dice {
    let seed = number("MUTATION_SEED", 1) as u64;
    Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

fn mutations() -> Vec<String> {
    let seeds = seeds();
    let mut dice = dice();
    let mut texts = seeds.clone();
    for _ in 0..number("MUTATIONS", MUTATIONS) {
        let mut text = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(3) {
            text = dice.mutate(&text, &seeds);
        }
        texts.push(text);
    }
    texts
}

/// Why Python does not read each text as one mapping, where it does not.
fn by_python(texts: &[impl AsRef<str>], arguments: &[&str]) -> Vec<Option<String>> {
    let program = folder().join("verdicts.py");
    let mut command = vec![program.as_os_str()];
    command.extend(arguments.iter().map(OsStr::new));
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    support::by_python(&command, &texts)
}

/// Holds the verdicts of both sides against each other.
fn none_differs(texts: &[String]) {
    let theirs = by_python(texts, &[]);
    let sound = theirs.iter().filter(|theirs| theirs.is_none()).count();
    let mut others = String::new();
    let mut count = 0;
    for (text, theirs) in texts.iter().zip(theirs) {
        let ours = check_mapping(text);
        if ours.is_ok() != theirs.is_none() {
            count += 1;
            others += &format!("{text:?}\n  here: {ours:?}\n  there: {theirs:?}\n");
        }
    }
    figure(&format!(
        "{} texts, {sound} sound, {count} differ",
        texts.len()
    ));
    assert!(others.is_empty(), "{others}");
}

#[test]
fn mutated_seeds_get_the_verdict_that_pyyaml_gives_them() {
    needs!(Need::Python(&["yaml"]));
    none_differs(&mutations());
}

#[test]
fn strings_of_tokens_get_the_verdict_that_pyyaml_gives_them() {
    needs!(Need::Python(&["yaml"]));
    let mut dice = dice();
    let mut text = || {
        let mut text = String::from(["", "a: ", "a:\n", "a: &a b\nc: "][dice.below(4)]);
        for _ in 0..=dice.below(8) {
            text += dice.token();
        }
        text
    };
    let texts: Vec<String> = (0..number("MUTATIONS", MUTATIONS))
        .map(|_| text())
        .collect();
    none_differs(&texts);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (text, line, word) in [
        ("a: 1\nb: {{.Names}}", 2, "as a key"),
        ("a: 1\nb: !vault x", 2, "a tag"),
        ("a: 1\nb: 2026-02-30", 2, "a date"),
        ("a: 1\nb: !!int x", 2, "a number"),
        ("a: 1\nb: =", 2, "'='"),
        ("a: 1\n<<: x", 2, "'<<'"),
        ("a: &x 1\nb: 2\nc: &x 3", 3, "twice"),
        ("a: *x", 1, "'*'"),
        ("a: 1\nb: \u{1b}[0m", 2, "control character"),
        ("a: 1\nb: [1,\n2\n", 2, "bracket"),
        ("a: [1,\n2\nb: c\n", 3, "']'"),
        ("a: 1\nb: 'c\nd: e\n", 2, "quotes"),
        ("a: 1\nb\nc: d", 2, "':'"),
        ("a: 1\nb: c: d", 2, "':'"),
        ("a: 1\nb: \tc", 2, "tab"),
        ("a: 1\nb: @c", 2, "quotes"),
        ("a: 1\nb: \"\\d\"", 2, "backslash"),
    ] {
        let error = check_mapping(text).unwrap_err();
        assert_eq!(error.line, Some(line), "{text:?}: {error:?}");
        assert!(error.reason.contains(word), "{text:?}: {error:?}");
    }
}

#[test]
fn depth_and_aliases_that_multiply_cost_neither_stack_nor_time() {
    let nested = |depth: usize| format!("a: {}{}\n", "[".repeat(depth - 1), "]".repeat(depth - 1));
    let laughs = |item: &dyn Fn(usize) -> String| {
        let lines = (1..200).map(|line| format!("a{line}: &a{line} {}\n", item(line)));
        ["a0: &a0 {x: y}\n".to_owned(), lines.collect()].concat()
    };
    let list = laughs(&|line| format!("[{}]", format!("*a{}, ", line - 1).repeat(9)));
    let merge = laughs(&|line| format!("{{<<: [{}]}}", format!("*a{}, ", line - 1).repeat(9)));
    let handles: String = (0..50_000)
        .map(|name| format!("%TAG !h{name}! x\n"))
        .collect();
    let tried = std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(move || {
            assert_eq!(check_mapping(&nested(300)), Ok(()));
            let error = check_mapping(&nested(301)).unwrap_err();
            assert!(error.reason.contains("300"), "{error:?}");
            for deep in ["[", "{a: ", "- ", "? ", "[a, ", "\"a\": ["] {
                assert!(check_mapping(&format!("a: {}", deep.repeat(100_000))).is_err());
                assert!(check_mapping(&format!("a:\n{}", deep.repeat(100_000))).is_err());
            }
            assert_eq!(check_mapping(&list), Ok(()));
            assert_eq!(check_mapping(&merge), Ok(()));
            assert_eq!(check_mapping(&format!("{handles}---\na: b")), Ok(()));
        });
    tried.unwrap().join().unwrap();
}

/// What operators write or templates make, and whether it is one mapping there.
const LISTED: &[(&str, bool)] = &[
    // What nobody can build a value of.
    ("a: {{.Names}}", false),
    ("{[a]: b}", false),
    ("? [a]\n: b", false),
    ("a: &x [1]\n*x : 2", false),
    ("a: !vault x", false),
    ("a:\n- !cmd x", false),
    ("a: !!python/object:os.system x", false),
    ("a: !!python/unicode x", false),
    ("a: !!str x", true),
    ("a: !!str [x]", false),
    ("a: !!seq x", false),
    ("a: !!map []", false),
    ("a: !!set {x, y}", true),
    ("a: !!omap [{x: 1}, {y: 2}]", true),
    ("a: !!omap [{x: 1, y: 2}]", false),
    ("a: ! x", true),
    ("%TAG !e! tag:yaml.org,2002:\n---\na: !e!int 1", true),
    ("a: !e!int 1", false),
    ("a: !!int abc", false),
    ("a: !!int", false),
    ("a: !!int '0x1f'", true),
    ("a: !!float abc", false),
    ("a: !!float inf", true),
    ("a: !!bool maybe", false),
    ("a: ! \"yes\\n\"", false),
    ("a: !!binary aGVsbG8=", true),
    ("a: !!binary aGVsbG8", false),
    ("a: !!binary héllo", false),
    ("a: 0b_", false),
    ("a: 0x_", false),
    ("a: 08", true),
    ("a: 190:20:30", true),
    // Dates.
    ("a: 2026-02-30", false),
    ("a: 2026-02-28", true),
    ("a: 2024-02-29", true),
    ("a: 2026-2-30", true),
    ("a: 0000-01-01", false),
    ("a: 2026-13-01 10:00:00", false),
    ("a: 2026-1-1 24:00:00", false),
    ("a: 2026-01-01T10:00:00+24:00", false),
    ("a: 2026-01-01T10:00:00.123456789 -23:59", true),
    ("a: 2026-01-01\n  10:00:61", false),
    ("a: '2026-02-30'", true),
    ("2026-02-30: a", false),
    // Merges, and the other key with a meaning of its own.
    ("sep: =", false),
    ("=: a", true),
    ("a: <<", false),
    ("- <<", false),
    ("<<: x", false),
    ("<<: [x]", false),
    ("<<: [{a: b}, [c]]", false),
    ("<<: {a: b}", true),
    ("<<: !foo {a: b}", true),
    ("<<: {a: !foo b}", false),
    ("'<<': x", true),
    ("a: &x {<<: *x}", true),
    // Anchors.
    ("a: &x 1\nb: &x 2", false),
    ("a: *x\nb: &x 2", false),
    ("a: &x [*x]", true),
    ("a: &x b\n*x : 1", true),
    ("a: &x b\n*x: 1", true),
    ("a: & b", false),
    ("a: &x&y b", false),
    // Characters.
    ("a: \u{1b}[0m", false),
    ("a: \u{7}", false),
    ("a: \u{7f}", false),
    ("a: \u{80}", false),
    ("a: \0", false),
    ("# \u{c}\na: b", false),
    ("a: \u{fffe}", false),
    ("a: \"\\x1b\\e\"", true),
    ("a: \u{a0}b\u{feff}", true),
    ("\u{feff}a: b", true),
    ("a: \"\\ud83d\\ude80\"", true),
    ("a: \"\\ud83d\"", true),
    ("a: \"\\U0010ffff\"", true),
    ("a: \"\\U00110000\"", false),
    ("a: \"\\u12\"", false),
    ("a: \"\\d\"", false),
    ("a: b\u{85}c: d", true),
    ("a: b\u{2028}c: d", true),
    ("a: b\u{2029}c: d\u{85}", true),
    ("a: b\rc: d", true),
    // Quotes, tabs and what comes behind.
    ("a: \"b\"#c", true),
    ("a: 'b'#c", true),
    ("a: 'b'c", false),
    ("a: \"b\n\tc\"", true),
    ("a: \"b\nc\"", true),
    ("a: \"b\n--- c\"", false),
    ("a: \"b\"\t", false),
    ("a: 'b'\t# c", false),
    ("a: b\tc", false),
    ("a: b #\tc", true),
    // Brackets.
    ("[{to: ::/0, via: \"fe80::1\"}]", false),
    ("a: [{to: ::/0, via: \"fe80::1\"}]", false),
    ("a: [::1]", false),
    ("a: [\"::1\", fe80::1]", true),
    ("a: [b, c: d, {e}]", true),
    ("a: {b c:d}", true),
    ("a: {b\n  c: d}", false),
    ("a: {b: c\nd: e}", false),
    ("a: {? b\n  c : d}", true),
    ("a: {: b}", false),
    ("a: [,]", false),
    ("a: [b,, c]", false),
    ("a: [b,]", true),
    ("a: [b?c]", false),
    ("a: [-]", true),
    ("a: ]", false),
    ("a: [b}", false),
    // Keys.
    (": a", false),
    ("a:\n  : b", false),
    ("a\n  b: c", false),
    ("\"a\n b\": c", false),
    ("? a\n  b\n: c", true),
    ("a", false),
    ("a: b\nc", false),
    ("a: b: c", false),
    ("a: - b", false),
    ("- a\nb: c", false),
    // Blocks.
    ("a: |0\n  b", false),
    ("a: |1-\n b", true),
    ("a: |x\n  b", false),
    ("a: | b\n", false),
    ("a: |\t\n  b", false),
    ("a: |\n    \n  b", false),
    ("a: |3\n  b", false),
    // Documents.
    ("%YAML 1.2\n---\na: b", true),
    ("%YAML 2.0\n---\na: b", false),
    ("%YAML 1.1\n%YAML 1.1\n---\na: b", false),
    ("%FOO bar\n--- {a: b}", true),
    ("%x: y", false),
    ("a: b\n%x: y", false),
    ("a: b\n...\n...\n", true),
    ("a: b\n...\nc: d", false),
    ("a: b\n--- ", false),
    ("--- |\n  a: b", false),
    ("# only a comment", false),
    ("null", false),
    ("{}", true),
    ("!!set {a}", false),
    ("--- !!map\na: b", true),
];

#[test]
fn what_is_listed_is_a_mapping_or_not() {
    let verdicts = LISTED
        .iter()
        .map(|listed| (listed, check_mapping(listed.0)));
    let others: Vec<_> = verdicts
        .filter(|((_, is_mapping), ours)| *is_mapping != ours.is_ok())
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn the_list_is_what_pyyaml_says() {
    needs!(Need::Python(&["yaml"]));
    let texts: Vec<&str> = LISTED.iter().map(|(text, _)| *text).collect();
    let verdicts = LISTED.iter().zip(by_python(&texts, &[]));
    let others: Vec<_> = verdicts
        .filter(|((_, is_mapping), theirs)| *is_mapping != theirs.is_none())
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}
