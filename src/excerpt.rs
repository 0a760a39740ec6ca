//! How a value that came from outside is quoted in an error: escaped, and never long.

/// Longest part of a foreign value that an error repeats, in characters.
const EXCERPT_CHARS: usize = 64;

/// Quotes `input` for an error message: control characters escaped, cut after 64 characters.
pub fn excerpt(input: &str) -> String {
    match input.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{:?}…", &input[..end]),
        None => format!("{input:?}"),
    }
}
