//! Checksums: one that is given, and one that is found while a file is read or copied.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::ImageError;
use super::error::During;
use super::record::Content;
use crate::excerpt::excerpt;

/// Digits of a sum.
const DIGITS: usize = 64;

/// Read at a time, in bytes.
const CHUNK: usize = 256 * 1024;

/// A SHA-256 sum, as `sha256sum` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum(String);

impl FromStr for Sum {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let is_digit = |byte: u8| byte.is_ascii_hexdigit();
        match text.len() == DIGITS && text.bytes().all(is_digit) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(format!(
                "{} is no SHA-256 sum: expected {DIGITS} hexadecimal digits, as sha256sum prints them",
                excerpt(text)
            )),
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Sum {
    /// Refuses the file of that path if it holds something else.
    pub(super) fn check(&self, path: &Path, found: &Content) -> Result<(), ImageError> {
        match found.sha256 == self.0 {
            true => Ok(()),
            false => Err(ImageError::Unfit(
                path.to_owned(),
                format!(
                    "its SHA-256 sum is {}: expected {self}; the download is damaged, or of another version",
                    found.sha256
                ),
            )),
        }
    }
}

/// Reads all of `source`, whose path is told in an error, and writes it to `target`, where there is
/// one. `count` is told of each piece.
pub(super) fn read_through(
    mut source: impl Read,
    source_path: &Path,
    mut target: Option<(&mut File, &Path)>,
    count: &dyn Fn(u64),
) -> Result<Content, ImageError> {
    let (mut hasher, mut size, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let length = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).during("reading", source_path),
        };
        hasher.update(&chunk[..length]);
        if let Some((target, path)) = &mut target {
            target.write_all(&chunk[..length]).during("writing", path)?;
        }
        size += length as u64;
        count(length as u64);
    }
    let digest = hasher.finalize();
    let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Content { size, sha256 })
}
