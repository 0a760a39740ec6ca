//! The records, as a look from outside of the service finds them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::device::mac::MacAddr;
use crate::device::story::Story;
use crate::device::view::{Row, Totals};
use crate::files::layout;
use crate::logs;
use crate::site::suggestion::{Suggestion, suggest};
use crate::site::{Known, SiteFiles};
use crate::store::{self, Clients, StoreError};

/// All records, with what `devices.json` and `baseline.json` say of the boxes.
pub struct Records {
    state: PathBuf,
    logs: PathBuf,
    clients: Clients,
    site_files: SiteFiles,
    known: Known,
}

impl Records {
    /// Reads them.
    pub fn read(data_path: &Path) -> Result<Self, StoreError> {
        let state = layout::state(data_path);
        let site_files = SiteFiles::load(data_path);
        Ok(Self {
            clients: store::read(state.clone())?,
            known: site_files.known(),
            site_files,
            logs: layout::logs(data_path),
            state,
        })
    }

    /// Reads all again where they changed. Tells whether they did.
    pub fn refresh(&mut self) -> Result<bool, StoreError> {
        let known = self.site_files.known();
        let is_known_new = !known.is_same(&self.known);
        self.known = known;
        let clients = store::read_if_changed(self.state.clone(), &self.clients)?;
        let are_clients_new = clients.is_some();
        if let Some(clients) = clients {
            self.clients = clients;
        }
        Ok(are_clients_new || is_known_new)
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
        let rows = self.known.rows(self.clients.rows());
        let mut rows: Vec<Row> = rows.map(Arc::unwrap_or_clone).collect();
        rows.sort_by_cached_key(Row::order);
        rows
    }

    /// The story of the box that has this MAC, at whichever port. It may be on record under one of
    /// them, from before `devices.json` said that they are one box.
    pub fn story(&self, mac: MacAddr) -> Option<Story> {
        let devices = &self.known.devices;
        let primary = devices.primary(mac);
        let ports = devices.ports(primary).iter().copied();
        let mut macs = [primary, mac].into_iter().chain(ports.clone());
        let story = macs.find_map(|mac| self.clients.story(mac))?;
        let mut story = self.known.complete_story(story);
        story.row.role = devices.role(primary);
        story.logs = logs::names(&self.logs, [primary].into_iter().chain(ports));
        Some(story)
    }

    /// What `devices.json` could say of that box, where it sent facts.
    pub fn suggestion(&self, story: &Story) -> Option<Suggestion> {
        let (row, devices) = (&story.row, &self.known.devices);
        let mac = devices.primary(row.mac);
        let is_on_record = |port| port != row.mac && self.clients.has(port);
        let hostname = row.hostname.as_deref();
        let facts = story.facts.as_ref()?;
        Some(suggest(mac, hostname, facts, devices, is_on_record))
    }
}
