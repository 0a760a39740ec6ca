//! One accepted connection: its two ends, and the HTTP/1.1 that is spoken on it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tower::Service;
use tracing::debug;

use super::admission::Seat;
use super::paced::{Paced, Waited};
use super::stop::Stopping;

/// Longest that a client may take to send a request's head, and that a connection may stay idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long sent data may stay unacknowledged: a box that lost its power in a download must not
/// keep its place for the quarter of an hour that TCP would wait. A box that takes nothing for so
/// long, because its disk stalls, has to resume.
const DEAD_PEER_TIMEOUT_MS: u32 = 120_000;

/// Largest request head, in bytes; also what a silent connection may cost.
const HEAD_BYTES: usize = 16 * 1024;

/// How long a connection may still send its first request after a stop began. It was accepted a
/// moment before, so its request is on the way, and closing it would cost a device a retry.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// The two ends of a connection, known from its accept on. IPv4-mapped addresses are unmapped.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// The device's end.
    pub peer: SocketAddr,
    /// Our end: the address of ours that the device reached.
    pub local: SocketAddr,
}

impl Connection {
    /// The ends of an accepted stream; none where it is gone already.
    pub fn of(stream: &TcpStream, peer: SocketAddr) -> Option<Self> {
        let local = canonical(stream.local_addr().ok()?);
        Some(Self { peer, local })
    }

    /// The device's address.
    pub fn ip(&self) -> IpAddr {
        self.peer.ip()
    }
}

/// The address without its mapping to IPv6.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Serves requests until the peer ends, is silent for too long, or the service stops; a request
/// under way then is finished first. Each request has its two ends and its `seat` among its
/// extensions.
pub async fn serve<S, B>(
    stream: TcpStream,
    connection: Connection,
    seat: &Seat,
    service: S,
    mut stopping: Stopping,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    // Both only tune: a connection without them still serves.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, DEAD_PEER_TIMEOUT_MS);
    let asked = Arc::new(Notify::new());
    let heard = Arc::clone(&asked);
    let waited = Waited::new();
    let has_waited = Arc::clone(&waited);
    let service = service_fn(move |mut request: Request<Incoming>| {
        heard.notify_one();
        request.extensions_mut().insert(connection);
        request.extensions_mut().insert(seat.clone());
        let answer = service.clone().call(request);
        let is_in_turn = has_waited.take();
        async move {
            // A client that sends requests without waiting for answers gets one at a time.
            if !is_in_turn {
                tokio::task::yield_now().await;
            }
            answer.await
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        // GRUB, and shim before 2025, know `Content-Length` by its capitals alone.
        .title_case_headers(true)
        // A device that hangs up right after its heartbeat, or closes its sending half as some
        // small clients do, has reported all the same.
        .half_close(true)
        .serve_connection(TokioIo::new(Paced::new(stream, waited)), service);
    let mut served = pin!(served);
    let stop = async {
        stopping.wait().await;
        let _ = timeout(FIRST_REQUEST_GRACE, asked.notified()).await;
    };
    let outcome = tokio::select! {
        outcome = served.as_mut() => outcome,
        () = stop => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(reason) = outcome {
        let ip = connection.ip();
        debug!(gb10.ip = %ip, %reason, "{ip}: a connection broke: {reason}");
    }
}
