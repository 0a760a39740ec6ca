//! Accepting: who is let in, how many at a time, and how the last of them are waited for.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tower::Service;
use tracing::warn;

use super::connection::{self, Connection, canonical};
use super::stop::Stopping;
use crate::message_id;

/// Wait after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What bounds the connections of all listeners together.
pub struct Gate {
    allowed_networks: Vec<IpNet>,
    places: Arc<Semaphore>,
    refused: AtomicU64,
}

impl Gate {
    /// Lets peers in `allowed_networks` in, at most `max_connections` at a time.
    pub fn new(allowed_networks: Vec<IpNet>, max_connections: usize) -> Self {
        let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Self {
            allowed_networks,
            places,
            refused: AtomicU64::new(0),
        }
    }

    /// How many connections were refused for their address.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn admits(&self, peer: SocketAddr) -> bool {
        let is_in = |network: &IpNet| network.contains(&peer.ip());
        if self.allowed_networks.iter().any(is_in) {
            return true;
        }
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let ip = peer.ip();
        warn!(message_id = message_id::PEER_REFUSED, gb10.ip = %ip, refused, "a peer outside the allowed networks was refused: {ip}");
        false
    }
}

/// A socket that is being served.
pub struct Listener<S> {
    /// The socket. Closed as soon as a stop begins; under systemd another copy of it stays open,
    /// and the connections that come meanwhile wait there for the next start.
    pub socket: TcpListener,
    /// Shared by all listeners: a place for each connection, whichever socket it came by.
    pub gate: Arc<Gate>,
    /// What answers; each connection has a clone.
    pub service: S,
    /// Ends the accepting, and tells each connection to finish its request and close.
    pub stopping: Stopping,
    /// How long connections may take to finish after that. Those that are left are cut when the
    /// runtime ends: a download to a dead box, or a box that does not read its answer.
    pub drain_timeout: Duration,
}

impl<S, B> Listener<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    /// Accepts and serves until the stop, then waits for the connections that are open.
    pub async fn serve(mut self) {
        // Each connection holds a clone of `alive`, and nothing is ever sent: `ended` yields once
        // the last of them is gone.
        let (alive, mut ended) = mpsc::channel::<Infallible>(1);
        loop {
            let accepted = tokio::select! {
                () = self.stopping.wait() => break,
                accepted = accept(&self.socket, &self.gate) => accepted,
            };
            let Some((stream, connection, place)) = accepted else {
                continue;
            };
            let (service, stopping) = (self.service.clone(), self.stopping.clone());
            let alive = alive.clone();
            tokio::spawn(async move {
                connection::serve(stream, connection, service, stopping).await;
                drop((place, alive));
            });
        }
        drop(self.socket);
        let open = alive.strong_count() - 1;
        drop(alive);
        if timeout(self.drain_timeout, ended.recv()).await.is_err() {
            let seconds = self.drain_timeout.as_secs();
            warn!(
                open,
                "connections are cut because they did not end within {seconds} s; {open} were open when the stop began"
            );
        }
    }
}

/// The next connection of an allowed peer; none where there was another outcome to count or log.
async fn accept(
    socket: &TcpListener,
    gate: &Gate,
) -> Option<(TcpStream, Connection, OwnedSemaphorePermit)> {
    // A place first: connections beyond the limit wait in the kernel's backlog.
    let place = Arc::clone(&gate.places).acquire_owned().await.ok()?;
    let (stream, peer) = match socket.accept().await {
        Ok(accepted) => accepted,
        Err(reason) => {
            if reason.kind() != io::ErrorKind::ConnectionAborted {
                warn!(%reason, "a connection could not be accepted: {reason}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            return None;
        }
    };
    let peer = canonical(peer);
    if !gate.admits(peer) {
        return None;
    }
    let connection = Connection::of(&stream, peer)?;
    Some((stream, connection, place))
}
