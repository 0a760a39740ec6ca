//! `gb10-provision-api check`: what a boot would find, before it.

mod names;

use std::collections::BTreeSet;
use std::fmt;

use minijinja::Value;
use serde::Serialize;

use self::names::Listing;
use super::autoinstall::findings;
use super::context::{Device, sample_mac};
use super::format::Format;
use super::staged::{Source, Staged, check};
use super::{EMBEDDED_USER_DATA, SeedFile, Templates, on_a_deep_stack, yaml};
use crate::device::mac::{MacAddr, UNKNOWN};
use crate::embedded;
use crate::files::Fault;

/// Of a template.
const UNREAD: &str = "no other template reads it, for any device that was tried";

/// What `check` has to say.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The templates that were tried, by their names below the folder.
    pub templates: Vec<String>,
    /// What a boot would fail by, or not find.
    pub faults: Vec<Finding>,
    /// What only a boot can tell, or what may be meant so.
    pub notes: Vec<Finding>,
}

/// One thing that was found, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, with its whole path where it is one.
    pub file: String,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// The column in that line, from 1, where it is known.
    pub column: Option<usize>,
    /// The MAC of the device for which it is so, or `unknown`; none where it is so for all.
    pub device: Option<String>,
    /// What it is.
    pub reason: String,
}

impl Finding {
    /// A fault of a file that has this path.
    pub fn new(file: String, fault: Fault) -> Self {
        Self {
            file,
            line: fault.line,
            column: fault.column,
            device: None,
            reason: fault.reason,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, "{number}:")?;
        }
        match self.device.as_deref() {
            Some(UNKNOWN) => write!(f, " for a device whose MAC is unknown:")?,
            Some(mac) => write!(f, " for the device {mac}:")?,
            None => {}
        }
        write!(f, " {}", self.reason)
    }
}

/// The device for which something is so, by its MAC if that is known; none where it is so for all.
type Whose = Option<Option<MacAddr>>;

/// What was found so far, and of which folder.
struct Check<'a> {
    templates: &'a Templates,
    faults: Vec<(Option<String>, Fault)>,
    notes: BTreeSet<(String, &'static str, &'static str)>,
}

impl Templates {
    /// Every fault of every template, and the names of the staged ones: the seed's own are rendered
    /// for a sample device, for an unknown one, for all of `devices.json` and for those that have a
    /// folder of their own. The others, which they may include, are compiled.
    pub fn check(&self) -> Report {
        on_a_deep_stack(|| self.check_all())
    }

    fn check_all(&self) -> Report {
        let site = self.site_files.site().unwrap_or_default();
        let devices = self.site_files.devices();
        let staged = self.current(&site);
        let listing = Listing::of(&self.texts.folder);
        let mut check = Check {
            templates: self,
            faults: Vec::new(),
            notes: BTreeSet::new(),
        };
        let of_files = staged.faults().into_iter().chain(listing.faults.clone());
        check.faults.extend(of_files.map(|fault| (None, fault)));
        // What fails for the sample is not said to be so for some device.
        let nobody = [(None, sample_mac()), (Some(None), None)];
        let nobody = nobody.map(|(whose, mac)| (whose, Device::sample(mac)));
        let of_file = devices.iter().map(|(mac, known)| Device {
            known,
            ..Device::sample(Some(mac))
        });
        let with_folder = listing.macs.iter();
        let with_folder = with_folder.filter(|mac| devices.get(**mac).is_none());
        let with_folder = with_folder.map(|mac| Device::sample(Some(*mac)));
        let somebody = of_file.chain(with_folder);
        let somebody = somebody.map(|device| (Some(device.mac), device));
        for (whose, device) in nobody.into_iter().chain(somebody) {
            let context = device.context(&site, &self.fallback_password_hash);
            for file in SeedFile::ALL {
                check.file(&staged, file, whose, &device, &context);
            }
        }
        for name in &listing.names {
            // Before it is compiled, for which it is read.
            let is_read = staged.has_read(name) || listing.is_misnamed(name);
            if let Err(failure) = staged.compile(name, &Value::UNDEFINED) {
                check.fault(None, failure.fault(name));
            } else if !is_read {
                check.notes.insert((name.clone(), UNREAD, ""));
            }
        }
        check.report(listing.names)
    }

    /// The whole path of a template.
    fn path_of(&self, name: &str) -> String {
        match name {
            EMBEDDED_USER_DATA => name.to_owned(),
            _ => self.texts.path(name).display().to_string(),
        }
    }
}

impl Check<'_> {
    /// What fails for one device mostly fails for all, and is named once.
    fn fault(&mut self, mac: Option<Option<MacAddr>>, fault: Fault) {
        if !self
            .faults
            .iter()
            .any(|(_, known)| known.is_cause_of(&fault))
        {
            let name = |mac: Option<MacAddr>| mac.map_or(UNKNOWN.to_owned(), |mac| mac.to_string());
            self.faults.push((mac.map(name), fault));
        }
    }

    /// Renders one file of a device's seed.
    fn file(
        &mut self,
        staged: &Staged,
        file: SeedFile,
        whose: Whose,
        device: &Device,
        context: &Value,
    ) {
        let templates = self.templates;
        let common = file.template();
        let try_out = |name: &str| {
            let outcome = staged.try_out(file, name, context);
            let outcome = outcome.map_err(|failure| failure.fault(name));
            outcome.map(|text| (name.to_owned(), text))
        };
        let outcome = match (staged.own_template(file, device), staged.source(file)) {
            (Err(fault), _) => Err(fault),
            (Ok(Some(own)), _) => try_out(&own),
            (Ok(None), Source::Sound | Source::Doubtful(_)) => try_out(common),
            (Ok(None), Source::NotStaged) if file == SeedFile::UserData => {
                let text = templates.embedded.get_template(common);
                let text = text.and_then(|template| template.render(context.clone()));
                text.map_err(|error| templates.fault_of_embedded(&error, context))
                    .and_then(|text| {
                        let stands_in = |word: &str| embedded::USER_DATA.contains(word);
                        check(file, EMBEDDED_USER_DATA, &text, stands_in).map(|()| text)
                    })
                    .map(|text| (EMBEDDED_USER_DATA.to_owned(), text))
            }
            (Ok(None), Source::NotStaged | Source::Faulty(_) | Source::Unread(_)) => return,
        };
        match outcome {
            Ok((name, text)) => self.look_into(file, whose, name, &text),
            Err(fault) => self.fault(whose, fault),
        }
    }

    /// Finds what the installer would not take, and notes what of a file cannot be tried here.
    fn look_into(&mut self, file: SeedFile, whose: Whose, name: String, text: &str) {
        let format = match file {
            SeedFile::UserData | SeedFile::DgxOs | SeedFile::VendorData => Format::of(text),
            SeedFile::MetaData | SeedFile::NetworkConfig | SeedFile::GrubCfg => None,
        };
        if file == SeedFile::UserData && format == Some(Format::CloudConfig) {
            for found in findings(&yaml::value(text).unwrap_or_default()) {
                let reason = format!("{}: {}", found.path, found.reason);
                self.fault(whose, Fault::new(&name, reason));
            }
        }
        if let Some(format) = format
            && let Some(untried) = format.untried()
        {
            self.notes.insert((name, format.name(), untried));
        }
    }

    fn report(self, templates: Vec<String>) -> Report {
        let faults = self.faults.into_iter().map(|(device, fault)| Finding {
            device,
            ..Finding::new(self.templates.path_of(&fault.file), fault)
        });
        let notes = self.notes.into_iter().map(|(name, what, untried)| Finding {
            file: self.templates.path_of(&name),
            line: None,
            column: None,
            device: None,
            reason: match untried {
                "" => what.to_owned(),
                _ => format!("{what}: {untried} cannot be tried here"),
            },
        });
        Report {
            faults: faults.collect(),
            notes: notes.collect(),
            templates,
        }
    }
}
