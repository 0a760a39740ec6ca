//! Listening sockets: adopted from systemd or bound by hand, and checked.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// Connections that may wait to be accepted, as in the .socket unit. The 128 of the standard library
/// overflow when a rack boots, and each box that is dropped waits a second for TCP's next try.
const BACKLOG: i32 = 4096;

/// What the kernel may keep for a peer that does not take it, in bytes: enough for 10 Gb/s over a
/// LAN. Left to itself the kernel lets it grow to megabytes for each connection. It doubles what
/// is asked for, to have room for its own bookkeeping.
const SEND_BUFFER: usize = 128 * 1024;

/// Why no socket can be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is a wildcard.
    #[error(
        "refusing to listen on {0}: a wildcard address is open to every network of this host, the \
         WAN included; name the LAN address instead (ListenStream= of the .socket unit, or LISTEN)"
    )]
    Wildcard(SocketAddr),
    /// The socket that systemd passed is not a listening TCP socket.
    #[error(
        "socket {index} passed by systemd is not a listening TCP socket \
         (expected ListenStream=ADDRESS:PORT): {cause}"
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

/// The sockets passed by systemd, or else new ones on `addresses`: listening and non-blocking.
pub fn sockets(
    inherited: ListenFd,
    addresses: &[SocketAddr],
) -> Result<Vec<TcpListener>, ListenError> {
    let listeners = match inherited.len() {
        0 => addresses
            .iter()
            .copied()
            .map(bind)
            .collect::<Result<_, _>>(),
        passed => adopt(inherited, passed),
    }?;
    for (index, listener) in listeners.iter().enumerate() {
        let address = prepare(listener).map_err(|cause| ListenError::NotTcp { index, cause })?;
        refuse_wildcard(address)?;
    }
    Ok(listeners)
}

fn adopt(mut inherited: ListenFd, passed: usize) -> Result<Vec<TcpListener>, ListenError> {
    let take = |index| match inherited.take_tcp_listener(index) {
        Ok(Some(listener)) => Ok(listener),
        Ok(None) => Err(ListenError::NotTcp {
            index,
            cause: io::ErrorKind::NotFound.into(),
        }),
        Err(cause) => Err(ListenError::NotTcp { index, cause }),
    };
    (0..passed).map(take).collect()
}

fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    refuse_wildcard(address)?;
    let bound = TcpListener::bind(address).and_then(|listener| {
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    });
    bound.map_err(|cause| ListenError::Bind { address, cause })
}

fn prepare(listener: &TcpListener) -> io::Result<SocketAddr> {
    // Accepting from a connected socket (Accept=yes) or a merely bound one fails for ever.
    if !rustix::net::sockopt::socket_acceptconn(listener)? {
        return Err(io::Error::other("it is not listening"));
    }
    listener.set_nonblocking(true)?;
    // Connections inherit it. It only tunes: without it the service serves all the same.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER);
    listener.local_addr()
}

fn refuse_wildcard(address: SocketAddr) -> Result<(), ListenError> {
    match address.ip().to_canonical().is_unspecified() {
        true => Err(ListenError::Wildcard(address)),
        false => Ok(()),
    }
}
