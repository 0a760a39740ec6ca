//! From events to nodes: what a text holds, with aliases resolved.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::parser::{EventKind, Parser, Properties};
use super::resolver::{Tag, tag_of};
use super::{Result, YamlError, fault, values};

/// Most collections in one another. PyYAML itself takes 490, by a limit of Python's; but
/// cloud-init writes what it has read to a file, for which that limit is at some 320.
const MAX_DEPTH: usize = 300;

/// Which node of a document.
pub(super) type NodeId = usize;

pub(super) struct Node {
    pub(super) line: usize,
    pub(super) tag: Tag,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// A text, and why it is no value of its tag, if it is none.
    Scalar(Option<&'static str>),
    /// Where its items are in [`Document::children`].
    Sequence(Range<usize>),
    /// Where its keys and values are there, a key before its value.
    Mapping(Range<usize>),
}

pub(super) struct Document {
    pub(super) root: NodeId,
    pub(super) nodes: Vec<Node>,
    pub(super) children: Vec<NodeId>,
}

/// The only document in the text; none where there is none.
pub(super) fn compose(text: &str) -> Result<Option<Document>> {
    let mut composer = Composer {
        nodes: Vec::new(),
        children: Vec::new(),
        anchors: HashMap::new(),
        open: Vec::new(),
        waiting: Vec::new(),
    };
    let mut parser = Parser::new(text)?;
    loop {
        let event = parser.next()?;
        let line = event.line;
        match event.kind {
            EventKind::DocumentEnd => break,
            EventKind::StreamEnd => return Ok(None),
            EventKind::Alias(name) => {
                let Some(node) = composer.anchors.get(name) else {
                    let reason = "a '*' with a name that no '&' has: put the text in quotes";
                    return fault(line, reason);
                };
                composer.waiting.push(*node);
            }
            EventKind::Scalar {
                properties,
                text,
                is_open,
            } => {
                let tag = tag_of(&text, properties.tag.as_deref(), is_open);
                let kind = Kind::Scalar(values::why_not(tag, &text));
                let node = composer.add(line, &properties, tag, kind)?;
                composer.waiting.push(node);
            }
            EventKind::SequenceStart(properties) => {
                composer.begin(line, &properties, Tag::Seq, Kind::Sequence(0..0))?;
            }
            EventKind::MappingStart(properties) => {
                composer.begin(line, &properties, Tag::Map, Kind::Mapping(0..0))?;
            }
            EventKind::CollectionEnd => composer.end(),
        }
    }
    let event = parser.next()?;
    match (event.kind, composer.waiting.first()) {
        (EventKind::StreamEnd, Some(root)) => Ok(Some(Document {
            root: *root,
            nodes: composer.nodes,
            children: composer.children,
        })),
        _ => Err(YamlError {
            line: Some(event.line),
            reason: "a second YAML document begins: expected one".to_owned(),
        }),
    }
}

struct Composer<'t> {
    nodes: Vec<Node>,
    children: Vec<NodeId>,
    anchors: HashMap<&'t str, NodeId>,
    /// The collections that have no end yet, and where in `waiting` their children begin.
    open: Vec<(NodeId, usize)>,
    /// Nodes whose collection has no end yet.
    waiting: Vec<NodeId>,
}

impl<'t> Composer<'t> {
    fn add(
        &mut self,
        line: usize,
        properties: &Properties<'t>,
        tag: Tag,
        kind: Kind,
    ) -> Result<NodeId> {
        let node = self.nodes.len();
        if let Some(anchor) = properties.anchor {
            match self.anchors.entry(anchor) {
                Entry::Occupied(_) => return fault(line, "an anchor that stands twice"),
                Entry::Vacant(entry) => entry.insert(node),
            };
        }
        self.nodes.push(Node { line, tag, kind });
        Ok(node)
    }

    fn begin(
        &mut self,
        line: usize,
        properties: &Properties<'t>,
        default: Tag,
        kind: Kind,
    ) -> Result<()> {
        if self.open.len() >= MAX_DEPTH {
            let reason = format!("more than {MAX_DEPTH} lists and mappings in one another");
            return fault(line, &reason);
        }
        let tag = properties.tag.as_deref();
        let tag = tag.filter(|tag| *tag != "!").map_or(default, Tag::of);
        let node = self.add(line, properties, tag, kind)?;
        self.open.push((node, self.waiting.len()));
        Ok(())
    }

    fn end(&mut self) {
        let Some((node, first)) = self.open.pop() else {
            return;
        };
        let start = self.children.len();
        self.children.extend(self.waiting.drain(first..));
        let children = start..self.children.len();
        match &mut self.nodes[node].kind {
            Kind::Sequence(range) | Kind::Mapping(range) => *range = children,
            Kind::Scalar(_) => {}
        }
        self.waiting.push(node);
    }
}
