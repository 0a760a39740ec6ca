//! The configuration of dnsmasq: is it one, and what `boot dnsmasq` would write?

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};

use super::{Check, Subject, link};
use crate::dnsmasq::{self, Interface, Mode, Plan};
use crate::excerpt::excerpt;
use crate::files::layout;
use crate::tools::{self, ToolError};

const NAME: &str = "dnsmasq-config";

/// Longest that `dnsmasq --test` may take, in seconds.
const TIMEOUT: u32 = 5;

/// Longest configuration that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// What begins the lines without which no box boots. The others only make it better.
const NEEDED: [&str; 8] = [
    "interface=",
    "dhcp-match=",
    "dhcp-boot=",
    "dhcp-option-force=",
    "pxe-service=",
    "enable-tftp",
    "tftp-root=",
    "dhcp-option=",
];

/// Whether this host gives out the addresses, or another one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This host.
    Direct,
    /// Another one.
    Proxy,
}

/// By what the configuration is planned, besides the interface and who gives out the addresses.
#[derive(Debug, Clone)]
pub struct Planned {
    /// `ALLOWED_NETWORKS`.
    pub allowed: Vec<IpNet>,
    /// Whether `site.json` has an `apt_mirror`, for which the installer needs a router.
    pub names_router: bool,
}

/// The LAN: what the interface with the address says, else the smallest of the allowed networks
/// that has the address.
pub fn network(allowed: &[IpNet], address: Ipv4Addr) -> Option<Ipv4Net> {
    let ports = link::gather().unwrap_or_default();
    let allowed = allowed.iter().filter_map(|network| match network {
        IpNet::V4(network) if network.contains(&address) => Some(*network),
        _ => None,
    });
    link::network_of(&ports, address).or_else(|| allowed.max_by_key(Ipv4Net::prefix_len))
}

impl Planned {
    /// The configuration of dnsmasq for this interface.
    pub fn render(
        &self,
        data_path: &Path,
        interface: &Interface,
        reached_at: SocketAddrV4,
        kind: Kind,
    ) -> Result<String, String> {
        let network = network(&self.allowed, *reached_at.ip()).ok_or_else(|| {
            format!(
                "{} is on no interface, and in none of ALLOWED_NETWORKS: which network boxes are \
                 to get addresses of cannot be told",
                reached_at.ip()
            )
        })?;
        let boot = layout::boot(data_path);
        let tftp_root =
            std::path::absolute(&boot).map_err(|error| format!("{}: {error}", boot.display()))?;
        let mode = match kind {
            Kind::Direct => Mode::Direct {
                names_router: self.names_router,
            },
            Kind::Proxy => Mode::Proxy,
        };
        let plan = Plan {
            interface,
            reached_at,
            network,
            tftp_root: &tftp_root,
            mode,
        };
        plan.render()
    }
}

/// The configuration that is installed, and what is to be said of it.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The file.
    pub path: PathBuf,
    /// Its text; none where there is no file.
    pub text: Result<Option<String>, String>,
    /// What `boot dnsmasq` would write.
    pub planned: Result<String, String>,
    /// Whether a write that was killed has left its half beside it, which dnsmasq reads, too.
    pub has_leftover: bool,
    /// What dnsmasq itself says of the file: its fault, or nothing. An error where it cannot be
    /// asked.
    pub fault: Result<Option<String>, String>,
}

impl Installed {
    /// Who is to give out the addresses.
    pub fn mode(&self) -> Kind {
        match &self.text {
            Ok(Some(text)) if is_proxy(text) => Kind::Proxy,
            _ => Kind::Direct,
        }
    }
}

fn is_proxy(text: &str) -> bool {
    dnsmasq::lines(text).any(|line| {
        let range = line.strip_prefix("dhcp-range=");
        range.is_some_and(|range| range.split(',').any(|part| part.trim() == "proxy"))
    })
}

/// Reads the file, and has it tested.
pub fn gather(subject: &Subject, interface: Option<&Interface>) -> Installed {
    let path = subject.configuration.clone();
    let text = match std::fs::metadata(&path).and_then(|file| match file.len() {
        0..LONGEST => std::fs::read_to_string(&path),
        _ => Err(io::Error::other("too long for a configuration")),
    }) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let mut leftover = path.clone().into_os_string();
    leftover.push(".tmp");
    let mut installed = Installed {
        has_leftover: Path::new(&leftover).exists(),
        path,
        text,
        planned: Err("no interface is known to be on the LAN".to_owned()),
        fault: Ok(None),
    };
    if let Some(interface) = interface {
        let planned = &subject.planned;
        let kind = installed.mode();
        installed.planned = planned.render(&subject.data_path, interface, subject.reached_at, kind);
    }
    if let Ok(Some(_)) = installed.text {
        let file = format!("--conf-file={}", installed.path.display());
        installed.fault = match tools::ask(TIMEOUT, "dnsmasq", ["--test", &file]) {
            Ok(_) => Ok(None),
            Err(ToolError::Failed { said, .. }) => Ok(Some(said)),
            Err(error) => Err(error.to_string()),
        };
    }
    installed
}

/// What is to be said of it.
pub fn judge(installed: &Installed) -> Check {
    let path = installed.path.display();
    let proxy = match installed.mode() {
        Kind::Direct => "",
        Kind::Proxy => " --proxy",
    };
    let write = format!(
        "boot dnsmasq --interface INTERFACE{proxy} --write, then systemctl restart dnsmasq"
    );
    let text = match &installed.text {
        Ok(Some(text)) => text,
        Ok(None) => {
            let text = format!(
                "{path} is not there; what dnsmasq does by another file, dhcp and tftp tell"
            );
            return Check::warn(NAME, text, write);
        }
        Err(reason) => {
            let text = format!("{path} cannot be read: {reason}");
            return Check::fail(NAME, text, write);
        }
    };
    match &installed.fault {
        Ok(Some(fault)) => {
            let text = format!("dnsmasq does not take {path}: {}", excerpt(fault));
            return Check::fail(NAME, text, write);
        }
        Ok(None) => {}
        Err(reason) => {
            let text = format!("{path} cannot be tested: {reason}");
            return Check::warn(NAME, text, "apt install dnsmasq");
        }
    }
    if installed.has_leftover {
        let text =
            format!("{path}.tmp is there, left by a write that was killed; dnsmasq reads it, too");
        return Check::warn(NAME, text, write);
    }
    let planned = match &installed.planned {
        Ok(planned) => planned,
        Err(reason) => {
            let text = format!("what {path} should be cannot be told: {reason}");
            return Check::warn(NAME, text, "give --interface, or see address above");
        }
    };
    let has = |wanted: &str| dnsmasq::lines(text).any(|line| line == wanted);
    let missing = dnsmasq::lines(planned).filter(|line| !has(line));
    let is_needed = |line: &&str| NEEDED.iter().any(|needed| line.starts_with(needed));
    let (needed, better): (Vec<_>, Vec<_>) = missing.partition(is_needed);
    match (&needed[..], &better[..]) {
        ([], []) => Check::ok(NAME, format!("{path} has all that it should")),
        ([], better) => Check::warn(
            NAME,
            format!("{path} lacks {}", better.join(" and ")),
            write,
        ),
        (needed, _) => Check::fail(
            NAME,
            format!("{path} lacks {}", needed.join(" and ")),
            write,
        ),
    }
}
