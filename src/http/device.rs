//! Which device is this? Its own word first, then the kernel's neighbour table.

use std::net::{IpAddr, SocketAddr};

use crate::mac::{MacAddr, MacError};
use crate::neighbours::{Neighbours, Table};
use crate::seed::UNKNOWN;

/// The two ends of a connection, known from its accept on. IPv4-mapped addresses are unmapped.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// The device's end.
    pub peer: SocketAddr,
    /// Our end: the address of ours that the device reached.
    pub local: SocketAddr,
}

impl Connection {
    /// The device's address.
    pub fn ip(&self) -> IpAddr {
        self.peer.ip()
    }
}

/// Who said which MAC a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacSource {
    /// The path of the request.
    Path,
    /// `?mac=` of the request.
    Query,
    /// The body of the heartbeat.
    Body,
    /// One of the kernel's tables.
    Table(Table),
    /// Nobody.
    Unknown,
}

impl MacSource {
    /// The name in the journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Body => "body",
            Self::Table(Table::Arp) => "arp",
            Self::Table(Table::IpNeigh) => "ip-neigh",
            Self::Unknown => UNKNOWN,
        }
    }
}

/// A MAC, where it could be found out, and who said so.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// The device's MAC.
    pub mac: Option<MacAddr>,
    /// Who said so.
    pub source: MacSource,
}

impl Identity {
    /// Asks the neighbour table who has the address.
    pub async fn of_neighbour(neighbours: &Neighbours, ip: IpAddr) -> Self {
        match neighbours.find(ip).await {
            Some((mac, table)) => Self {
                mac: Some(mac),
                source: MacSource::Table(table),
            },
            None => Self {
                mac: None,
                source: MacSource::Unknown,
            },
        }
    }
}

/// A MAC as a URL has it. Empty, as an unset GRUB variable leaves it, counts as absent.
pub fn claimed_mac(text: &str) -> Result<Option<MacAddr>, MacError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}
