//! What of a sound text has no meaning.
//!
//! Each node is looked at once, however often aliases name it.

use std::ops::Range;

use super::composer::{Document, Kind, NodeId};
use super::resolver::Tag;
use super::{Result, fault};

/// Checks all that would be built of the document.
pub(super) fn check(document: &mut Document) -> Result<()> {
    let root = document.root;
    let mut constructor = Constructor {
        is_built: vec![false; document.nodes.len()],
        is_opened: vec![false; document.nodes.len()],
        document,
        waiting: Vec::new(),
    };
    constructor.build(root)?;
    let mut next = 0;
    // The outer ones first, as there.
    while let Some(node) = constructor.waiting.get(next).copied() {
        constructor.fill(node)?;
        next += 1;
    }
    Ok(())
}

struct Constructor<'d> {
    document: &'d mut Document,
    is_built: Vec<bool>,
    /// Of a mapping, whether its pairs have been or will be looked at.
    is_opened: Vec<bool>,
    /// Collections with their contents still to be looked at.
    waiting: Vec<NodeId>,
}

impl Constructor<'_> {
    /// Builds a value; what is in it waits.
    fn build(&mut self, id: NodeId) -> Result<()> {
        if std::mem::replace(&mut self.is_built[id], true) {
            return Ok(());
        }
        let node = &self.document.nodes[id];
        match (node.tag, &node.kind) {
            (Tag::Unknown, _) => fault(node.line, "a tag that cloud-init does not know"),
            (Tag::Merge, _) => fault(node.line, "a '<<' that is no key: put it in quotes"),
            (Tag::Value, _) => fault(node.line, "a '=' that is no key: put it in quotes"),
            (
                Tag::Null
                | Tag::Bool
                | Tag::Int
                | Tag::Float
                | Tag::Binary
                | Tag::Timestamp
                | Tag::Str,
                Kind::Scalar(why_not),
            ) => why_not.map_or(Ok(()), |reason| fault(node.line, reason)),
            (Tag::Seq | Tag::Omap | Tag::Pairs, Kind::Sequence(_)) => {
                self.waiting.push(id);
                Ok(())
            }
            (Tag::Map | Tag::Set, Kind::Mapping(_)) => {
                self.open(id);
                Ok(())
            }
            _ => fault(node.line, "a tag that does not fit what it stands before"),
        }
    }

    /// Has the pairs of a mapping looked at, if they are not yet.
    fn open(&mut self, id: NodeId) {
        if !std::mem::replace(&mut self.is_opened[id], true) {
            self.waiting.push(id);
        }
    }

    fn fill(&mut self, id: NodeId) -> Result<()> {
        let node = &self.document.nodes[id];
        match &node.kind {
            Kind::Mapping(pairs) => self.fill_mapping(pairs.clone()),
            Kind::Sequence(items) => {
                let items = items.clone();
                match node.tag {
                    Tag::Omap | Tag::Pairs => self.fill_pairs(items),
                    _ => {
                        let mut items = items;
                        items.try_for_each(|at| self.build(self.document.children[at]))
                    }
                }
            }
            Kind::Scalar(_) => Ok(()),
        }
    }

    fn fill_mapping(&mut self, pairs: Range<usize>) -> Result<()> {
        // As there, merges come before everything else.
        for at in pairs.clone().step_by(2) {
            let (key, value) = self.pair(at);
            match self.document.nodes[key].tag {
                Tag::Merge => self.merge(value)?,
                Tag::Value => self.document.nodes[key].tag = Tag::Str,
                _ => {}
            }
        }
        for at in pairs.step_by(2) {
            let (key, value) = self.pair(at);
            let line = self.document.nodes[key].line;
            if self.document.nodes[key].tag == Tag::Merge {
                continue;
            }
            self.build(key)?;
            if matches!(
                self.document.nodes[key].kind,
                Kind::Sequence(_) | Kind::Mapping(_)
            ) {
                let reason = "a list or mapping as a key: put braces and brackets in quotes";
                return fault(line, reason);
            }
            self.build(value)?;
        }
        Ok(())
    }

    /// A key and its value.
    fn pair(&self, at: usize) -> (NodeId, NodeId) {
        let children = &self.document.children;
        (children[at], children[at + 1])
    }

    fn merge(&mut self, source: NodeId) -> Result<()> {
        let node = &self.document.nodes[source];
        let sources = match &node.kind {
            Kind::Mapping(_) => {
                self.open(source);
                return Ok(());
            }
            Kind::Sequence(items) => items.clone(),
            Kind::Scalar(_) => return fault(node.line, "a '<<' of what is no mapping"),
        };
        for at in sources {
            let source = self.document.children[at];
            let node = &self.document.nodes[source];
            if !matches!(node.kind, Kind::Mapping(_)) {
                return fault(node.line, "a '<<' of what is no mapping");
            }
            self.open(source);
        }
        Ok(())
    }

    /// A list of mappings with one key each, which may be of any kind.
    fn fill_pairs(&mut self, items: Range<usize>) -> Result<()> {
        for at in items {
            let node = &self.document.nodes[self.document.children[at]];
            match &node.kind {
                Kind::Mapping(pair) if pair.len() == 2 => {
                    let (key, value) = self.pair(pair.start);
                    self.build(key)?;
                    self.build(value)?;
                }
                _ => return fault(node.line, "a pair that is no mapping of one key"),
            }
        }
        Ok(())
    }
}
