//! The records, as a look from outside of the service finds them.

use std::path::{Path, PathBuf};

use crate::device::mac::MacAddr;
use crate::device::story::Story;
use crate::device::view::{Row, Totals};
use crate::files::layout;
use crate::site::SiteFiles;
use crate::store::{self, Clients, StoreError};

/// All records, with what `devices.json` says of the boxes.
pub struct Records {
    state: PathBuf,
    clients: Clients,
    site_files: SiteFiles,
}

impl Records {
    /// Reads them.
    pub fn read(data_path: &Path) -> Result<Self, StoreError> {
        let state = layout::state(data_path);
        Ok(Self {
            clients: store::read(state.clone())?,
            site_files: SiteFiles::load(data_path),
            state,
        })
    }

    /// Reads them again where they changed. Tells whether they did.
    pub fn refresh(&mut self) -> Result<bool, StoreError> {
        let news = store::read_if_changed(self.state.clone(), &self.clients)?;
        let is_news = news.is_some();
        if let Some(news) = news {
            self.clients = news;
        }
        Ok(is_news)
    }

    /// Where they lie.
    pub fn folder(&self) -> &Path {
        &self.state
    }

    /// How many boxes stand how.
    pub fn totals(&self) -> Totals {
        self.clients.totals()
    }

    /// A line for each box, those that need somebody first.
    pub fn rows(&self) -> Vec<Row> {
        let devices = self.site_files.devices();
        let rows = self.clients.rows().map(|row| {
            let mut row = (*row).clone();
            row.role = devices.get(row.mac).and_then(|known| known.role.clone());
            row
        });
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_by_cached_key(Row::order);
        rows
    }

    /// The story of the box that has this MAC, at whichever port. It may be on record under one of
    /// them, from before `devices.json` said that they are one box.
    pub fn story(&self, mac: MacAddr) -> Option<Story> {
        let devices = self.site_files.devices();
        let primary = devices.primary(mac);
        let ports = devices.ports(primary).iter().copied();
        let mut macs = [primary, mac].into_iter().chain(ports);
        let mut story = macs.find_map(|mac| self.clients.story(mac))?;
        story.row.role = devices.get(primary).and_then(|known| known.role.clone());
        Some(story)
    }
}
