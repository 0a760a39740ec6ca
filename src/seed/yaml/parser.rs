//! From tokens to what they make up: scalars, aliases, and where collections begin and end.

use std::borrow::Cow;
use std::collections::HashMap;

use super::scanner::Scanner;
use super::tokens::{Directive, TagText, Token, TokenKind};
use super::{Result, fault};

const DEFAULT_HANDLES: [(&str, &str); 2] = [("!", "!"), ("!!", "tag:yaml.org,2002:")];

/// The tag that leaves open what a value is.
const NO_TAG: &str = "!";

pub(super) struct Event<'t> {
    pub(super) line: usize,
    pub(super) kind: EventKind<'t>,
}

pub(super) enum EventKind<'t> {
    DocumentEnd,
    StreamEnd,
    Alias(&'t str),
    Scalar {
        properties: Properties<'t>,
        text: Cow<'t, str>,
        /// Whether what it is depends on the text.
        is_open: bool,
    },
    SequenceStart(Properties<'t>),
    MappingStart(Properties<'t>),
    /// Of either.
    CollectionEnd,
}

#[derive(Default)]
pub(super) struct Properties<'t> {
    pub(super) anchor: Option<&'t str>,
    /// In full.
    pub(super) tag: Option<String>,
}

/// What comes next.
#[derive(Clone, Copy)]
pub(super) enum State {
    /// The first document, which needs no `---`.
    Start,
    DocumentStart,
    DocumentEnd,
    BlockSequence,
    IndentlessSequence,
    BlockMappingKey,
    BlockMappingValue,
    FlowSequence {
        is_first: bool,
    },
    FlowSequenceKey,
    FlowSequenceValue,
    FlowSequenceMappingEnd,
    FlowMapping {
        is_first: bool,
    },
    FlowMappingValue,
    FlowMappingEmptyValue,
    End,
}

pub(super) struct Parser<'t> {
    pub(super) scanner: Scanner<'t>,
    pub(super) state: State,
    /// What comes behind what is being read, innermost last.
    pub(super) states: Vec<State>,
    /// Where the open brackets are.
    pub(super) brackets: Vec<usize>,
    handles: HashMap<&'t str, String>,
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str) -> Result<Self> {
        Ok(Self {
            scanner: Scanner::new(text)?,
            state: State::Start,
            states: Vec::new(),
            brackets: Vec::new(),
            handles: HashMap::new(),
        })
    }

    /// The next event. The start of a document is none.
    pub(super) fn next(&mut self) -> Result<Event<'t>> {
        match self.state {
            State::Start => self.first_document(),
            State::DocumentStart => self.document(),
            State::DocumentEnd => self.document_end(),
            State::BlockSequence => self.block_sequence(),
            State::IndentlessSequence => self.indentless_sequence(),
            State::BlockMappingKey => self.block_mapping_key(),
            State::BlockMappingValue => self.block_mapping_value(),
            State::FlowSequence { is_first } => self.flow_sequence(is_first),
            State::FlowSequenceKey => self.flow_sequence_key(),
            State::FlowSequenceValue => self.flow_sequence_value(),
            State::FlowSequenceMappingEnd => {
                self.state = State::FlowSequence { is_first: false };
                self.event(EventKind::CollectionEnd)
            }
            State::FlowMapping { is_first } => self.flow_mapping(is_first),
            State::FlowMappingValue => self.flow_mapping_value(),
            State::FlowMappingEmptyValue => self.empty(State::FlowMapping { is_first: false }),
            State::End => self.event(EventKind::StreamEnd),
        }
    }

    /// An event where the next token is.
    pub(super) fn event(&mut self, kind: EventKind<'t>) -> Result<Event<'t>> {
        let line = self.scanner.line()?;
        Ok(Event { line, kind })
    }

    /// A value that is left out.
    pub(super) fn empty(&mut self, then: State) -> Result<Event<'t>> {
        self.state = then;
        self.event(EventKind::Scalar {
            properties: Properties::default(),
            text: Cow::Borrowed(""),
            is_open: true,
        })
    }

    pub(super) fn end(&mut self) -> Result<Event<'t>> {
        self.state = self.states.pop().unwrap_or(State::End);
        self.event(EventKind::CollectionEnd)
    }

    fn first_document(&mut self) -> Result<Event<'t>> {
        match self.scanner.peek()? {
            TokenKind::Directive(_) | TokenKind::DocumentStart | TokenKind::StreamEnd => {
                self.document()
            }
            _ => {
                self.set_handles(HashMap::new());
                self.states.push(State::DocumentEnd);
                self.node(true, false)
            }
        }
    }

    fn document(&mut self) -> Result<Event<'t>> {
        while self.scanner.take_if(&TokenKind::DocumentEnd)? {}
        if *self.scanner.peek()? == TokenKind::StreamEnd {
            self.state = State::End;
            return self.event(EventKind::StreamEnd);
        }
        self.directives()?;
        if !self.scanner.take_if(&TokenKind::DocumentStart)? {
            let reason = "something that belongs to nothing before it: look at its indentation";
            return fault(self.scanner.line()?, reason);
        }
        self.states.push(State::DocumentEnd);
        self.document_content()
    }

    fn document_content(&mut self) -> Result<Event<'t>> {
        match self.scanner.peek()? {
            TokenKind::Directive(_)
            | TokenKind::DocumentStart
            | TokenKind::DocumentEnd
            | TokenKind::StreamEnd => {
                let then = self.states.pop().unwrap_or(State::End);
                self.empty(then)
            }
            _ => self.node(true, false),
        }
    }

    fn document_end(&mut self) -> Result<Event<'t>> {
        self.scanner.take_if(&TokenKind::DocumentEnd)?;
        self.state = State::DocumentStart;
        self.event(EventKind::DocumentEnd)
    }

    fn directives(&mut self) -> Result<()> {
        let mut handles = HashMap::new();
        let mut has_version = false;
        while matches!(self.scanner.peek()?, TokenKind::Directive(_)) {
            let Token { line, kind } = self.scanner.take()?;
            match kind {
                TokenKind::Directive(Directive::Version { is_one }) => {
                    if has_version || !is_one {
                        return fault(line, "a %YAML that stands twice, or is not of version 1");
                    }
                    has_version = true;
                }
                TokenKind::Directive(Directive::Tag { handle, prefix }) => {
                    let earlier = handles.insert(handle, prefix);
                    if earlier.is_some() {
                        return fault(line, "a %TAG that stands twice");
                    }
                }
                _ => {}
            }
        }
        self.set_handles(handles);
        Ok(())
    }

    fn set_handles(&mut self, mut handles: HashMap<&'t str, String>) {
        for (handle, prefix) in DEFAULT_HANDLES {
            handles.entry(handle).or_insert_with(|| prefix.to_owned());
        }
        self.handles = handles;
    }

    /// A value: what stands in front of it, then itself. A list may stand in the column of the key
    /// that it belongs to.
    pub(super) fn node(&mut self, is_block: bool, may_be_indentless: bool) -> Result<Event<'t>> {
        let line = self.scanner.line()?;
        if let TokenKind::Alias(name) = *self.scanner.peek()? {
            self.scanner.take()?;
            self.state = self.states.pop().unwrap_or(State::End);
            let kind = EventKind::Alias(name);
            return Ok(Event { line, kind });
        }
        let properties = self.properties()?;
        let has_properties = properties.anchor.is_some() || properties.tag.is_some();
        let (kind, state) = match self.scanner.peek()? {
            TokenKind::BlockEntry if may_be_indentless => {
                let kind = EventKind::SequenceStart(properties);
                self.state = State::IndentlessSequence;
                return Ok(Event { line, kind });
            }
            TokenKind::Scalar { .. } => {
                let TokenKind::Scalar { text, is_plain } = self.scanner.take()?.kind else {
                    return fault(line, "no text");
                };
                self.state = self.states.pop().unwrap_or(State::End);
                let is_open = match properties.tag.as_deref() {
                    None => is_plain,
                    Some(tag) => tag == NO_TAG,
                };
                let kind = EventKind::Scalar {
                    properties,
                    text,
                    is_open,
                };
                return Ok(Event { line, kind });
            }
            TokenKind::FlowSequenceStart => {
                self.brackets.push(line);
                let kind = EventKind::SequenceStart(properties);
                (kind, State::FlowSequence { is_first: true })
            }
            TokenKind::FlowMappingStart => {
                self.brackets.push(line);
                let kind = EventKind::MappingStart(properties);
                (kind, State::FlowMapping { is_first: true })
            }
            TokenKind::BlockSequenceStart if is_block => {
                (EventKind::SequenceStart(properties), State::BlockSequence)
            }
            TokenKind::BlockMappingStart if is_block => {
                (EventKind::MappingStart(properties), State::BlockMappingKey)
            }
            _ if has_properties => {
                self.state = self.states.pop().unwrap_or(State::End);
                let is_open = properties.tag.as_deref().is_none_or(|tag| tag == NO_TAG);
                let kind = EventKind::Scalar {
                    properties,
                    text: Cow::Borrowed(""),
                    is_open,
                };
                return Ok(Event { line, kind });
            }
            TokenKind::StreamEnd if !self.brackets.is_empty() => return self.unclosed(""),
            _ => {
                let reason = "something where a value is expected: put the text in quotes";
                return fault(self.scanner.line()?, reason);
            }
        };
        self.scanner.take()?;
        self.state = state;
        Ok(Event { line, kind })
    }

    /// An anchor and a tag, in either order.
    fn properties(&mut self) -> Result<Properties<'t>> {
        let mut properties = Properties::default();
        let mut has_tag = false;
        loop {
            match self.scanner.peek()? {
                TokenKind::Anchor(name) if properties.anchor.is_none() => {
                    properties.anchor = Some(*name);
                    self.scanner.take()?;
                }
                TokenKind::Tag(_) if !has_tag => {
                    let Token { line, kind } = self.scanner.take()?;
                    if let TokenKind::Tag(tag) = kind {
                        properties.tag = Some(self.full_tag(line, tag)?);
                    }
                    has_tag = true;
                }
                _ => return Ok(properties),
            }
        }
    }

    fn full_tag(&self, line: usize, tag: TagText<'t>) -> Result<String> {
        let Some(handle) = tag.handle else {
            return Ok(tag.suffix);
        };
        match self.handles.get(handle) {
            Some(prefix) => Ok(format!("{prefix}{}", tag.suffix)),
            None => fault(line, "a tag with a handle that no %TAG declares"),
        }
    }

    fn block_sequence(&mut self) -> Result<Event<'t>> {
        if self.scanner.take_if(&TokenKind::BlockEntry)? {
            return match self.scanner.peek()? {
                TokenKind::BlockEntry | TokenKind::BlockEnd => self.empty(State::BlockSequence),
                _ => {
                    self.states.push(State::BlockSequence);
                    self.node(true, false)
                }
            };
        }
        self.end_of_block("something in a list that is no item of it: look at its indentation")
    }

    fn end_of_block(&mut self, refusal: &str) -> Result<Event<'t>> {
        if self.scanner.take_if(&TokenKind::BlockEnd)? {
            self.end()
        } else {
            fault(self.scanner.line()?, refusal)
        }
    }

    fn indentless_sequence(&mut self) -> Result<Event<'t>> {
        if !self.scanner.take_if(&TokenKind::BlockEntry)? {
            return self.end();
        }
        match self.scanner.peek()? {
            TokenKind::BlockEntry | TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd => {
                self.empty(State::IndentlessSequence)
            }
            _ => {
                self.states.push(State::IndentlessSequence);
                self.node(true, false)
            }
        }
    }

    fn block_mapping_key(&mut self) -> Result<Event<'t>> {
        if self.scanner.take_if(&TokenKind::Key)? {
            return self.block_entry(State::BlockMappingValue);
        }
        self.end_of_block("something among keys that is none: look at its indentation")
    }

    fn block_mapping_value(&mut self) -> Result<Event<'t>> {
        if self.scanner.take_if(&TokenKind::Value)? {
            return self.block_entry(State::BlockMappingKey);
        }
        self.empty(State::BlockMappingKey)
    }

    /// A key or a value of a block.
    fn block_entry(&mut self, then: State) -> Result<Event<'t>> {
        match self.scanner.peek()? {
            TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd => self.empty(then),
            _ => {
                self.states.push(then);
                self.node(true, true)
            }
        }
    }
}
