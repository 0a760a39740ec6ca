//! How deep a template may nest before it is compiled.
//!
//! The parser bounds brackets and blocks. It does not bound what is chained, `x|f|f…` or `elif`
//! after `elif`, which makes a tree just as deep: compiling that takes a stack as deep.

/// Longest tag, in bytes that are not quoted: each link of a chain takes two at least.
const MAX_TAG: usize = 8 * 1024;

/// Most `elif`s of a template.
const MAX_ELIF: usize = 4_000;

/// Where a template nests too deep to be compiled, by line from 1, and why.
pub fn too_deep(source: &str) -> Result<(), (Option<usize>, String)> {
    let (mut at, mut elifs) = (0, 0);
    while let Some(start) = source[at..].find('{').map(|brace| at + brace) {
        let tag = &source[start..];
        let (length, bare) = match tag.as_bytes().get(1) {
            Some(b'#') => (tag.find("#}"), 0),
            Some(b'%') => tag_length(tag, "%}"),
            Some(b'{') => tag_length(tag, "}}"),
            _ => (Some(1), 0),
        };
        let length = length.unwrap_or(tag.len());
        let word = tag[..length].trim_start_matches(['{', '%', '-', '+', ' ', '\t', '\n']);
        elifs += usize::from(tag.starts_with("{%") && word.starts_with("elif"));
        let reason = match () {
            () if bare > MAX_TAG => format!("a tag of over {MAX_TAG} bytes"),
            () if elifs > MAX_ELIF => format!("over {MAX_ELIF} branches of elif"),
            () => {
                at = start + length;
                continue;
            }
        };
        let line = 1 + source[..start].matches('\n').count();
        return Err((Some(line), format!("nested too deep: {reason}")));
    }
    Ok(())
}

/// How long the tag is that a text begins with, if it ends, and how much of it is not quoted. What
/// is quoted or in brackets does not end it.
fn tag_length(tag: &str, end: &str) -> (Option<usize>, usize) {
    let (mut quote, mut depth, mut is_escaped, mut bare) = (None, 0_usize, false, 0);
    for (index, byte) in tag.bytes().enumerate().skip(2) {
        bare += usize::from(quote.is_none());
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if byte == b'\\' => is_escaped = true,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if depth == 0 && tag.as_bytes()[index..].starts_with(end.as_bytes()) => {
                return (Some(index + end.len()), bare);
            }
            None => match byte {
                b'"' | b'\'' => quote = Some(byte),
                b'{' | b'[' | b'(' => depth += 1,
                b'}' | b']' | b')' => depth = depth.saturating_sub(1),
                _ => {}
            },
        }
    }
    (None, bare)
}
