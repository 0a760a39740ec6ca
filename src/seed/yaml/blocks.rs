//! Texts in blocks of lines, behind `|` or `>`.

use super::reader::{END, Reader, is_break_or_end, is_space_or_end};
use super::scalars::Text;
use super::scanner::Scanner;
use super::tokens::Token;
use super::{Result, fault};

impl<'t> Scanner<'t> {
    pub(super) fn block_scalar(&mut self) -> Result<Token<'t>> {
        let line = self.reader.line;
        let is_folded = self.reader.peek() == '>';
        self.reader.forward();
        let (keeps, increment) = self.block_indicators()?;
        self.reader.skip_spaces();
        self.end_of_line("a block of text whose first line is not empty: it begins on the next")?;
        let least = usize::try_from(self.indent + 1).unwrap_or(0).max(1);
        let (indent, mut breaks) = match increment {
            Some(increment) => {
                let indent = least + increment - 1;
                (indent, self.block_breaks(indent))
            }
            None => {
                let (breaks, deepest) = self.block_indentation();
                (least.max(deepest), breaks)
            }
        };
        let mut text = Text::new(&self.reader);
        let mut last = None;
        let is_text = |reader: &Reader<'_>| reader.column == indent && reader.peek() != END;
        while is_text(&self.reader) {
            text.add_all(breaks);
            let is_word = |c: char| !matches!(c, ' ' | '\t');
            let begins_with_word = is_word(self.reader.peek());
            let start = self.reader.at();
            self.reader.forward_to_break();
            text.add_from(start, self.reader.at());
            last = self.reader.line_break();
            breaks = self.block_breaks(indent);
            if !is_text(&self.reader) {
                break;
            }
            let is_between_words = begins_with_word && is_word(self.reader.peek());
            match last {
                Some("\n") if is_folded && is_between_words => {
                    if breaks.is_empty() {
                        text.add(" ");
                    }
                }
                last => text.add_all(last),
            }
        }
        if keeps != Some(false) {
            text.add_all(last);
        }
        if keeps == Some(true) {
            text.add_all(breaks);
        }
        Ok(text.token(line, false))
    }

    /// Passes `+` or `-`, whether the line breaks at the end are kept, and the indentation, if that
    /// is said.
    fn block_indicators(&mut self) -> Result<(Option<bool>, Option<usize>)> {
        let (mut keeps, mut increment) = (None, None);
        for _ in 0..2 {
            match self.reader.peek() {
                c @ ('+' | '-') if keeps.is_none() => keeps = Some(c == '+'),
                c @ '1'..='9' if increment.is_none() => {
                    increment = c.to_digit(10).map(|digit| digit as usize);
                }
                _ => break,
            }
            self.reader.forward();
        }
        if is_space_or_end(self.reader.peek()) {
            Ok((keeps, increment))
        } else {
            let reason =
                "a block of text with something behind its sign: the text begins on the next line";
            fault(self.reader.line, reason)
        }
    }

    /// Passes a comment and the end of the line, where nothing else may be.
    pub(super) fn end_of_line(&mut self, refusal: &str) -> Result<()> {
        if self.reader.peek() == '#' {
            self.reader.forward_to_break();
        }
        if !is_break_or_end(self.reader.peek()) {
            return fault(self.reader.line, refusal);
        }
        self.reader.line_break();
        Ok(())
    }

    /// Passes the lines of white space before a block; returns its breaks and the deepest column.
    fn block_indentation(&mut self) -> (Vec<&'static str>, usize) {
        let (mut breaks, mut deepest) = (Vec::new(), 0);
        loop {
            self.reader.skip_spaces();
            deepest = deepest.max(self.reader.column);
            match self.reader.line_break() {
                Some(next) => breaks.push(next),
                None => return (breaks, deepest),
            }
        }
    }

    /// Passes empty lines, and the indentation of the next one.
    fn block_breaks(&mut self, indent: usize) -> Vec<&'static str> {
        let mut breaks = Vec::new();
        loop {
            while self.reader.column < indent && self.reader.peek() == ' ' {
                self.reader.forward();
            }
            match self.reader.line_break() {
                Some(next) => breaks.push(next),
                None => return breaks,
            }
        }
    }
}
