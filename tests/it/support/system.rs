//! Faults under the service: strace, which fails or kills at a system call, and mounts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::BINARY;

/// The service under strace, which writes its trace to `trace`. With `-D` it is strace that runs
/// in the background, so the process started is the service itself.
pub fn under_strace(trace: &Path, options: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-D", "-f", "-q", "-o"])
        .arg(trace)
        .args(options)
        .arg(BINARY);
    command
}

/// Runs a program to its end; false where it failed or is not there.
pub fn run(program: &str, arguments: &[&str]) -> bool {
    let outcome = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    match outcome {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            println!(
                "{program} {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            false
        }
        Err(error) => {
            println!("{program}: {error}");
            false
        }
    }
}

/// A mounted file system. Dropping it unmounts it, also after a failed test.
pub struct Mount {
    pub at: PathBuf,
}

impl Mount {
    /// `mount ARGUMENTS AT`.
    pub fn new(arguments: &[&str], at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        mount(arguments, at);
        Self { at: at.to_owned() }
    }

    /// Mounts it anew, with `options`.
    pub fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}")], &self.at);
    }
}

fn mount(arguments: &[&str], at: &Path) {
    let at = at.to_str().unwrap();
    assert!(
        run("mount", &[arguments, &[at]].concat()),
        "mount {arguments:?} {at}"
    );
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.at.to_str().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        // Busy for a moment where a killed service still closes its files.
        while !run("umount", &[at]) {
            if Instant::now() > deadline {
                run("umount", &["-l", at]);
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
