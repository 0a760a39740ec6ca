//! From characters to tokens, with the tokens that indentation stands for.
//!
//! What may turn out to be a key is kept in mind until its colon comes: a key has no mark of its
//! own. It must stand on one line, and be no longer than [`MAX_KEY`].

use std::collections::VecDeque;

use super::reader::{END, Reader, is_blank_or_end};
use super::tokens::{Token, TokenKind};
use super::{Result, fault};

/// Longest key without a `?`, in characters.
const MAX_KEY: usize = 1024;

/// What may turn out to be a key.
struct PossibleKey {
    /// How deep in brackets it stands.
    level: usize,
    /// The number of its first token.
    token: usize,
    /// Whether nothing else can stand there.
    is_required: bool,
    index: usize,
    line: usize,
    column: usize,
}

pub(super) struct Scanner<'t> {
    pub(super) reader: Reader<'t>,
    tokens: VecDeque<Token<'t>>,
    /// How many tokens were taken.
    taken: usize,
    is_done: bool,
    /// How many brackets are open. In brackets, indentation means nothing.
    pub(super) level: usize,
    /// The column of the innermost block; -1 outside of all.
    pub(super) indent: isize,
    indents: Vec<isize>,
    /// Whether a key may begin here.
    pub(super) may_be_key: bool,
    /// At most one for each level, outermost first.
    possible_keys: VecDeque<PossibleKey>,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Result<Self> {
        Ok(Self {
            reader: Reader::new(text)?,
            tokens: VecDeque::new(),
            taken: 0,
            is_done: false,
            level: 0,
            indent: -1,
            indents: Vec::new(),
            may_be_key: true,
            possible_keys: VecDeque::new(),
        })
    }

    /// The next token. Behind the last one, that one again.
    pub(super) fn peek(&mut self) -> Result<&TokenKind<'t>> {
        while self.needs_more()? {
            self.fetch()?;
        }
        let next = self.tokens.front();
        Ok(next.map_or(&TokenKind::StreamEnd, |token| &token.kind))
    }

    /// The line of the next token.
    pub(super) fn line(&mut self) -> Result<usize> {
        self.peek()?;
        let next = self.tokens.front();
        Ok(next.map_or(self.reader.line, |token| token.line))
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Result<Token<'t>> {
        self.peek()?;
        self.taken += 1;
        let next = self.tokens.pop_front();
        Ok(next.unwrap_or(Token {
            line: self.reader.line,
            kind: TokenKind::StreamEnd,
        }))
    }

    /// Takes the next token if it is that one.
    pub(super) fn take_if(&mut self, kind: &TokenKind<'_>) -> Result<bool> {
        let is_it = self.peek()? == kind;
        if is_it {
            self.take()?;
        }
        Ok(is_it)
    }

    /// Whether the next token is not known yet: it may be a key, which has a token of its own in
    /// front.
    fn needs_more(&mut self) -> Result<bool> {
        if self.is_done || self.tokens.is_empty() {
            return Ok(!self.is_done);
        }
        self.forget_stale_keys()?;
        let first = self.possible_keys.front();
        Ok(first.is_some_and(|key| key.token == self.taken))
    }

    fn fetch(&mut self) -> Result<()> {
        self.skip_to_token();
        self.forget_stale_keys()?;
        self.close_blocks(self.reader.column.cast_signed());
        let next = self.reader.peek();
        let is_before_blank = is_blank_or_end(self.reader.peek_over(next.len_utf8()));
        let is_in_brackets = self.level > 0;
        match next {
            END => self.fetch_end(),
            '%' if self.reader.column == 0 => {
                self.close_all()?;
                let token = self.directive()?;
                self.push(token.line, token.kind);
                Ok(())
            }
            '-' | '.' if self.reader.is_at_document_marker() => {
                self.close_all()?;
                let kind = match next {
                    '-' => TokenKind::DocumentStart,
                    _ => TokenKind::DocumentEnd,
                };
                self.push_over(3, kind);
                Ok(())
            }
            '[' => self.fetch_bracket(TokenKind::FlowSequenceStart),
            '{' => self.fetch_bracket(TokenKind::FlowMappingStart),
            ']' => self.fetch_closing_bracket(TokenKind::FlowSequenceEnd),
            '}' => self.fetch_closing_bracket(TokenKind::FlowMappingEnd),
            ',' => {
                self.may_be_key = true;
                self.forget_key()?;
                self.push_over(1, TokenKind::FlowEntry);
                Ok(())
            }
            '-' if is_before_blank => self.fetch_block_entry(),
            '?' if is_before_blank || is_in_brackets => self.fetch_key(),
            ':' if is_before_blank || is_in_brackets => self.fetch_value(),
            '*' => self.fetch_scanned(Self::alias),
            '&' => self.fetch_scanned(Self::anchor),
            '!' => self.fetch_scanned(Self::tag),
            '|' | '>' if !is_in_brackets => {
                self.may_be_key = true;
                self.forget_key()?;
                let token = self.block_scalar()?;
                self.push(token.line, token.kind);
                Ok(())
            }
            '\'' | '"' => self.fetch_scanned(Self::quoted_scalar),
            '-' => self.fetch_scanned(Self::plain_scalar),
            '?' | ':' if !is_in_brackets => self.fetch_scanned(Self::plain_scalar),
            '\t' => fault(self.reader.line, "a tab where only spaces are allowed"),
            '#' | '|' | '>' | '%' | '@' | '`' => fault(
                self.reader.line,
                "a character that no word can begin with: put the text in quotes",
            ),
            _ => self.fetch_scanned(Self::plain_scalar),
        }
    }

    fn push(&mut self, line: usize, kind: TokenKind<'t>) {
        self.tokens.push_back(Token { line, kind });
    }

    /// Adds a token of that many bytes.
    fn push_over(&mut self, bytes: usize, kind: TokenKind<'t>) {
        self.push(self.reader.line, kind);
        self.reader.forward_over(bytes);
    }

    fn skip_to_token(&mut self) {
        loop {
            self.reader.skip_spaces();
            if self.reader.peek() == '#' {
                self.reader.forward_to_break();
            }
            if self.reader.line_break().is_none() {
                return;
            }
            if self.level == 0 {
                self.may_be_key = true;
            }
        }
    }

    /// Forgets what can be no key any more: it ended long ago, or on another line.
    fn forget_stale_keys(&mut self) -> Result<()> {
        while let Some(key) = self.possible_keys.front() {
            let is_near = self.reader.index - key.index <= MAX_KEY;
            if key.line == self.reader.line && is_near {
                break;
            }
            if key.is_required {
                return fault(key.line, "a key without ':'");
            }
            self.possible_keys.pop_front();
        }
        Ok(())
    }

    /// Remembers that what begins here may be a key.
    fn remember_key(&mut self) -> Result<()> {
        if !self.may_be_key {
            return Ok(());
        }
        self.forget_key()?;
        let reader = &self.reader;
        self.possible_keys.push_back(PossibleKey {
            level: self.level,
            token: self.taken + self.tokens.len(),
            is_required: self.level == 0 && self.indent == reader.column.cast_signed(),
            index: reader.index,
            line: reader.line,
            column: reader.column,
        });
        Ok(())
    }

    /// The key that may be on this level.
    fn take_key(&mut self) -> Option<PossibleKey> {
        match self.possible_keys.back() {
            Some(key) if key.level == self.level => self.possible_keys.pop_back(),
            _ => None,
        }
    }

    fn forget_key(&mut self) -> Result<()> {
        match self.take_key() {
            Some(key) if key.is_required => fault(key.line, "a key without ':'"),
            _ => Ok(()),
        }
    }

    /// Ends the blocks that are indented more than this column.
    fn close_blocks(&mut self, column: isize) {
        while self.level == 0 && self.indent > column {
            self.indent = self.indents.pop().unwrap_or(-1);
            self.push(self.reader.line, TokenKind::BlockEnd);
        }
    }

    /// Whether a new block begins in this column.
    fn open_block(&mut self, column: usize) -> bool {
        let column = column.cast_signed();
        let is_deeper = self.indent < column;
        if is_deeper {
            self.indents.push(self.indent);
            self.indent = column;
        }
        is_deeper
    }

    fn close_all(&mut self) -> Result<()> {
        self.close_blocks(-1);
        self.forget_key()?;
        self.may_be_key = false;
        Ok(())
    }

    fn fetch_end(&mut self) -> Result<()> {
        self.close_all()?;
        self.possible_keys.clear();
        self.push(self.reader.line, TokenKind::StreamEnd);
        self.is_done = true;
        Ok(())
    }

    fn fetch_bracket(&mut self, kind: TokenKind<'t>) -> Result<()> {
        self.remember_key()?;
        self.level += 1;
        self.may_be_key = true;
        self.push_over(1, kind);
        Ok(())
    }

    fn fetch_closing_bracket(&mut self, kind: TokenKind<'t>) -> Result<()> {
        self.forget_key()?;
        let Some(level) = self.level.checked_sub(1) else {
            return fault(self.reader.line, "a closing bracket that was never opened");
        };
        self.level = level;
        self.may_be_key = false;
        self.push_over(1, kind);
        Ok(())
    }

    /// Adds a token that may be a key or stand in front of one.
    fn fetch_scanned(&mut self, scan: impl Fn(&mut Self) -> Result<Token<'t>>) -> Result<()> {
        self.remember_key()?;
        self.may_be_key = false;
        let token = scan(self)?;
        self.push(token.line, token.kind);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<()> {
        self.open_block_of(
            "a list that cannot begin here",
            TokenKind::BlockSequenceStart,
        )?;
        self.may_be_key = true;
        self.forget_key()?;
        self.push_over(1, TokenKind::BlockEntry);
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<()> {
        self.open_block_of("a key that cannot begin here", TokenKind::BlockMappingStart)?;
        self.may_be_key = self.level == 0;
        self.forget_key()?;
        self.push_over(1, TokenKind::Key);
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<()> {
        if let Some(key) = self.take_key() {
            let at = key.token - self.taken;
            let token = |kind| Token {
                line: key.line,
                kind,
            };
            self.tokens.insert(at, token(TokenKind::Key));
            if self.level == 0 && self.open_block(key.column) {
                self.tokens.insert(at, token(TokenKind::BlockMappingStart));
            }
            self.may_be_key = false;
        } else {
            let reason = "a ':' where no key is expected: put the text in quotes";
            self.open_block_of(reason, TokenKind::BlockMappingStart)?;
            self.may_be_key = self.level == 0;
        }
        self.push_over(1, TokenKind::Value);
        Ok(())
    }

    /// Outside of brackets, begins a block here if it is not in one of this column already.
    fn open_block_of(&mut self, refusal: &str, kind: TokenKind<'t>) -> Result<()> {
        if self.level > 0 {
            return Ok(());
        }
        if !self.may_be_key {
            return fault(self.reader.line, refusal);
        }
        if self.open_block(self.reader.column) {
            self.push(self.reader.line, kind);
        }
        Ok(())
    }
}
