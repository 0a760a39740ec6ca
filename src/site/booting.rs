//! What a box boots from the network: the image and the kernel's arguments, as `site.json` and
//! `devices.json` name them.

use std::fmt;
use std::str::FromStr;

use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::excerpt::excerpt;

/// Longest name of an image, in bytes: it stands in paths, URLs and the kernel's command line.
const NAME_BYTES: usize = 64;

/// Longest arguments for the kernel, in bytes. Its whole command line has 2,048 on arm64.
const ARGUMENT_BYTES: usize = 1024;

/// What GRUB would take for its own between double quotes, or where the words stand without.
const OF_GRUB: &str = "\"'`;$\\{}|&<>";

/// The name of a staged image. It may stand in a path, a URL and a configuration of GRUB.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, DeserializeFromStr, SerializeDisplay)]
pub struct ImageName(String);

impl ImageName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = (1..=NAME_BYTES).contains(&text.len())
            && text.bytes().all(plain)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric());
        match is_name {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "{} is no name of an image: expected 1 to {NAME_BYTES} letters, digits, dots, hyphens and underscores, a letter or digit first",
                excerpt(text)
            )),
        }
    }
}

/// Arguments for the kernel of the installer, beside those that every box gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, DeserializeFromStr)]
pub struct KernelArgs(String);

impl KernelArgs {
    /// The arguments, between which blanks stand.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KernelArgs {
    type Err = String;

    /// Takes printable ASCII without what means something to GRUB.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_printable = |c: char| c == ' ' || c.is_ascii_graphic();
        let odd = text
            .chars()
            .find(|c| OF_GRUB.contains(*c) || !is_printable(*c));
        match odd {
            Some(odd) => Err(format!(
                "{odd:?} cannot stand in arguments for the kernel: expected printable ASCII without {OF_GRUB}, which GRUB takes for its own"
            )),
            None if text.len() > ARGUMENT_BYTES => Err(format!(
                "the arguments for the kernel have {} bytes: expected at most {ARGUMENT_BYTES}",
                text.len()
            )),
            None => Ok(Self(text.to_owned())),
        }
    }
}
