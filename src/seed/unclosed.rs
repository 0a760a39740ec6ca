//! Where a template opened what it never closed. The engine tells where the text ends.

/// Statements that need an end, each `end` and its name. `set` does if it has no `=`.
const BLOCKS: [&str; 10] = [
    "autoescape",
    "block",
    "call",
    "filter",
    "for",
    "if",
    "macro",
    "raw",
    "trans",
    "with",
];

/// The tag of `{% raw %}`, which ends at the next `{% endraw %}`, whatever stands between them.
const RAW: &str = "raw";

/// Something that is not closed.
pub(super) struct Unclosed {
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) what: String,
    /// Whether that is a tag or a comment, and no statement that needs an end.
    pub(super) is_tag: bool,
}

impl Unclosed {
    fn tag(text: &str, at: usize, what: impl Into<String>) -> Self {
        Self {
            line: line_of(text, at),
            what: what.into(),
            is_tag: true,
        }
    }

    fn statement(line: usize, name: &str) -> Self {
        Self {
            line,
            what: format!("`{{% {name} %}}` has no `{{% end{name} %}}`"),
            is_tag: false,
        }
    }
}

/// What a template opens first and never closes.
pub(super) fn unclosed(text: &str) -> Option<Unclosed> {
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('{') {
        let start = at + found;
        let rest = &text[start..];
        let inside = start + 2;
        at = if rest.starts_with("{#") {
            match text[inside..].find("#}") {
                Some(length) => inside + length + 2,
                None => return Some(Unclosed::tag(text, start, comment(&text[..start]))),
            }
        } else if rest.starts_with("{{") {
            match end_of_tag(text, inside, "}}") {
                Some(end) => end,
                None => return Some(Unclosed::tag(text, start, "`{{` is never closed")),
            }
        } else if rest.starts_with("{%") {
            let Some(end) = end_of_tag(text, inside, "%}") else {
                return Some(Unclosed::tag(text, start, "`{%` is never closed"));
            };
            let tag = text[inside..end - 2].trim_matches(['-', '+']).trim();
            let name = tag
                .split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap_or(tag);
            match name.strip_prefix("end") {
                _ if name == RAW => match end_of_raw(&text[end..]) {
                    Some(length) => end + length,
                    None => return Some(Unclosed::statement(line_of(text, start), RAW)),
                },
                Some(ended) => {
                    match open.pop() {
                        Some((_, name)) if name == ended => {}
                        Some((line, name)) => return Some(Unclosed::statement(line, name)),
                        None => return None,
                    }
                    end
                }
                None => {
                    let is_set = name == "set" && !tag.contains('=');
                    if is_set || BLOCKS.contains(&name) {
                        open.push((line_of(text, start), name));
                    }
                    end
                }
            }
        } else {
            start + 1
        };
    }
    let (line, name) = open.pop()?;
    Some(Unclosed::statement(line, name))
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

fn comment(before: &str) -> String {
    let word = "`{#` begins a comment that is never closed";
    match before.ends_with('$') {
        // A shell's length of an array.
        true => {
            format!("{word}: put the shell's `${{#` between `{{% raw %}}` and `{{% endraw %}}`")
        }
        false => word.to_owned(),
    }
}

/// Behind the end of a tag, which is not in quotes nor in brackets; none where another tag begins
/// before it.
fn end_of_tag(text: &str, from: usize, end: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0usize, None);
    let mut chars = text[from..].char_indices();
    while let Some((index, c)) = chars.next() {
        let rest = &text[from + index..];
        match (quote, c) {
            (Some(_), '\\') => _ = chars.next(),
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, _) if depth == 0 && rest.starts_with(end) => return Some(from + index + 2),
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') if rest.starts_with("{%") || rest.starts_with("{#") => return None,
            (None, '{' | '[' | '(') => depth += 1,
            (None, '}' | ']' | ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    None
}

/// How far it is behind the `{% endraw %}`.
fn end_of_raw(text: &str) -> Option<usize> {
    text.match_indices("{%").find_map(|(start, _)| {
        let inside = text[start + 2..]
            .trim_start_matches(['-', '+'])
            .trim_start();
        let behind = inside.strip_prefix("endraw")?.trim_start();
        let behind = behind.trim_start_matches(['-', '+']).strip_prefix("%}")?;
        Some(text.len() - behind.len())
    })
}
