//! The variables of a template: what a seed knows of the device that it is for.

use std::net::SocketAddr;
use std::sync::LazyLock;

use minijinja::{Value, context};

use crate::device::heartbeat::default_hostname;
use crate::device::mac::{MacAddr, UNKNOWN};
use crate::embedded::onboarding_file;
use crate::site::{KnownDevice, Site};

/// An address of the range for documentation (RFC 7042, 2.1.2), to try templates with.
const SAMPLE_MAC: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x53, 0x01];

/// What a seed can bring along for a box that has no network yet: the program that onboards it, and
/// its unit.
#[derive(Debug, Clone)]
pub struct Onboarding(Value);

impl Onboarding {
    /// The path below `/onboard/` of the program.
    pub const PROGRAM: &str = "gb10-onboard";
    /// That of its unit.
    pub const UNIT: &str = "gb10-onboard.service";

    /// With these texts.
    pub fn new(program: &str, unit: &str) -> Self {
        Self(context! { program, unit })
    }
}

/// The built-in ones.
static BUILT_IN: LazyLock<Onboarding> = LazyLock::new(|| {
    let text = |path| onboarding_file(path).unwrap_or_default();
    Onboarding::new(text(Onboarding::PROGRAM), text(Onboarding::UNIT))
});

impl Default for Onboarding {
    fn default() -> Self {
        BUILT_IN.clone()
    }
}

/// For whom a seed is rendered.
#[derive(Debug, Clone)]
pub struct Device {
    /// The MAC that it is on record under, where that is known.
    pub mac: Option<MacAddr>,
    /// What `devices.json` says of it.
    pub known: KnownDevice,
    /// The address of ours that it reached.
    pub lan: SocketAddr,
    /// The base of the URLs that it shall use, without a final slash.
    pub provision_url: String,
    /// What it finds in the seed, if its template says so.
    pub onboarding: Onboarding,
}

impl Device {
    fn mac_slug(&self) -> String {
        self.mac
            .map_or_else(|| UNKNOWN.to_owned(), |mac| mac.slug())
    }

    /// The variables of a template.
    pub(super) fn context(&self, site: &Site, fallback_password_hash: &str) -> Value {
        let mac_slug = self.mac_slug();
        let hostname = match &self.known.hostname {
            Some(name) => name.as_str().to_owned(),
            None => default_hostname(&mac_slug),
        };
        context! {
            mac => self.mac.map_or_else(|| UNKNOWN.to_owned(), |mac| mac.to_string()),
            mac_slug,
            lan_ip => self.lan.ip().to_canonical().to_string(),
            provision_url => self.provision_url.as_str(),
            fallback_password_hash,
            site => site.0.clone(),
            device => context! {
                hostname => hostname.as_str(),
                role => self.known.role.as_deref(),
                macs => self.known.macs.iter().map(MacAddr::to_string).collect::<Vec<_>>(),
                vars => self.known.vars.clone(),
            },
            hostname,
            onboarding => self.onboarding.0.clone(),
        }
    }

    /// Whichever box it is that boots: GRUB's configuration is the same for all, and the URLs in it
    /// have the address that they reached. GRUB names no port when it asks for it, so nothing else
    /// tells that.
    pub fn that_boots(lan: SocketAddr) -> Self {
        let lan = SocketAddr::new(lan.ip().to_canonical(), lan.port());
        Self {
            lan,
            provision_url: format!("http://{lan}"),
            ..Self::sample(None)
        }
    }

    /// A device to try templates with.
    pub(super) fn sample(mac: Option<MacAddr>) -> Self {
        let lan = SocketAddr::from(([10, 88, 0, 1], 8088));
        let provision_url = format!("http://{lan}");
        Self {
            mac,
            known: KnownDevice::default(),
            lan,
            provision_url,
            onboarding: Onboarding::default(),
        }
    }
}

/// The MAC of a device that does not exist.
pub(super) fn sample_mac() -> Option<MacAddr> {
    MacAddr::from_octets(SAMPLE_MAC).ok()
}
