//! The configuration of dnsmasq that fits this host: DHCP and TFTP for boxes that boot from the
//! network. Pure.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::str::FromStr;

use ipnet::Ipv4Net;

/// Where the package's dnsmasq looks for it.
pub const CONFIGURATION: &str = "/etc/dnsmasq.d/gb10-provision-api.conf";

/// What firmware boots first, by TFTP and by HTTP.
pub const SHIM: &str = "bootaa64.efi";

/// What an arm64 UEFI calls itself in DHCP when it boots by PXE, in IANA's registry of processor
/// architectures.
pub const ARM64_PXE: u16 = 11;
/// The same, when it boots by HTTP.
pub const ARM64_HTTP: u16 = 19;

/// Addresses at the low end of a network that are left to hosts and switches, where there is room.
const RESERVED_LOW: u32 = 20;
/// The same at the high end, the broadcast address included.
const RESERVED_HIGH: u32 = 5;
/// Addresses of a network in which there is room for that.
const ROOMY: u32 = 128;

/// The name of a network interface, as the kernel allows it and as no configuration file mistakes
/// it for anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface(String);

/// Longest name that the kernel takes: `IFNAMSIZ`, less its NUL.
const INTERFACE_BYTES: usize = 15;

impl Interface {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Interface {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_valid = (1..=INTERFACE_BYTES).contains(&name.len())
            && name.bytes().all(plain)
            && !name.starts_with(['.', '-']);
        match is_valid {
            true => Ok(Self(name.to_owned())),
            false => Err("expected the name of an interface such as eth1"),
        }
    }
}

/// What the configuration depends on.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The interface on the LAN.
    pub interface: &'a Interface,
    /// The address and port at which boxes reach the service.
    pub reached_at: SocketAddrV4,
    /// The LAN.
    pub network: Ipv4Net,
    /// The boot folder, an absolute path.
    pub tftp_root: &'a Path,
    /// Who gives out the addresses.
    pub mode: Mode,
}

/// Who gives out the addresses of the LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// This host, alone.
    Direct {
        /// Whether it names itself as the router.
        names_router: bool,
    },
    /// Another server, which stays as it is: this host only adds what to boot.
    Proxy,
}

impl Plan<'_> {
    /// The configuration, with a comment on each part.
    pub fn render(&self) -> Result<String, String> {
        let root = plain_path(self.tftp_root)?;
        let own = self.reached_at.ip();
        if !self.network.contains(own) {
            return Err(format!(
                "{own} is not in the network {}, in which boxes are to get their addresses",
                self.network
            ));
        }
        let interface = self.interface.as_str();
        let mut text = format!(
            "# DHCP and TFTP for boxes that boot from the network. Written by\n\
             #     gb10-provision-api boot dnsmasq\n\
             # gb10-provision-api(8) says how, and `gb10-provision-api doctor` whether it works.\n\
             \n\
             # On the LAN only, also when the interface comes up later. No DNS.\n\
             interface={interface}\n\
             bind-dynamic\n\
             port=0\n\n"
        );
        match self.mode {
            Mode::Direct { names_router } => self.direct(&mut text, names_router)?,
            Mode::Proxy => self.proxy(&mut text),
        }
        let _ = write!(
            text,
            "\n# TFTP. The LAN keeps its DHCP while the folder is away.\n\
             enable-tftp={interface}\n\
             tftp-root={root}\n\
             tftp-no-fail\n"
        );
        Ok(text)
    }

    fn direct(&self, text: &mut String, names_router: bool) -> Result<(), String> {
        let own = *self.reached_at.ip();
        let ranges = ranges(self.network, own);
        if ranges.is_empty() {
            return Err(format!("{} has no room for boxes", self.network));
        }
        *text += "# Addresses for boxes. One box has one: its firmware and its system name themselves\n\
                  # differently, so the MAC counts.\n";
        for (first, last) in ranges {
            let _ = writeln!(
                text,
                "dhcp-range={first},{last},{},12h",
                self.network.netmask()
            );
        }
        *text += "dhcp-ignore-clid\n";
        let _ = match names_router {
            true => write!(
                text,
                "\n# A router, for site.json has an apt_mirror: without one the installer takes the LAN for\n\
                 # no network, and asks no mirror. Whether this host routes does not matter.\n\
                 dhcp-option=option:router,{own}\n"
            ),
            false => write!(
                text,
                "\n# No router: the installer then looks for no mirror on the Internet. With an apt_mirror in\n\
                 # site.json it needs one; write this file again then.\n\
                 dhcp-option=option:router\n"
            ),
        };
        let _ = write!(
            text,
            "\n# UEFI on arm64: PXE, which reads by TFTP.\n\
             dhcp-match=set:arm64,option:client-arch,{ARM64_PXE}\n\
             dhcp-boot=tag:arm64,{SHIM}\n\
             \n\
             # UEFI on arm64: HTTP Boot, which wants to be called what it calls itself.\n\
             dhcp-match=set:arm64http,option:client-arch,{ARM64_HTTP}\n\
             dhcp-option-force=tag:arm64http,option:vendor-class,HTTPClient\n\
             dhcp-boot=tag:arm64http,{}\n",
            boot_url(self.reached_at)
        );
        Ok(())
    }

    fn proxy(&self, text: &mut String) {
        let _ = write!(
            text,
            "# Another server gives out the addresses; this one only says what to boot. It cannot do so\n\
             # for UEFI HTTP Boot: that takes the URL from the server that gives the address, which\n\
             # must name {}\n\
             dhcp-range={},proxy,{}\n\
             pxe-service=ARM64_EFI,\"Install or boot a GB10\",{SHIM}\n",
            boot_url(self.reached_at),
            self.network.network(),
            self.network.netmask()
        );
    }
}

/// What HTTP Boot is told by a host that boxes reach there.
pub fn boot_url(reached_at: SocketAddrV4) -> String {
    format!("http://{reached_at}/{SHIM}")
}

/// The lines of a configuration that say something.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The stretches of addresses for boxes: without the host's own, and in a roomy network without
/// some at its ends, for hosts with fixed addresses.
fn ranges(network: Ipv4Net, own: Ipv4Addr) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let base = u32::from(network.network());
    let broadcast = u32::from(network.broadcast());
    let (low, high) = match broadcast - base >= ROOMY - 1 {
        true => (RESERVED_LOW, RESERVED_HIGH),
        false => (1, 1),
    };
    let first = base.saturating_add(low);
    let last = broadcast.saturating_sub(high);
    let own = u32::from(own);
    let stretches = match (first..=last).contains(&own) {
        true => vec![
            (first, own.saturating_sub(1)),
            (own.saturating_add(1), last),
        ],
        false => vec![(first, last)],
    };
    let is_some = |&(first, last): &(u32, u32)| first <= last;
    let stretches = stretches.into_iter().filter(is_some);
    stretches
        .map(|(first, last)| (first.into(), last.into()))
        .collect()
}

/// A path that dnsmasq reads as it stands.
fn plain_path(path: &Path) -> Result<&str, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@~".contains(&byte);
    let text = path.to_str().filter(|path| path.starts_with('/'));
    text.filter(|path| path.bytes().all(plain)).ok_or_else(|| {
        format!(
            "{}: dnsmasq cannot take this path as its TFTP root: expected an absolute one of \
             letters, digits and /._-+@~",
            path.display()
        )
    })
}
