//! By which URL a device finds this server again.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

/// The base of the URLs for devices, where the operator gives one: without a final slash, of
/// characters that mean nothing to YAML or a shell.
#[derive(Debug, Clone, Default)]
pub struct PublicUrl(Option<String>);

impl FromStr for PublicUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let url = text.trim_end_matches('/');
        let rest = ["http://", "https://"].map(|scheme| url.strip_prefix(scheme));
        let rest = rest.into_iter().flatten().next().unwrap_or_default();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte);
        match is_plain_authority(authority) && path.bytes().all(plain) {
            true => Ok(Self(Some(url.to_owned()))),
            false => Err("expected a URL such as http://10.88.0.1:8088"),
        }
    }
}

/// The base of the URLs that a device shall use: the operator's. Else where it reached us: by the
/// Host header if that is a plain authority, since the device knows the name or port that led it
/// here; else by the socket's own address.
pub fn provision_url(public: &PublicUrl, headers: &HeaderMap, local: SocketAddr) -> String {
    if let PublicUrl(Some(url)) = public {
        return url.clone();
    }
    // An IPv4 address that an IPv6 socket took is written as one.
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    match (host, hosts.next()) {
        // GRUB and firmware leave the port out, whatever it is.
        (Some(host), None) if is_address(host, local.ip()) => format!("http://{local}"),
        (Some(host), None) if is_plain_authority(host) => format!("http://{host}"),
        _ => format!("http://{local}"),
    }
}

/// Whether a host without a port is this address.
fn is_address(host: &str, ip: IpAddr) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let address: Option<IpAddr> = match bracketed {
        Some(ipv6) => ipv6.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => host.parse().ok().filter(IpAddr::is_ipv4),
    };
    address.is_some_and(|address| address.to_canonical() == ip)
}

/// Whether this is a host and perhaps a port. RFC 3986 allows more characters, some of which mean
/// something to YAML or a shell; no host on a LAN needs them.
fn is_plain_authority(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let port_is_valid = |authority: &Authority| match host.strip_prefix(authority.host()) {
        Some("") => true,
        Some(port) => port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok()),
        None => false,
    };
    let name_is_valid = |authority: &Authority| match authority.host().strip_prefix('[') {
        Some(ipv6) => ipv6
            .strip_suffix(']')
            .is_some_and(|ipv6| ipv6.parse::<Ipv6Addr>().is_ok()),
        None => !authority.host().is_empty() && !authority.host().contains([':', '[', ']']),
    };
    host.bytes().all(plain)
        && Authority::from_str(host)
            .is_ok_and(|authority| name_is_valid(&authority) && port_is_valid(&authority))
}
