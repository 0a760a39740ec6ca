//! What an error of the template engine says to an operator.
//!
//! A detail of the engine's may repeat values: the template that `{% include site.psk %}` looks
//! for, the filter that `map(site.psk)` lacks, the numbers of a division by zero. Only what stands
//! in the template itself is told.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::sources::NotRead;
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

/// Why a template of that name failed with the error. `stands_in` tells whether a word stands in
/// the text of a template.
///
/// Takes the innermost error: where an included template fails, that is the one to mend.
pub(super) fn failure_of(
    error: &Error,
    name: &str,
    context: &Value,
    stands_in: impl Fn(&str, &str) -> bool,
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
    let file = innermost.name().unwrap_or(name);
    let mut reason = innermost.kind().to_string();
    let is_of_template = |word: &str| stands_in(file, word);
    if let Some(detail) = innermost.detail()
        && let Some(detail) = without_values(innermost.kind(), detail, is_of_template)
    {
        reason = format!("{reason}: {detail}");
    }
    Failure::Fault(Fault {
        file: file.to_owned(),
        line: innermost.line(),
        reason: without_texts(reason, context),
    })
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
