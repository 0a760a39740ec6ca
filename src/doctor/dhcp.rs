//! Who answers DHCP on the LAN, and what boxes are told to boot: asked as their firmware asks.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::configuration::Kind;
use super::{Check, Packet, Request};
use crate::dnsmasq::{ARM64_HTTP, ARM64_PXE, Interface, SHIM, boot_url};
use crate::excerpt::excerpt;

const SERVERS: &str = "dhcp";
const BOOT: &str = "dhcp-boot";

/// Of servers, of clients, and of the boot service of PXE.
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const PXE_PORT: u16 = 4011;

/// How long answers are waited for. A server may first try for three seconds whether the address
/// that it is about to offer is in use, as dnsmasq does.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who asks: a MAC that no vendor gives. It is always the same, so that a server that keeps
/// addresses for who asked keeps one.
const MAC: [u8; 6] = [0x02, 0x67, 0x62, 0x31, 0x30, 0x01];

/// The longest message that is read, in bytes.
const LONGEST: usize = 1500;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// For an address and what to boot by PXE.
    Pxe,
    /// For an address and what to boot by HTTP.
    Http,
    /// The boot service of this host, as firmware asks it that has an address from elsewhere.
    BootService,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// To which question.
    pub asked: Asked,
    /// Who sent it.
    pub from: Ipv4Addr,
    /// What it says.
    pub packet: Packet,
}

/// What was heard.
#[derive(Debug, Clone)]
pub enum Heard {
    /// No interface is on the LAN.
    Nowhere,
    /// Only root may ask.
    NotAllowed,
    /// It could not be asked.
    Failed(String),
    /// These answers.
    Replies(Vec<Reply>),
}

/// Asks on the interface.
pub fn gather(interface: &Interface, at: SocketAddrV4, kind: Kind) -> Heard {
    match ask(interface, *at.ip(), kind) {
        Ok(replies) => Heard::Replies(replies),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Heard::NotAllowed,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Heard::Failed("a DHCP client of this host has port 68".to_owned())
        }
        Err(error) => Heard::Failed(error.to_string()),
    }
}

fn ask(interface: &Interface, own: Ipv4Addr, kind: Kind) -> io::Result<Vec<Reply>> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(interface.as_str().as_bytes()))?;
    let any = |port| SockAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    socket.bind(&any(CLIENT_PORT))?;

    let first = std::process::id().rotate_left(16) ^ u32::from(own);
    let mut questions = vec![
        (Asked::Pxe, ARM64_PXE, "PXEClient"),
        (Asked::Http, ARM64_HTTP, "HTTPClient"),
    ];
    if kind == Kind::Proxy {
        questions.push((Asked::BootService, ARM64_PXE, "PXEClient"));
    }
    let mut xids = Vec::new();
    for (n, (asked, architecture, class)) in (0..).zip(questions) {
        let xid = first.wrapping_add(n);
        let is_of_service = asked == Asked::BootService;
        let request = Request {
            xid,
            mac: MAC,
            architecture,
            class,
            own: is_of_service.then_some(own),
        };
        let to = match is_of_service {
            true => SocketAddrV4::new(own, PXE_PORT),
            false => SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT),
        };
        socket.send_to(&request.to_bytes(), &SockAddr::from(to))?;
        xids.push((xid, asked));
    }
    listen(&socket.into(), &xids)
}

/// All answers of those seconds: there may be a second server.
fn listen(socket: &UdpSocket, xids: &[(u32, Asked)]) -> io::Result<Vec<Reply>> {
    let end = Instant::now() + TIMEOUT;
    let mut replies = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(replies);
        }
        socket.set_read_timeout(Some(left))?;
        let mut room = [0; LONGEST];
        let (length, from) = match socket.recv_from(&mut room) {
            Ok((length, from)) => (length, from.ip()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(replies),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let IpAddr::V4(from) = from else {
            continue;
        };
        replies.extend(Packet::parse(&room[..length]).and_then(|packet| {
            let (_, asked) = xids.iter().find(|(xid, _)| *xid == packet.xid)?;
            Some(Reply {
                asked: *asked,
                from,
                packet,
            })
        }));
    }
}

/// What the answers mean.
pub fn judge(at: SocketAddrV4, kind: Kind, heard: &Heard) -> Vec<Check> {
    let replies = match heard {
        Heard::Replies(replies) => replies,
        Heard::NotAllowed => {
            let text = "skipped: needs root, to ask from the port of DHCP clients";
            return vec![Check::skip(SERVERS, text, "run it by sudo")];
        }
        Heard::Nowhere => {
            let text = "skipped: no interface is known to be on the LAN";
            return vec![Check::skip(
                SERVERS,
                text,
                "see address above, or give --interface",
            )];
        }
        Heard::Failed(reason) => {
            let text = format!("cannot be asked: {reason}");
            return vec![Check::warn(SERVERS, text, "see link above; then try again")];
        }
    };
    match kind {
        Kind::Direct => vec![sole_server(*at.ip(), replies), boot_files(at, replies)],
        Kind::Proxy => vec![
            other_server(*at.ip(), replies),
            boot_service(*at.ip(), replies),
        ],
    }
}

/// The servers that offer addresses.
fn servers(replies: &[Reply]) -> BTreeSet<Ipv4Addr> {
    let offers = replies
        .iter()
        .filter(|reply| reply.packet.offered.is_some());
    offers
        .map(|reply| reply.packet.server.unwrap_or(reply.from))
        .collect()
}

fn listed(servers: &BTreeSet<Ipv4Addr>) -> String {
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    servers.join(" and ")
}

fn sole_server(own: Ipv4Addr, replies: &[Reply]) -> Check {
    let mut others = servers(replies);
    match (others.remove(&own), others.is_empty()) {
        (true, true) => Check::ok(SERVERS, "this host alone gives out addresses"),
        (_, false) => Check::fail(
            SERVERS,
            format!(
                "a second DHCP server: {} gives out addresses",
                listed(&others)
            ),
            "switch it off, or leave the addresses to it: boot dnsmasq --proxy --write",
        ),
        (false, true) => Check::fail(
            SERVERS,
            format!("nobody offered an address within {} s", TIMEOUT.as_secs()),
            "systemctl restart dnsmasq; journalctl -u dnsmasq says what stops it",
        ),
    }
}

fn other_server(own: Ipv4Addr, replies: &[Reply]) -> Check {
    let mut others = servers(replies);
    match (others.remove(&own), others.is_empty()) {
        (true, _) => Check::fail(
            SERVERS,
            "this host gives out addresses, too, though its configuration is for a proxy",
            "systemctl restart dnsmasq",
        ),
        (false, false) => Check::ok(SERVERS, format!("{} gives out addresses", listed(&others))),
        (false, true) => Check::fail(
            SERVERS,
            format!("nobody offered an address within {} s", TIMEOUT.as_secs()),
            "start the LAN's own DHCP server, or let this host be it: boot dnsmasq --write",
        ),
    }
}

/// How to get the answers that boxes need.
const WRITE: &str = "boot dnsmasq --write, then systemctl restart dnsmasq";

fn boot_files(at: SocketAddrV4, replies: &[Reply]) -> Check {
    let url = boot_url(at);
    let own = |asked| answer_of(*at.ip(), asked, replies);
    let (Some(pxe), Some(http)) = (own(Asked::Pxe), own(Asked::Http)) else {
        return Check::fail(BOOT, "this host tells boxes nothing of what to boot", WRITE);
    };
    let is_pxe_right = said(pxe) == SHIM && pxe.next_server == *at.ip();
    let is_http_right = said(http) == url && http.class.as_deref() == Some("HTTPClient");
    match (is_pxe_right, is_http_right) {
        (true, true) => Check::ok(BOOT, format!("{SHIM} by TFTP, and {url} by HTTP Boot")),
        (false, _) => Check::fail(
            BOOT,
            format!(
                "a box that boots by PXE is told {} of {}, not {SHIM} of {}",
                told(pxe),
                pxe.next_server,
                at.ip()
            ),
            WRITE,
        ),
        (true, false) => Check::warn(
            BOOT,
            format!(
                "{SHIM} by TFTP; but HTTP Boot is told {}, not {url}",
                told(http)
            ),
            WRITE,
        ),
    }
}

fn boot_service(own: Ipv4Addr, replies: &[Reply]) -> Check {
    let answer = |asked| answer_of(own, asked, replies);
    match (answer(Asked::Pxe), answer(Asked::BootService)) {
        (Some(_), Some(packet)) if said(packet) == SHIM => Check::ok(
            BOOT,
            format!("{SHIM} by TFTP, beside the other server's answer"),
        ),
        (Some(_), Some(packet)) => Check::fail(
            BOOT,
            format!(
                "a box that boots by PXE is told {}, not {SHIM}",
                told(packet)
            ),
            "boot dnsmasq --proxy --write, then systemctl restart dnsmasq",
        ),
        _ => Check::fail(
            BOOT,
            "this host tells boxes nothing of what to boot",
            "boot dnsmasq --proxy --write, then systemctl restart dnsmasq",
        ),
    }
}

/// What that host answered first to the question.
fn answer_of(host: Ipv4Addr, asked: Asked, replies: &[Reply]) -> Option<&Packet> {
    let is_wanted = |reply: &&Reply| reply.asked == asked && reply.from == host;
    replies.iter().find(is_wanted).map(|reply| &reply.packet)
}

fn said(packet: &Packet) -> &str {
    packet.boot_file.as_deref().unwrap_or_default()
}

fn told(packet: &Packet) -> String {
    match said(packet) {
        "" => "nothing".to_owned(),
        file => excerpt(file),
    }
}
