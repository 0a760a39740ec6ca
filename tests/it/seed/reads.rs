//! Shows that a read that fails is not a file that is missing: the last good version stays in
//! force, and a seed is never made of anything else.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::needs::{Need, needs};
use crate::support::system::{run, under_strace};
use crate::support::*;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

const FOLDER: &str = "cloud-init-templates";
const USER_DATA: &str = "cloud-init-templates/user-data.yaml.j2";
const PART: &str = "cloud-init-templates/part.j2";
const MAC: &str = "02:00:00:00:00:01";
const SEED: &str = "/cloud-init/02:00:00:00:00:01/user-data";

/// How long a file that is gone counts as there, and how much more a test allows.
const SAVING_TIME: Duration = Duration::from_secs(2);
const LEEWAY: Duration = Duration::from_secs(8);

/// A template that shows what each staged file says.
const TEMPLATE: &str = "#cloud-config\nversion: 1\npart: {% include 'part.j2' %}\n\
    site: {{ site.word }}\nhostname: {{ device.hostname }}\n";

const WHOLE: &str = "#cloud-config\nversion: 1\npart: old\nsite: old\nhostname: old";

fn start_on(data: &Path) -> Start {
    staged(Start::on(data))
}

fn staged(start: Start) -> Start {
    let devices = format!(r#"{{"{MAC}": {{"hostname": "old"}}}}"#);
    start
        .stage(USER_DATA, TEMPLATE)
        .stage(PART, "old")
        .stage("site.json", r#"{"word": "old"}"#)
        .stage("devices.json", &devices)
}

fn seed(service: &Service) -> String {
    let answer = service.get(SEED);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().to_owned()
}

/// Each file, with a text that is another version of it.
fn new_versions() -> [(&'static str, String); 4] {
    [
        (USER_DATA, TEMPLATE.replace("version: 1", "version: new")),
        (PART, "new".to_owned()),
        ("site.json", r#"{"word": "new"}"#.to_owned()),
        (
            "devices.json",
            format!(r#"{{"{MAC}": {{"hostname": "new"}}}}"#),
        ),
    ]
}

/// The name as the journal has it.
fn name(file: &str) -> &str {
    file.rsplit('/').next().unwrap()
}

/// Puts a file into its place in one step.
fn replace(data: &Path, name: &str, text: &str) {
    let path = data.join(name);
    let beside = path.with_extension("beside");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, &path).unwrap();
}

/// strace at a running service. Dropping it detaches it.
struct Fault(Child);

impl Fault {
    /// The calls on `path` fail as strace's `inject` says.
    fn at(service: &Service, path: &Path, inject: &str) -> Self {
        let inject = format!("inject={inject}");
        let path = path.to_str().unwrap();
        Self::traced(service, &["-o", "/dev/null", "-P", path, "-e", &inject])
    }

    fn traced(service: &Service, options: &[&str]) -> Self {
        let pid = service.pid().as_raw_nonzero().to_string();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-q", "-p", &pid]).args(options);
        strace.stdin(Stdio::null()).stderr(Stdio::null());
        let fault = Self(strace.spawn().unwrap());
        let is_traced = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status"));
            status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
        };
        eventually("strace at every thread", || {
            let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            tasks.all(|task| is_traced(task.unwrap())).then_some(())
        });
        fault
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // SIGKILL would kill what is traced, too.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

// ---- Reads that fail -----------------------------------------------------------------------

#[test]
fn a_file_that_cannot_be_read_leaves_its_last_good_version_in_force_and_is_read_when_it_can() {
    needs!(Need::StraceAttached);
    let folder = tempfile::tempdir().unwrap();
    let service = start_on(folder.path()).service();
    assert_eq!(seed(&service), WHOLE);
    let faults = [
        "openat:error=EIO",
        "openat:error=EMFILE",
        "read:error=EIO",
        "/stat:error=EIO",
    ];
    let mut whole = WHOLE.to_owned();
    for ((file, text), (old, new)) in new_versions().into_iter().zip([
        ("version: 1", "version: new"),
        ("part: old", "part: new"),
        ("site: old", "site: new"),
        ("hostname: old", "hostname: new"),
    ]) {
        let old_text = fs::read_to_string(folder.path().join(file)).unwrap();
        let next = whole.replace(old, new);
        for fault in faults {
            let path = folder.path().join(file);
            let strace = Fault::at(&service, &path, fault);
            replace(folder.path(), file, &text);
            for _ in 0..5 {
                assert_eq!(seed(&service), whole, "{fault} on {file}");
            }
            drop(strace);
            // Without a further change of the file.
            assert_eq!(seed(&service), next, "{fault} on {file} is over");
            replace(folder.path(), file, &old_text);
            assert_eq!(seed(&service), whole);
        }
        let unread = format!("{}: cannot be read: ", name(file));
        service.wait_for_log(&["WARN", "its last good version stays in force", &unread]);
        replace(folder.path(), file, &text);
        whole = next;
    }
    let log = service.log();
    assert!(!log.contains("gb10.template=\"?\""), "{log}");
    assert!(!log.contains("gb10.template=\"fallback\""), "{log}");
}

#[test]
fn a_file_that_never_could_be_read_is_503_with_retry_after_and_then_served() {
    needs!(Need::Strace);
    for (file, _) in new_versions() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let path = data.join(file);
        stage(&data, "unused", "");
        // Each thread's first: those of the start, and a few of each that serves.
        let options = [
            "-P",
            path.to_str().unwrap(),
            "-e",
            "inject=openat:error=EIO:when=1..8",
        ];
        let trace = folder.path().join("trace");
        let service = staged(Start::by(under_strace(&trace, &options), &data)).service();
        let mut refused = 0;
        eventually("the fault to be over", || {
            let answer = service.get(SEED);
            if answer.status == 200 {
                assert_eq!(answer.text(), WHOLE);
                return Some(());
            }
            let problem = answer.problem(503);
            assert_eq!(answer.header("retry-after"), "2");
            assert!(!problem["detail"].as_str().unwrap().contains(name(file)));
            refused += 1;
            None
        });
        assert!(refused > 0, "{file} was read at once");
        let unread = format!("{}: cannot be read: ", name(file));
        service.wait_for_log(&["WARN", "no seed is served to", MAC, &unread]);
    }
}

#[test]
fn a_devices_own_template_that_cannot_be_read_is_not_passed_over() {
    needs!(Need::StraceAttached);
    let own = format!("{FOLDER}/{}/user-data.yaml.j2", MAC.replace(':', "-"));
    let folder = tempfile::tempdir().unwrap();
    let service = start_on(folder.path()).service();
    assert_eq!(seed(&service), WHOLE);
    let path = folder.path().join(&own);
    for fault in ["openat:error=EMFILE", "/stat:error=EIO"] {
        let strace = Fault::at(&service, &path, fault);
        service.stage(&own, "#cloud-config\nown: 1");
        service.get(SEED).problem(503);
        drop(strace);
        assert_eq!(seed(&service), "#cloud-config\nown: 1");
        let strace = Fault::at(&service, &path, fault);
        replace(folder.path(), &own, "#cloud-config\nown: 2");
        assert_eq!(seed(&service), "#cloud-config\nown: 1");
        drop(strace);
        assert_eq!(seed(&service), "#cloud-config\nown: 2");
        fs::remove_file(&path).unwrap();
        eventually("its own to count as gone", || {
            (seed(&service) == WHOLE).then_some(())
        });
    }
}

/// A request on a connection that stays open: without free descriptors there is no other.
fn ask(stream: &mut TcpStream, target: &str) -> String {
    write!(stream, "GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut answer = String::new();
    loop {
        let mut part = [0; 4096];
        let length = stream.read(&mut part).unwrap();
        answer += std::str::from_utf8(&part[..length]).unwrap();
        assert!(length > 0, "{answer}");
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_lowercase();
        let (_, expected) = head.split_once("content-length: ").unwrap();
        let expected = expected.lines().next().unwrap().parse().unwrap();
        if body.len() >= expected {
            return answer;
        }
    }
}

#[test]
fn without_descriptors_nothing_else_is_served_and_then_what_is_right() {
    let service = staged(Start::fresh()).service();
    service.stage("onboard/file.txt", "staged");
    let mut stream = TcpStream::connect(service.address).unwrap();
    assert!(ask(&mut stream, SEED).ends_with(WHOLE));
    // As if all that may be had were open.
    let limit = |files| {
        let files = Rlimit {
            current: Some(files),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        prlimit(Some(service.pid()), Resource::Nofile, files).unwrap();
    };
    limit(3);
    for (file, text) in new_versions() {
        replace(&service.data, file, &text);
    }
    for _ in 0..3 {
        let answer = ask(&mut stream, SEED);
        assert!(answer.ends_with(WHOLE), "{answer}");
        let answer = ask(&mut stream, "/onboard/file.txt");
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.to_lowercase().contains("retry-after: 2"), "{answer}");
    }
    limit(1024);
    let new = WHOLE
        .replace("old", "new")
        .replace("version: 1", "version: new");
    assert!(ask(&mut stream, SEED).ends_with(&new));
    assert!(ask(&mut stream, "/onboard/file.txt").ends_with("staged"));
}

#[test]
fn an_onboarding_file_that_cannot_be_read_is_503_and_not_404() {
    needs!(Need::StraceAttached);
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path()).service();
    for (file, target) in [
        ("onboard/file.txt", "/onboard/file.txt"),
        // Whose default is compiled in.
        ("onboard/gb10-onboard", "/onboard/gb10-onboard"),
    ] {
        service.stage(file, "staged");
        for fault in [
            "/^open:error=EIO",
            "/^open:error=EMFILE",
            "/^open:error=ENFILE",
        ] {
            let strace = Fault::at(&service, &folder.path().join("onboard"), fault);
            let answer = service.get(target);
            answer.problem(503);
            assert_eq!(answer.header("retry-after"), "2", "{fault}");
            drop(strace);
            assert_eq!(service.get(target).text(), "staged");
        }
    }
    service.wait_for_log(&["WARN", "onboarding file not served", "503", "file.txt"]);
    for missing in ["nosuch", "file.txt/below", &"x".repeat(300)] {
        service.get(&format!("/onboard/{missing}")).problem(404);
    }
    symlink("circle", folder.path().join("onboard/circle")).unwrap();
    service.get("/onboard/circle").problem(404);
}

// ---- Editors -------------------------------------------------------------------------------

/// As vim saves: the file becomes the backup, and is written anew.
fn save_as_vim_does(path: &Path, text: &str) {
    let mut backup = path.as_os_str().to_owned();
    backup.push("~");
    fs::rename(path, &backup).unwrap();
    fs::write(path, text).unwrap();
    fs::remove_file(&backup).unwrap();
}

#[test]
fn a_file_that_is_renamed_away_and_written_anew_is_never_missing() {
    let service = staged(Start::fresh()).service();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let text = seed(&service).replace("new", "old");
                    assert_eq!(text.replace("version: old", "version: 1"), WHOLE);
                }
            });
        }
        let began = Instant::now();
        let old = staged(Start::fresh()).service();
        let mut saves = 0;
        while began.elapsed() < Duration::from_secs(5) {
            for (file, new) in new_versions() {
                let old = fs::read_to_string(old.data.join(file)).unwrap();
                save_as_vim_does(&service.data.join(file), &new);
                save_as_vim_does(&service.data.join(file), &old);
                saves += 2;
            }
        }
        over.store(true, Ordering::SeqCst);
        figure(&format!("{saves} files saved as vim does"));
    });
    let log = service.log();
    assert!(!log.contains("gb10.template=\"fallback\""), "{log}");
}

#[test]
fn a_file_that_is_gone_or_emptied_counts_as_there_for_two_seconds_and_no_longer() {
    for (file, _) in new_versions() {
        for emptied in [false, true] {
            let service = staged(Start::fresh()).service();
            assert_eq!(seed(&service), WHOLE);
            let path = service.data.join(file);
            let old = fs::read_to_string(&path).unwrap();
            let vanish = || match emptied {
                true => fs::write(&path, "").unwrap(),
                false => fs::remove_file(&path).unwrap(),
            };
            vanish();
            assert_eq!(seed(&service), WHOLE, "{file}");
            fs::write(&path, &old).unwrap();
            assert_eq!(seed(&service), WHOLE, "{file}");
            vanish();
            let began = Instant::now();
            // An emptied JSON file is a fault, with which the last good version goes on.
            if emptied && file.ends_with(".json") {
                service.wait_for_log(&["WARN", name(file), "EOF"]);
                assert_eq!(seed(&service), WHOLE, "{file}");
                continue;
            }
            let held = loop {
                let asked = began.elapsed();
                if seed(&service) != WHOLE {
                    break asked;
                }
                assert!(asked < SAVING_TIME + LEEWAY, "{file} never counts as gone");
            };
            assert!(held > SAVING_TIME / 2, "{file} counted as gone at once");
        }
    }
}

// ---- What is no file -----------------------------------------------------------------------

#[test]
fn a_pipe_in_place_of_a_file_is_refused_at_once_by_its_name() {
    for (file, _) in new_versions() {
        let service = staged(Start::fresh()).service();
        assert_eq!(seed(&service), WHOLE);
        let path = service.data.join(file);
        fs::remove_file(&path).unwrap();
        assert!(run("mkfifo", &[path.to_str().unwrap()]));
        let asked = Instant::now();
        let answer = seed(&service);
        assert!(asked.elapsed() < Duration::from_secs(1), "{file}");
        // What is staged is at fault, not the reading: as for any fault, boxes are not kept waiting.
        match file.ends_with(".json") {
            true => assert_eq!(answer, WHOLE),
            false => assert!(answer.contains("# The fallback"), "{answer}"),
        }
        let fault = format!("{}: cannot be read: not a regular file", name(file));
        service.wait_for_log(&["WARN", &fault]);
        assert!(!service.log().contains("\"?\""), "{}", service.log());
        let check = Command::new(BINARY)
            .arg("check")
            .env("DATA_PATH", &service.data)
            .output()
            .unwrap();
        let stderr = String::from_utf8(check.stderr).unwrap();
        assert!(stderr.contains(&fault), "{stderr}");
        assert!(!stderr.contains("/?"), "{stderr}");
    }
}

// ---- Times ---------------------------------------------------------------------------------

/// How often a file is opened while `count` seeds are served.
fn opened_during(service: &Service, folder: &Path, file: &str, count: usize) -> usize {
    let trace = folder.join("trace");
    let output = trace.to_str().unwrap();
    let strace = Fault::traced(service, &["-e", "trace=openat,open", "-o", output]);
    for _ in 0..count {
        seed(service);
    }
    drop(strace);
    fs::read_to_string(&trace)
        .unwrap()
        .matches(name(file))
        .count()
}

#[test]
fn a_file_time_in_the_future_does_not_make_each_request_read_again() {
    needs!(Need::StraceAttached);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    stage(&data, "unused", "");
    let service = start_on(&data).service();
    for (file, _) in new_versions() {
        let path = data.join(file);
        assert!(run("touch", &["-d", "2099-01-01", path.to_str().unwrap()]));
        assert_eq!(seed(&service), WHOLE);
        // Then the file is settled, whatever its times say.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(seed(&service), WHOLE);
        let opened = opened_during(&service, folder.path(), file, 50);
        assert!(opened <= 1, "{file} was opened {opened} times for 50 seeds");
    }
    // An edit shows all the same, at once.
    for (file, text) in new_versions() {
        service.stage(file, &text);
        let path = data.join(file);
        assert!(run("touch", &["-d", "2099-01-01", path.to_str().unwrap()]));
        assert!(seed(&service).contains("new"), "{file}");
    }
    let new = WHOLE
        .replace("old", "new")
        .replace("version: 1", "version: new");
    assert_eq!(seed(&service), new);
}

#[test]
fn a_file_that_is_no_text_is_named_as_what_it_is() {
    let bytes: [(&[u8], &str); 7] = [
        (
            b"#cloud-config\na: Gr\xfc\xdfe\n",
            "not UTF-8: byte 0xfc in line 2, perhaps Latin-1",
        ),
        (
            b"#cloud-config\n\n\n\xe9",
            "not UTF-8: byte 0xe9 in line 4, perhaps Latin-1",
        ),
        (
            b"\xef\xbb\xbf#cloud-config\n",
            "begins with a byte order mark (BOM)",
        ),
        (b"\xff\xfe#\0c\0l\0o\0u\0d\0", "UTF-16"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "compressed by gzip"),
        (b"\xfd7zXZ\0\0\x04", "compressed by xz"),
        (b"\x28\xb5\x2f\xfd\x04\x58", "compressed by zstd"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let files = [
        "cloud-init-templates/user-data.yaml.j2",
        "cloud-init-templates/meta-data.yaml.j2",
        "cloud-init-templates/parts/keys.j2",
        "site.json",
        "devices.json",
    ];
    for file in files {
        for (bytes, what) in bytes {
            for other in files {
                stage(
                    folder.path(),
                    other,
                    match other {
                        "site.json" | "devices.json" => "{}",
                        "cloud-init-templates/meta-data.yaml.j2" => "a: 1\n",
                        "cloud-init-templates/parts/keys.j2" => "b: 1\n",
                        _ => "#cloud-config\n{% include 'parts/keys.j2' %}\n",
                    },
                );
            }
            std::fs::write(folder.path().join(file), bytes).unwrap();
            let output = std::process::Command::new(BINARY)
                .arg("check")
                .env("DATA_PATH", folder.path())
                .output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            let line = said
                .lines()
                .find(|line| line.contains(&format!("/{file}: ")));
            assert!(
                line.is_some_and(|line| line.contains(what)),
                "{file}, {what}: {said}"
            );
        }
    }
}
