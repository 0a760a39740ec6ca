//! What the parser makes of lists and mappings in brackets.

use super::parser::{Event, EventKind, Parser, Properties, State};
use super::tokens::TokenKind;
use super::{Result, fault};

impl<'t> Parser<'t> {
    /// Refuses the next token, or the bracket that is still open at the end of the text.
    pub(super) fn unclosed(&mut self, refusal: &str) -> Result<Event<'t>> {
        let is_end = *self.scanner.peek()? == TokenKind::StreamEnd;
        match self.brackets.last() {
            Some(line) if is_end => fault(*line, "a bracket that is never closed"),
            _ => fault(self.scanner.line()?, refusal),
        }
    }

    pub(super) fn flow_sequence(&mut self, is_first: bool) -> Result<Event<'t>> {
        let is_end = |token: &TokenKind<'_>| *token == TokenKind::FlowSequenceEnd;
        if !is_end(self.scanner.peek()?) {
            if !is_first && !self.scanner.take_if(&TokenKind::FlowEntry)? {
                return self
                    .unclosed("something in a list in brackets where ',' or ']' is expected");
            }
            if *self.scanner.peek()? == TokenKind::Key {
                // A mapping of one key, without brackets of its own.
                self.state = State::FlowSequenceKey;
                return self.event(EventKind::MappingStart(Properties::default()));
            }
            if !is_end(self.scanner.peek()?) {
                self.states.push(State::FlowSequence { is_first: false });
                return self.node(false, false);
            }
        }
        self.close()
    }

    /// Takes the closing bracket.
    fn close(&mut self) -> Result<Event<'t>> {
        self.scanner.take()?;
        self.brackets.pop();
        self.end()
    }

    pub(super) fn flow_sequence_key(&mut self) -> Result<Event<'t>> {
        self.scanner.take()?;
        match self.scanner.peek()? {
            TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowSequenceEnd => {
                self.empty(State::FlowSequenceValue)
            }
            _ => {
                self.states.push(State::FlowSequenceValue);
                self.node(false, false)
            }
        }
    }

    pub(super) fn flow_sequence_value(&mut self) -> Result<Event<'t>> {
        self.flow_value(&TokenKind::FlowSequenceEnd, State::FlowSequenceMappingEnd)
    }

    /// A value, if there is one before the next comma or bracket.
    fn flow_value(&mut self, end: &TokenKind<'_>, then: State) -> Result<Event<'t>> {
        if self.scanner.take_if(&TokenKind::Value)? {
            let next = self.scanner.peek()?;
            if *next != TokenKind::FlowEntry && next != end {
                self.states.push(then);
                return self.node(false, false);
            }
        }
        self.empty(then)
    }

    pub(super) fn flow_mapping(&mut self, is_first: bool) -> Result<Event<'t>> {
        let is_end = |token: &TokenKind<'_>| *token == TokenKind::FlowMappingEnd;
        if !is_end(self.scanner.peek()?) {
            if !is_first && !self.scanner.take_if(&TokenKind::FlowEntry)? {
                let refusal = "something in a mapping in braces where ',' or '}' is expected";
                return self.unclosed(refusal);
            }
            if self.scanner.take_if(&TokenKind::Key)? {
                return match self.scanner.peek()? {
                    TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowMappingEnd => {
                        self.empty(State::FlowMappingValue)
                    }
                    _ => {
                        self.states.push(State::FlowMappingValue);
                        self.node(false, false)
                    }
                };
            }
            if !is_end(self.scanner.peek()?) {
                self.states.push(State::FlowMappingEmptyValue);
                return self.node(false, false);
            }
        }
        self.close()
    }

    pub(super) fn flow_mapping_value(&mut self) -> Result<Event<'t>> {
        let then = State::FlowMapping { is_first: false };
        self.flow_value(&TokenKind::FlowMappingEnd, then)
    }
}
