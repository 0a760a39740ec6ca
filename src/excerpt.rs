//! How a value that came from outside is quoted in an error or a line of the journal: escaped, and
//! never long.

use std::borrow::Cow;

/// Longest part of a foreign value that an error repeats, in characters.
const EXCERPT_CHARS: usize = 64;

/// Quotes `input` for an error message: control characters escaped, cut after 64 characters.
pub fn excerpt(input: &str) -> String {
    match input.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{:?}…", &input[..end]),
        None => format!("{input:?}"),
    }
}

/// `input` as it is where that is a short text of plain printable ASCII, as names of files mostly
/// are; else quoted. For the journal: nothing in it can look like another line.
pub fn shown(input: &str) -> Cow<'_, str> {
    let is_plain =
        input.len() <= EXCERPT_CHARS && input.bytes().all(|byte| byte.is_ascii_graphic());
    match is_plain {
        true => Cow::Borrowed(input),
        false => Cow::Owned(excerpt(input)),
    }
}

/// The first `chars` characters of `input` on one line: what would not print is escaped, quotes and
/// backslashes stay, so that JSON can be read, and copied.
pub fn one_line(input: &str, chars: usize) -> String {
    let mut line = String::with_capacity(input.len().min(chars));
    let mut rest = input.chars();
    for c in rest.by_ref().take(chars) {
        match c {
            '"' | '\'' | '\\' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
    }
    if rest.next().is_some() {
        line.push('…');
    }
    line
}
