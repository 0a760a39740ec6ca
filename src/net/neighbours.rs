//! IP address to MAC: the kernel's neighbour table.
//!
//! First `/proc/self/net/arp`, which costs one read. Where that cannot be read or has no complete
//! entry, `ip neigh show`, which costs a process and is bounded in time and number.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::device::mac::{MacAddr, MacSource};

/// The ARP table of the process's own network namespace, proc(5). `/proc/net/arp` is the same
/// file, but hidden by systemd's `ProcSubset=pid`.
pub const ARP_TABLE: &str = "/proc/self/net/arp";

/// The IPv4 routing table of the process's own network namespace.
const FIB_TRIE: &str = "/proc/self/net/fib_trie";

/// The IPv6 addresses of the process's own network namespace, a line each, proc(5).
const IF_INET6: &str = "/proc/self/net/if_inet6";

/// Longest that `ip neigh` may take, the wait for a free slot included.
const IP_NEIGH_TIMEOUT: Duration = Duration::from_secs(2);

/// `ip` processes at one time: a boot storm must not fork without end.
const IP_NEIGH_AT_ONCE: usize = 4;

/// Most that is read of the answer of `ip`. One neighbour is some 100 bytes.
const IP_NEIGH_BYTES: u64 = 64 * 1024;

/// Entry flag of a completed ARP entry, `ATF_COM` of `<net/if_arp.h>`.
const ATF_COM: u32 = 0x2;

/// The way to the kernel's neighbour table.
pub struct Neighbours {
    arp_table: PathBuf,
    slots: Arc<Semaphore>,
}

impl Neighbours {
    /// Reads the ARP table at `arp_table`, normally [`ARP_TABLE`].
    pub fn new(arp_table: PathBuf) -> Self {
        Self {
            arp_table,
            slots: Arc::new(Semaphore::new(IP_NEIGH_AT_ONCE)),
        }
    }

    /// The MAC of the neighbour `ip`, and which table knew it.
    pub async fn find(&self, ip: IpAddr) -> Option<(MacAddr, MacSource)> {
        let ip = ip.to_canonical();
        if ip.is_loopback() {
            return None;
        }
        if let Some(mac) = self.in_arp_table(ip) {
            return Some((mac, MacSource::Arp));
        }
        match self.ask_ip(ip).await {
            Ok(mac) => mac.map(|mac| (mac, MacSource::IpNeigh)),
            Err(reason) => {
                warn!(gb10.ip = %ip, %reason, "ip neigh show did not answer for {ip}: {reason}");
                None
            }
        }
    }

    /// The MAC of `ip` in the ARP table alone, without a process. An unreadable table is empty.
    pub fn in_arp_table(&self, ip: IpAddr) -> Option<MacAddr> {
        let IpAddr::V4(ip) = ip.to_canonical() else {
            return None;
        };
        if ip.is_loopback() {
            return None;
        }
        match self.read_arp_table() {
            Ok(text) => complete_entries(&text)
                .find(|(entry, _)| *entry == ip)
                .map(|(_, mac)| mac),
            Err(reason) => {
                debug!(gb10.ip = %ip, %reason, "the ARP table is not readable: {reason}");
                None
            }
        }
    }

    /// Whether `ip` is an address of this host, and not of a device.
    ///
    /// `local` is our end of the connection, which is where a request of the host to itself comes
    /// from unless somebody chose another address.
    pub fn is_own(&self, ip: IpAddr, local: IpAddr) -> bool {
        ip == local || !ip.is_loopback() && own_addresses().contains(&ip)
    }

    fn read_arp_table(&self) -> rustix::io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.arp_table, flags, Mode::empty())?;
        let mut table = Vec::with_capacity(4096);
        loop {
            table.reserve(4096);
            let room = rustix::buffer::spare_capacity(&mut table);
            match rustix::io::read(&file, room) {
                Ok(0) => return Ok(String::from_utf8_lossy(&table).into_owned()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask_ip(&self, ip: IpAddr) -> Result<Option<MacAddr>, String> {
        let deadline = Instant::now() + IP_NEIGH_TIMEOUT;
        let overdue = || format!("over {} s", IP_NEIGH_TIMEOUT.as_secs());
        let slot = timeout_at(deadline, Arc::clone(&self.slots).acquire_owned()).await;
        let slot = slot
            .map_err(|_| overdue())?
            .map_err(|error| error.to_string())?;
        let mut child = Command::new("ip")
            .args(["-json", "neigh", "show", "to", &ip.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("ip could not be started: {error}"))?;
        let (send, answer) = oneshot::channel();
        tokio::spawn(async move {
            match timeout_at(deadline, answer_of(&mut child)).await {
                Ok(answer) => _ = send.send(answer),
                Err(_) => {
                    drop(send);
                    // The kernel may hold a process (in a driver that hangs) even when it is
                    // killed. It keeps its slot until it is gone.
                    let _ = child.kill().await;
                }
            }
            drop(slot);
        });
        let answer = answer.await.map_err(|_| overdue())??;
        parse_ip_neigh(&answer, ip)
            .map_err(|error| format!("its answer is not understood: {error}"))
    }
}

/// What a process writes until it ends well.
async fn answer_of(child: &mut Child) -> Result<Vec<u8>, String> {
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(IP_NEIGH_BYTES).read_to_end(&mut answer).await;
        read.map_err(|error| error.to_string())?;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    match status.success() {
        true => Ok(answer),
        false => Err(format!("ip ended with {status}")),
    }
}

/// The addresses of this host, where the kernel tells them.
fn own_addresses() -> Vec<IpAddr> {
    let ipv4 = std::fs::read_to_string(FIB_TRIE).unwrap_or_default();
    let ipv6 = std::fs::read_to_string(IF_INET6).unwrap_or_default();
    let ipv6 = ipv6.lines().filter_map(|line| {
        let digits = line.split_ascii_whitespace().next()?;
        let address = u128::from_str_radix(digits, 16).ok()?;
        Some(IpAddr::V6(address.into()))
    });
    local_addresses(&ipv4).map(IpAddr::V4).chain(ipv6).collect()
}

/// The addresses of this host in a routing table as `/proc/net/fib_trie` has it: a line with the
/// address, `|-- 10.88.0.1`, and then what it is, `/32 host LOCAL`.
pub fn local_addresses(fib_trie: &str) -> impl Iterator<Item = Ipv4Addr> + '_ {
    let mut address = None;
    fib_trie.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("|-- ") {
            address = text.parse().ok();
            None
        } else {
            address.filter(|_| line == "/32 host LOCAL")
        }
    })
}

/// The complete entries of an ARP table as proc(5) has it: a heading, then a line each with
/// IP address, hardware type, flags, hardware address, mask and device.
pub fn complete_entries(table: &str) -> impl Iterator<Item = (Ipv4Addr, MacAddr)> + '_ {
    table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let ip = columns.next()?.parse().ok()?;
        let flags = columns.nth(1)?.strip_prefix("0x")?;
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let mac = columns.next()?.parse().ok()?;
        (flags & ATF_COM != 0).then_some((ip, mac))
    })
}

/// One entry of `ip -json neigh show`, as far as it matters here.
#[derive(Deserialize)]
struct IpNeighbour {
    dst: Option<IpAddr>,
    lladdr: Option<String>,
    #[serde(default)]
    state: Vec<String>,
}

/// The MAC of `ip` in an answer of `ip -json neigh show`. Entries that are FAILED or INCOMPLETE
/// hold no answer, or an old one.
pub fn parse_ip_neigh(answer: &[u8], ip: IpAddr) -> Result<Option<MacAddr>, serde_json::Error> {
    // Without any entry, some versions print nothing at all.
    if answer.trim_ascii().is_empty() {
        return Ok(None);
    }
    let neighbours: Vec<IpNeighbour> = serde_json::from_slice(answer)?;
    let unresolved = |state: &String| matches!(state.as_str(), "FAILED" | "INCOMPLETE");
    Ok(neighbours
        .iter()
        .filter(|neighbour| neighbour.dst == Some(ip) && !neighbour.state.iter().any(unresolved))
        .find_map(|neighbour| neighbour.lladdr.as_deref()?.parse().ok()))
}
