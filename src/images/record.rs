//! `image.json`: what is staged of an image.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{IMAGE_FILE, folder};
use crate::site::ImageName;

/// The content of `image.json`. Fields that are unknown are of a later version, and left alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// Its name, which is that of its folder.
    pub name: ImageName,
    /// When it was staged.
    pub staged_at: Timestamp,
    /// `vmlinuz`.
    pub kernel: Kernel,
    /// `initrd`.
    pub initrd: Content,
    /// `installer.iso`.
    pub iso: Iso,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// In bytes.
    pub size: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

/// The kernel of an installer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kernel {
    /// As the kernel itself says it: `6.17.0-14-generic`. None where it does not.
    pub version: Option<String>,
    /// Whether it is the one for newer hardware, of a medium that has two.
    pub hwe: bool,
    /// Of the file.
    #[serde(flatten)]
    pub content: Content,
}

/// The ISO of an installer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Iso {
    /// The name of the file that was staged.
    pub file: String,
    /// The name of its volume: `Ubuntu-Server 24.04.4 LTS arm64`.
    pub volume: String,
    /// Of the file.
    #[serde(flatten)]
    pub content: Content,
}

impl Image {
    /// What is staged under that name in the boot folder; an error says what is wrong with
    /// `image.json`.
    pub fn read(boot: &Path, name: &ImageName) -> Result<Self, String> {
        let path = folder(boot).join(name.as_str()).join(IMAGE_FILE);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Bytes of what GRUB loads: the kernel and its initrd.
    pub fn loaded(&self) -> u64 {
        self.kernel.content.size + self.initrd.size
    }
}
