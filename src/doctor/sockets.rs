//! Which ports somebody on this host listens on. The kernel tells that to everybody.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Check;
use super::configuration::Kind;

const NAME: &str = "dnsmasq";

/// The ports of DHCP, of TFTP and of the boot service of PXE.
const DHCP: u16 = 67;
const TFTP: u16 = 69;
const PXE: u16 = 4011;

/// `TCP_LISTEN` of the kernel, as the tables have it.
const LISTEN: &str = "0A";

/// The open ports of this host's network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open {
    /// On which TCP addresses somebody listens.
    pub tcp: Vec<SocketAddrV4>,
    /// Which UDP addresses somebody has.
    pub udp: Vec<SocketAddrV4>,
}

/// Reads the tables, proc(5).
pub fn gather() -> Open {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/net/{name}"));
    let (tcp, udp) = (
        read("tcp").unwrap_or_default(),
        read("udp").unwrap_or_default(),
    );
    Open {
        tcp: entries(&tcp)
            .filter(|(_, state)| *state == LISTEN)
            .map(|(at, _)| at)
            .collect(),
        udp: entries(&udp).map(|(at, _)| at).collect(),
    }
}

/// The local addresses in a table, each with its state.
fn entries(table: &str) -> impl Iterator<Item = (SocketAddrV4, &str)> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        // The table has the four bytes as a number of this machine.
        let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
        let port = u16::from_str_radix(port, 16).ok()?;
        let at = SocketAddrV4::new(Ipv4Addr::from(address), port);
        Some((at, fields.nth(1)?))
    })
}

impl Open {
    /// Who listens near `at`: on its address, or on its port elsewhere.
    pub fn near(&self, at: SocketAddrV4) -> Vec<SocketAddrV4> {
        let is_near = |other: &&SocketAddrV4| other.ip() == at.ip() || other.port() == at.port();
        self.tcp.iter().filter(is_near).copied().collect()
    }

    fn has_udp(&self, host: Ipv4Addr, port: u16) -> bool {
        let is_there =
            |at: &SocketAddrV4| at.port() == port && (*at.ip() == host || at.ip().is_unspecified());
        self.udp.iter().any(is_there)
    }
}

/// Whether a DHCP and a TFTP server run on this host.
pub fn judge(at: SocketAddrV4, kind: Kind, open: &Open) -> Check {
    let wanted = match kind {
        Kind::Direct => &[(DHCP, "DHCP"), (TFTP, "TFTP")][..],
        Kind::Proxy => &[
            (DHCP, "DHCP"),
            (PXE, "the boot service of PXE"),
            (TFTP, "TFTP"),
        ],
    };
    let missing = wanted
        .iter()
        .filter(|(port, _)| !open.has_udp(*at.ip(), *port));
    let missing: Vec<_> = missing
        .map(|(port, what)| format!("{what} (UDP port {port})"))
        .collect();
    match missing.is_empty() {
        true => Check::ok(NAME, "DHCP and TFTP are open on this host"),
        false => Check::fail(
            NAME,
            format!("nobody answers for {} on {}", missing.join(", "), at.ip()),
            "systemctl restart dnsmasq; journalctl -u dnsmasq says what stops it",
        ),
    }
}
