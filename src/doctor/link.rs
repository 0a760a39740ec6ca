//! The LAN address, on an interface with a link.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;

use super::Check;
use crate::dnsmasq::Interface;
use crate::tools;

const ADDRESS: &str = "address";
const LINK: &str = "link";

/// Longest that `ip` may take, in seconds.
const TIMEOUT: u32 = 3;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Whether there is somebody at the other end of the cable.
    pub has_link: bool,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Net>,
}

/// What `ip -json address` says of an interface.
#[derive(Deserialize)]
struct Said {
    ifname: String,
    flags: Vec<String>,
    #[serde(default)]
    addr_info: Vec<SaidAddress>,
}

#[derive(Deserialize)]
struct SaidAddress {
    local: Option<String>,
    prefixlen: u8,
}

/// The interfaces of this host.
pub fn gather() -> Result<Vec<Port>, String> {
    let text = tools::ask(TIMEOUT, "ip", ["-json", "address", "show"]);
    let text = text.map_err(|error| error.to_string())?;
    let said: Vec<Said> =
        serde_json::from_str(&text).map_err(|error| format!("what ip says: {error}"))?;
    let port = |said: Said| {
        let has = |flag: &str| said.flags.iter().any(|other| other == flag);
        let address = |said: &SaidAddress| {
            let address = said.local.as_ref()?.parse().ok()?;
            Ipv4Net::new(address, said.prefixlen).ok()
        };
        Port {
            is_up: has("UP"),
            has_link: has("LOWER_UP"),
            addresses: said.addr_info.iter().filter_map(address).collect(),
            name: said.ifname,
        }
    };
    Ok(said.into_iter().map(port).collect())
}

/// The interface that has the address.
pub fn interface_of(ports: &[Port], address: Ipv4Addr) -> Option<Interface> {
    with(ports, address).and_then(|(port, _)| port.name.parse().ok())
}

/// The network that the interface is on by its address.
pub fn network_of(ports: &[Port], address: Ipv4Addr) -> Option<Ipv4Net> {
    with(ports, address).map(|(_, network)| network.trunc())
}

fn with(ports: &[Port], address: Ipv4Addr) -> Option<(&Port, Ipv4Net)> {
    ports.iter().find_map(|port| {
        let mut networks = port.addresses.iter();
        let network = networks.find(|network| network.addr() == address)?;
        Some((port, *network))
    })
}

/// Whether the LAN address is where it should be, and whether that interface has a link.
pub fn judge(
    ports: Result<&[Port], &str>,
    address: Ipv4Addr,
    interface: Option<&str>,
) -> Vec<Check> {
    let ports = match ports {
        Ok(ports) => ports,
        Err(reason) => {
            let remedy = "apt install iproute2";
            return vec![Check::warn(
                ADDRESS,
                format!("cannot be told: {reason}"),
                remedy,
            )];
        }
    };
    let Some((port, network)) = with(ports, address) else {
        let interface = interface.unwrap_or("INTERFACE");
        return vec![Check::fail(
            ADDRESS,
            format!("no interface has {address}, at which boxes look for this host"),
            format!(
                "ip address add {address}/24 dev {interface}; for good, see step 1 of first-rack.md"
            ),
        )];
    };
    let name = &port.name;
    if let Some(wanted) = interface.filter(|wanted| wanted != name) {
        return vec![Check::fail(
            ADDRESS,
            format!("{address} is on {name}, not on {wanted}"),
            format!("give {wanted} the address, or name the interface of the LAN by --interface"),
        )];
    }
    let link = match (port.is_up, port.has_link) {
        (false, _) => Check::fail(
            LINK,
            format!("{name} is down"),
            format!("ip link set {name} up"),
        ),
        (true, false) => Check::fail(
            LINK,
            format!("{name} has no link"),
            "plug the cable in, and switch the switch on",
        ),
        (true, true) => Check::ok(LINK, format!("{name} is up and has a link")),
    };
    vec![Check::ok(ADDRESS, format!("{network} on {name}")), link]
}
