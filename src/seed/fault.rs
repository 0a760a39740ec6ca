//! What an error of the template engine says to an operator.
//!
//! A detail of the engine's may repeat values: the template that `{% include site.psk %}` looks
//! for, the filter that `map(site.psk)` lacks, the numbers of a division by zero. Only what stands
//! in the template itself is told.

use std::sync::Arc;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::sources::NotRead;
use super::unclosed::{Unclosed, unclosed};
use super::{ansible, jinja};
use crate::excerpt::one_line;
use crate::files::Fault;

/// Shorter texts hide nothing, and are parts of many words.
const SECRET_BYTES: usize = 6;

/// Digits in a row from which on a number may be a secret.
const SECRET_DIGITS: usize = 4;

/// What the engine puts around a value.
const QUOTES: [char; 3] = ['"', '\'', '`'];

/// What stands for a value.
const HIDDEN: &str = "…";

/// Why a template failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is not there.
    NotThere,
    /// It, or a part of it, cannot be read. That may be over at the next attempt.
    Unread(Fault),
    /// Something is wrong with it.
    Fault(Fault),
}

impl Failure {
    /// What is wrong, where that is a fault of the template of that name.
    pub(super) fn fault(self, name: &str) -> Fault {
        match self {
            Self::NotThere => Fault::new(name, "template not found"),
            Self::Unread(fault) | Self::Fault(fault) => fault,
        }
    }
}

/// Why a template of that name failed with the error. `text_of` gives the text of a template.
///
/// Takes the innermost error: where an included template fails, that is the one to mend.
pub(super) fn failure_of(
    error: &Error,
    name: &str,
    context: &Value,
    text_of: impl Fn(&str) -> Option<Arc<str>>,
) -> Failure {
    let mut innermost = error;
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        match next.downcast_ref::<NotRead>() {
            Some(NotRead { fault, is_unread }) if *is_unread => {
                return Failure::Unread(fault.clone());
            }
            Some(NotRead { fault, .. }) => return Failure::Fault(fault.clone()),
            None => {}
        }
        if let Some(next) = next.downcast_ref::<Error>()
            && next.line().is_some()
        {
            innermost = next;
        }
        cause = next.source();
    }
    let file = jinja::own_name(innermost.name().unwrap_or(name));
    let text = text_of(file).unwrap_or_default();
    let (mut line, mut reason) = (innermost.line(), innermost.kind().to_string());
    if innermost.kind() == ErrorKind::SyntaxError
        && let Some(unclosed) = unclosed_by(innermost.detail().unwrap_or_default(), &text)
    {
        line = Some(unclosed.line);
        reason = format!("{reason}: {}", unclosed.what);
    } else if let Some(detail) = innermost.detail()
        && let Some(detail) = without_values(innermost.kind(), detail, |word| text.contains(word))
    {
        reason = format!("{reason}: {detail}");
        if let Some(instead) = ansible::instead(innermost.kind(), &detail) {
            reason = format!("{reason}; {instead}");
        }
    }
    Failure::Fault(Fault {
        file: file.to_owned(),
        line,
        column: None,
        reason: without_texts(reason, context),
    })
}

/// What is not closed in the text, where that is what the engine complains of.
fn unclosed_by(detail: &str, text: &str) -> Option<Unclosed> {
    let ends = [
        "end of input",
        "end of comment",
        "end of raw block",
        "end of string",
    ];
    let is_at_end = ends.iter().any(|end| {
        detail
            .strip_prefix("unexpected ")
            .is_some_and(|detail| detail.starts_with(end))
    });
    let is_other_end = detail.starts_with("unknown statement end");
    let is_in_tag = detail.contains("expected end of ");
    let unclosed = unclosed(text).filter(|_| is_at_end || is_other_end || is_in_tag)?;
    (is_at_end || is_other_end || unclosed.is_tag).then_some(unclosed)
}

/// Words that tell of a secret in the line that they are in.
const SECRETIVE: [&str; 9] = [
    "pass",
    "psk",
    "secret",
    "token",
    "key",
    "hash",
    "crypt",
    "credential",
    "auth",
];

/// Longest word of a rendered line that is told: a longer one may be a key.
const WORD_BYTES: usize = 24;

/// Longest part of a rendered line that is told, in characters.
const LINE_CHARS: usize = 80;

/// A line of a rendered text, counted from 1, as far as it stands in a template; none where it may
/// hold a secret.
pub(super) fn rendered_line(
    text: &str,
    line: usize,
    stands_in: impl Fn(&str) -> bool,
) -> Option<String> {
    let line = text.lines().nth(line.checked_sub(1)?)?.trim();
    let lower = line.to_lowercase();
    if line.is_empty() || SECRETIVE.iter().any(|word| lower.contains(word)) {
        return None;
    }
    let words = line.split(' ').map(|word| match word {
        word if word.len() <= WORD_BYTES && stands_in(word) => word,
        _ => HIDDEN,
    });
    let words: Vec<&str> = words.collect();
    Some(one_line(&words.join(" "), LINE_CHARS))
}

/// The detail of an error, with nothing quoted, named or counted in it that does not stand in the
/// template; none where nothing else is in it.
fn without_values(
    kind: ErrorKind,
    detail: &str,
    stands_in: impl Fn(&str) -> bool,
) -> Option<String> {
    match kind {
        // The parser knows nothing but the template, and what is undefined is told as it stands
        // there.
        ErrorKind::SyntaxError | ErrorKind::UndefinedError => return Some(detail.to_owned()),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest => {
            let name = detail.split(' ').nth(1)?;
            return stands_in(name).then(|| detail.to_owned());
        }
        _ => {}
    }
    // A value may have quotes in itself: nothing between the first and the last is ours.
    let (Some(first), Some(last)) = (detail.find(QUOTES), detail.rfind(QUOTES)) else {
        return Some(without_numbers(detail, stands_in));
    };
    let is_told = |part: &str| !part.contains(char::is_alphanumeric) || stands_in(part);
    let quoted = detail[first..=last].split_inclusive(QUOTES).map(|part| {
        let (text, quote) = part.split_at(part.len() - 1);
        let text = if is_told(text) { text } else { HIDDEN };
        [text, quote].concat()
    });
    Some(
        [
            without_numbers(&detail[..first], &stands_in),
            quoted.collect(),
            without_numbers(&detail[last + 1..], &stands_in),
        ]
        .concat(),
    )
}

/// The text without long numbers that do not stand in the template.
fn without_numbers(text: &str, stands_in: impl Fn(&str) -> bool) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        let end = number.find(|c: char| !c.is_ascii_digit());
        let (number, after) = number.split_at(end.unwrap_or(number.len()));
        let is_told = number.len() < SECRET_DIGITS || stands_in(number);
        told += before;
        told += if is_told { number } else { HIDDEN };
        rest = after;
    }
    told + rest
}

/// The text without any text that the site or the device has for templates, and without the
/// fallback password's hash.
fn without_texts(mut reason: String, context: &Value) -> String {
    let mut values: Vec<Value> = ["fallback_password_hash", "site", "device"]
        .iter()
        .filter_map(|name| context.get_attr(name).ok())
        .collect();
    while let Some(value) = values.pop() {
        match value.kind() {
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                if text.len() >= SECRET_BYTES && reason.contains(text) {
                    reason = reason.replace(text, HIDDEN);
                }
            }
            ValueKind::Map | ValueKind::Seq => {
                let is_map = value.kind() == ValueKind::Map;
                let items = value.try_iter().into_iter().flatten();
                values.extend(items.filter_map(|item| match is_map {
                    true => value.get_item(&item).ok(),
                    false => Some(item),
                }));
            }
            _ => {}
        }
    }
    reason
}
