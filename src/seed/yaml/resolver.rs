//! What a value is: by its tag, or a plain text by how it looks.

use super::values::{Timestamp, strip_sign};

/// What cloud-init's reader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Null,
    Bool,
    Int,
    Float,
    Binary,
    Timestamp,
    Omap,
    Pairs,
    Set,
    Str,
    Seq,
    Map,
    /// `<<`
    Merge,
    /// `=`
    Value,
    /// Whatever else.
    Unknown,
}

impl Tag {
    /// By its name in full.
    pub(super) fn of(name: &str) -> Self {
        match name.strip_prefix("tag:yaml.org,2002:") {
            Some("null") => Self::Null,
            Some("bool") => Self::Bool,
            Some("int") => Self::Int,
            Some("float") => Self::Float,
            Some("binary") => Self::Binary,
            Some("timestamp") => Self::Timestamp,
            Some("omap") => Self::Omap,
            Some("pairs") => Self::Pairs,
            Some("set") => Self::Set,
            Some("str") => Self::Str,
            Some("seq") => Self::Seq,
            Some("map") => Self::Map,
            Some("merge") => Self::Merge,
            Some("value") => Self::Value,
            _ => Self::Unknown,
        }
    }
}

/// What a scalar is: by its tag if it has one, by its text if that is open, else a text.
pub(super) fn tag_of(text: &str, tag: Option<&str>, is_open: bool) -> Tag {
    match (is_open, tag) {
        (true, _) => resolve(text),
        (false, None) => Tag::Str,
        (false, Some(tag)) => Tag::of(tag),
    }
}

/// What a text without a tag is.
fn resolve(text: &str) -> Tag {
    // One line break at the end does not matter there.
    let text = text.strip_suffix('\n').unwrap_or(text);
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Tag::Null,
        "<<" => return Tag::Merge,
        "=" => return Tag::Value,
        "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "true" | "True" | "TRUE" | "false"
        | "False" | "FALSE" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => return Tag::Bool,
        _ => {}
    }
    match text.as_bytes()[0] {
        b'-' | b'+' | b'.' | b'0'..=b'9' if is_float(text) => Tag::Float,
        b'-' | b'+' | b'0'..=b'9' if is_int(text) => Tag::Int,
        b'0'..=b'9' if Timestamp::read(text).is_some_and(|time| time.is_plain()) => Tag::Timestamp,
        _ => Tag::Str,
    }
}

fn is_all(text: &str, fits: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(fits)
}

const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

/// Whether it is a number from `first` on, with underscores.
fn is_number(text: &str, first: impl Fn(u8) -> bool) -> bool {
    text.bytes().next().is_some_and(first) && is_all(text, is_digit)
}

fn is_int(text: &str) -> bool {
    let text = strip_sign(text);
    if let Some(digits) = text.strip_prefix("0b") {
        return is_all(digits, |byte| matches!(byte, b'0' | b'1' | b'_'));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return is_all(digits, |byte| byte.is_ascii_hexdigit() || byte == b'_');
    }
    if let Some(digits) = text.strip_prefix('0') {
        return digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'7' | b'_'));
    }
    let (first, sixtieths) = text
        .split_once(':')
        .map_or((text, None), |(a, b)| (a, Some(b)));
    let is_first = is_number(first, |byte| matches!(byte, b'1'..=b'9'));
    is_first && sixtieths.is_none_or(are_sixtieths)
}

/// Numbers from 0 to 59, with colons between them.
fn are_sixtieths(text: &str) -> bool {
    text.split(':').all(|part| match part.as_bytes() {
        [digit] => digit.is_ascii_digit(),
        [ten, digit] => matches!(ten, b'0'..=b'5') && digit.is_ascii_digit(),
        _ => false,
    })
}

fn is_float(text: &str) -> bool {
    let unsigned = strip_sign(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let Some((whole, rest)) = unsigned.split_once('.') else {
        return false;
    };
    if whole.is_empty() {
        let (fraction, is_exponent_sound) = without_exponent(rest);
        let is_fraction = is_number(fraction, |byte| byte.is_ascii_digit());
        return text.starts_with('.') && is_fraction && is_exponent_sound;
    }
    if let Some((first, sixtieths)) = whole.split_once(':') {
        let is_first = is_number(first, |byte| byte.is_ascii_digit());
        return is_first && are_sixtieths(sixtieths) && rest.bytes().all(is_digit);
    }
    let (fraction, is_exponent_sound) = without_exponent(rest);
    let is_whole = is_number(whole, |byte| byte.is_ascii_digit());
    is_whole && fraction.bytes().all(is_digit) && is_exponent_sound
}

/// What is before an exponent, which needs its sign, and whether that is one.
fn without_exponent(text: &str) -> (&str, bool) {
    match text.split_once(['e', 'E']) {
        Some((fraction, exponent)) => {
            let digits = exponent.strip_prefix(['-', '+']);
            let is_sound =
                digits.is_some_and(|digits| is_all(digits, |byte| byte.is_ascii_digit()));
            (fraction, is_sound)
        }
        None => (text, true),
    }
}
