//! The staged templates: read when they change, tried before a device gets them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::{Environment, Error, ErrorKind, Value};
use tracing::{info, warn};

use super::context::{Device, sample_mac};
use super::fault::{fault_of, without_secret};
use super::{SeedFile, jinja, yaml};
use crate::files::Fault;
use crate::files::stamp::{FileStamp, Watch};
use crate::message_id;
use crate::site::Site;

/// The first line without which cloud-init applies nothing of a user-data file.
const CLOUD_CONFIG: &str = "#cloud-config";

/// The staged templates as they were when they were loaded.
pub(super) struct Staged {
    pub(super) environment: Environment<'static>,
    /// What there is in common for all devices.
    sources: [Source; SeedFile::ALL.len()],
    /// Every file that was looked for, the folder itself included.
    watched: Watched,
    /// The values that the templates were tried with.
    site: Arc<Site>,
}

/// What there is for one file of the seed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A template that the sample device could be served from.
    Sound,
    /// One that the sample device could not be served from. Another device may: it may be one of
    /// those for which the template has what it needs.
    Doubtful(Fault),
    /// One that no device is served from, because it is missing, unreadable or no template.
    Faulty(Fault),
    /// None, and none is needed.
    NotStaged,
}

type Watched = Arc<Mutex<BTreeMap<PathBuf, Watch>>>;

impl Staged {
    pub(super) fn load(folder: &Path, fallback_password_hash: &str, site: &Arc<Site>) -> Self {
        let watched = Watched::default();
        let mut environment = jinja::environment();
        let (base, notes) = (folder.to_owned(), Arc::clone(&watched));
        environment.set_loader(move |name| read_template(&base, name, &notes));
        let sources = [const { Source::NotStaged }; 4];
        let mut staged = Self {
            environment,
            sources,
            watched,
            site: Arc::clone(site),
        };
        let sample = Device::sample(sample_mac());
        let context = sample.context(site, fallback_password_hash);
        let is_there = staged.look_for(folder);
        for file in SeedFile::ALL {
            let unreadable = |error: io::Error| {
                Source::Faulty(Fault::new(
                    file.template(),
                    format!("cannot be read: {error}"),
                ))
            };
            staged.sources[file as usize] = match &is_there {
                Ok(false) => Source::NotStaged,
                Ok(true) => match staged.look_for(&folder.join(file.template())) {
                    Ok(true) => staged.verdict(file, &context),
                    Ok(false) if file == SeedFile::UserData => Source::Faulty(Fault::new(
                        file.template(),
                        "missing from the folder of staged templates",
                    )),
                    Ok(false) => Source::NotStaged,
                    Err(error) => unreadable(error),
                },
                Err(error) => unreadable(error.kind().into()),
            };
        }
        staged
    }

    /// Whether a file is there, now and until [`is_current`](Self::is_current) says otherwise.
    fn look_for(&self, path: &Path) -> io::Result<bool> {
        watch(&self.watched, path);
        FileStamp::at(path).map(|stamp| stamp.is_some())
    }

    fn verdict(&self, file: SeedFile, sample: &Value) -> Source {
        match (
            self.environment.get_template(file.template()),
            self.try_out(file, file.template(), sample),
        ) {
            (Err(error), _) => Source::Faulty(fault_of(&error)),
            (Ok(_), Err(fault)) => Source::Doubtful(fault),
            (Ok(_), Ok(_)) => Source::Sound,
        }
    }

    pub(super) fn source(&self, file: SeedFile) -> &Source {
        &self.sources[file as usize]
    }

    /// The name of the device's own template, in a folder that is called as the device is.
    pub(super) fn own_template(
        &self,
        folder: &Path,
        file: SeedFile,
        device: &Device,
    ) -> Option<String> {
        let name = format!("{}/{}", device.mac?.slug(), file.template());
        let is_there = FileStamp::at(&folder.join(&name)).is_ok_and(|stamp| stamp.is_some());
        is_there.then_some(name)
    }

    pub(super) fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.sources.iter().filter_map(|source| match source {
            Source::Doubtful(fault) | Source::Faulty(fault) => Some(fault),
            Source::Sound | Source::NotStaged => None,
        })
    }

    pub(super) fn same_outcome(&self, other: &Self) -> bool {
        self.sources == other.sources
    }

    pub(super) fn report(&self, folder: &Path) {
        let count = self
            .sources
            .iter()
            .filter(|source| **source != Source::NotStaged)
            .count();
        info!(folder = %folder.display(), staged = count, "templates loaded: {count} staged");
        for fault in self.faults() {
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

    pub(super) fn render(
        &self,
        file: SeedFile,
        name: &str,
        context: &Value,
    ) -> Result<String, Fault> {
        let template = self.environment.get_template(name);
        let text = template.and_then(|template| template.render(context.clone()));
        let text = text.map_err(|error| without_secret(fault_of(&error), context))?;
        if file == SeedFile::UserData && !text.starts_with(CLOUD_CONFIG) {
            let reason = format!("the rendered text does not begin with {CLOUD_CONFIG}");
            return Err(Fault::new(name, reason));
        }
        Ok(text)
    }

    /// Renders a template and checks that the outcome is YAML, which costs too much for most
    /// requests.
    pub(super) fn try_out(
        &self,
        file: SeedFile,
        name: &str,
        context: &Value,
    ) -> Result<String, Fault> {
        self.render(file, name, context)
            .and_then(|text| checked(file, name, text))
    }
}

/// The text, if it is YAML as far as it has to be.
pub(super) fn checked(file: SeedFile, name: &str, text: String) -> Result<String, Fault> {
    match (file, yaml::check_mapping(&text)) {
        (SeedFile::UserData | SeedFile::MetaData, Err(error)) => {
            let reason = match error.line {
                Some(line) => format!("line {line} of the rendered text: {}", error.reason),
                None => format!("the rendered text is {}", error.reason),
            };
            Err(Fault::new(name, reason))
        }
        _ => Ok(text),
    }
}

fn watch(watched: &Watched, path: &Path) {
    let watch = Watch::at(path);
    let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
    // A name that a watched folder lacks cannot appear without a change of the folder.
    let is_covered = || {
        path.parent()
            .is_some_and(|folder| watched.contains_key(folder))
    };
    if watch.is_there() || path.is_symlink() || !is_covered() {
        watched.insert(path.to_owned(), watch);
    }
}

/// Reads a template for the environment, and notes the file's state before it is read.
fn read_template(folder: &Path, name: &str, watched: &Watched) -> Result<Option<String>, Error> {
    let outside = |segment: &str| segment.is_empty() || segment.starts_with('.');
    if name.split('/').any(outside) {
        return Ok(None);
    }
    let path = folder.join(name);
    watch(watched, &path);
    match std::fs::read_to_string(&path) {
        // As Python reads a text file.
        Ok(text) => Ok(Some(text.replace("\r\n", "\n").replace('\r', "\n"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let detail = format!("{name} cannot be read: {error}");
            Err(Error::new(ErrorKind::InvalidOperation, detail))
        }
    }
}
