//! What bounds the connections: who is let in, how many of each peer, how many in all, and how many
//! of those for downloads. Who follows the board has a place of another kind.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::peers::{PeerPlace, Peers};
use super::repeats::Repeats;
use crate::message_id;

/// The right to one open connection, or to one download, until it is dropped.
pub type Place = OwnedSemaphorePermit;

/// The right to follow the board, until it is dropped.
pub type ViewerPlace = (PeerPlace, Place);

/// The places that a connection has, until the last clone of this is dropped or they are given back.
#[derive(Clone)]
pub struct Seat(Arc<Mutex<Option<Places>>>);

/// At a stop a connection may have no place of its own.
type Places = (PeerPlace, Option<Place>);

impl Seat {
    pub(super) fn new(peer_place: PeerPlace, place: Option<Place>) -> Self {
        Self(Arc::new(Mutex::new(Some((peer_place, place)))))
    }

    /// Gives them back, so that others can connect: the answer has a place of its own, and is the
    /// last one on this connection.
    pub fn give_back(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// What bounds the connections of all listeners together.
pub struct Admission {
    allowed_networks: Vec<IpNet>,
    places: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    peers: Arc<Peers>,
    overviews: Arc<Peers>,
    viewers: Arc<Semaphore>,
    viewers_of_peers: Arc<Peers>,
    refusals: Repeats,
    excesses: Repeats,
}

/// Of fewer places than this, one address can have all: there is nothing to share.
const FEW_PLACES: usize = 8;

/// Answers with all records that one address can be reading at one time. Each may keep a version
/// of them in memory that is otherwise long gone.
const OVERVIEWS: usize = 16;

/// The part of `places` that what may take long can have: the rest is for what is short.
pub fn share(places: usize) -> usize {
    places - places / 4
}

impl Admission {
    /// Lets peers in `allowed_networks` in, at most `max_connections` at a time, and of each
    /// address at most `peer_connections`. Neither one address nor all downloads together can have
    /// more than the [`share`] of them. `max_viewers` can follow the board besides, of one address
    /// at most the share of those.
    pub fn new(
        allowed_networks: Vec<IpNet>,
        max_connections: usize,
        peer_connections: usize,
        max_viewers: usize,
    ) -> Self {
        let max_connections = max_connections.min(Semaphore::MAX_PERMITS);
        let max_viewers = max_viewers.min(Semaphore::MAX_PERMITS);
        let share = share(max_connections);
        Self {
            allowed_networks,
            places: Arc::new(Semaphore::new(max_connections)),
            downloads: Arc::new(Semaphore::new(share)),
            // Where there are few, those behind the last place wait instead of being closed.
            peers: Peers::new(match max_connections {
                ..FEW_PLACES => peer_connections,
                _ => peer_connections.min(share),
            }),
            overviews: Peers::new(OVERVIEWS),
            viewers: Arc::new(Semaphore::new(max_viewers)),
            viewers_of_peers: Peers::new(match max_viewers {
                ..FEW_PLACES => max_viewers,
                _ => self::share(max_viewers),
            }),
            refusals: Repeats::default(),
            excesses: Repeats::default(),
        }
    }

    /// How many connections were refused for their address.
    pub fn refused(&self) -> u64 {
        self.refusals.total()
    }

    /// How many connections were closed because their peer had as many as it may.
    pub fn excess(&self) -> u64 {
        self.excesses.total()
    }

    /// A place for a download; none where downloads have all that they may.
    pub fn download(&self) -> Option<Place> {
        Arc::clone(&self.downloads).try_acquire_owned().ok()
    }

    /// A place for an answer to `ip` with all records; none where it has all that it may.
    pub fn overview(&self, ip: IpAddr) -> Option<PeerPlace> {
        self.overviews.enter(ip)
    }

    /// A place for somebody at `ip` who follows the board; none where all that there may be, or that
    /// it may have, do.
    pub fn viewer(&self, ip: IpAddr) -> Option<ViewerPlace> {
        let of_peer = self.viewers_of_peers.enter(ip)?;
        let place = Arc::clone(&self.viewers).try_acquire_owned().ok()?;
        Some((of_peer, place))
    }

    /// A place for a connection, once there is one. Connections that wait for it, one of each
    /// listener, are accepted; those behind them wait in the kernel's backlog.
    pub(super) async fn place(&self) -> Option<Place> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Lets one more connection of a peer in, or counts why not.
    pub(super) fn admit(&self, ip: IpAddr) -> Option<PeerPlace> {
        if !self.allowed_networks.iter().any(|net| net.contains(&ip)) {
            if let Some(times) = self.refusals.count(ip, Instant::now()) {
                let refused = self.refused();
                warn!(message_id = message_id::PEER_REFUSED, gb10.ip = %ip, times, refused, "a peer outside the allowed networks was refused: {ip}");
            }
            return None;
        }
        let place = self.peers.enter(ip);
        if place.is_none()
            && let Some(times) = self.excesses.count(ip, Instant::now())
        {
            let excess = self.excess();
            warn!(message_id = message_id::PEER_CONNECTIONS, gb10.ip = %ip, times, excess, "a peer has as many connections as it may, further ones are closed: {ip}");
        }
        place
    }
}
