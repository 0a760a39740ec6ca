//! What keeps a web page in an operator's browser from asking here.
//!
//! A browser sends requests of any page to any server, and by DNS rebinding even lets the page read
//! the answers. Boxes are no browsers: they send no `Origin`, and are led here by an address.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header};

use super::ApiError;
use crate::excerpt::excerpt;

/// The names that this host goes by.
#[derive(Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// `localhost`, this host's own name, long and short, and those that the operator adds.
    pub fn new(added: &[String]) -> Self {
        let name = rustix::system::uname();
        let host = name.nodename().to_string_lossy();
        let short = host.split('.').next().unwrap_or_default();
        let own = ["localhost", &host, short].map(str::to_owned);
        Self(own.into_iter().chain(added.iter().cloned()).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Refuses what a page of another server asks for.
///
/// The server is the socket: a page that came from another port of this host is another server's.
pub fn check_origin(headers: &HeaderMap, local: SocketAddr, names: &Names) -> Result<(), ApiError> {
    for origin in headers.get_all(header::ORIGIN) {
        let text = String::from_utf8_lossy(origin.as_bytes());
        let is_own = text.strip_prefix("http://").is_some_and(|authority| {
            let (host, port) = host_and_port(authority);
            port.unwrap_or(80) == local.port() && is_this_host(host, names, |ip| ip == local.ip())
        });
        if !is_own {
            return Err(ApiError::ForeignOrigin(excerpt(&text)));
        }
    }
    Ok(())
}

/// Refuses what an operator reads where it is asked for by a name that is not this host's. Any
/// address will do: no name leads there.
pub fn check_host(headers: &HeaderMap, names: &Names) -> Result<(), ApiError> {
    for host in headers.get_all(header::HOST) {
        let text = String::from_utf8_lossy(host.as_bytes());
        if !is_this_host(host_and_port(&text).0, names, |_| true) {
            return Err(ApiError::ForeignHost(excerpt(&text)));
        }
    }
    Ok(())
}

fn is_this_host(host: &str, names: &Names, is_own: impl Fn(IpAddr) -> bool) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match address.unwrap_or(host).parse::<IpAddr>() {
        Ok(ip) => is_own(ip.to_canonical()),
        // A name with a final dot is the same name.
        Err(_) => names.has(host.strip_suffix('.').unwrap_or(host)),
    }
}

/// The parts of `host`, `host:port`, `[::1]` and `[::1]:port`.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    let end_of_address = authority.rfind(']').unwrap_or(0);
    match authority[end_of_address..].rfind(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(end_of_address + colon);
            (host, port[1..].parse().ok())
        }
        None => (authority, None),
    }
}
