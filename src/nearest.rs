//! Which name a misspelt one was to be, and how names are told.

/// So many letters may be wrong, missing, too many or swapped.
const MAX_SLIPS: usize = 2;

/// One slip for so many letters: with more it is another word.
const LETTERS_PER_SLIP: usize = 3;

/// A name without what people take for the same: case, and what stands between words.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// How many slips are between two names; none where they are too many for their length.
fn slips(name: &str, known: &str) -> Option<usize> {
    let (name, known) = (plain(name), plain(known));
    let length = name.chars().count().min(known.chars().count());
    let distance = strsim::osa_distance(&name, &known);
    let allowed = MAX_SLIPS.min(length / LETTERS_PER_SLIP);
    (distance <= allowed).then_some(distance)
}

/// Whether a name looks like a misspelling of the other one.
pub(crate) fn is_nearly(name: &str, known: &str) -> bool {
    name != known && slips(name, known).is_some()
}

/// The known name that is nearest to this one, if one is near.
pub(crate) fn nearest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let near = known.filter_map(|known| Some((slips(name, known)?, known)));
    near.min_by_key(|(slips, _)| *slips).map(|(_, known)| known)
}

/// Names as a sentence has them: `` `a`, `b` or `c` ``.
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a str>, conjunction: &str) -> String {
    let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let last = names.pop().unwrap_or_default();
    if names.is_empty() {
        return last;
    }
    format!("{} {conjunction} {last}", names.join(", "))
}
