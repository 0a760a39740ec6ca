//! JSON text without the white space between its tokens.

use serde_json::value::RawValue;

/// The same JSON on one line. Text that is on one line already stays to the letter.
pub fn compact(value: &RawValue) -> Box<RawValue> {
    match has_line_breaks(value.get()) {
        false => value.to_owned(),
        true => without_white_space(value),
    }
}

/// Whether a text goes over more than one line.
pub fn has_line_breaks(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.contains(&b'\n') || bytes.contains(&b'\r')
}

/// The same JSON without any white space between its tokens.
pub fn without_white_space(value: &RawValue) -> Box<RawValue> {
    let (mut in_string, mut escaped) = (false, false);
    let kept = value.get().chars().filter(|&c| {
        let keep = in_string || !c.is_ascii_whitespace();
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
        keep
    });
    RawValue::from_string(kept.collect()).unwrap_or_else(|_| value.to_owned())
}

/// How many objects and lists stand within one another at the deepest place of JSON text.
pub fn depth(json: &str) -> usize {
    let (mut in_string, mut escaped) = (false, false);
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
