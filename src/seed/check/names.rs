//! What lies in the folder of templates, and whether anything looks for it by that name.

use std::io;
use std::path::{Path, PathBuf};

use crate::device::mac::MacAddr;
use crate::files::Fault;
use crate::seed::SeedFile;

/// What an editor or a template language appends to a name.
const SUFFIXES: [&str; 8] = [
    ".j2", ".jinja2", ".jinja", ".tmpl", ".tpl", ".yaml", ".yml", ".txt",
];

/// What a folder of templates holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// All files that end in `.j2`, subfolders included, sorted.
    pub(super) names: Vec<String>,
    /// The devices that have a folder of their own.
    pub(super) macs: Vec<MacAddr>,
    /// What could not be read, and what nothing looks for.
    pub(super) faults: Vec<Fault>,
}

impl Listing {
    pub(super) fn of(folder: &Path) -> Self {
        let mut listing = Self::default();
        let mut folders = vec![PathBuf::new()];
        while let Some(relative) = folders.pop() {
            if let Err(error) = listing.add(folder, &relative, &mut folders) {
                let name = relative.display().to_string();
                listing.faults.push(Fault::new(&name, error.to_string()));
            }
        }
        listing.names.sort();
        listing.macs.sort();
        listing.faults.sort_by(|a, b| a.file.cmp(&b.file));
        listing
    }

    /// Whether nothing looks for the file by this name, or for the folder that it is in.
    pub(super) fn is_misnamed(&self, name: &str) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|fault| Path::new(name).starts_with(&fault.file))
    }

    fn add(
        &mut self,
        folder: &Path,
        relative: &Path,
        folders: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        let entries = match std::fs::read_dir(folder.join(relative)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let is_top = relative.as_os_str().is_empty();
        let is_of_device = || relative.to_str().and_then(mac_in).is_some();
        let is_of_seed = is_top || is_of_device();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // What macOS, Emacs and version control leave. No template can name it.
            if name.starts_with('.') {
                continue;
            }
            let path = relative.join(&name);
            // Through links, as the service reads.
            let is_folder = folder.join(&path).is_dir();
            let mac = mac_in(&name).filter(|_| is_top && is_folder);
            let right = match (mac, is_folder) {
                (Some(mac), _) => Some(mac.slug()),
                (None, false) if is_of_seed => right_file(&name).map(str::to_owned),
                _ => None,
            };
            let shown = path.display().to_string();
            if let Some(right) = right.filter(|right| *right != name) {
                let reason = format!("nothing reads it by this name: expected {right}");
                self.faults.push(Fault::new(&shown, reason));
            }
            self.macs.extend(mac);
            if is_folder {
                // A link may lead in a circle; a device's folder has none below it.
                if !entry.file_type()?.is_symlink() {
                    folders.push(path);
                }
            } else if name.ends_with(".j2") {
                self.names.push(shown);
            }
        }
        Ok(())
    }
}

/// The device whose templates are in a folder of that name.
fn mac_in(name: &str) -> Option<MacAddr> {
    name.parse().ok()
}

/// What a file has to be called so that it is part of a seed, where its name tells that it shall be.
fn right_file(name: &str) -> Option<&'static str> {
    let mut stem = name.to_ascii_lowercase();
    while let Some(shorter) = SUFFIXES.iter().find_map(|suffix| stem.strip_suffix(suffix)) {
        stem = shorter.to_owned();
    }
    let plain = |text: &str| text.replace(['-', '_', '.', ' '], "");
    let is_meant = |file: &SeedFile| plain(&stem) == plain(file.name());
    let file = SeedFile::ALL.into_iter().find(is_meant)?;
    Some(file.template())
}
