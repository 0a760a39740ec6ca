//! What the scanner makes of the characters, and the parser reads.

use std::borrow::Cow;

/// A token, and the line on which it begins.
#[derive(Debug)]
pub(super) struct Token<'t> {
    pub(super) line: usize,
    pub(super) kind: TokenKind<'t>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum TokenKind<'t> {
    StreamEnd,
    Directive(Directive<'t>),
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    FlowEntry,
    BlockEntry,
    Key,
    Value,
    Alias(&'t str),
    Anchor(&'t str),
    Tag(TagText<'t>),
    Scalar { text: Cow<'t, str>, is_plain: bool },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Directive<'t> {
    /// `%YAML`, and whether its version is one of 1.
    Version { is_one: bool },
    /// `%TAG`.
    Tag { handle: &'t str, prefix: String },
    /// Any other, which means nothing.
    Other,
}

/// A tag as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TagText<'t> {
    /// `!`, `!!` or `!name!`; none where the tag is written in full.
    pub(super) handle: Option<&'t str>,
    pub(super) suffix: String,
}
