//! Which texts are values of their tag: numbers that can be counted, dates of the calendar.

use super::resolver::Tag;

/// Longest number that Python reads, in digits.
const MAX_DIGITS: usize = 4300;

const NO_NUMBER: &str = "a number that is none: put the text in quotes";
const NO_DATE: &str = "a date or time that does not exist: put the text in quotes";

/// Why the text is no value of that tag.
pub(super) fn why_not(tag: Tag, text: &str) -> Option<&'static str> {
    let (is_one, reason) = match tag {
        Tag::Bool => (is_bool(text), "a truth value that is none"),
        Tag::Int => (is_int(text), NO_NUMBER),
        Tag::Float => (is_float(text), NO_NUMBER),
        Tag::Binary => (is_base64(text), "base64 that is none"),
        Tag::Timestamp => {
            let is_time = Timestamp::read(text.strip_suffix('\n').unwrap_or(text));
            (is_time.is_some_and(|time| time.exists()), NO_DATE)
        }
        _ => return None,
    };
    (!is_one).then_some(reason)
}

pub(super) fn strip_sign(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn is_bool(text: &str) -> bool {
    ["yes", "no", "true", "false", "on", "off"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether Python's `int` takes the text as a number of that base.
fn is_integer(text: &str, base: u32) -> bool {
    let text = strip_sign(text.trim());
    let prefix = match base {
        2 => ["0b", "0B"],
        8 => ["0o", "0O"],
        16 => ["0x", "0X"],
        _ => [""; 2],
    };
    let digits = prefix.iter().find_map(|prefix| text.strip_prefix(prefix));
    let digits = digits.unwrap_or(text);
    let is_short = base != 10 || digits.len() <= MAX_DIGITS;
    is_short && !digits.is_empty() && digits.chars().all(|c| c.is_digit(base))
}

fn is_int(text: &str) -> bool {
    let text = text.replace('_', "");
    let text = strip_sign(&text);
    if let Some(digits) = text.strip_prefix("0b") {
        is_integer(digits, 2)
    } else if let Some(digits) = text.strip_prefix("0x") {
        is_integer(digits, 16)
    } else if text.starts_with('0') {
        is_integer(text, 8)
    } else {
        text.split(':').all(|part| is_integer(part, 10))
    }
}

fn is_float(text: &str) -> bool {
    let text = text.replace('_', "");
    let text = strip_sign(&text);
    let is_number = |part: &str| part.trim().parse::<f64>().is_ok();
    let text = text.to_ascii_lowercase();
    matches!(text.as_str(), ".inf" | ".nan") || text.split(':').all(is_number)
}

/// Whether Python decodes it: what is no base64 in it is passed over.
fn is_base64(text: &str) -> bool {
    let (mut digits, mut pads) = (0, 0);
    for byte in text.bytes() {
        match byte {
            b'=' => {
                pads += 1;
                if digits >= 2 && digits + pads >= 4 {
                    return text.is_ascii();
                }
            }
            b'+' | b'/' => (digits, pads) = ((digits + 1) % 4, 0),
            _ if byte.is_ascii_alphanumeric() => (digits, pads) = ((digits + 1) % 4, 0),
            _ => {}
        }
    }
    text.is_ascii() && digits == 0
}

/// A date, perhaps with a time, as it is written.
#[derive(Default)]
pub(super) struct Timestamp {
    year: u16,
    month: u16,
    day: u16,
    /// Hour, minute, second.
    time: Option<[u16; 3]>,
    /// From UTC, in minutes.
    offset: u16,
    /// Whether month and day have two digits.
    is_padded: bool,
}

impl Timestamp {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut rest = text;
        let year = digits(&mut rest, 4..=4)?;
        let month_at = take(&mut rest, "-")?;
        let month = digits(&mut rest, 1..=2)?;
        let day_at = take(&mut rest, "-")?;
        let day = digits(&mut rest, 1..=2)?;
        let mut read = Self {
            year,
            month,
            day,
            is_padded: month_at - day_at == 3 && day_at - rest.len() == 3,
            ..Self::default()
        };
        if rest.is_empty() {
            return Some(read);
        }
        let spaces = rest.trim_start_matches([' ', '\t']);
        rest = match rest.strip_prefix(['T', 't']) {
            Some(rest) => rest,
            None if spaces.len() < rest.len() => spaces,
            None => return None,
        };
        let hour = digits(&mut rest, 1..=2)?;
        take(&mut rest, ":")?;
        let minute = digits(&mut rest, 2..=2)?;
        take(&mut rest, ":")?;
        let second = digits(&mut rest, 2..=2)?;
        read.time = Some([hour, minute, second]);
        if let Some(fraction) = rest.strip_prefix('.') {
            rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        if rest.is_empty() {
            return Some(read);
        }
        rest = rest.trim_start_matches([' ', '\t']);
        if rest == "Z" {
            return Some(read);
        }
        rest = rest.strip_prefix(['-', '+'])?;
        read.offset = 60 * digits(&mut rest, 1..=2)?;
        if take(&mut rest, ":").is_some() {
            read.offset += digits(&mut rest, 2..=2)?;
        }
        rest.is_empty().then_some(read)
    }

    /// Whether it is taken for one where no tag says so.
    pub(super) const fn is_plain(&self) -> bool {
        self.is_padded || self.time.is_some()
    }

    pub(super) fn exists(&self) -> bool {
        let year = i16::try_from(self.year).unwrap_or(0);
        let month = i8::try_from(self.month).unwrap_or(0);
        let day = i8::try_from(self.day).unwrap_or(0);
        let is_date = year > 0 && jiff::civil::Date::new(year, month, day).is_ok();
        let is_time = self
            .time
            .is_none_or(|[hour, minute, second]| hour < 24 && minute < 60 && second < 60);
        is_date && is_time && self.offset < 24 * 60
    }
}

/// Takes as many digits as may be.
fn digits(rest: &mut &str, count: std::ops::RangeInclusive<usize>) -> Option<u16> {
    let found = rest.bytes().take_while(u8::is_ascii_digit).count();
    let found = found.min(*count.end());
    let (digits, behind) = rest.split_at(found);
    *rest = behind;
    if found < *count.start() {
        return None;
    }
    digits.parse().ok()
}

/// Takes what must be next; returns how long the rest was before.
fn take(rest: &mut &str, text: &str) -> Option<usize> {
    let length = rest.len();
    *rest = rest.strip_prefix(text)?;
    Some(length)
}
