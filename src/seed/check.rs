//! `gb10-provision-api check`: what a boot would find, before it.

use std::io;
use std::path::{Path, PathBuf};

use minijinja::Value;

use super::context::Device;
use super::staged::{Source, checked};
use super::{SeedFile, Templates, on_a_deep_stack};
use crate::files::Fault;

impl Templates {
    /// Every fault of every template, and the names of the staged ones: the seed's own are rendered
    /// for a sample device, for an unknown one and for all of `devices.json`, the others, which
    /// they may include, are compiled.
    pub fn check(&self) -> (Vec<String>, Vec<Fault>) {
        on_a_deep_stack(|| self.check_all())
    }

    fn check_all(&self) -> (Vec<String>, Vec<Fault>) {
        let site = self.site_files.site().unwrap_or_default();
        let devices = self.site_files.devices();
        let staged = self.current(&site);
        let mut faults = staged.faults();
        let (names, unreadable) = staged_names(&self.texts.folder);
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
                let name = file.template();
                let outcome = match (staged.own_template(file, &device), staged.source(file)) {
                    (Err(fault), _) => Err(fault),
                    (Ok(Some(own)), _) => {
                        let outcome = staged.try_out(file, &own, &context);
                        outcome.map_err(|failure| failure.fault(&own))
                    }
                    (Ok(None), Source::Sound | Source::Doubtful(_)) => {
                        let outcome = staged.try_out(file, name, &context);
                        outcome.map_err(|failure| failure.fault(name))
                    }
                    (Ok(None), Source::NotStaged) if file == SeedFile::UserData => {
                        let text = self.embedded.get_template(name);
                        let text = text.and_then(|template| template.render(context.clone()));
                        let text = text.map_err(|error| self.fault_of_embedded(&error, &context));
                        text.and_then(|text| checked(file, name, text))
                    }
                    (Ok(None), Source::NotStaged | Source::Faulty(_) | Source::Unread(_)) => {
                        continue;
                    }
                };
                if let Err(fault) = outcome {
                    found(&whose, fault);
                }
            }
        }
        for name in &names {
            if let Err(failure) = staged.compile(name, &Value::UNDEFINED) {
                found("", failure.fault(name));
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
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    unreadable.push(Fault::new(
                        &relative.display().to_string(),
                        error.to_string(),
                    ));
                    continue;
                }
            };
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
