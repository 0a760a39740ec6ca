//! Texts on a line or more: plain, and in quotes.

use std::borrow::Cow;

use super::reader::{END, Reader, is_blank_or_end, is_break};
use super::scanner::Scanner;
use super::tokens::{Token, TokenKind};
use super::{Result, fault};

/// What a text means. As long as that is what stands there, it is not copied.
pub(super) struct Text<'t> {
    start: usize,
    end: usize,
    copied: Option<String>,
    source: &'t str,
}

impl<'t> Text<'t> {
    /// An empty one, here.
    pub(super) fn new(reader: &Reader<'t>) -> Self {
        Self {
            start: reader.at(),
            end: reader.at(),
            copied: None,
            source: reader.text(),
        }
    }

    /// Adds what stands there.
    pub(super) fn add_from(&mut self, from: usize, to: usize) {
        if self.copied.is_none() && (from == self.end || self.start == self.end) {
            self.start = if self.start == self.end {
                from
            } else {
                self.start
            };
            self.end = to;
        } else {
            self.add(&self.source[from..to]);
        }
    }

    /// Adds what stands nowhere.
    pub(super) fn add(&mut self, text: &str) {
        let literal = &self.source[self.start..self.end];
        self.copied
            .get_or_insert_with(|| literal.to_owned())
            .push_str(text);
    }

    pub(super) fn add_all<'b>(&mut self, breaks: impl IntoIterator<Item = &'b str>) {
        breaks.into_iter().for_each(|text| self.add(text));
    }

    pub(super) fn token(self, line: usize, is_plain: bool) -> Token<'t> {
        let text = match self.copied {
            Some(text) => Cow::Owned(text),
            None => Cow::Borrowed(&self.source[self.start..self.end]),
        };
        let kind = TokenKind::Scalar { text, is_plain };
        Token { line, kind }
    }
}

/// White space in a text: what stands there, or the line breaks that it becomes.
enum Gap {
    Spaces(usize, usize),
    Lines(Vec<&'static str>),
}

impl Gap {
    /// A line break and the empty lines behind it: one alone is a space.
    fn folded(first: &'static str, mut breaks: Vec<&'static str>) -> Self {
        if first != "\n" {
            breaks.insert(0, first);
        } else if breaks.is_empty() {
            breaks.push(" ");
        }
        Self::Lines(breaks)
    }
}

impl<'t> Scanner<'t> {
    pub(super) fn plain_scalar(&mut self) -> Result<Token<'t>> {
        let line = self.reader.line;
        let mut text = Text::new(&self.reader);
        let mut gap = None;
        while self.reader.peek() != '#' {
            let length = plain_length(self.reader.rest(), self.level > 0);
            if length == 0 {
                break;
            }
            self.may_be_key = false;
            match gap {
                Some(Gap::Spaces(from, to)) => text.add_from(from, to),
                Some(Gap::Lines(breaks)) => text.add_all(breaks),
                None => {}
            }
            let at = self.reader.at();
            text.add_from(at, at + length);
            self.reader.forward_over(length);
            gap = self.plain_gap();
            let is_outdented = self.reader.column.cast_signed() <= self.indent;
            if gap.is_none() || (self.level == 0 && is_outdented) {
                break;
            }
        }
        Ok(text.token(line, true))
    }

    /// Passes white space in a plain text; none where there is none, or the document ends.
    fn plain_gap(&mut self) -> Option<Gap> {
        let start = self.reader.at();
        self.reader.skip_spaces();
        let Some(first) = self.reader.line_break() else {
            let end = self.reader.at();
            return (end > start).then_some(Gap::Spaces(start, end));
        };
        self.may_be_key = true;
        let mut breaks = Vec::new();
        loop {
            if self.reader.is_at_document_marker() {
                return None;
            }
            self.reader.skip_spaces();
            match self.reader.line_break() {
                Some(next) => breaks.push(next),
                None => return Some(Gap::folded(first, breaks)),
            }
        }
    }

    pub(super) fn quoted_scalar(&mut self) -> Result<Token<'t>> {
        let line = self.reader.line;
        let quote = self.reader.peek();
        self.reader.forward();
        let mut text = Text::new(&self.reader);
        loop {
            self.quoted_words(quote, line, &mut text)?;
            if self.reader.peek() == quote {
                break;
            }
            let start = self.reader.at();
            self.reader
                .forward_while(|byte| matches!(byte, b' ' | b'\t'));
            match self.reader.line_break() {
                Some(first) => match Gap::folded(first, self.quoted_breaks(line)?) {
                    Gap::Lines(breaks) => text.add_all(breaks),
                    Gap::Spaces(..) => {}
                },
                None if self.reader.peek() == END => {
                    return fault(line, "a text in quotes that are never closed");
                }
                None => text.add_from(start, self.reader.at()),
            }
        }
        self.reader.forward();
        Ok(text.token(line, false))
    }

    /// Passes what is between white space.
    fn quoted_words(&mut self, quote: char, line: usize, text: &mut Text<'t>) -> Result<()> {
        let is_double = quote == '"';
        loop {
            let start = self.reader.at();
            let length = quoted_length(self.reader.rest());
            self.reader.forward_over(length);
            text.add_from(start, self.reader.at());
            let at = self.reader.at();
            match self.reader.peek() {
                '\'' if !is_double && self.reader.peek_over(1) == '\'' => {
                    self.reader.forward_over(2);
                    text.add("'");
                }
                c @ ('\'' | '"' | '\\') if c != quote && !(is_double && c == '\\') => {
                    self.reader.forward_over(1);
                    text.add_from(at, at + 1);
                }
                '\\' => {
                    self.reader.forward_over(1);
                    self.escape(line, text)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Passes what is behind a backslash.
    fn escape(&mut self, line: usize, text: &mut Text<'t>) -> Result<()> {
        let c = self.reader.peek();
        let meaning = match c {
            '0' => "\0",
            'a' => "\x07",
            'b' => "\x08",
            't' | '\t' => "\t",
            'n' => "\n",
            'v' => "\x0b",
            'f' => "\x0c",
            'r' => "\r",
            'e' => "\x1b",
            ' ' => " ",
            '"' => "\"",
            '\\' => "\\",
            '/' => "/",
            'N' => "\u{85}",
            '_' => "\u{a0}",
            'L' => "\u{2028}",
            'P' => "\u{2029}",
            'x' => return self.escape_by_number(2, text),
            'u' => return self.escape_by_number(4, text),
            'U' => return self.escape_by_number(8, text),
            _ if self.reader.line_break().is_some() => {
                text.add_all(self.quoted_breaks(line)?);
                return Ok(());
            }
            _ => {
                let reason = "a backslash in double quotes that means nothing: write two, or use single quotes";
                return fault(self.reader.line, reason);
            }
        };
        self.reader.forward_over(1);
        text.add(meaning);
        Ok(())
    }

    fn escape_by_number(&mut self, digits: usize, text: &mut Text<'t>) -> Result<()> {
        self.reader.forward_over(1);
        let digits = self.reader.rest().get(..digits);
        let is_hex = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(digits) = digits.filter(is_hex) else {
            return fault(self.reader.line, "an escape without its hexadecimal digits");
        };
        let code = u32::from_str_radix(digits, 16).ok();
        let Some(code) = code.filter(|code| *code <= u32::from(char::MAX)) else {
            return fault(self.reader.line, "an escape of no character");
        };
        // Half of a surrogate pair is a character there.
        let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        text.add(c.encode_utf8(&mut [0; 4]));
        self.reader.forward_over(digits.len());
        Ok(())
    }

    /// Passes the empty lines in a text in quotes, and the white space that the next one begins
    /// with.
    fn quoted_breaks(&mut self, line: usize) -> Result<Vec<&'static str>> {
        let mut breaks = Vec::new();
        loop {
            if self.reader.is_before_document_marker() {
                return fault(line, "a text in quotes that are not closed in its document");
            }
            self.reader
                .forward_while(|byte| matches!(byte, b' ' | b'\t'));
            match self.reader.line_break() {
                Some(next) => breaks.push(next),
                None => return Ok(breaks),
            }
        }
    }
}

/// How many bytes of a plain text there are before the next white space or token.
fn plain_length(text: &str, is_in_brackets: bool) -> usize {
    let next_char = |at: usize| text[at..].chars().next().unwrap_or(END);
    let is_end = |(at, byte): &(usize, u8)| match byte {
        b' ' | b'\t' | b'\r' | b'\n' => true,
        b',' | b'?' | b'[' | b']' | b'{' | b'}' => is_in_brackets,
        b':' => {
            let next = next_char(at + 1);
            let is_bracket = matches!(next, ',' | '[' | ']' | '{' | '}');
            is_blank_or_end(next) || (is_in_brackets && is_bracket)
        }
        0xc2 | 0xe2 => is_break(next_char(*at)),
        _ => false,
    };
    let end = text.bytes().enumerate().find(is_end);
    end.map_or(text.len(), |(at, _)| at)
}

/// How many bytes in quotes there are before the next white space, quote or backslash.
fn quoted_length(text: &str) -> usize {
    let is_end = |(at, byte): &(usize, u8)| match byte {
        b'\'' | b'"' | b'\\' | b' ' | b'\t' | b'\r' | b'\n' => true,
        0xc2 | 0xe2 => text[*at..].chars().next().is_some_and(is_break),
        _ => false,
    };
    let end = text.bytes().enumerate().find(is_end);
    end.map_or(text.len(), |(at, _)| at)
}
