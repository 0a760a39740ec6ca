//! What a test needs of the machine, and what becomes of it where that is not there.
//!
//! libtest decides which tests are ignored when it is compiled, and whether there is an strace that
//! may trace is known when it runs. So `tests/run` gives each test a process of its own, and a test
//! that cannot run ends it with the exit status of [`SKIP_STATUS`], the 77 of automake, which the
//! test scripts have too. The runner counts what it waited for; no output is read, and nothing
//! that one test does to its process reaches another.
//!
//! Under a plain `cargo test` the tests share a process: there, the reason is printed, and the test
//! counts as passed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The variable with the exit status that means "skipped". Set for a process with one test.
const SKIP_STATUS: &str = "SKIP_STATUS";

/// What a test may need besides the service itself.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// A program in PATH.
    Program(&'static str),
    /// Debian's Python, with these modules.
    Python(&'static [&'static str]),
    /// A library that moves the clocks of a process.
    Faketime,
    /// To trace a process from its start.
    Strace,
    /// To trace a process that runs.
    StraceAttached,
    /// To mount file systems.
    Mounts,
    /// To make an ext4 in a file and mount it.
    LoopMounts,
    /// To make network namespaces, and have curl in them.
    NetworkNamespaces,
    /// IPv6 on the loopback interface.
    Ipv6,
    /// So many open files.
    OpenFiles(u64),
}

/// Stands first in a test: where one of the needs is not met, the test is skipped.
///
/// Nothing that must be dropped may be made before it.
macro_rules! needs {
    ($($need:expr),+ $(,)?) => {
        for need in [$($need),+] {
            if let Err(why) = $crate::support::needs::Need::is_met(need) {
                return $crate::support::needs::skip(&why);
            }
        }
    };
}
pub(crate) use needs;

/// Ends a test that cannot run here.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    // Not by println!, whose output of a passed test is not shown.
    let _ = writeln!(std::io::stderr(), "SKIP {test}: {why}");
    let status = std::env::var(SKIP_STATUS).ok();
    if let Some(status) = status.and_then(|status| status.parse().ok()) {
        std::process::exit(status);
    }
}

impl Need {
    /// Tries it; an error says what is missing.
    pub fn is_met(self) -> Result<(), String> {
        let (met, why) = match self {
            Self::Program(name) => (in_path(name), format!("needs {name}")),
            Self::Python(modules) => (
                succeeds(
                    "/usr/bin/python3",
                    &["-c", &format!("import {}", modules.join(", "))],
                ),
                format!("needs Python with {}", modules.join(", ")),
            ),
            Self::Faketime => (
                faketime().is_some(),
                "needs libfaketime".to_owned(),
            ),
            Self::Strace => (
                succeeds("strace", &["-o", "/dev/null", "true"]),
                "needs an strace that may trace".to_owned(),
            ),
            Self::StraceAttached => (
                Self::Strace.is_met().is_ok() && may_attach(),
                "needs an strace that may attach to a process of the same user".to_owned(),
            ),
            Self::Mounts => (can_mount(), "needs to mount file systems".to_owned()),
            Self::LoopMounts => (can_loop_mount(), "needs to mount an ext4".to_owned()),
            Self::NetworkNamespaces => (
                in_path("curl") && can_make_network_namespaces(),
                "needs ip, curl, and to run programs in network namespaces, as a plain chroot cannot".to_owned(),
            ),
            Self::Ipv6 => (
                std::net::TcpListener::bind("[::1]:0").is_ok(),
                "needs IPv6 on the loopback interface".to_owned(),
            ),
            Self::OpenFiles(count) => (
                open_many_files() >= count,
                format!("needs {count} open files"),
            ),
        };
        if met { Ok(()) } else { Err(why) }
    }
}

/// The library that moves the clocks of a process, where Debian or Ubuntu puts it.
pub fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let files = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    files.into_iter().find(|file| file.exists())
}

fn in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Whether a process that is no child of strace may be traced.
fn may_attach() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    let is_open = scope.is_err() || scope.is_ok_and(|scope| scope.trim() == "0");
    super::is_root() || is_open
}

/// Tries it in a mount namespace that is gone at once.
fn can_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    succeeds("unshare", &["--mount", "mount", "-t", "tmpfs", "tmpfs", at])
}

/// Tries it whole: to make one is not yet to run something in it, for which `ip` mounts /sys anew.
/// Where the root folder is no mount point, as in a plain chroot, it cannot. Once for all tests of
/// this process, which would else take each other's for theirs, and be skipped.
fn can_make_network_namespaces() -> bool {
    static IS_MET: OnceLock<bool> = OnceLock::new();
    *IS_MET.get_or_init(|| {
        let name = format!("probe{}", std::process::id());
        let is_met = succeeds("ip", &["netns", "add", &name])
            && succeeds("ip", &["netns", "exec", &name, "true"]);
        succeeds("ip", &["netns", "delete", &name]);
        is_met
    })
}

fn can_loop_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (image, at) = (path("image"), path("at"));
    std::fs::create_dir(&at).unwrap();
    make_ext4(Path::new(&image), 1 << 20)
        && succeeds("unshare", &["--mount", "mount", "-o", "loop", &image, &at])
}

/// Makes an ext4 of `size` bytes in a file, with no blocks kept for root, as which tests run.
pub fn make_ext4(image: &Path, size: u64) -> bool {
    File::create(image).unwrap().set_len(size).unwrap();
    let image = image.to_str().unwrap();
    succeeds("mkfs.ext4", &["-q", "-F", "-m", "0", image])
}

/// Allows this process and its children as many open files as may be; returns how many.
fn open_many_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}
