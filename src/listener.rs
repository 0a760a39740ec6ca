//! Sockets: adopted from systemd or bound by hand, checked, and accepted from within limits.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::timeout;
use tower::Service;
use tracing::{debug, warn};

use crate::http::{App, Connection, fold_slashes};
use crate::message_id;

/// Longest that a client may take to send a request's head, and that a connection may stay idle.
const HEADER_PATIENCE: Duration = Duration::from_secs(10);

/// How long sent data may stay unacknowledged: a box that lost its power in a download must not
/// keep its place for the quarter of an hour that TCP would wait. A box that takes nothing for so
/// long, because its disk stalls, has to resume.
const DEAD_PEER_PATIENCE_MS: u32 = 120_000;

/// Largest request head, in bytes; also what a silent connection may cost.
const HEAD_BYTES: usize = 16 * 1024;

/// How long a connection may still send its first request after a stop began. It was accepted a
/// moment before, so its request is on the way, and closing it would cost a device a retry.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Connections that may wait to be accepted, as in the .socket unit. The 128 of the standard library
/// overflow when a rack boots, and each box that is dropped waits a second for TCP's next try.
const BACKLOG: i32 = 4096;

/// Wait after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why no socket can be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is a wildcard.
    #[error(
        "refusing to listen on {0}: a wildcard address is open to every network of this host, the \
         WAN included; name the LAN address instead (ListenStream= of the .socket unit, or LISTEN)"
    )]
    Wildcard(SocketAddr),
    /// The socket that systemd passed is no listening TCP socket.
    #[error(
        "socket {index} passed by systemd is no listening TCP socket (ListenStream=ADDRESS:PORT): {cause}"
    )]
    NotTcp {
        /// Its place, counted from 0.
        index: usize,
        /// What the system says of it.
        cause: io::Error,
    },
    /// An address could not be bound.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        cause: io::Error,
    },
}

/// The sockets passed by systemd, or else new ones on `addresses`.
pub fn sockets(
    mut inherited: ListenFd,
    addresses: &[SocketAddr],
) -> Result<Vec<StdTcpListener>, ListenError> {
    let passed = inherited.len();
    let listeners = if passed > 0 {
        let adopt = |index| match inherited.take_tcp_listener(index) {
            Ok(Some(listener)) => Ok(listener),
            Ok(None) => Err(ListenError::NotTcp {
                index,
                cause: io::ErrorKind::NotFound.into(),
            }),
            Err(cause) => Err(ListenError::NotTcp { index, cause }),
        };
        (0..passed).map(adopt).collect::<Result<Vec<_>, _>>()?
    } else {
        let bind = |&address: &SocketAddr| {
            refuse_wildcard(address)?;
            let bound = StdTcpListener::bind(address).and_then(|listener| {
                rustix::net::listen(&listener, BACKLOG)?;
                Ok(listener)
            });
            bound.map_err(|cause| ListenError::Bind { address, cause })
        };
        addresses.iter().map(bind).collect::<Result<Vec<_>, _>>()?
    };
    for (index, listener) in listeners.iter().enumerate() {
        let prepared = listener.local_addr().and_then(|address| {
            // Accepting from a connected socket (Accept=yes) or a merely bound one fails for ever.
            if !rustix::net::sockopt::socket_acceptconn(listener)? {
                return Err(io::Error::other("it does not listen"));
            }
            listener.set_nonblocking(true)?;
            Ok(address)
        });
        refuse_wildcard(prepared.map_err(|cause| ListenError::NotTcp { index, cause })?)?;
    }
    Ok(listeners)
}

fn refuse_wildcard(address: SocketAddr) -> Result<(), ListenError> {
    match address.ip().to_canonical().is_unspecified() {
        true => Err(ListenError::Wildcard(address)),
        false => Ok(()),
    }
}

/// What bounds the connections.
pub struct Gate {
    allowed_networks: Vec<IpNet>,
    places: Arc<Semaphore>,
}

impl Gate {
    /// Lets peers in `allowed_networks` in, at most `max_connections` at a time.
    pub fn new(allowed_networks: Vec<IpNet>, max_connections: usize) -> Self {
        let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Self {
            allowed_networks,
            places,
        }
    }

    fn admits(&self, peer: SocketAddr) -> bool {
        self.allowed_networks
            .iter()
            .any(|network| network.contains(&peer.ip()))
    }
}

/// Accepts connections and serves them, until `stop` changes; then finishes what is under way, for
/// at most `patience`.
pub async fn serve(
    listener: TcpListener,
    gate: Arc<Gate>,
    app: Arc<App>,
    router: Router,
    mut stop: watch::Receiver<bool>,
    patience: Duration,
) {
    // Each connection holds a clone of `alive`: when all are gone, `ended` ends.
    let (alive, mut ended) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            _ = stop.changed() => break,
            accepted = accept(&listener, &gate, &app) => accepted,
        };
        let Some((stream, connection, place)) = accepted else {
            continue;
        };
        let router = router.clone();
        let asked = Arc::new(Notify::new());
        let heard = Arc::clone(&asked);
        let service = service_fn(move |mut request: Request<Incoming>| {
            heard.notify_one();
            request.extensions_mut().insert(connection);
            fold_slashes(request.uri_mut());
            router.clone().call(request)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_PATIENCE)
            .max_buf_size(HEAD_BYTES)
            // A device that hangs up right after its heartbeat, or closes its sending half as some
            // small clients do, has reported all the same.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let (mut stop, alive) = (stop.clone(), alive.clone());
        tokio::spawn(async move {
            let mut served = pin!(served);
            let stopping = async {
                let _ = stop.changed().await;
                let _ = timeout(FIRST_REQUEST_GRACE, asked.notified()).await;
            };
            let outcome = tokio::select! {
                outcome = served.as_mut() => outcome,
                () = stopping => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            };
            if let Err(reason) = outcome {
                debug!(gb10.ip = %connection.ip(), %reason, "{}: a connection broke: {reason}", connection.ip());
            }
            drop((place, alive));
        });
    }
    drop(listener);
    let open = alive.strong_count() - 1;
    drop(alive);
    if timeout(patience, ended.recv()).await.is_err() {
        warn!(
            open,
            "{open} connections are cut: they did not end in {} s",
            patience.as_secs()
        );
    }
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// The next connection of an allowed peer; none where there was another outcome to count or log.
async fn accept(
    listener: &TcpListener,
    gate: &Gate,
    app: &App,
) -> Option<(TcpStream, Connection, Place)> {
    // A place first: connections beyond the limit wait in the kernel's backlog.
    let place = Arc::clone(&gate.places).acquire_owned().await.ok()?;
    let (stream, peer) = match listener.accept().await {
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
        let refused = app.peers_refused.fetch_add(1, Ordering::Relaxed) + 1;
        warn!(message_id = message_id::PEER_REFUSED, gb10.ip = %peer.ip(), refused, "a peer outside the allowed networks was refused: {}", peer.ip());
        return None;
    }
    let local = canonical(stream.local_addr().ok()?);
    // Both only tune: a connection without them still serves.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, DEAD_PEER_PATIENCE_MS);
    Some((stream, Connection { peer, local }, place))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
