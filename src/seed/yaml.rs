//! Is this text what cloud-init can apply: one YAML document that is a mapping?
//!
//! Only the structure is parsed. Values are cloud-init's business, and so are keys that stand
//! twice, which PyYAML accepts. Where PyYAML and YAML 1.2 differ, PyYAML is right: it is what
//! cloud-init reads with.

use std::borrow::Cow;
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

/// Rules that PyYAML does not have: it lets a quoted text go on at the first column, …
const QUOTED_INDENTATION: &str = "invalid indentation in quoted scalar";
/// … and what is in brackets.
const FLOW_INDENTATION: [&str; 2] = [
    "invalid indentation",
    "invalid indentation in flow construct",
];

/// Most places that are indented for the sake of those rules. A text with more is not checked.
const MAX_INDENTED: usize = 1_000;

/// Longest that all texts together may be that are read for the sake of those rules, in bytes.
const MAX_READ: usize = 64 << 20;

/// Deeper than what surrounds such a place.
const INDENT: &str = "                                ";

/// Where a text stops being one YAML mapping. Lines count from 1; none where the whole is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// The line of the text.
    pub line: Option<usize>,
    /// What is wrong there. It repeats nothing of the text.
    pub reason: String,
}

/// Checks that `text` is one YAML document with a mapping at its root.
pub fn check_mapping(text: &str) -> Result<(), YamlError> {
    let mut text = Cow::Borrowed(text);
    let attempts = MAX_INDENTED.min(1 + MAX_READ / text.len().max(1));
    for _ in 0..attempts {
        let error = match Outline::of(&text) {
            Ok(outline) => return outline.check(&text),
            Err(error) => error,
        };
        let at = error.marker();
        let lines = match error.info() {
            QUOTED_INDENTATION => {
                last_line_of_quoted(&text, at).map(|last| at.line() + 1..last + 1)
            }
            rule if FLOW_INDENTATION.contains(&rule) => Some(at.line()..at.line() + 1),
            _ => None,
        };
        let Some(lines) = lines else {
            return Err(YamlError {
                line: Some(at.line()),
                reason: format!("not YAML: {}", error.info()),
            });
        };
        text = Cow::Owned(indent(&text, lines));
    }
    Ok(())
}

/// The text with those lines, counted from 1, moved to the right. Where such a rule is broken,
/// white space means nothing.
fn indent(text: &str, lines: Range<usize>) -> String {
    let numbered = text.split_inclusive('\n').zip(1..);
    let moved = |(text, line)| [if lines.contains(&line) { INDENT } else { "" }, text];
    numbered.flat_map(moved).collect()
}

/// The last line of the quoted text that begins at `start`; none if it has no end.
fn last_line_of_quoted(text: &str, start: &Marker) -> Option<usize> {
    let mut chars = text.chars().skip(start.index()).peekable();
    let quote = chars.next()?;
    let mut line = start.line();
    loop {
        match chars.next()? {
            '\n' => line += 1,
            '\\' if quote == '"' => line += usize::from(chars.next()? == '\n'),
            c if c == quote && quote == '\'' && chars.next_if_eq(&quote).is_some() => {}
            c if c == quote => return Some(line),
            _ => {}
        }
    }
}

/// What a text consists of.
#[derive(Default)]
struct Outline {
    documents: usize,
    /// Whether the first node is a mapping.
    root: Option<bool>,
    /// Quoted and block scalars, in characters: where tabs may stand.
    quoted_or_block: Vec<Range<usize>>,
}

impl Outline {
    fn of(text: &str) -> Result<Self, ScanError> {
        let mut outline = Self::default();
        for event in Parser::new_from_str(text) {
            let (event, span) = event?;
            match event {
                Event::DocumentStart(_) => outline.documents += 1,
                Event::MappingStart(..) => _ = outline.root.get_or_insert(true),
                Event::SequenceStart(..) | Event::Scalar(..) | Event::Alias(_) => {
                    outline.root.get_or_insert(false);
                }
                _ => {}
            }
            if let Event::Scalar(_, style, ..) = event
                && style != ScalarStyle::Plain
            {
                let place = span.start.index()..span.end.index();
                outline.quoted_or_block.push(place);
            }
        }
        Ok(outline)
    }

    fn check(&self, text: &str) -> Result<(), YamlError> {
        let fault = match (self.documents, self.root) {
            (1, Some(true)) => return self.check_tabs(text),
            (0, _) | (_, None) => "empty: expected a YAML mapping",
            (1, _) => "not a YAML mapping: expected keys such as autoinstall:",
            _ => "several YAML documents: expected one",
        };
        Err(YamlError {
            line: None,
            reason: fault.to_owned(),
        })
    }

    /// Refuses tabs between tokens, as PyYAML does: on an empty line, before a comment, after a
    /// colon.
    fn check_tabs(&self, text: &str) -> Result<(), YamlError> {
        let mut places = self.quoted_or_block.iter().peekable();
        let (mut line, mut in_comment, mut after_space) = (1, false, true);
        for (index, c) in text.chars().enumerate() {
            while places.next_if(|place| place.end <= index).is_some() {}
            let is_text = places.peek().is_some_and(|place| place.contains(&index));
            match c {
                '\n' => (line, in_comment) = (line + 1, false),
                '#' if after_space && !is_text => in_comment = true,
                '\t' if !is_text && !in_comment => {
                    return Err(YamlError {
                        line: Some(line),
                        reason: "not YAML: a tab where only spaces are allowed".to_owned(),
                    });
                }
                _ => {}
            }
            after_space = c.is_ascii_whitespace();
        }
        Ok(())
    }
}
