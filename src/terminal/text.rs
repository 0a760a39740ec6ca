//! Text for a terminal: clean, as wide as it may be, and how long ago.

use std::fmt::Write as _;

use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::excerpt::one_line;

/// Stands where a text was cut.
const CUT: char = '…';

/// A text of a box as one line that a terminal only prints: what would control it is escaped.
pub fn clean(text: &str) -> String {
    one_line(&text.replace('\t', " "), usize::MAX)
}

/// JSON text in which nothing controls a terminal: serde_json leaves as they are what is above 0x7e
/// and does not print, such as the controls of ISO 6429 and those of the direction of writing.
/// Outside of strings there is none but line breaks.
pub fn clean_json(json: &str) -> String {
    let mut clean = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if c.is_ascii_graphic() || c == ' ' || c == '\n' || c.escape_debug().len() == 1 {
            clean.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut units) {
            // Writing to a String cannot fail.
            let _ = write!(clean, "\\u{unit:04x}");
        }
    }
    clean
}

/// How many columns a clean text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `columns`, cut with `…` where it is longer.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else {
        return String::new();
    };
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= room
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push(CUT);
    cut
}

/// The text in just so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let blanks = columns - width(&text);
    text + &" ".repeat(blanks)
}

/// The text in lines of at most `columns`, broken between words where that goes. Further lines begin
/// with `indent` blanks.
pub fn wrap(text: &str, columns: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    loop {
        let is_first = lines.is_empty();
        let blanks = if is_first { 0 } else { indent };
        let room = columns.saturating_sub(blanks).max(1);
        let end = end_of_line(rest, room);
        lines.push(" ".repeat(blanks) + rest[..end].trim_end());
        rest = rest[end..].trim_start();
        if rest.is_empty() {
            return lines;
        }
    }
}

/// Where the first line of at most `room` columns ends; of one character at least.
fn end_of_line(text: &str, room: usize) -> usize {
    let (mut used, mut end, mut blank) = (0, text.len(), None);
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > room && at > 0 {
            end = blank.unwrap_or(at);
            break;
        }
        if c == ' ' && at > 0 && !text[..at].trim().is_empty() {
            blank = Some(at);
        }
    }
    end
}

/// How long before `now` that was, roughly: `12s`, `3min`, `5h`, `2d`. What a clock has in the
/// future was just now.
pub fn ago(now: Timestamp, at: Timestamp) -> String {
    span(u64::try_from(now.duration_since(at).as_secs()).unwrap_or(0))
}

/// So many seconds, roughly.
pub fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}min", seconds / MINUTE),
        HOUR..DAY => format!("{}h", seconds / HOUR),
        DAY.. => format!("{}d", seconds / DAY),
    }
}
