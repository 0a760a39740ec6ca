//! Patterns for versions, which mean what they mean to `fnmatch.fnmatchcase` of Python: that is what
//! boxes judge by.

/// Most characters of a pattern.
const PATTERN_CHARS: usize = 256;

/// A pattern: `*` is any text, `?` any character, `[abc]` and `[a-f]` one of these, `[!abc]` any other.
#[derive(Debug, Clone)]
pub struct Glob {
    pattern: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    /// Any text, also none.
    Star,
    One(Class),
}

/// What one character may be.
#[derive(Debug, Clone)]
enum Class {
    Any,
    Is(char),
    Set {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Class {
    fn has(&self, c: char) -> bool {
        match self {
            Self::Any => true,
            Self::Is(own) => *own == c,
            Self::Set { is_negated, ranges } => {
                let is_in = |(first, last): &(char, char)| (*first..=*last).contains(&c);
                ranges.iter().any(is_in) != *is_negated
            }
        }
    }
}

impl Glob {
    /// Takes a pattern. Every text is one that is neither empty nor too long.
    pub fn new(pattern: String) -> Result<Self, String> {
        match pattern.chars().count() {
            0 => Err("an empty pattern: expected a version, such as \"6.17.*\"".to_owned()),
            1..=PATTERN_CHARS => Ok(Self {
                parts: parts(&pattern.chars().collect::<Vec<_>>()),
                pattern,
            }),
            long => Err(format!(
                "a pattern of {long} characters: expected at most {PATTERN_CHARS}"
            )),
        }
    }

    /// The pattern of one text.
    pub fn of_text(text: &str) -> String {
        let mut pattern = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '*' | '?' | '[' => pattern.extend(['[', c, ']']),
                c => pattern.push(c),
            }
        }
        pattern
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether it fits a text from end to end.
    pub fn fits(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut part) = (0, 0);
        // Where to go on if the last star has to take one character more.
        let mut again: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.parts.get(part) {
                Some(Part::Star) => {
                    part += 1;
                    again = Some((part, at));
                }
                Some(Part::One(class)) if class.has(text[at]) => {
                    part += 1;
                    at += 1;
                }
                _ => match &mut again {
                    Some((behind_star, taken)) => {
                        *taken += 1;
                        (part, at) = (*behind_star, *taken);
                    }
                    None => return false,
                },
            }
        }
        let rest = &self.parts[part..];
        rest.iter().all(|part| matches!(part, Part::Star))
    }
}

fn parts(pattern: &[char]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(&c) = pattern.get(at) {
        at += 1;
        let part = match c {
            '*' => Part::Star,
            '?' => Part::One(Class::Any),
            '[' => match end_of_set(pattern, at) {
                Some(end) => {
                    let set = set(&pattern[at..end]);
                    at = end + 1;
                    Part::One(set)
                }
                // One that is never closed is a character like others.
                None => Part::One(Class::Is('[')),
            },
            c => Part::One(Class::Is(c)),
        };
        parts.push(part);
    }
    parts
}

/// Where the set ends that begins at `start`. A bracket that stands first is a character of it.
fn end_of_set(pattern: &[char], start: usize) -> Option<usize> {
    let mut first = start;
    if pattern.get(first) == Some(&'!') {
        first += 1;
    }
    let next = first + 1;
    let end = pattern.get(next..)?.iter().position(|c| *c == ']')?;
    Some(next + end)
}

/// What stands between brackets, as Python takes it apart: in chunks, between the last character of
/// one and the first of the next there is a range.
fn set(stuff: &[char]) -> Class {
    let mut chunks = chunks(stuff);
    // Ranges with nothing in them go, and their ends with them.
    for index in (1..chunks.len()).rev() {
        let is_empty = match (chunks[index - 1].last(), chunks[index].first()) {
            (Some(first), Some(last)) => first > last,
            _ => false,
        };
        if is_empty {
            let next = chunks.remove(index);
            chunks[index - 1].pop();
            chunks[index - 1].extend_from_slice(&next[1..]);
        }
    }
    let is_single = chunks.len() == 1;
    let Some(first) = chunks.first_mut() else {
        return Class::Any;
    };
    let is_negated = first.first() == Some(&'!');
    let mut hyphen = None;
    if is_negated {
        first.remove(0);
        match (first.is_empty(), is_single) {
            (true, true) => return Class::Any,
            // No range begins there any more, so it is a character.
            (true, false) => hyphen = Some(('-', '-')),
            (false, _) => {}
        }
    }
    let ends = chunks.windows(2).filter_map(|pair| {
        let (first, last) = (pair[0].last()?, pair[1].first()?);
        Some((*first, *last))
    });
    let singles = chunks.iter().flatten().map(|c| (*c, *c));
    Class::Set {
        is_negated,
        ranges: singles.chain(ends).chain(hyphen).collect(),
    }
}

fn chunks(stuff: &[char]) -> Vec<Vec<char>> {
    let mut chunks: Vec<Vec<char>> = Vec::new();
    let mut start = 0;
    // A hyphen that stands first is a character.
    let mut from = if stuff.first() == Some(&'!') { 2 } else { 1 };
    while let Some(hyphen) = stuff
        .get(from..)
        .and_then(|rest| rest.iter().position(|c| *c == '-'))
    {
        let hyphen = from + hyphen;
        chunks.push(stuff[start..hyphen].to_vec());
        start = hyphen + 1;
        from = hyphen + 3;
    }
    match (stuff.get(start..), chunks.last_mut()) {
        (Some([]) | None, Some(last)) => last.push('-'),
        (rest, _) => chunks.push(rest.unwrap_or_default().to_vec()),
    }
    chunks
}
