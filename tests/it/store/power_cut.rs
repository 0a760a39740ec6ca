//! Power cuts: what was acknowledged is on the disk, from the very first heartbeat on.
//!
//! A loop-mounted ext4 is shut down without a flush of its journal, as a power cut would, then
//! unmounted, and what is on its disk is mounted again.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::support::beats::*;
use crate::support::needs::{Need, make_ext4, needs};
use crate::support::system::{Mount, run};
use crate::support::*;
use rustix::process::Signal;

/// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (linux/ext4.h): nothing reaches the disk any
/// more. In Python, since an ioctl that rustix does not know would need unsafe code.
const CUT: &str = "
import fcntl, os, struct, sys
for line in sys.stdin:
    folder = os.open(line.strip(), os.O_RDONLY)
    fcntl.ioctl(folder, 0x8004587D, struct.pack('I', 2))
    os.close(folder)
    print('cut', flush=True)
";

/// A process that stands ready to cut, so that the moment is not blurred by its start.
struct Cutter(std::process::Child);

impl Cutter {
    fn new() -> Self {
        use std::process::{Command, Stdio};
        let mut command = Command::new("/usr/bin/python3");
        command
            .args(["-c", CUT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn cut(&mut self, file_system: &Path) {
        use std::io::{BufRead, BufReader, Write};
        writeln!(self.0.stdin.as_mut().unwrap(), "{}", file_system.display()).unwrap();
        let mut answer = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut answer)
            .unwrap();
        assert_eq!(answer, "cut\n", "EXT4_IOC_SHUTDOWN is refused");
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn fifty_power_cuts_under_load_lose_no_acknowledged_heartbeat() {
    needs!(Need::LoopMounts, Need::Python(&["fcntl"]));
    let folder = tempfile::tempdir().unwrap();
    let image = |n: usize| {
        folder
            .path()
            .join(format!("image-{n}"))
            .into_os_string()
            .into_string()
    };
    let image = |n| image(n).unwrap();
    assert!(make_ext4(Path::new(&image(0)), 32 << 20));
    let mounted = folder.path().join("mounted");
    let mut mount = Mount::new(&["-o", "loop", &image(0)], &mounted);
    let mut cutter = Cutter::new();

    let mut dice = Dice::new();
    let mut of_common = Outcome::default();
    let (mut acknowledged, mut refused) = (0, 0);
    for round in 0..50 {
        // Every fifth on a data folder which is not there yet: the cut meets the very first
        // commits, and the folders themselves.
        let is_fresh = round % 5 == 0;
        let data = mounted.join(if is_fresh {
            format!("fresh-{round}")
        } else {
            "common".into()
        });
        let service = Start::on(&data).env("HISTORY_LIMIT", "1000000").service();
        let name = format!("round-{round}");
        let never = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            if is_fresh {
                // At once after the first acknowledgement.
                assert_eq!(beat(service.address, &mac(0), &name).unwrap().status, 200);
                cutter.cut(&mounted);
                return Outcome {
                    acknowledged: vec![name.clone()],
                    ..Outcome::default()
                };
            }
            let load = scope.spawn(|| load(service.address, &name, 4, &never));
            std::thread::sleep(Duration::from_millis(20 + dice.below(80)));
            cutter.cut(&mounted);
            // What is refused now is not acknowledged, and what is acknowledged must last.
            std::thread::sleep(Duration::from_millis(5));
            service.signal(Signal::KILL);
            load.join().unwrap()
        });
        drop(service);
        drop(mount);
        // A copy of the disk: the file system itself may live on for a moment in the mount
        // namespace of a stranger's process, and would then be mounted again as it is, shut down.
        let (old, new) = (image(round), image(round + 1));
        assert!(run("cp", &["--sparse=always", &old, &new]));
        std::fs::remove_file(old).unwrap();
        mount = Mount::new(&["-o", "loop", &new], &mounted);
        acknowledged += outcome.acknowledged.len();
        // A real power cut takes the network with it. Here the service lives on for a moment, and
        // refuses a heartbeat whose journal entry may just have reached the disk: like one whose
        // connection broke, it may be there or not.
        let mut outcome = outcome;
        let after_cut = outcome.others.remove(&503).unwrap_or_default();
        refused += after_cut.len();
        outcome.others.entry(0).or_default().extend(after_cut);
        assert_eq!(outcome.others.len(), 1, "{:?}", outcome.others);

        let clients = clients_in(&data);
        if is_fresh {
            outcome.assert_in(&clients.expect("a clients.json"), &name);
        } else {
            of_common.add(outcome);
            match clients {
                Some(clients) => of_common.assert_in(&clients, &name),
                None => assert!(of_common.acknowledged.is_empty(), "{name}: no clients.json"),
            }
        }
    }
    figure(&format!(
        "50 power cuts: {acknowledged} acknowledged, {refused} refused after a cut"
    ));
    assert!(acknowledged > 100, "{acknowledged}");
    let service = Start::on(&mounted.join("common"))
        .env("HISTORY_LIMIT", "1000000")
        .service();
    assert_eq!(service.heartbeat(&mac(0), "ready", "done").status, 200);
    of_common.assert_in(&service.get("/clients").json(), "in the end");
}
