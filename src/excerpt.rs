//! How a value that came from outside is quoted in an error: escaped, and never long.

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
