//! The NoCloud seed: which template, rendered for which device, and what is served when it fails.
//!
//! Staged templates lie in one folder, `{DATA_PATH}/cloud-init-templates`. As long as there is no
//! such folder, the embedded defaults are served. Once there is, its `user-data.yaml.j2` counts:
//! if that is missing or fails, the device gets a minimal fallback autoinstall, so that no box
//! ever waits at two in the morning for a template to be mended.

mod check;
mod context;
mod fault;
pub mod jinja;
mod staged;
pub mod yaml;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use minijinja::{Environment, Error};

pub use context::Device;
use fault::fault_of;
use staged::{Source, Staged};

use crate::embedded;
use crate::files::Fault;
use crate::site::{Site, SiteFiles};

const FALLBACK: &str = "fallback.yaml.j2";

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
        embedded.add_template(SeedFile::UserData.template(), embedded::USER_DATA)?;
        embedded.add_template(SeedFile::MetaData.template(), embedded::META_DATA)?;
        embedded.add_template(FALLBACK, embedded::FALLBACK)?;
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
