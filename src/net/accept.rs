//! Accepting: who is let in, how many at a time, and how the last of them are waited for.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower::Service;
use tracing::warn;

use super::admission::{Admission, Place, Seat};
use super::connection::{self, Connection, canonical};
use super::peers::PeerPlace;
use super::stop::Stopping;

/// Wait after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that is being served.
pub struct Listener<S> {
    /// The socket. Closed as soon as a stop begins; under systemd another copy of it stays open,
    /// and the connections that come meanwhile wait there for the next start.
    pub socket: TcpListener,
    /// Shared by all listeners: a place for each connection, whichever socket it came by.
    pub admission: Arc<Admission>,
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
                accepted = accept(&self.socket, &self.admission) => accepted,
            };
            let Some((stream, connection, peer_place)) = accepted else {
                continue;
            };
            // Behind the accept, so that a socket to which nobody connects holds no place, and a
            // peer that has too many connections needs none to be told so. At a stop whoever was
            // accepted is served: there will be no place, but no further connection either.
            let place: Option<Place> = tokio::select! {
                () = self.stopping.wait() => None,
                place = self.admission.place() => place,
            };
            let (service, stopping) = (self.service.clone(), self.stopping.clone());
            let alive = alive.clone();
            let seat = Seat::new(peer_place, place);
            tokio::spawn(async move {
                connection::serve(stream, connection, &seat, service, stopping).await;
                drop((seat, alive));
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

/// The next connection of a peer that is let in; none where there was another outcome to count or
/// log.
async fn accept(
    socket: &TcpListener,
    admission: &Admission,
) -> Option<(TcpStream, Connection, PeerPlace)> {
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
    let peer: SocketAddr = canonical(peer);
    let peer_place = admission.admit(peer.ip())?;
    let connection = Connection::of(&stream, peer)?;
    Some((stream, connection, peer_place))
}
