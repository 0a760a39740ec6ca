//! `site.json`: the operator's values for templates.

use std::collections::BTreeMap;
use std::str::FromStr;

use minijinja::Value;
use minijinja::value::ValueKind;
use serde::de::value::Error as NoValue;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use super::booting::{ImageName, KernelArgs};
use super::names::{KernelFlavor, UserName};
use super::password::PasswordHash;
use super::staged_json::{Parse, typed};
use super::time_zone::TimeZoneName;
use crate::excerpt::one_line;
use crate::files::Place;
use crate::nearest::nearest;

/// Longest part of a field's name that is repeated, in characters.
const NAME_CHARS: usize = 64;

/// The site's values for templates: an object, whose known fields have the types of
/// [`KnownFields`], and whose others are the site's own.
#[derive(Debug)]
pub struct Site(pub Value);

impl Default for Site {
    fn default() -> Self {
        Self(Value::from(BTreeMap::<String, Value>::new()))
    }
}

/// What the default template and netboot take from `site.json`. Only the types matter here: a wrong
/// one, or a value that the installer refuses, is found when the file is read, with its line,
/// instead of when a box boots.
#[derive(Deserialize)]
#[allow(dead_code)]
struct KnownFields {
    username: Option<UserName>,
    password_hash: Option<PasswordHash>,
    authorized_keys: Option<Vec<String>>,
    timezone: Option<TimeZoneName>,
    locale: Option<String>,
    keyboard: Option<String>,
    apt_mirror: Option<String>,
    proxy: Option<String>,
    packages: Option<Vec<String>>,
    kernel: Option<Kernel>,
    image: Option<ImageName>,
    kernel_args: Option<KernelArgs>,
}

/// Which kernel is installed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Kernel {
    flavor: Option<KernelFlavor>,
}

impl Site {
    /// The image that boxes are installed from, where one is named.
    pub fn image(&self) -> Option<ImageName> {
        self.field("image")
    }

    /// Arguments for the kernel of the installer.
    pub fn kernel_args(&self) -> Option<KernelArgs> {
        self.field("kernel_args")
    }

    /// A field that was found sound when the file was read.
    fn field<T: FromStr>(&self, name: &str) -> Option<T> {
        self.0.get_attr(name).ok()?.as_str()?.parse().ok()
    }

    /// Fields that are no known ones, and look like one: most likely misspelt, though a site may use
    /// such a name in templates of its own.
    pub fn misspelt(&self) -> Vec<String> {
        let known = fields_of::<KnownFields>();
        let names = self.0.try_iter().into_iter().flatten();
        let hint = |name: Value| {
            let name = name.as_str()?;
            let near = nearest(name, known.iter().copied())?;
            let name = one_line(name, NAME_CHARS);
            (!known.contains(&name.as_str())).then(|| {
                format!("{name}: the built-in template looks for no such field; is {near} meant?")
            })
        };
        names.filter_map(hint).collect()
    }

    /// Whether packages come from a mirror, for which the installer wants a router.
    pub fn has_mirror(&self) -> bool {
        self.has("apt_mirror")
    }

    fn has(&self, field: &str) -> bool {
        self.0.get_attr(field).is_ok_and(|value| value.is_true())
    }

    /// What has to be so on the LAN for these values, which no look at a file can tell. Without
    /// `site.json` there is none.
    pub fn advice(&self) -> Vec<&'static str> {
        let mut advice = Vec::new();
        match (self.has_mirror(), self.has("packages")) {
            _ if self.0.len() == Some(0) => return advice,
            (true, _) => advice.push(
                "apt_mirror: the DHCP server must name a router, such as this host, or the installer finds no network and leaves the mirror out",
            ),
            (false, true) => advice.push(
                "packages without apt_mirror: only what is on the installer's medium can be had",
            ),
            (false, false) => advice.push(
                "no apt_mirror: the DHCP server should name no router, or the installer looks for mirrors on the Internet",
            ),
        }
        if self.has("packages") {
            advice.push(
                "packages: one that cannot be had fails the whole installation, check that the mirror has them all",
            );
        }
        advice
    }
}

impl Parse for Site {
    fn parse(text: &str) -> Result<Self, (Option<Place>, String)> {
        let values: Value = typed(text)?;
        // First, for a struct is read from an array, too.
        if values.kind() != ValueKind::Map {
            let reason = format!("{}: expected an object", values.kind());
            return Err((Some(Place::from(1)), reason));
        }
        let _: KnownFields = typed(text)?;
        Ok(Self(values))
    }
}

/// The names of a struct's fields, as serde knows them.
fn fields_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields = &[][..];
    // It reads nothing: it only learns what is asked for.
    let _ = T::deserialize(Listening(&mut fields));
    fields
}

/// Takes down which fields a struct asks for.
struct Listening<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Listening<'_> {
    type Error = NoValue;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoValue> {
        Err(NoValue::custom("there is no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NoValue> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
