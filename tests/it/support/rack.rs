//! A provisioning host that is as it should be: the LAN, the real service, a real dnsmasq with the
//! configuration that the service writes, and an image.
//!
//! Kernel, initrd, ISO, shim and GRUB are stand-ins of a few bytes, which this makes: nothing here
//! boots. The initrd is a real one in form: two archives of cpio, the second one compressed.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::lan::{DEVICE, Lan, ip};
use super::system::run;
use super::{BINARY, Service, eventually, feed};

/// The version of the kernel of the image.
pub const VERSION: &str = "6.17.0-14-generic";

/// The alias of a GB10's RJ45 port, in the list of a kernel that has a driver for it.
pub const ALIASES: &str = "alias pci:v000010ECd00008125sv*sd*bc*sc*i* r8169\n\
                           alias pci:v000010ECd00008127sv*sd*bc*sc*i* r8169\n";

/// A server's end of the LAN with all that it needs.
pub struct Rack {
    pub lan: Lan,
    pub at: SocketAddr,
    pub service: Option<Service>,
    pub dnsmasq: Option<Dnsmasq>,
}

/// A running dnsmasq. Dropping it ends it.
pub struct Dnsmasq(pub Child);

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Rack {
    /// A good one.
    pub fn new() -> Self {
        let mut rack = Self::without_dnsmasq();
        rack.write_configuration(&[]);
        rack.start_dnsmasq();
        rack
    }

    pub fn without_dnsmasq() -> Self {
        let lan = Lan::new();
        // Of this address there is only one, so that it can be asked whoever the test runs as.
        ip(&format!(
            "-n {} address del {DEVICE}/24 dev lan0",
            lan.device
        ));
        let data = lan.folder.path();
        // dnsmasq reads as a user of its own.
        std::fs::set_permissions(data, PermissionsExt::from_mode(0o755)).unwrap();
        let service = lan.start().service();
        let rack = Self {
            at: service.address,
            service: Some(service),
            dnsmasq: None,
            lan,
        };
        rack.stage("boot/bootaa64.efi", &[0xaa; 70_000]);
        rack.stage("boot/grubaa64.efi", &[0x64; 512]);
        rack.stage_grub_cfg();
        rack.stage_image("ubuntu-24.04.4", VERSION, ALIASES);
        rack
    }

    /// A path in the data folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.lan.folder.path().join(name)
    }

    /// The configuration of dnsmasq.
    pub fn configuration(&self) -> PathBuf {
        self.path("dnsmasq.conf")
    }

    pub fn stage(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// As the service gives it.
    fn stage_grub_cfg(&self) {
        let at = self.at.to_string();
        let output = self.program(&["boot", "grub", "--write", "--reached-at", &at]);
        assert!(output.status.success(), "{output:?}");
    }

    /// Stages an image whose `image.json` is right.
    pub fn stage_image(&self, name: &str, version: &str, aliases: &str) {
        let file = |file: &str| format!("boot/images/{name}/{file}");
        self.stage(&file("vmlinuz"), b"a kernel, in a test");
        self.stage(&file("initrd"), &initrd(version, aliases, "gzip"));
        self.stage(&file("installer.iso"), &[7; 100_000]);
        self.record(name, VERSION);
    }

    /// Writes the `image.json` of what is staged.
    pub fn record(&self, name: &str, version: &str) {
        let folder = self.path("boot/images").join(name);
        let record = json!({
            "name": name,
            "staged_at": "2026-11-25T12:00:00Z",
            "kernel": content(&folder.join("vmlinuz"), json!({"version": version, "hwe": true})),
            "initrd": content(&folder.join("initrd"), json!({})),
            "iso": content(&folder.join("installer.iso"), json!({"file": "it.iso", "volume": "It"})),
        });
        std::fs::write(folder.join("image.json"), record.to_string()).unwrap();
    }

    /// What one of our commands says, in the server's namespace.
    pub fn program(&self, arguments: &[&str]) -> Output {
        self.inside(&[BINARY])
            .args(arguments)
            .env("DATA_PATH", self.lan.folder.path())
            .output()
            .unwrap()
    }

    /// A command in the server's namespace.
    pub fn inside(&self, command: &[&str]) -> Command {
        inside(&self.lan.server, command)
    }

    pub fn write_configuration(&self, options: &[&str]) {
        let write = format!("--write={}", self.configuration().display());
        let at = self.at.to_string();
        let command = [
            "boot",
            "dnsmasq",
            "--interface",
            "lan0",
            "--reached-at",
            &at,
            &write,
        ];
        let output = self.program(&[&command[..], options].concat());
        assert!(output.status.success(), "{output:?}");
    }

    /// Starts dnsmasq with the configuration, and waits until it listens.
    pub fn start_dnsmasq(&mut self) {
        let configuration = self.configuration();
        self.dnsmasq = Some(dnsmasq(&self.lan.server, &configuration, &[]));
    }

    /// What the doctor finds, as root.
    pub fn doctor(&self, options: &[&str]) -> Findings {
        self.doctor_by(&[BINARY], options)
    }

    /// What it finds as a user without any rights.
    pub fn doctor_of_nobody(&self, options: &[&str]) -> Findings {
        let nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        let can_run = |program: &str| {
            let mut command = self.inside(&nobody);
            let output = command.args([program, "--version"]).output().unwrap();
            output.status.success()
        };
        // The one under test may lie where only the user who tests gets to.
        let copy = self.path("program").display().to_string();
        let program = match can_run(BINARY) {
            true => BINARY,
            false => {
                assert!(run("cp", &[BINARY, &copy]));
                // Another thread that forks may have it open for writing for a moment.
                eventually("a program to run", || can_run(&copy).then_some(()));
                &copy
            }
        };
        let command = [&nobody[..], &[program]].concat();
        self.doctor_by(&command, options)
    }

    fn doctor_by(&self, command: &[&str], options: &[&str]) -> Findings {
        let mut doctor = self.inside(command);
        doctor
            .args(["doctor", "--json", "--dnsmasq-config"])
            .arg(self.configuration())
            .args(options)
            .env("DATA_PATH", self.lan.folder.path());
        if !options.contains(&"--reached-at") {
            doctor.args(["--reached-at", &self.at.to_string()]);
        }
        let output = doctor.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let findings: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
        Findings {
            status: output.status.code().unwrap(),
            verdict: findings["verdict"].as_str().unwrap().to_owned(),
            checks: findings["checks"].as_array().unwrap().clone(),
        }
    }
}

/// What the doctor found.
#[derive(Debug)]
pub struct Findings {
    pub status: i32,
    pub verdict: String,
    pub checks: Vec<Value>,
}

impl Findings {
    /// The names of the checks that came out so.
    pub fn named(&self, verdict: &str) -> Vec<&str> {
        let checks = self
            .checks
            .iter()
            .filter(|check| check["verdict"] == verdict);
        checks
            .map(|check| check["name"].as_str().unwrap())
            .collect()
    }

    /// Asserts that these checks failed and no others, and returns what the first of them says.
    pub fn failed(&self, names: &[&str]) -> String {
        assert_eq!(self.named("fail"), names, "{self:#?}");
        assert_eq!((self.status, &*self.verdict), (1, "fail"));
        self.text(names[0])
    }

    /// What a check says, and what it wants done.
    pub fn text(&self, name: &str) -> String {
        let mut checks = self.checks.iter().filter(|check| check["name"] == name);
        let check = checks
            .next()
            .unwrap_or_else(|| panic!("no {name} in {self:#?}"));
        assert!(checks.next().is_none(), "{name} twice in {self:#?}");
        format!("{} -> {}", check["text"].as_str().unwrap(), check["remedy"])
    }
}

/// A command in a network namespace.
pub fn inside(namespace: &str, command: &[&str]) -> Command {
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", namespace]).args(command);
    inside
}

/// Starts dnsmasq in a namespace, and waits until it listens for DHCP.
pub fn dnsmasq(namespace: &str, configuration: &Path, options: &[&str]) -> Dnsmasq {
    let near = |name: &str| configuration.with_extension(name).display().to_string();
    let child = inside(
        namespace,
        &["dnsmasq", "--keep-in-foreground", "--pid-file="],
    )
    .arg(format!("--conf-file={}", configuration.display()))
    .arg(format!("--dhcp-leasefile={}", near("leases")))
    .arg(format!("--log-facility={}", near("log")))
    .args(options)
    .stdin(Stdio::null())
    .spawn();
    let mut server = Dnsmasq(child.unwrap());
    eventually("dnsmasq", || {
        let ended = server.0.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "{}",
            std::fs::read_to_string(near("log")).unwrap_or_default()
        );
        let sockets = inside(namespace, &["cat", "/proc/net/udp"])
            .output()
            .unwrap();
        let sockets = String::from_utf8(sockets.stdout).unwrap();
        sockets.contains(":0043 ").then_some(())
    });
    server
}

/// An initrd: an archive as it is, and one with the modules of a kernel that is compressed by this
/// program, or by none.
pub fn initrd(version: &str, aliases: &str, compressor: &str) -> Vec<u8> {
    let early = [("kernel/arm64/early.bin", "early")];
    let list = format!("usr/lib/modules/{version}/modules.alias");
    let module = format!("usr/lib/modules/{version}/kernel/drivers/net/r8169.ko");
    let main = [
        ("init", "#!/bin/sh\n"),
        (&*list, aliases),
        (&*module, "a module"),
    ];
    let mut initrd = cpio(&early);
    // Between two archives the kernel takes any number of zeros.
    initrd.resize(initrd.len().next_multiple_of(512), 0);
    let packed = match compressor {
        "" => cpio(&main),
        compressor => {
            let folder = tempfile::tempdir().unwrap();
            let plain = folder.path().join("plain");
            std::fs::write(&plain, cpio(&main)).unwrap();
            let output = Command::new(compressor)
                .arg("-c")
                .arg(plain)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout
        }
    };
    initrd.extend(packed);
    initrd
}

/// An archive of these files, made by cpio(1).
pub fn cpio(files: &[(&str, &str)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let mut names = String::new();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path)
            .unwrap()
            .write_all(content.as_bytes())
            .unwrap();
        names += &format!("{name}\n");
    }
    let mut command = Command::new("cpio");
    command
        .args(["--create", "--format=newc", "--quiet"])
        .current_dir(folder.path());
    let output = feed(&mut command, &names);
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// The fields of `image.json` of a file, beside others.
fn content(path: &Path, mut others: Value) -> Value {
    let bytes = std::fs::read(path).unwrap();
    let digest = Sha256::digest(&bytes);
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    others["size"] = json!(bytes.len());
    others["sha256"] = json!(sha256);
    others
}
