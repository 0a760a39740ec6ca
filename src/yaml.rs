//! Is this text what cloud-init can apply: one YAML document that is a mapping?
//!
//! Only the structure is parsed. Values are cloud-init's business, and so are keys that stand
//! twice, which PyYAML accepts.

use saphyr_parser::{Event, Parser};

/// Where a text stops being one YAML mapping. Lines count from 1; none where the whole is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// The line of the text.
    pub line: Option<usize>,
    /// What is wrong there. It repeats nothing of the text.
    pub reason: String,
}

/// Checks that `text` is one YAML document with a mapping at its root.
pub fn check_mapping(text: &str) -> Result<(), YamlError> {
    let (mut documents, mut root) = (0, None);
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| YamlError {
            line: Some(error.marker().line()),
            reason: format!("not YAML: {}", error.info()),
        })?;
        match event {
            Event::DocumentStart(_) => documents += 1,
            Event::MappingStart(..) => _ = root.get_or_insert(true),
            Event::SequenceStart(..) | Event::Scalar(..) | Event::Alias(_) => {
                _ = root.get_or_insert(false);
            }
            _ => {}
        }
    }
    let fault = match (documents, root) {
        (1, Some(true)) => return Ok(()),
        (0, _) | (_, None) => "empty: expected a YAML mapping",
        (1, _) => "no YAML mapping: expected keys such as autoinstall:",
        _ => "several YAML documents: expected one",
    };
    Err(YamlError {
        line: None,
        reason: fault.to_owned(),
    })
}
