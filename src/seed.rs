//! The NoCloud seed: which template, rendered for which device, and what is served when it fails.
//!
//! Staged templates lie in one folder, `{DATA_PATH}/cloud-init-templates`. As long as there is no
//! such folder, the embedded defaults are served. Once there is, its `user-data.yaml.j2` counts:
//! if that is missing or fails, the device gets a minimal fallback autoinstall, so that no box
//! ever waits at two in the morning for a template to be mended.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use minijinja::{Environment, Error, ErrorKind, Value, context};
use tracing::{info, warn};

use crate::fault::Fault;
use crate::jinja;
use crate::mac::MacAddr;
use crate::message_id;
use crate::onboarding::default_hostname;
use crate::site::{KnownDevice, Site, SiteFiles};
use crate::stamp::{FileStamp, Watch};
use crate::yaml;

/// How a device whose MAC could not be found out is called in its seed.
pub const UNKNOWN: &str = "unknown";

/// The first line without which cloud-init applies nothing of a user-data file.
const CLOUD_CONFIG: &str = "#cloud-config";

/// An address of the range for documentation (RFC 7042, 2.1.2), to try templates with.
const SAMPLE_MAC: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x53, 0x01];

const EMBEDDED_USER_DATA: &str = include_str!("../templates/user-data.yaml.j2");
const EMBEDDED_META_DATA: &str = include_str!("../templates/meta-data.yaml.j2");
const EMBEDDED_FALLBACK: &str = include_str!("../templates/fallback.yaml.j2");
const FALLBACK: &str = "fallback.yaml.j2";

/// The one variable of a template that is always secret.
const FALLBACK_PASSWORD_HASH: &str = "fallback_password_hash";

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
    /// The MAC that it is on record under, where that is known.
    pub mac: Option<MacAddr>,
    /// What `devices.json` says of it.
    pub known: KnownDevice,
    /// The address of ours that it reached.
    pub lan: SocketAddr,
    /// The base of the URLs that it shall use, without a final slash.
    pub provision_url: String,
}

impl Device {
    fn mac_slug(&self) -> String {
        self.mac
            .map_or_else(|| UNKNOWN.to_owned(), |mac| mac.slug())
    }

    /// The variables of a template.
    fn context(&self, site: &Site, fallback_password_hash: &str) -> Value {
        let mac_slug = self.mac_slug();
        let hostname = match &self.known.hostname {
            Some(name) => name.as_str().to_owned(),
            None => default_hostname(&mac_slug),
        };
        context! {
            mac => self.mac.map_or_else(|| UNKNOWN.to_owned(), |mac| mac.to_string()),
            mac_slug,
            lan_ip => self.lan.ip().to_canonical().to_string(),
            provision_url => self.provision_url.as_str(),
            fallback_password_hash,
            site => site.0.clone(),
            device => context! {
                hostname => hostname.as_str(),
                role => self.known.role.as_deref(),
                macs => self.known.macs.iter().map(MacAddr::to_string).collect::<Vec<_>>(),
                vars => self.known.vars.clone(),
            },
            hostname,
        }
    }

    fn sample(mac: Option<MacAddr>) -> Self {
        let lan = SocketAddr::from(([10, 88, 0, 1], 8088));
        let provision_url = format!("http://{lan}");
        Self {
            mac,
            known: KnownDevice::default(),
            lan,
            provision_url,
        }
    }
}

/// Takes the innermost error: where an included template fails, that is the one to mend.
fn fault_of(error: &Error) -> Fault {
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
    Fault {
        file: innermost.name().unwrap_or("?").to_owned(),
        line: innermost.line(),
        reason,
    }
}

/// Leaves out the password hash: `{% include fallback_password_hash %}` would name it as the
/// template that is not there.
fn without_secret(fault: Fault, context: &Value) -> Fault {
    match context
        .get_attr(FALLBACK_PASSWORD_HASH)
        .as_ref()
        .map(Value::as_str)
    {
        Ok(Some(secret)) => Fault {
            reason: fault.reason.replace(secret, "…"),
            ..fault
        },
        _ => fault,
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
    site_files: Arc<SiteFiles>,
    fallback_password_hash: String,
    embedded: Environment<'static>,
    staged: RwLock<Arc<Staged>>,
    loading: Mutex<()>,
}

impl Templates {
    /// Loads the templates in `folder`, tries them with the site's values, and warns of faults.
    pub fn load(
        folder: PathBuf,
        fallback_password_hash: &str,
        site_files: Arc<SiteFiles>,
    ) -> Result<Self, Error> {
        let mut embedded = jinja::environment();
        embedded.add_template(SeedFile::UserData.template(), EMBEDDED_USER_DATA)?;
        embedded.add_template(SeedFile::MetaData.template(), EMBEDDED_META_DATA)?;
        embedded.add_template(FALLBACK, EMBEDDED_FALLBACK)?;
        let staged = Staged::load(&folder, fallback_password_hash, &site_files.site());
        staged.report(&folder);
        Ok(Self {
            folder,
            site_files,
            fallback_password_hash: fallback_password_hash.to_owned(),
            embedded,
            staged: RwLock::new(Arc::new(staged)),
            loading: Mutex::new(()),
        })
    }

    /// Renders one file of the seed: from the device's own template, else from the common one,
    /// else from the embedded one, else from the fallback.
    ///
    /// An error means that the fallback failed, which only a defect of ours can cause.
    pub fn render(&self, file: SeedFile, device: &Device) -> Result<Rendered, Error> {
        let site = self.site_files.site();
        let context = device.context(&site, &self.fallback_password_hash);
        let staged = self.current(&site);
        let own = staged.own_template(&self.folder, file, device);
        let own = own.map(|name| staged.try_out(file, &name, &context));
        let common = || match staged.source(file) {
            Source::Sound => Some(staged.render(file, file.template(), &context)),
            Source::Doubtful(_) => Some(staged.try_out(file, file.template(), &context)),
            Source::Faulty(fault) => Some(Err(fault.clone())),
            Source::NotStaged => None,
        };
        let mut fault = None;
        for outcome in own
            .into_iter()
            .chain(std::iter::once_with(common).flatten())
        {
            match outcome {
                Ok(text) => {
                    return Ok(Rendered {
                        text,
                        origin: Origin::Staged,
                        fault,
                    });
                }
                Err(found) => fault = Some(found),
            }
        }
        let embedded = |name| self.embedded.get_template(name)?.render(context.clone());
        let (text, origin) = match (file, staged.source(file)) {
            (SeedFile::VendorData | SeedFile::NetworkConfig, _) => (String::new(), Origin::Nothing),
            (SeedFile::MetaData, _) => (embedded(file.template())?, Origin::Embedded),
            (SeedFile::UserData, Source::NotStaged) => match embedded(file.template()) {
                Ok(text) => (text, Origin::Embedded),
                // The site's values do not fit it.
                Err(error) => {
                    fault = Some(fault_of(&error));
                    (embedded(FALLBACK)?, Origin::Fallback)
                }
            },
            (SeedFile::UserData, _) => (embedded(FALLBACK)?, Origin::Fallback),
        };
        Ok(Rendered {
            text,
            origin,
            fault,
        })
    }

    /// The faults of the common templates and of the site's files as they are now.
    pub fn faults(&self) -> Vec<Fault> {
        let staged = self.current(&self.site_files.site());
        staged
            .faults()
            .cloned()
            .chain(self.site_files.faults())
            .collect()
    }

    /// Loads all templates again, changed or not.
    pub fn reload(&self) {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.load_again(&self.site_files.site());
    }

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

    fn current(&self, site: &Arc<Site>) -> Arc<Staged> {
        let staged = self.loaded();
        if staged.is_current(site) {
            return staged;
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request may have loaded them while this one waited.
        let staged = self.loaded();
        if staged.is_current(site) {
            staged
        } else {
            self.load_again(site)
        }
    }

    fn loaded(&self) -> Arc<Staged> {
        Arc::clone(&self.staged.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn load_again(&self, site: &Arc<Site>) -> Arc<Staged> {
        let staged = Arc::new(Staged::load(
            &self.folder,
            &self.fallback_password_hash,
            site,
        ));
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
    /// What there is in common for all devices.
    sources: [Source; SeedFile::ALL.len()],
    /// Every file that was looked for, the folder itself included.
    watched: Watched,
    /// The values that the templates were tried with.
    site: Arc<Site>,
}

/// What there is for one file of the seed.
#[derive(Debug, PartialEq, Eq)]
enum Source {
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
    fn load(folder: &Path, fallback_password_hash: &str, site: &Arc<Site>) -> Self {
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
        let sample = Device::sample(MacAddr::from_octets(SAMPLE_MAC).ok());
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
                        "missing, although the folder of staged templates is there",
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

    fn source(&self, file: SeedFile) -> &Source {
        &self.sources[file as usize]
    }

    /// The name of the device's own template, in a folder that is called as the device is.
    fn own_template(&self, folder: &Path, file: SeedFile, device: &Device) -> Option<String> {
        let name = format!("{}/{}", device.mac?.slug(), file.template());
        let is_there = FileStamp::at(&folder.join(&name)).is_ok_and(|stamp| stamp.is_some());
        is_there.then_some(name)
    }

    fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.sources.iter().filter_map(|source| match source {
            Source::Doubtful(fault) | Source::Faulty(fault) => Some(fault),
            Source::Sound | Source::NotStaged => None,
        })
    }

    fn same_outcome(&self, other: &Self) -> bool {
        self.sources == other.sources
    }

    fn report(&self, folder: &Path) {
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

    fn is_current(&self, site: &Arc<Site>) -> bool {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::ptr_eq(&self.site, site) && watched.iter().all(|(path, watch)| watch.still_holds(path))
    }

    fn render(&self, file: SeedFile, name: &str, context: &Value) -> Result<String, Fault> {
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
    fn try_out(&self, file: SeedFile, name: &str, context: &Value) -> Result<String, Fault> {
        self.render(file, name, context)
            .and_then(|text| checked(file, name, text))
    }
}

/// The text, if it is YAML as far as it has to be.
fn checked(file: SeedFile, name: &str, text: String) -> Result<String, Fault> {
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
