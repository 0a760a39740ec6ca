//! DHCP as far as a question and its answers need it (RFC 2131, 2132, 4578). Pure.

use std::net::Ipv4Addr;

/// The fixed part of a message, in bytes, and what stands between it and the options.
const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Where fields stand in the fixed part.
const XID: usize = 4;
const FLAGS: usize = 10;
const CIADDR: usize = 12;
const YIADDR: usize = 16;
const SIADDR: usize = 20;
const CHADDR: usize = 28;
const SNAME: (usize, usize) = (44, 64);
const FILE: (usize, usize) = (108, 128);

/// `op`.
const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
/// The flag of a client that cannot be sent to yet.
const BROADCAST: u8 = 0x80;

/// Options.
const PAD: u8 = 0;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const VENDOR_CLASS: u8 = 60;
const BOOT_FILE: u8 = 67;
const ARCHITECTURE: u8 = 93;
const NETWORK_INTERFACE: u8 = 94;
const MACHINE: u8 = 97;
const END: u8 = 255;

/// Message types.
const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;

/// What firmware that boots from the network asks.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// By which its answers are known.
    pub xid: u32,
    /// Who asks.
    pub mac: [u8; 6],
    /// What it is, in IANA's registry of processor architectures.
    pub architecture: u16,
    /// What it calls itself, such as `PXEClient`.
    pub class: &'static str,
    /// The address that it has already, when it asks the boot service of PXE.
    pub own: Option<Ipv4Addr>,
}

impl Request {
    /// As it goes onto the LAN.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        // Ethernet, whose addresses have six bytes.
        bytes[..3].copy_from_slice(&[BOOTREQUEST, 1, 6]);
        bytes[XID..XID + 4].copy_from_slice(&self.xid.to_be_bytes());
        bytes[CHADDR..CHADDR + 6].copy_from_slice(&self.mac);
        let kind = match self.own {
            None => {
                bytes[FLAGS] = BROADCAST;
                DISCOVER
            }
            Some(own) => {
                bytes[CIADDR..CIADDR + 4].copy_from_slice(&own.octets());
                REQUEST
            }
        };
        bytes.extend(COOKIE);
        let class = format!("{}:Arch:{:05}:UNDI:003000", self.class, self.architecture);
        let mut option = |code: u8, value: &[u8]| {
            // All of these are short.
            bytes.extend([code, u8::try_from(value.len()).unwrap_or(0)]);
            bytes.extend(value);
        };
        option(MESSAGE_TYPE, &[kind]);
        option(WANTED, &[1, 3, SERVER, VENDOR_CLASS, 66, BOOT_FILE]);
        option(VENDOR_CLASS, class.as_bytes());
        option(ARCHITECTURE, &self.architecture.to_be_bytes());
        option(NETWORK_INTERFACE, &[1, 3, 0]);
        option(MACHINE, &[0; 17]);
        bytes.push(END);
        bytes
    }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The question that it answers.
    pub xid: u32,
    /// The address that it offers; none where it only says what to boot.
    pub offered: Option<Ipv4Addr>,
    /// Where to boot from.
    pub next_server: Ipv4Addr,
    /// Which server it is, in its own words.
    pub server: Option<Ipv4Addr>,
    /// `PXEClient` and the like.
    pub class: Option<String>,
    /// What to boot.
    pub boot_file: Option<String>,
}

impl Packet {
    /// Reads an answer; none where this is no DHCP, or no answer.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let options = bytes.get(FIXED..)?.strip_prefix(&COOKIE)?;
        if *bytes.first()? != BOOTREPLY {
            return None;
        }
        let field = |(at, length): (usize, usize)| bytes.get(at..at + length);
        let mut areas = vec![options];
        // Where the options have no room, they go on in the fields for names.
        let overload = find(&areas, OVERLOAD)?.first().copied().unwrap_or(0);
        if overload & 1 != 0 {
            areas.push(field(FILE)?);
        }
        if overload & 2 != 0 {
            areas.push(field(SNAME)?);
        }
        let boot_file = match find(&areas, BOOT_FILE)? {
            file if file.is_empty() && overload & 1 == 0 => field(FILE)?.to_vec(),
            file => file,
        };
        let server = find(&areas, SERVER)?;
        let is_set = |address: &Ipv4Addr| !address.is_unspecified();
        Some(Self {
            xid: u32::from_be_bytes(*bytes.get(XID..)?.first_chunk()?),
            offered: address(&bytes[YIADDR..]).filter(is_set),
            next_server: address(&bytes[SIADDR..])?,
            server: address(&server).filter(is_set),
            class: text(&find(&areas, VENDOR_CLASS)?),
            boot_file: text(&boot_file),
        })
    }
}

/// The value of an option, which may stand in pieces (RFC 3396): empty where it is not there. None
/// where the options are broken.
fn find(areas: &[&[u8]], wanted: u8) -> Option<Vec<u8>> {
    let mut found = Vec::new();
    for area in areas {
        let mut rest = *area;
        while let [code, tail @ ..] = rest {
            match *code {
                END => break,
                PAD => rest = tail,
                code => {
                    let (length, tail) = tail.split_first()?;
                    let (value, tail) = tail.split_at_checked(usize::from(*length))?;
                    if code == wanted {
                        found.extend_from_slice(value);
                    }
                    rest = tail;
                }
            }
        }
    }
    Some(found)
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().map(|four| Ipv4Addr::from(*four))
}

/// A text up to its NUL; none where it is empty.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0);
    let text = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]);
    (!text.is_empty()).then(|| text.into_owned())
}
