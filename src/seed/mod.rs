//! The NoCloud seed: which template, rendered for which device, and what is served when it fails.
//!
//! Staged templates lie in one folder, `{DATA_PATH}/cloud-init-templates`. As long as there is no
//! such folder, the embedded defaults are served. Once there is, its `user-data.yaml.j2` counts:
//! if that is missing or fails, the device gets a minimal fallback autoinstall, so that no box
//! ever waits at two in the morning for a template to be mended.
//!
//! A file that cannot be read is another matter: its last good text stays in force, and where there
//! never was one, nothing is rendered in its place. Boxes ask again.

mod ansible;
pub mod autoinstall;
mod check;
mod context;
mod fault;
mod format;
pub mod jinja;
mod sources;
mod staged;
mod unclosed;
pub mod yaml;

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use minijinja::{Environment, Error, Value};

pub use check::{Finding, Report};
pub use context::{Device, Onboarding};
use fault::{Failure, failure_of};
pub use format::Format;
pub use jinja::STACK as RENDERING_STACK;
use sources::Sources;
use staged::{Source, Staged};

use crate::embedded;
use crate::files::Fault;
use crate::site::{Site, SiteFiles};

const FALLBACK: &str = "fallback.yaml.j2";

/// What a fault says instead of a path where the template is compiled in.
const EMBEDDED_USER_DATA: &str = "the embedded user-data.yaml.j2";

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
    /// GRUB's configuration: no file of a seed, but a template like theirs.
    GrubCfg,
    /// The user-data of a box that comes with DGX OS: on a stick, and served to nobody.
    DgxOs,
}

impl SeedFile {
    /// Whatever is rendered from a template.
    pub const ALL: [Self; 6] = [
        Self::UserData,
        Self::MetaData,
        Self::VendorData,
        Self::NetworkConfig,
        Self::GrubCfg,
        Self::DgxOs,
    ];

    /// The files of a seed.
    pub const OF_SEED: [Self; 4] = [
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
            Self::GrubCfg => "grub.cfg",
            Self::DgxOs => "dgx-os",
        }
    }

    /// The file of that name in a seed's URL.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut files = Self::OF_SEED.into_iter();
        files.find(|file| file.name() == name)
    }

    /// The template's file name.
    pub const fn template(self) -> &'static str {
        match self {
            Self::UserData => "user-data.yaml.j2",
            Self::MetaData => "meta-data.yaml.j2",
            Self::VendorData => "vendor-data.yaml.j2",
            Self::NetworkConfig => "network-config.yaml.j2",
            Self::GrubCfg => "grub.cfg.j2",
            Self::DgxOs => "dgx-os.yaml.j2",
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

/// Why a file of a seed was not rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A staged file cannot be read, and never could: nobody knows what the operator wants.
    #[error("{0}")]
    Unread(Fault),
    /// The fallback failed, which only a defect of ours can cause.
    #[error(transparent)]
    Defect(#[from] Error),
}

/// All templates: the staged ones, always as they are on the disk, and the embedded ones.
pub struct Templates {
    texts: Arc<Sources>,
    site_files: Arc<SiteFiles>,
    fallback_password_hash: String,
    embedded: Environment<'static>,
    staged: RwLock<Arc<Staged>>,
    loading: Mutex<()>,
}

impl Templates {
    /// Loads the templates in `folder`, tries them with the site's values, and warns of faults.
    pub fn load(folder: PathBuf, fallback_password_hash: &str, site_files: Arc<SiteFiles>) -> Self {
        let mut embedded = jinja::environment();
        // Compiled when one is needed first: with staged templates, that is never.
        jinja::set_loader(&mut embedded, |name| {
            Ok(embedded_text(name).map(str::to_owned))
        });
        let texts = Arc::new(Sources::new(folder));
        let site = site_files.site().unwrap_or_default();
        let load = || Staged::load(&texts, fallback_password_hash, &site, None);
        let staged = on_a_deep_stack(load);
        staged.report();
        Self {
            texts,
            site_files,
            fallback_password_hash: fallback_password_hash.to_owned(),
            embedded,
            staged: RwLock::new(Arc::new(staged)),
            loading: Mutex::new(()),
        }
    }

    /// Renders one file of the seed: from the device's own template, else from the common one,
    /// else from the embedded one, else from the fallback. A thread that calls this has a stack of
    /// [`RENDERING_STACK`].
    pub fn render(&self, file: SeedFile, device: &Device) -> Result<Rendered, RenderError> {
        let site = self.site_files.site().map_err(RenderError::Unread)?;
        let context = device.context(&site, &self.fallback_password_hash);
        let staged = self.current(&site);
        let own = staged.own_template(file, device);
        let own = own.map_err(RenderError::Unread)?;
        let own = own.map(|name| staged.try_out(file, &name, &context));
        let common = || match staged.source(file) {
            Source::Sound | Source::Doubtful(_) => {
                Some(staged.try_out(file, file.template(), &context))
            }
            Source::Faulty(fault) => Some(Err(Failure::Fault(fault.clone()))),
            Source::Unread(fault) => Some(Err(Failure::Unread(fault.clone()))),
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
                Err(Failure::NotThere) => {}
                Err(Failure::Fault(found)) => fault = Some(found),
                Err(Failure::Unread(found)) => return Err(RenderError::Unread(found)),
            }
        }
        let embedded = |name| self.embedded.get_template(name)?.render(context.clone());
        let (text, origin) = match (file, staged.source(file)) {
            (SeedFile::VendorData | SeedFile::NetworkConfig, _) => (String::new(), Origin::Nothing),
            (SeedFile::MetaData | SeedFile::GrubCfg | SeedFile::DgxOs, _) => {
                (embedded(file.template())?, Origin::Embedded)
            }
            (SeedFile::UserData, Source::NotStaged) => match embedded(file.template()) {
                Ok(text) => (text, Origin::Embedded),
                // The site's values do not fit it.
                Err(error) => {
                    fault = Some(self.fault_of_embedded(&error, &context));
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

    /// What [`Self::render`] renders, and the files that the text is made of: templates and what
    /// they include, in the order of their names, and the site's files where there are such.
    pub fn explain(
        &self,
        file: SeedFile,
        device: &Device,
    ) -> Result<(Rendered, Vec<PathBuf>), RenderError> {
        on_a_deep_stack(|| {
            let rendered = self.render(file, device)?;
            let site = self.site_files.site().map_err(RenderError::Unread)?;
            let context = device.context(&site, &self.fallback_password_hash);
            // Loaded anew, so that it has read nothing but what this needs.
            let staged = Staged::untried(&self.texts, &site);
            if rendered.origin == Origin::Staged {
                let own = staged.own_template(file, device).unwrap_or_default();
                let names = own.into_iter().chain([file.template().to_owned()]);
                let mut outcomes = names.map(|name| staged.try_out(file, &name, &context));
                outcomes.find(Result::is_ok);
            }
            let files = staged.files_read().into_iter();
            Ok((rendered, files.chain(self.site_files.paths()).collect()))
        })
    }

    /// The faults of the common templates and of the site's files as they are now.
    pub fn faults(&self) -> Vec<Fault> {
        let of_templates = match self.site_files.site() {
            Ok(site) if self.loaded().is_current(&site) => self.loaded().faults(),
            Ok(site) => on_a_deep_stack(|| self.current(&site)).faults(),
            Err(_) => Vec::new(),
        };
        let of_site = self.site_files.faults();
        of_templates.into_iter().chain(of_site).collect()
    }

    /// Loads all templates again, changed or not.
    pub fn reload(&self) {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(site) = self.site_files.site() {
            on_a_deep_stack(|| self.load_again(&site));
        }
    }

    /// What is wrong with an embedded template: the site's values.
    fn fault_of_embedded(&self, error: &Error, context: &Value) -> Fault {
        let name = SeedFile::UserData.template();
        let mut fault =
            failure_of(error, name, context, |_| Some(embedded::USER_DATA.into())).fault(name);
        fault.file = EMBEDDED_USER_DATA.to_owned();
        fault
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
        let before = self.loaded();
        let hash = &self.fallback_password_hash;
        let staged = Arc::new(Staged::load(&self.texts, hash, site, Some(&before)));
        if !staged.same_outcome(&before) {
            staged.report();
        }
        *self.staged.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&staged);
        staged
    }
}

/// The text of the embedded template of that name.
fn embedded_text(name: &str) -> Option<&'static str> {
    let texts = [
        (SeedFile::UserData.template(), embedded::USER_DATA),
        (SeedFile::MetaData.template(), embedded::META_DATA),
        (SeedFile::GrubCfg.template(), embedded::GRUB_CFG),
        (SeedFile::DgxOs.template(), embedded::DGX_OS),
        (FALLBACK, embedded::FALLBACK),
    ];
    let found = texts.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| text)
}

/// Calls it where any template can be rendered.
fn on_a_deep_stack<T: Send>(work: impl Fn() -> T + Sync) -> T {
    let work = &work;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(RENDERING_STACK);
        match thread.spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // No more threads to be had: most templates need no such stack.
            Err(_) => work(),
        }
    })
}
