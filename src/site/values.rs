//! `site.json`: the operator's values for templates.

use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::ValueKind;
use serde::Deserialize;

use super::devices::PlainName;
use super::password::PasswordHash;
use super::staged_json::{Parse, typed};

/// The site's values for templates: an object, whose known fields have the types of
/// [`KnownFields`], and whose others are the site's own.
#[derive(Debug)]
pub struct Site(pub Value);

impl Default for Site {
    fn default() -> Self {
        Self(Value::from(BTreeMap::<String, Value>::new()))
    }
}

/// What the default template takes from `site.json`. Only the types matter here: a wrong one is
/// found when the file is read, with its line, instead of when a box boots.
#[derive(Deserialize)]
#[allow(dead_code)]
struct KnownFields {
    username: Option<PlainName>,
    password_hash: Option<PasswordHash>,
    authorized_keys: Option<Vec<String>>,
    timezone: Option<String>,
    locale: Option<String>,
    keyboard: Option<String>,
    apt_mirror: Option<String>,
    proxy: Option<String>,
    packages: Option<Vec<String>>,
}

impl Parse for Site {
    fn parse(text: &str) -> Result<Self, (Option<usize>, String)> {
        let values: Value = typed(text)?;
        // First, for a struct is read from an array, too.
        if values.kind() != ValueKind::Map {
            let reason = format!("{}: expected an object", values.kind());
            return Err((Some(1), reason));
        }
        let _: KnownFields = typed(text)?;
        Ok(Self(values))
    }
}
