//! `gb10-provision-api check`: what a boot would find, before it.

use std::io;
use std::path::{Path, PathBuf};

use super::context::Device;
use super::fault::fault_of;
use super::staged::{Source, checked};
use super::{SeedFile, Templates};
use crate::files::Fault;

impl Templates {
    /// Every fault of every template, and the names of the staged ones: the seed's own are rendered
    /// for a sample device, for an unknown one and for all of `devices.json`, the others, which
    /// they may include, are compiled.
    pub fn check(&self) -> (Vec<String>, Vec<Fault>) {
        let (site, devices) = (self.site_files.site(), self.site_files.devices());
        let staged = self.current(&site);
        let mut faults: Vec<Fault> = staged.faults().cloned().collect();
        let (names, unreadable) = staged_names(&self.folder);
        faults.extend(unreadable);
        // What fails for one device mostly fails for all, and is named once.
        let mut found = |whose: &str, fault: Fault| {
            if !faults.iter().any(|known| known.is_cause_of(&fault)) {
                faults.push(Fault {
                    reason: format!("{whose}{}", fault.reason),
                    ..fault
                });
            }
        };
        let unknown = Device::sample(None);
        let known = devices.iter().map(|(mac, known)| Device {
            known,
            ..Device::sample(Some(mac))
        });
        for device in std::iter::once(unknown).chain(known) {
            let whose = match device.mac {
                Some(mac) => format!("for the device {mac}: "),
                None => "for a device whose MAC is unknown: ".to_owned(),
            };
            let context = device.context(&site, &self.fallback_password_hash);
            for file in SeedFile::ALL {
                let own = staged.own_template(&self.folder, file, &device);
                let outcome = match (own, staged.source(file)) {
                    (Some(own), _) => staged.try_out(file, &own, &context),
                    (None, Source::Sound | Source::Doubtful(_)) => {
                        staged.try_out(file, file.template(), &context)
                    }
                    (None, Source::NotStaged) if file == SeedFile::UserData => {
                        let text = self.embedded.get_template(file.template());
                        let text = text.and_then(|template| template.render(context.clone()));
                        let text = text.map_err(|error| fault_of(&error));
                        text.and_then(|text| checked(file, file.template(), text))
                    }
                    (None, Source::NotStaged | Source::Faulty(_)) => continue,
                };
                if let Err(fault) = outcome {
                    found(&whose, fault);
                }
            }
        }
        for name in &names {
            if let Err(error) = staged.environment.get_template(name) {
                found("", fault_of(&error));
            }
        }
        (names, faults)
    }
}

/// The names of all files in the folder that end in `.j2`, sorted, subfolders included, and what
/// could not be read.
fn staged_names(folder: &Path) -> (Vec<String>, Vec<Fault>) {
    let (mut names, mut unreadable) = (Vec::new(), Vec::new());
    let mut folders = vec![PathBuf::new()];
    while let Some(relative) = folders.pop() {
        let entries = match std::fs::read_dir(folder.join(&relative)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                unreadable.push(Fault::new(
                    &relative.display().to_string(),
                    error.to_string(),
                ));
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = relative.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "j2") {
                names.push(path.display().to_string());
            }
        }
    }
    names.sort();
    (names, unreadable)
}
