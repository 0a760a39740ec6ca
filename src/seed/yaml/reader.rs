//! The characters of a text, one after the other, and where they stand.

use super::{Result, fault};

/// Behind the last character. It cannot stand in a text.
pub(super) const END: char = '\0';

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Whether a line ends there. A text has more line breaks here than in YAML 1.2.
pub(super) const fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

pub(super) const fn is_break_or_end(c: char) -> bool {
    is_break(c) || c == END
}

/// Whether a token may end there.
pub(super) const fn is_space_or_end(c: char) -> bool {
    is_break_or_end(c) || c == ' '
}

/// Likewise, where tabs are white space.
pub(super) const fn is_blank_or_end(c: char) -> bool {
    is_space_or_end(c) || c == '\t'
}

/// A text with a place in it.
pub(super) struct Reader<'t> {
    text: &'t str,
    /// In bytes.
    at: usize,
    /// The same place in characters.
    pub(super) index: usize,
    /// Counted from 1.
    pub(super) line: usize,
    /// In characters, counted from 0. Byte order marks have no width.
    pub(super) column: usize,
}

impl<'t> Reader<'t> {
    /// Reads a text without characters that may not be in one.
    pub(super) fn new(text: &'t str) -> Result<Self> {
        if let Some(at) = unprintable(text) {
            let before = text[..at].chars();
            let line = 1 + before.filter(|c| *c == '\n').count();
            return fault(
                line,
                "a control character: write it as an escape in double quotes",
            );
        }
        let mut reader = Self {
            text,
            at: 0,
            index: 0,
            line: 1,
            column: 0,
        };
        if reader.peek() == BYTE_ORDER_MARK {
            reader.forward();
        }
        Ok(reader)
    }

    /// Where the reader is, in bytes.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// All of it.
    pub(super) const fn text(&self) -> &'t str {
        self.text
    }

    /// The text from one place to another.
    pub(super) fn slice(&self, from: usize, to: usize) -> &'t str {
        &self.text[from..to]
    }

    /// What is still to be read.
    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> char {
        self.peek_over(0)
    }

    /// The character behind that many bytes.
    pub(super) fn peek_over(&self, bytes: usize) -> char {
        let at = self.at + bytes;
        match self.text.as_bytes().get(at) {
            Some(byte) if byte.is_ascii() => char::from(*byte),
            Some(_) => self.text[at..].chars().next().unwrap_or(END),
            None => END,
        }
    }

    /// Whether a line that says `---` or `...` begins here.
    pub(super) fn is_at_document_marker(&self) -> bool {
        self.column == 0 && self.is_before_document_marker()
    }

    /// Likewise, in whatever column.
    pub(super) fn is_before_document_marker(&self) -> bool {
        let is_marker = self.rest().starts_with("---") || self.rest().starts_with("...");
        is_marker && is_blank_or_end(self.peek_over(3))
    }

    /// Passes one character; at the end, none.
    pub(super) fn forward(&mut self) {
        let c = self.peek();
        if c == END {
            return;
        }
        self.at += c.len_utf8();
        self.index += 1;
        if is_break(c) && !(c == '\r' && self.peek() == '\n') {
            self.line += 1;
            self.column = 0;
        } else if c != BYTE_ORDER_MARK {
            self.column += 1;
        }
    }

    /// Passes that many bytes, in which no line ends.
    pub(super) fn forward_over(&mut self, bytes: usize) {
        let passed = &self.text[self.at..self.at + bytes];
        let chars = passed.chars().count();
        let width = if chars == bytes {
            chars
        } else {
            passed.chars().filter(|c| *c != BYTE_ORDER_MARK).count()
        };
        self.at += bytes;
        self.index += chars;
        self.column += width;
    }

    /// Passes what of the ASCII characters to come fits.
    pub(super) fn forward_while(&mut self, fits: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !fits(byte));
        let length = length.unwrap_or(rest.len());
        self.forward_over(length);
        &rest[..length]
    }

    /// Passes the rest of the line, without its end.
    pub(super) fn forward_to_break(&mut self) -> &'t str {
        let rest = self.rest();
        let end = to_break(rest);
        self.forward_over(end);
        &rest[..end]
    }

    pub(super) fn skip_spaces(&mut self) {
        self.forward_while(|byte| byte == b' ');
    }

    /// Passes a line break, if one is here, and says what it is in a text.
    pub(super) fn line_break(&mut self) -> Option<&'static str> {
        let c = self.peek();
        if !is_break(c) {
            return None;
        }
        self.forward();
        if c == '\r' && self.peek() == '\n' {
            self.forward();
        }
        Some(match c {
            '\u{2028}' => "\u{2028}",
            '\u{2029}' => "\u{2029}",
            _ => "\n",
        })
    }
}

/// How many bytes there are before the next end of a line.
fn to_break(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_end = |(at, byte): &(usize, &u8)| match byte {
        b'\n' | b'\r' => true,
        0xc2 | 0xe2 => text[*at..].chars().next().is_some_and(is_break),
        _ => false,
    };
    let end = bytes.iter().enumerate().find(is_end);
    end.map_or(bytes.len(), |(at, _)| at)
}

/// Where the first character is that may not stand in a text.
fn unprintable(text: &str) -> Option<usize> {
    let is_unprintable = |(at, byte): &(usize, u8)| match byte {
        b'\t' | b'\n' | b'\r' => false,
        0..b' ' | 0x7f => true,
        // Of those with more bytes, the control characters and what is no character begin so.
        0xc2 | 0xef => {
            let c = text[*at..].chars().next();
            c.is_some_and(|c| {
                matches!(c, '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}') && c != '\u{85}'
            })
        }
        _ => false,
    };
    text.bytes()
        .enumerate()
        .find(is_unprintable)
        .map(|(at, _)| at)
}
