//! Where boxes reach the service.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::service::installed::SOCKET;
use crate::tools;

/// Of the socket unit that the package installs.
const DEFAULT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 88, 0, 1), 8088);

/// Longest that systemd may take, in seconds.
const TIMEOUT: u32 = 3;

/// The address that was given; else the first one of the socket unit that a box can reach; else the
/// package's.
pub(super) fn reached_at(given: Option<SocketAddrV4>) -> SocketAddrV4 {
    given.or_else(of_unit).unwrap_or(DEFAULT)
}

/// Where the service is to be asked on this host: the same, or whatever else the socket unit has.
/// systemd may take so many seconds.
pub(super) fn asked_at(seconds: u32) -> SocketAddr {
    let listens = listens(seconds);
    let for_boxes = listens.iter().copied().find(is_for_boxes);
    let at = for_boxes.or(listens.first().copied());
    at.unwrap_or(DEFAULT.into())
}

fn of_unit() -> Option<SocketAddrV4> {
    let mut listens = listens(TIMEOUT).into_iter().filter(is_for_boxes);
    listens.find_map(|at| match at {
        SocketAddr::V4(at) => Some(at),
        SocketAddr::V6(_) => None,
    })
}

fn is_for_boxes(at: &SocketAddr) -> bool {
    !at.ip().is_loopback() && !at.ip().is_unspecified()
}

/// Where the socket unit listens. Where systemd does not run, the package's address is as good a
/// guess as any.
fn listens(seconds: u32) -> Vec<SocketAddr> {
    let arguments = ["show", "--property=Listen", "--value", SOCKET];
    let said = tools::ask(seconds, "systemctl", arguments).unwrap_or_default();
    let words = said.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}
