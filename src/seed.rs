//! The NoCloud seed: which template, rendered for which device, and what is served when it fails.
//!
//! Staged templates lie in one folder, `{DATA_PATH}/cloud-init-templates`. As long as there is no
//! such folder, the embedded defaults are served. Once there is, its `user-data.yaml.j2` counts:
//! if that is missing or fails, the device gets a minimal fallback autoinstall, so that no box
//! ever waits at two in the morning for a template to be mended.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use minijinja::{Environment, Error, ErrorKind, Value, context};
use tracing::{info, warn};

use crate::jinja;
use crate::mac::MacAddr;
use crate::message_id;
use crate::onboarding::default_hostname;
use crate::stamp::FileStamp;
use crate::yaml;

/// How a device whose MAC could not be found out is called in its seed.
pub const UNKNOWN: &str = "unknown";

/// The first line without which cloud-init applies nothing of a user-data file.
const CLOUD_CONFIG: &str = "#cloud-config";

/// An address of the range for documentation (RFC 7042, 2.1.2), to try templates with.
const SAMPLE_MAC: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x53, 0x01];

/// The default password is `gb10-change-me`; the first login must choose another.
pub const DEFAULT_FALLBACK_PASSWORD_HASH: &str = "$6$gb10provision$Sz/kEtX7K2v4zDdGnx81PJjXgqCwgaR1U1xtjZj8C0Pqn1N4itMko2g5tB8qvfXj05fwhXGvRApe3lMY49ug1/";

const EMBEDDED_USER_DATA: &str = include_str!("../templates/user-data.yaml.j2");
const EMBEDDED_META_DATA: &str = include_str!("../templates/meta-data.yaml.j2");
const EMBEDDED_FALLBACK: &str = include_str!("../templates/fallback.yaml.j2");
const FALLBACK: &str = "fallback.yaml.j2";

/// Where templates are staged in the data folder.
pub fn templates_folder(data_path: &Path) -> PathBuf {
    data_path.join("cloud-init-templates")
}

/// The files of a seed, by the names that cloud-init's NoCloud data source asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeedFile {
    /// The cloud-config with the autoinstall.
    UserData,
    /// instance-id and local-hostname.
    MetaData,
    /// Empty unless staged: a 404 would cost every boot 10 s.
    VendorData,
    /// Empty unless staged, likewise.
    NetworkConfig,
}

impl SeedFile {
    /// Every file of a seed.
    pub const ALL: [Self; 4] = [
        Self::UserData,
        Self::MetaData,
        Self::VendorData,
        Self::NetworkConfig,
    ];

    /// The name in a seed's URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserData => "user-data",
            Self::MetaData => "meta-data",
            Self::VendorData => "vendor-data",
            Self::NetworkConfig => "network-config",
        }
    }

    /// The file of that name in a seed's URL.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }

    /// The template's file name.
    pub const fn template(self) -> &'static str {
        match self {
            Self::UserData => "user-data.yaml.j2",
            Self::MetaData => "meta-data.yaml.j2",
            Self::VendorData => "vendor-data.yaml.j2",
            Self::NetworkConfig => "network-config.yaml.j2",
        }
    }
}

/// For whom a seed is rendered.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its MAC, where that is known.
    pub mac: Option<MacAddr>,
    /// The address of ours that it reached.
    pub lan: SocketAddr,
    /// The base of the URLs that it shall use, without a final slash.
    pub provision_url: String,
}

impl Device {
    /// The variables of a template.
    fn context(&self, fallback_password_hash: &str) -> Value {
        let (mac, mac_slug) = match self.mac {
            Some(mac) => (mac.to_string(), mac.slug()),
            None => (UNKNOWN.to_owned(), UNKNOWN.to_owned()),
        };
        context! {
            hostname => default_hostname(&mac_slug),
            mac,
            mac_slug,
            lan_ip => self.lan.ip().to_canonical().to_string(),
            provision_url => self.provision_url.as_str(),
            fallback_password_hash,
        }
    }

    fn sample(mac: Option<MacAddr>) -> Self {
        let lan = SocketAddr::from(([10, 88, 0, 1], 8088));
        Self {
            mac,
            lan,
            provision_url: format!("http://{lan}"),
        }
    }
}

/// What is wrong with a template, and where. No variable of a device is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The template, relative to its folder.
    pub file: String,
    /// The line in the template, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

impl Fault {
    fn new(file: &str, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            reason: reason.into(),
        }
    }

    /// Takes the innermost error: where an included template fails, that is the one to mend.
    fn of(error: &Error) -> Self {
        let mut innermost = error;
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            if let Some(next) = next.downcast_ref::<Error>()
                && next.line().is_some()
            {
                innermost = next;
            }
            cause = next.source();
        }
        let reason = match innermost.detail() {
            Some(detail) => format!("{}: {detail}", innermost.kind()),
            None => innermost.kind().to_string(),
        };
        Self {
            file: innermost.name().unwrap_or("?").to_owned(),
            line: innermost.line(),
            reason,
        }
    }
}

/// Which template a seed was rendered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The operator's.
    Staged,
    /// The one that is compiled in.
    Embedded,
    /// The minimal autoinstall in place of a template that is missing or fails.
    Fallback,
    /// None: the file is empty.
    Nothing,
}

impl Origin {
    /// The name in the journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Embedded => "embedded",
            Self::Fallback => "fallback",
            Self::Nothing => "none",
        }
    }
}

/// A rendered file of a seed.
#[derive(Debug)]
pub struct Rendered {
    /// The file's text.
    pub text: String,
    /// What it was rendered from.
    pub origin: Origin,
    /// Why it is not the staged template, where there should be one.
    pub fault: Option<Fault>,
}

/// All templates: the staged ones, always as they are on the disk, and the embedded ones.
pub struct Templates {
    folder: PathBuf,
    fallback_password_hash: String,
    embedded: Environment<'static>,
    staged: RwLock<Arc<Staged>>,
    loading: Mutex<()>,
}

impl Templates {
    /// Loads the templates in `folder`, and warns of those with faults.
    pub fn load(folder: PathBuf, fallback_password_hash: &str) -> Result<Self, Error> {
        let mut embedded = jinja::environment();
        embedded.add_template(SeedFile::UserData.template(), EMBEDDED_USER_DATA)?;
        embedded.add_template(SeedFile::MetaData.template(), EMBEDDED_META_DATA)?;
        embedded.add_template(FALLBACK, EMBEDDED_FALLBACK)?;
        let staged = Staged::load(&folder, fallback_password_hash);
        staged.report(&folder);
        Ok(Self {
            folder,
            fallback_password_hash: fallback_password_hash.to_owned(),
            embedded,
            staged: RwLock::new(Arc::new(staged)),
            loading: Mutex::new(()),
        })
    }

    /// Renders one file of the seed for a device.
    ///
    /// An error means that an embedded template failed, which only a defect of ours can cause.
    pub fn render(&self, file: SeedFile, device: &Device) -> Result<Rendered, Error> {
        let context = device.context(&self.fallback_password_hash);
        let staged = self.current();
        let fault = match staged.source(file) {
            Source::Staged => match staged.render(file, context.clone()) {
                Ok(text) => {
                    return Ok(Rendered {
                        text,
                        origin: Origin::Staged,
                        fault: None,
                    });
                }
                Err(fault) => Some(fault),
            },
            Source::Faulty(fault) => Some(fault.clone()),
            Source::NotStaged => None,
        };
        let (name, origin) = match (file, &fault) {
            (SeedFile::UserData, Some(_)) => (FALLBACK, Origin::Fallback),
            (SeedFile::UserData | SeedFile::MetaData, _) => (file.template(), Origin::Embedded),
            (SeedFile::VendorData | SeedFile::NetworkConfig, _) => {
                return Ok(Rendered {
                    text: String::new(),
                    origin: Origin::Nothing,
                    fault,
                });
            }
        };
        let text = self.embedded.get_template(name)?.render(context)?;
        Ok(Rendered {
            text,
            origin,
            fault,
        })
    }

    /// The faults of the staged seed templates as they are now.
    pub fn faults(&self) -> Vec<Fault> {
        self.current().faults().cloned().collect()
    }

    /// Loads all templates again, changed or not.
    pub fn reload(&self) {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.load_again();
    }

    /// Every fault of every staged template, and the names of those that were tried: the seed's
    /// own are rendered for a sample device and for an unknown one, the others, which they may
    /// include, are compiled.
    pub fn check(&self) -> (Vec<String>, Vec<Fault>) {
        let staged = self.current();
        let mut faults: Vec<Fault> = staged.faults().cloned().collect();
        let unknown = Device::sample(None).context(&self.fallback_password_hash);
        for file in SeedFile::ALL {
            if matches!(staged.source(file), Source::Staged)
                && let Err(fault) = staged.try_out(file, unknown.clone())
            {
                let reason = format!("for a device whose MAC is unknown: {}", fault.reason);
                faults.push(Fault { reason, ..fault });
            }
        }
        let names = staged_names(&self.folder, &mut faults);
        for name in &names {
            let is_seed_file = SeedFile::ALL.iter().any(|file| file.template() == name);
            if !is_seed_file && let Err(error) = staged.environment.get_template(name) {
                let fault = Fault::of(&error);
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
        (names, faults)
    }

    fn current(&self) -> Arc<Staged> {
        let staged = self.loaded();
        if staged.is_current() {
            return staged;
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request may have loaded them while this one waited.
        let staged = self.loaded();
        if staged.is_current() {
            staged
        } else {
            self.load_again()
        }
    }

    fn loaded(&self) -> Arc<Staged> {
        Arc::clone(&self.staged.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn load_again(&self) -> Arc<Staged> {
        let staged = Arc::new(Staged::load(&self.folder, &self.fallback_password_hash));
        if !staged.same_outcome(&self.loaded()) {
            staged.report(&self.folder);
        }
        *self.staged.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&staged);
        staged
    }
}

/// The staged templates as they were when they were loaded.
struct Staged {
    environment: Environment<'static>,
    sources: [Source; SeedFile::ALL.len()],
    /// Every file that was looked for, the folder itself included.
    watched: Watched,
}

/// What there is for one file of the seed.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Staged,
    Faulty(Fault),
    NotStaged,
}

type Watched = Arc<Mutex<BTreeMap<PathBuf, Watch>>>;

/// A file's state when it was read; no stamp where there was none.
struct Watch {
    stamp: Option<FileStamp>,
    settled: bool,
}

impl Watch {
    fn at(path: &Path) -> Self {
        let now = SystemTime::now();
        match FileStamp::at(path) {
            Ok(stamp) => Self {
                stamp,
                settled: stamp.is_none_or(|stamp| stamp.is_settled(now)),
            },
            Err(_) => Self {
                stamp: None,
                settled: false,
            },
        }
    }

    fn still_holds(&self, path: &Path) -> bool {
        self.settled && FileStamp::at(path).is_ok_and(|stamp| stamp == self.stamp)
    }
}

impl Staged {
    fn load(folder: &Path, fallback_password_hash: &str) -> Self {
        let watched = Watched::default();
        watch(&watched, folder);
        let mut environment = jinja::environment();
        let (base, notes) = (folder.to_owned(), Arc::clone(&watched));
        environment.set_loader(move |name| read_template(&base, name, &notes));
        let mut staged = Self {
            environment,
            sources: [const { Source::NotStaged }; 4],
            watched,
        };
        let user_data = SeedFile::UserData;
        match FileStamp::at(folder) {
            Ok(Some(_)) => {}
            Ok(None) => return staged,
            Err(error) => {
                let reason = format!("its folder cannot be read: {error}");
                let fault = Fault::new(user_data.template(), reason);
                staged.sources[user_data as usize] = Source::Faulty(fault);
                return staged;
            }
        }
        let sample = Device::sample(MacAddr::from_octets(SAMPLE_MAC).ok());
        for file in SeedFile::ALL {
            let path = folder.join(file.template());
            watch(&staged.watched, &path);
            let outcome = match FileStamp::at(&path) {
                Ok(Some(_)) => staged
                    .try_out(file, sample.context(fallback_password_hash))
                    .map(|()| true),
                Ok(None) if file == user_data => Err(Fault::new(
                    file.template(),
                    "missing, although the folder of staged templates is there",
                )),
                Ok(None) => Ok(false),
                Err(error) => Err(Fault::new(
                    file.template(),
                    format!("cannot be read: {error}"),
                )),
            };
            staged.sources[file as usize] = match outcome {
                Ok(true) => Source::Staged,
                Ok(false) => Source::NotStaged,
                Err(fault) => Source::Faulty(fault),
            };
        }
        staged
    }

    fn source(&self, file: SeedFile) -> &Source {
        &self.sources[file as usize]
    }

    fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.sources.iter().filter_map(|source| match source {
            Source::Faulty(fault) => Some(fault),
            Source::Staged | Source::NotStaged => None,
        })
    }

    fn same_outcome(&self, other: &Self) -> bool {
        self.sources == other.sources
    }

    fn report(&self, folder: &Path) {
        let staged = |source: &Source| *source == Source::Staged;
        let count = self.sources.iter().filter(|source| staged(source)).count();
        info!(folder = %folder.display(), staged = count, "templates loaded");
        for fault in self.faults() {
            warn!(
                message_id = message_id::TEMPLATE_BROKEN,
                gb10.template = %fault.file, line = fault.line, reason = fault.reason, "a staged template has a fault");
        }
    }

    fn is_current(&self) -> bool {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.iter().all(|(path, watch)| watch.still_holds(path))
    }

    fn render(&self, file: SeedFile, context: Value) -> Result<String, Fault> {
        let template = self.environment.get_template(file.template());
        let text = template.and_then(|template| template.render(context));
        let text = text.map_err(|error| Fault::of(&error))?;
        if file == SeedFile::UserData && !text.starts_with(CLOUD_CONFIG) {
            let reason = format!("the rendered text does not begin with {CLOUD_CONFIG}");
            return Err(Fault::new(file.template(), reason));
        }
        Ok(text)
    }

    /// Renders a template and checks that the outcome is YAML, which costs too much for a request.
    fn try_out(&self, file: SeedFile, context: Value) -> Result<(), Fault> {
        let text = self.render(file, context)?;
        match (file, yaml::check_mapping(&text)) {
            (SeedFile::UserData | SeedFile::MetaData, Err(error)) => {
                let reason = match error.line {
                    Some(line) => format!("line {line} of the rendered text: {}", error.reason),
                    None => format!("the rendered text is {}", error.reason),
                };
                Err(Fault::new(file.template(), reason))
            }
            _ => Ok(()),
        }
    }
}

fn watch(watched: &Watched, path: &Path) {
    let watch = Watch::at(path);
    watched
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(path.to_owned(), watch);
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
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let detail = format!("{name} cannot be read: {error}");
            Err(Error::new(ErrorKind::InvalidOperation, detail))
        }
    }
}

/// The names of all files in the folder that end in `.j2`, sorted, subfolders included.
fn staged_names(folder: &Path, faults: &mut Vec<Fault>) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(relative) = folders.pop() {
        let entries = match std::fs::read_dir(folder.join(&relative)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                faults.push(Fault::new(
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
    names
}
