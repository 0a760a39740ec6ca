//! Where boxes reach the service.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::tools;

/// Of the socket unit that the package installs.
const DEFAULT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 88, 0, 1), 8088);

/// The unit.
const SOCKET: &str = "gb10-provision-api.socket";

/// Longest that systemd may take, in seconds.
const TIMEOUT: u32 = 3;

/// The address that was given; else the first one of the socket unit that a box can reach; else the
/// package's.
pub(super) fn reached_at(given: Option<SocketAddrV4>) -> SocketAddrV4 {
    given.or_else(of_unit).unwrap_or(DEFAULT)
}

fn of_unit() -> Option<SocketAddrV4> {
    let arguments = ["show", "--property=Listen", "--value", SOCKET];
    // Where systemd does not run, the package's address is as good a guess as any.
    let said = tools::ask(TIMEOUT, "systemctl", arguments).ok()?;
    let mut words = said.split_whitespace().filter_map(|word| word.parse().ok());
    words.find(|at: &SocketAddrV4| !at.ip().is_loopback() && !at.ip().is_unspecified())
}
