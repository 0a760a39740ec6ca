//! The name of a device: its MAC address, parsed once at the door and canonical ever after.

use std::fmt;
use std::str::FromStr;

use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::excerpt::excerpt;

/// A unicast Ethernet address (EUI-48), shown as `aa:bb:cc:dd:ee:ff`.
///
/// It is never all-zero, broadcast or multicast: those name no single device, and a driver fault
/// that leaves an all-zero address must not make two boxes one.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr,
)]
pub struct MacAddr([u8; 6]);

/// How a device whose MAC could not be found out is called in its seed, and calls itself in turn.
pub const UNKNOWN: &str = "unknown";

/// A MAC as a device claims it, in a URL or a body. Empty, as an unset GRUB variable leaves it, and
/// [`UNKNOWN`], as a seed for a device without a MAC has it, count as absent.
///
/// # Errors
/// Any other text that is not the MAC of one device.
pub fn claimed(text: &str) -> Result<Option<MacAddr>, MacError> {
    match text {
        "" | UNKNOWN => Ok(None),
        text => text.parse().map(Some),
    }
}

/// Who said which MAC a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacSource {
    /// The path of the request.
    Path,
    /// `?mac=` of the request.
    Query,
    /// The body of the heartbeat.
    Body,
    /// The kernel's ARP table.
    Arp,
    /// `ip neigh show`.
    IpNeigh,
    /// Nobody.
    Unknown,
}

impl MacSource {
    /// The name in the journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Body => "body",
            Self::Arp => "arp",
            Self::IpNeigh => "ip-neigh",
            Self::Unknown => UNKNOWN,
        }
    }
}

/// Why a text is not the MAC address of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// The text has none of the accepted spellings.
    #[error(
        "{0} is not a MAC address: expected six octets in hexadecimal, such as \
         aa:bb:cc:dd:ee:ff, aa-bb-cc-dd-ee-ff, aabb.ccdd.eeff, aabbccddeeff or 01-aa-bb-cc-dd-ee-ff"
    )]
    Spelling(String),
    /// The address is all-zero, broadcast or multicast.
    #[error("{0} is {1}: expected the unicast address of one device")]
    NotADevice(MacAddrText, &'static str),
}

/// Six octets as text, for an error about an address that is not a [`MacAddr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacAddrText([u8; 6]);

impl MacAddr {
    /// The address with hyphens, `aa-bb-cc-dd-ee-ff`: fit for host names and file names.
    pub fn slug(&self) -> String {
        self.to_string().replace(':', "-")
    }

    /// Whether software made it up, for a bridge, a container or a virtual machine: IEEE 802 has a
    /// bit for addresses that no vendor gave out.
    pub fn is_made_up(&self) -> bool {
        self.0[0] & 2 != 0
    }

    /// The address of six octets in network order.
    pub fn from_octets(octets: [u8; 6]) -> Result<Self, MacError> {
        let text = MacAddrText(octets);
        match octets {
            [0, 0, 0, 0, 0, 0] => Err(MacError::NotADevice(text, "the all-zero address")),
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => {
                Err(MacError::NotADevice(text, "the broadcast address"))
            }
            // IEEE 802: the lowest bit of the first octet marks a group address.
            [first, ..] if first & 1 == 1 => Err(MacError::NotADevice(text, "a multicast address")),
            _ => Ok(Self(octets)),
        }
    }
}

impl FromStr for MacAddr {
    type Err = MacError;

    /// Takes every spelling that boot loaders, kernels and switches use, in any case: octets with
    /// colons (Linux, GRUB) or hyphens (iPXE, Windows), either with the hardware type `01` in
    /// front (PXELINUX `BOOTIF`), three groups with dots (Cisco), or bare digits.
    fn from_str(text: &str) -> Result<Self, MacError> {
        let spelling = || MacError::Spelling(excerpt(text));
        let digits = if text.contains(':') {
            octet_groups(text, ':')
        } else if text.contains('-') {
            octet_groups(text, '-')
        } else if text.contains('.') {
            cisco_groups(text)
        } else {
            Some(text.to_owned())
        };
        let octets = digits
            .as_deref()
            .and_then(twelve_digits)
            .ok_or_else(spelling)?;
        Self::from_octets(octets)
    }
}

/// The digits of `aa:bb:cc:dd:ee:ff`, with or without a leading `01` group.
fn octet_groups(text: &str, separator: char) -> Option<String> {
    let groups: Vec<&str> = text.split(separator).collect();
    let octets = match groups.as_slice() {
        ["01", octets @ ..] if octets.len() == 6 => octets,
        octets if octets.len() == 6 => octets,
        _ => return None,
    };
    octets
        .iter()
        .all(|group| group.len() == 2)
        .then(|| octets.concat())
}

/// The digits of `aabb.ccdd.eeff`.
fn cisco_groups(text: &str) -> Option<String> {
    let groups: Vec<&str> = text.split('.').collect();
    (groups.len() == 3 && groups.iter().all(|group| group.len() == 4)).then(|| groups.concat())
}

fn twelve_digits(digits: &str) -> Option<[u8; 6]> {
    // `from_str_radix` takes a sign, so the digits are checked first.
    if digits.len() != 12 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u64::from_str_radix(digits, 16).ok()?;
    let [_, _, octets @ ..] = number.to_be_bytes();
    Some(octets)
}

impl fmt::Display for MacAddrText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MacAddrText(self.0).fmt(f)
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
