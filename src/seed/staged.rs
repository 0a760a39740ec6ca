//! The staged templates: read when they change, tried before a device gets them.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use minijinja::{Environment, Error, ErrorKind, Value};
use tracing::{info, warn};

use super::context::{Device, sample_mac};
use super::fault::{Failure, failure_of, rendered_line};
use super::format::Format;
use super::sources::{Sources, Watched, note};
use super::yaml::{self, Root, Seen};
use super::{SeedFile, jinja};
use crate::files::Fault;
use crate::files::stamp::{FileStamp, Watch};
use crate::message_id;
use crate::site::Site;

/// Longest text of a seed's file, in bytes. Checking one takes time, and no installer wants it.
const MAX_TEXT: usize = 1 << 20;

/// The staged templates as they were when they were loaded.
pub(super) struct Staged {
    pub(super) environment: Environment<'static>,
    /// What there is in common for all devices.
    sources: [Source; SeedFile::ALL.len()],
    texts: Arc<Sources>,
    /// Every file that was looked for, the folder itself included.
    watched: Watched,
    /// The values that the templates were tried with.
    site: Arc<Site>,
    /// Of each file, what was rendered and is sound.
    seen: [Seen; SeedFile::ALL.len()],
}

/// What there is for one file of the seed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A template that the sample device could be served from.
    Sound,
    /// One that the sample device could not be served from. Another device may: it may be one of
    /// those for which the template has what it needs.
    Doubtful(Fault),
    /// One that no device is served from, because it is missing or no template.
    Faulty(Fault),
    /// One that is perhaps there, but cannot be read now.
    Unread(Fault),
    /// None, and none is needed.
    NotStaged,
}

impl Staged {
    /// Loads the templates, and tries them. `before` is what was loaded last.
    pub(super) fn load(
        texts: &Arc<Sources>,
        fallback_password_hash: &str,
        site: &Arc<Site>,
        before: Option<&Self>,
    ) -> Self {
        let mut staged = Self::untried(texts, site);
        let folder = &texts.folder;
        let seen = before.and_then(|before| {
            let watched = before.watched.lock();
            let watched = watched.unwrap_or_else(PoisonError::into_inner);
            watched.get(folder).cloned()
        });
        note(&staged.watched, folder, &Watch::at(folder, seen.as_ref()));
        let context = Device::sample(sample_mac()).context(site, fallback_password_hash);
        for file in SeedFile::ALL {
            staged.sources[file as usize] = staged.verdict(file, &context);
        }
        staged
    }

    /// The staged templates, of which nothing was read yet.
    pub(super) fn untried(texts: &Arc<Sources>, site: &Arc<Site>) -> Self {
        let watched = Watched::default();
        let mut environment = jinja::environment();
        let (loader, notes) = (Arc::clone(texts), Arc::clone(&watched));
        jinja::set_loader(&mut environment, move |name| loader.read(name, &notes));
        Self {
            environment,
            sources: [const { Source::NotStaged }; SeedFile::ALL.len()],
            texts: Arc::clone(texts),
            watched,
            site: Arc::clone(site),
            seen: Default::default(),
        }
    }

    fn verdict(&self, file: SeedFile, sample: &Value) -> Source {
        let name = file.template();
        match self.compile(name, sample) {
            Ok(()) => match self.try_out(file, name, sample) {
                Ok(_) => Source::Sound,
                Err(failure) => Source::Doubtful(failure.fault(name)),
            },
            Err(Failure::Fault(fault)) => Source::Faulty(fault),
            Err(Failure::Unread(fault)) => Source::Unread(fault),
            Err(Failure::NotThere) => match FileStamp::at(&self.texts.folder) {
                Ok(Some(_)) if file == SeedFile::UserData => {
                    let reason = "missing from the folder of staged templates";
                    Source::Faulty(Fault::new(name, reason))
                }
                Ok(_) => Source::NotStaged,
                Err(error) => {
                    let reason = format!("cannot be read: {error}");
                    Source::Unread(Fault::new(name, reason))
                }
            },
        }
    }

    /// Whether a template can be read and compiled.
    pub(super) fn compile(&self, name: &str, context: &Value) -> Result<(), Failure> {
        let template = self.environment.get_template(name);
        template.map(drop).map_err(|error| match error.kind() {
            ErrorKind::TemplateNotFound => Failure::NotThere,
            _ => self.failure_of(&error, name, context),
        })
    }

    fn failure_of(&self, error: &Error, name: &str, context: &Value) -> Failure {
        failure_of(error, name, context, |name| self.texts.text(name))
    }

    /// The files that were found when they were read.
    pub(super) fn files_read(&self) -> Vec<PathBuf> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let found = watched.iter().filter(|(_, watch)| !watch.is_of_nothing());
        found.map(|(path, _)| path.clone()).collect()
    }

    /// Whether a template of that name was read, for whatever reason.
    pub(super) fn has_read(&self, name: &str) -> bool {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.contains_key(&self.texts.path(name))
    }

    pub(super) fn source(&self, file: SeedFile) -> &Source {
        &self.sources[file as usize]
    }

    /// The name of the device's own template, in a folder that is called as the device is. Whether
    /// it is there cannot always be seen.
    pub(super) fn own_template(
        &self,
        file: SeedFile,
        device: &Device,
    ) -> Result<Option<String>, Fault> {
        let Some(mac) = device.mac else {
            return Ok(None);
        };
        let name = format!("{}/{}", mac.slug(), file.template());
        match FileStamp::at(&self.texts.path(&name)) {
            Ok(Some(_)) => Ok(Some(name)),
            _ if self.texts.is_kept(&name) => Ok(Some(name)),
            Ok(None) => Ok(None),
            Err(error) => Err(Fault::new(&name, format!("cannot be read: {error}"))),
        }
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let of_sources = self.sources.iter().filter_map(Source::fault);
        let of_sources = of_sources.cloned();
        of_sources.chain(self.texts.unread(&self.watched)).collect()
    }

    pub(super) fn same_outcome(&self, other: &Self) -> bool {
        self.sources == other.sources
    }

    pub(super) fn report(&self) {
        let count = self
            .sources
            .iter()
            .filter(|source| **source != Source::NotStaged)
            .count();
        info!(folder = %self.texts.folder.display(), staged = count, "templates loaded: {count} staged");
        // What cannot be read was told when that was found.
        let is_told = |source: &&Source| !matches!(source, Source::Unread(_));
        for fault in self
            .sources
            .iter()
            .filter(is_told)
            .filter_map(Source::fault)
        {
            warn!(
                message_id = message_id::TEMPLATE_BROKEN,
                gb10.template = %fault.file,
                line = fault.line,
                reason = fault.reason,
                "a staged template has a fault: {fault}"
            );
        }
    }

    pub(super) fn is_current(&self, site: &Arc<Site>) -> bool {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::ptr_eq(&self.site, site) && watched.iter().all(|(path, watch)| watch.still_holds(path))
    }

    fn render(&self, name: &str, context: &Value) -> Result<String, Failure> {
        let template = match self.environment.get_template(name) {
            Ok(template) => template,
            Err(error) if error.kind() == ErrorKind::TemplateNotFound => {
                return Err(Failure::NotThere);
            }
            Err(error) => return Err(self.failure_of(&error, name, context)),
        };
        let text = template.render(context.clone());
        let text = text.map_err(|error| self.failure_of(&error, name, context))?;
        match text.len() > MAX_TEXT {
            true => Err(Failure::Fault(Fault::new(
                name,
                format!("the rendered text is longer than {MAX_TEXT} bytes"),
            ))),
            false => Ok(text),
        }
    }

    /// Renders a template and checks that cloud-init can read the outcome: what a template has for
    /// the sample device may be sound, and broken by what is known of another.
    pub(super) fn try_out(
        &self,
        file: SeedFile,
        name: &str,
        context: &Value,
    ) -> Result<String, Failure> {
        let text = self.render(name, context)?;
        let seen = &self.seen[file as usize];
        let stands_in = |word: &str| self.texts.have(word);
        let checked = seen.check(&text, |text| check(file, name, text, stands_in));
        checked.map(|()| text).map_err(Failure::Fault)
    }
}

impl Source {
    /// What is wrong with it.
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Doubtful(fault) | Self::Faulty(fault) | Self::Unread(fault) => Some(fault),
            Self::Sound | Self::NotStaged => None,
        }
    }
}

/// Whether cloud-init can use the text as that file. `stands_in` tells whether a word stands in a
/// template, so that it may be told.
pub(super) fn check(
    file: SeedFile,
    name: &str,
    text: &str,
    stands_in: impl Fn(&str) -> bool,
) -> Result<(), Fault> {
    let outcome = match (file, Format::of(text)) {
        (SeedFile::MetaData, _)
        | (SeedFile::UserData | SeedFile::DgxOs, Some(Format::CloudConfig)) => {
            yaml::check_mapping(text)
        }
        // Where these hold nothing, it is as if there were none.
        (SeedFile::NetworkConfig, _) | (SeedFile::VendorData, Some(Format::CloudConfig)) => {
            yaml::check_mapping_if_any(text)
        }
        (SeedFile::VendorData, None) if yaml::root(text) == Ok(Root::Nothing) => Ok(()),
        (SeedFile::UserData | SeedFile::DgxOs | SeedFile::VendorData, Some(_))
        | (SeedFile::GrubCfg, _) => Ok(()),
        (SeedFile::UserData | SeedFile::DgxOs | SeedFile::VendorData, None) => {
            let reason = "the rendered text does not begin with #cloud-config, #! or another header that cloud-init knows";
            return Err(Fault::new(name, reason));
        }
    };
    outcome.map_err(|error| {
        let reason = match error.line {
            Some(line) => {
                let shown = rendered_line(text, line, stands_in);
                let shown = shown.map_or_else(String::new, |shown| format!(", `{shown}`"));
                format!("line {line} of the rendered text{shown}: {}", error.reason)
            }
            None => format!("the rendered text is {}", error.reason),
        };
        Fault::new(name, reason)
    })
}
