//! Is this text what cloud-init can use: one YAML document that is a mapping?
//!
//! cloud-init reads with PyYAML's `safe_load`, in its Python form and not by way of libyaml, which
//! is neither YAML 1.1 nor 1.2 in many corners. So this is no parser of a standard but of that
//! program: each step refuses what the step of that name refuses there. Nothing is built that only
//! a reader of the values would need, so anchors that multiply cost nothing.
//!
//! | step | refuses |
//! |---|---|
//! | [`reader`] | characters that are not printable |
//! | [`scanner`], with [`scalars`], [`blocks`] and [`properties`] | what is no token, keys that cannot be keys |
//! | [`parser`], with [`brackets`] | tokens in an order that means nothing |
//! | [`composer`] | aliases of nothing, anchors that stand twice, depth |
//! | [`resolver`], [`values`] | numbers, dates and base64 that are none |
//! | [`constructor`] | tags without a meaning, collections as keys, merges of what is no mapping |

mod blocks;
mod brackets;
mod composer;
mod constructor;
mod parser;
mod properties;
mod reader;
mod resolver;
mod scalars;
mod scanner;
mod seen;
mod tokens;
mod value;
mod values;

use composer::{Kind, compose};
use resolver::Tag;
pub use seen::Seen;
pub use value::value;

/// Where a text stops being one YAML mapping. Lines count from 1; none where the whole is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// The line of the text.
    pub line: Option<usize>,
    /// What is wrong there. It repeats nothing of the text.
    pub reason: String,
}

/// What a sound text is as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// Keys and their values.
    Mapping,
    /// Nothing at all, or nothing but comments, or `null`.
    Nothing,
    /// A list, a word, a number.
    Other,
}

type Result<T> = std::result::Result<T, YamlError>;

fn fault<T>(line: usize, reason: &str) -> Result<T> {
    Err(YamlError {
        line: Some(line),
        reason: format!("not YAML: {reason}"),
    })
}

/// What `text` is as a whole, if it is at most one sound document.
pub fn root(text: &str) -> Result<Root> {
    let Some(mut document) = compose(text)? else {
        return Ok(Root::Nothing);
    };
    constructor::check(&mut document)?;
    let root = &document.nodes[document.root];
    Ok(match (root.tag, &root.kind) {
        (Tag::Map, Kind::Mapping(_)) => Root::Mapping,
        (Tag::Null, _) => Root::Nothing,
        _ => Root::Other,
    })
}

impl Root {
    /// An error where it is no mapping.
    fn as_mapping(self) -> Result<()> {
        let reason = match self {
            Self::Mapping => return Ok(()),
            Self::Nothing => "empty: expected a YAML mapping",
            Self::Other => "not a YAML mapping: expected keys with their values",
        };
        Err(YamlError {
            line: None,
            reason: reason.to_owned(),
        })
    }
}

/// Checks that `text` is one YAML document with a mapping at its root.
pub fn check_mapping(text: &str) -> Result<()> {
    root(text)?.as_mapping()
}

/// Checks that `text` is one YAML document with a mapping at its root, or nothing at all.
pub fn check_mapping_if_any(text: &str) -> Result<()> {
    match root(text)? {
        Root::Nothing => Ok(()),
        root => root.as_mapping(),
    }
}
