//! Servers as children: the service under test and the floors that are processes of their own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;
use crate::load::{self, Connection};

/// The template that devices are served in the benchmark, about the size of a real autoinstall.
const TEMPLATE: &str = include_str!("user-data.yaml.j2");

/// How long a server may take to answer first, and to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two attempts to connect: small beside a start, and it leaves the core to the
/// one that starts.
const POLL: Duration = Duration::from_micros(50);

/// The unit of times in `/proc`, the same on every architecture that Linux still runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// A server on loopback that is stopped when this is dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts `command`, which is to listen on `address`; what it says goes to a file in `folder`,
    /// being part of its work.
    pub fn spawn(command: &mut Command, address: SocketAddr, folder: &Path) -> Result<Self> {
        let log = folder.join("log");
        // Nothing of this environment may reach it: neither a log filter nor systemd's sockets.
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn();
        let child =
            child.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        Ok(Self {
            child,
            log,
            address,
        })
    }

    /// Starts the service on the data in `folder`.
    pub fn service(folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_gb10-provision-api"));
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .env("DATA_PATH", folder)
            .env("LISTEN", address.to_string())
            // The load has one address.
            .env("PEER_CONNECTIONS", "1024")
            .env("MAX_VIEWERS", "128");
        Self::spawn(&mut command, address, folder)
    }

    /// Asks for `path` until it is there, and gives its body.
    pub fn first_answer(&mut self, path: &str) -> Result<Vec<u8>> {
        let begun = Instant::now();
        let request = load::get(self.address, path);
        loop {
            let outcome = Connection::open(self.address, 64 << 10).and_then(|mut connection| {
                connection.send(&request)?;
                connection.answer()?;
                Ok(connection.body().to_vec())
            });
            match outcome {
                Ok(body) => return Ok(body),
                Err(error) if begun.elapsed() > PATIENCE || self.child.try_wait()?.is_some() => {
                    let log = fs::read_to_string(&self.log).unwrap_or_default();
                    return Err(format!("{path} was never served: {error}\n{log}").into());
                }
                Err(_) => thread::sleep(POLL),
            }
        }
    }

    /// The processor time that it has used so far, in seconds.
    pub fn processor_time(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // proc_pid_stat(5): utime and stime are fields 14 and 15; field 2, in parentheses, may hold
        // spaces.
        let fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(11)
            .take(2);
        let ticks: f64 = fields
            .map(str::parse::<f64>)
            .sum::<std::result::Result<_, _>>()?;
        Ok(ticks / TICKS_A_SECOND)
    }

    /// Resident memory in MiB: the most it ever was, and now.
    pub fn memory(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
        };
        Ok((
            field("VmHWM:").ok_or("no VmHWM")?,
            field("VmRSS:").ok_or("no VmRSS")?,
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first: nginx's master stops its workers only then.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let begun = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if begun.elapsed() > PATIENCE {
                eprintln!("bench: SIGTERM did not stop {}", self.log.display());
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A data folder for the service with the template in it.
pub fn stage(folder: &Path) -> Result<()> {
    let templates = folder.join("cloud-init-templates");
    fs::create_dir_all(&templates)?;
    fs::write(templates.join("user-data.yaml.j2"), TEMPLATE)?;
    Ok(())
}

/// Where the device with this number finds its user-data.
pub fn user_data_path(device: usize) -> String {
    format!("/cloud-init/user-data?mac={}", mac(device))
}

/// The MAC address of the device with this number.
pub fn mac(device: usize) -> String {
    format!("48:b0:2d:00:{:02x}:{:02x}", device >> 8, device & 0xff)
}

/// An address on loopback that nothing listens on.
///
/// Its port is below the range that the kernel picks from for outgoing connections: an attempt to
/// connect to a free port of that range can meet itself, and then succeeds and keeps the server
/// from binding.
pub fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(process::id() % 100)? * 100;
    for _ in 0..1000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err("no free port on loopback".into())
}
