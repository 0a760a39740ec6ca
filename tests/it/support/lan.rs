//! A LAN of two network namespaces: the service's end and a device's, joined by a cable.
//!
//! A test that makes one needs [`Need::NetworkNamespaces`](super::needs::Need).

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{BINARY, Service, Start, stage};

/// The device's addresses. The second one is reached through the first, as through a router: the
/// kernel never asks who has it, so its entry in the tables is what a test makes of it.
pub const DEVICE: &str = "10.88.0.2";
pub const ROUTED: &str = "10.88.0.20";

/// The device's own MAC, where a test has no other, and that of the service's end.
pub const MAC: &str = "02:88:00:00:00:02";
pub const SERVER_MAC: &str = "02:88:00:00:00:01";

/// A user-data that says for whom it was rendered.
pub const WHO: &str = "#cloud-config\nmac: '{{ mac }}'\n";
pub const FOR_UNKNOWN: &str = "#cloud-config\nmac: 'unknown'";

/// A LAN of two: the service's network namespace and a device's, joined by a cable.
pub struct Lan {
    pub server: String,
    pub device: String,
    pub folder: TempDir,
}

impl Lan {
    pub fn new() -> Self {
        Self::with_device(MAC)
    }

    /// A LAN whose device has this MAC.
    pub fn with_device(mac: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "t{}x{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let lan = Self {
            server: format!("{name}s"),
            device: format!("{name}d"),
            folder: tempfile::tempdir().unwrap(),
        };
        let (server, device) = (lan.server.as_str(), lan.device.as_str());
        ip(&format!("netns add {server}"));
        ip(&format!("netns add {device}"));
        ip(&format!(
            "link add lan0 netns {server} address {SERVER_MAC} type veth \
             peer name lan0 netns {device} address {mac}"
        ));
        ip(&format!("-n {server} address add 10.88.0.1/24 dev lan0"));
        ip(&format!("-n {device} address add {DEVICE}/24 dev lan0"));
        ip(&format!("-n {device} address add {ROUTED}/32 dev lan0"));
        for end in [server, device] {
            ip(&format!("-n {end} link set lo up"));
            ip(&format!("-n {end} link set lan0 up"));
        }
        ip(&format!("-n {server} route add {ROUTED}/32 via {DEVICE}"));
        stage(
            lan.folder.path(),
            "cloud-init-templates/user-data.yaml.j2",
            WHO,
        );
        lan
    }

    /// Has the device know the service's MAC beforehand, so that it never tells its own by asking.
    pub fn without_questions_of_the_device(self) -> Self {
        let device = &self.device;
        ip(&format!(
            "-n {device} neigh replace 10.88.0.1 lladdr {SERVER_MAC} dev lan0 nud permanent"
        ));
        self
    }

    /// Makes the table's entry of the routed address.
    pub fn entry(&self, entry: &str) {
        ip(&format!(
            "-n {} neigh replace {ROUTED} dev lan0 {entry}",
            self.server
        ));
    }

    /// What the service's end says of its neighbours.
    pub fn table(&self, command: &[&str]) -> String {
        let mut inside = Command::new("ip");
        let output = inside
            .args(["netns", "exec", &self.server])
            .args(command)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The service, on the LAN.
    pub fn start(&self) -> Start {
        self.start_by(&[BINARY])
    }

    pub fn start_by(&self, command: &[&str]) -> Start {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.server]).args(command);
        Start::by(inside, self.folder.path())
            .env("LISTEN", "10.88.0.1:0")
            // The one device stands for many.
            .env("PEER_CONNECTIONS", "256")
    }

    /// The service, with `ip` replaced by a script: no real `ip` hangs or fails on demand.
    pub fn start_with_fake_ip(&self, script: &str) -> Start {
        let folder = self.folder.path().join("fake");
        std::fs::create_dir(&folder).unwrap();
        let fake = folder.join("ip");
        std::fs::write(&fake, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display());
        self.start_by(&["/usr/bin/env", &path, BINARY])
            .env("ARP_TABLE", self.missing())
            .env("FAKE", &folder)
    }

    pub fn missing(&self) -> PathBuf {
        self.folder.path().join("missing")
    }

    /// What the device gets, each answer with its status and time.
    pub fn curl(&self, from: &str, arguments: &[&str]) -> Vec<Answer> {
        let curl = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.device,
                "curl",
                "--silent",
                "--max-time",
                "20",
            ])
            .args([
                "--interface",
                from,
                "--write-out",
                "\t%{http_code}\t%{time_total}\x1e",
            ])
            .args(arguments)
            .output()
            .unwrap();
        let output = String::from_utf8(curl.stdout).unwrap();
        let answers = output.split_terminator('\x1e').map(|answer| {
            let mut parts = answer.rsplitn(3, '\t');
            let seconds = parts.next().unwrap().parse().unwrap();
            let status = parts.next().unwrap().parse().unwrap();
            let body = parts.next().unwrap().to_owned();
            Answer {
                body,
                status,
                took: Duration::from_secs_f64(seconds),
            }
        });
        answers.collect()
    }

    /// 64 requests of the device at once.
    pub fn storm(&self, service: &Service) -> Vec<Answer> {
        let folder = tempfile::tempdir().unwrap();
        let bodies = folder.path().join("#1").display().to_string();
        let url = format!("http://{}/cloud-init/user-data?n=[1-64]", service.address);
        let at_once = ["--parallel", "--parallel-immediate", "--parallel-max", "64"];
        let mut answers = self.curl(
            DEVICE,
            &[&at_once[..], &["--output", &bodies, &url]].concat(),
        );
        assert_eq!(answers.len(), 64);
        for (answer, n) in answers.iter_mut().zip(1..) {
            answer.body = std::fs::read_to_string(folder.path().join(n.to_string())).unwrap();
        }
        answers
    }

    /// The answer to one request of the device.
    pub fn get(&self, from: &str, service: &Service, target: &str) -> Answer {
        let url = format!("http://{}{target}", service.address);
        self.curl(from, &[&url]).pop().unwrap()
    }

    pub fn heartbeat(&self, from: &str, service: &Service, body: Value) -> Answer {
        let url = format!("http://{}/heartbeat", service.address);
        self.curl(from, &["--data", &body.to_string(), &url])
            .pop()
            .unwrap()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for end in [&self.server, &self.device] {
            ip_succeeds(&format!("netns delete {end}"));
        }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub body: String,
    pub status: u16,
    pub took: Duration,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Asserts that this is a seed that was rendered for `mac`.
    pub fn is_for(&self, mac: &str) {
        assert_eq!(
            (self.status, &*self.body),
            (200, &*format!("#cloud-config\nmac: '{mac}'"))
        );
    }
}

pub fn ip_succeeds(arguments: &str) -> bool {
    let mut ip = Command::new("ip");
    ip.args(arguments.split_whitespace()).stderr(Stdio::null());
    ip.status().is_ok_and(|status| status.success())
}

pub fn ip(arguments: &str) {
    assert!(ip_succeeds(arguments), "ip {arguments}");
}
