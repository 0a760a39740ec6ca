//! Shows what becomes of an installer's log that a box sends: whole files, a few of each box, for
//! boxes that install, and never anything back.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::beats::*;
use crate::support::lan::*;
use crate::support::needs::{Need, needs};
use crate::support::system::{Mount, under_strace};
use crate::support::*;
use serde_json::json;

const MIB: usize = 1024 * 1024;

/// Largest file.
const LIMIT: usize = 16 * MIB;

/// What begins as a gzip does, and is `bytes` long.
fn gzip(bytes: usize) -> Vec<u8> {
    let mut body = vec![0x1f, 0x8b];
    body.resize(bytes, b'x');
    body
}

fn put(service: &Service, mac: &str, body: &[u8]) -> Response {
    try_put(service, &format!("/logs/{mac}"), body).unwrap()
}

fn try_put(service: &Service, target: &str, body: &[u8]) -> std::io::Result<Response> {
    let length = body.len().to_string();
    let headers = [("Content-Length", length.as_str())];
    request(service.address, "PUT", target, &headers, body)
}

/// The head of an upload, and no more of it; `framing` says how long it will be.
fn begin(service: &Service, mac: &str, framing: &str) -> TcpStream {
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let head =
        format!("PUT /logs/{mac} HTTP/1.1\r\nHost: box\r\nConnection: close\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn fails_to_install(service: &Service, mac: &str) {
    assert_eq!(service.heartbeat(mac, "install", "fail").status, 200);
}

fn folder(data: &Path) -> PathBuf {
    data.join("state/logs")
}

/// The names in the folder of logs, sorted: by box, and then by time.
fn names(data: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder(data)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_log_is_a_whole_file_that_its_answer_and_the_journal_name() {
    let service = Start::fresh().service();
    fails_to_install(&service, &mac(1));
    let body = gzip(3 * MIB);
    let answer = put(&service, "00-00-5E-00-53-01", &body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let answer = answer.json();
    let name = answer["name"].as_str().unwrap();
    assert!(name.starts_with("00-00-5e-00-53-01-20"), "{name}");
    assert!(name.ends_with("Z.tar.gz"), "{name}");
    assert_eq!(answer["bytes"], body.len());
    assert_eq!(names(&service.data), [name]);
    let path = folder(&service.data).join(name);
    assert_eq!(std::fs::read(&path).unwrap(), body);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o640, 0o750));
    service.wait_for_log(&["the installer's log of 00:00:5e:00:53:01", name]);
    // And what operators look at: any port of the box leads there.
    service.stage(
        "devices.json",
        &json!({mac(1): {"macs": [mac(2)]}}).to_string(),
    );
    let clients = |options: &[&str]| {
        let mut command = Command::new(BINARY);
        let command = command.env("DATA_PATH", &service.data).arg("clients");
        let output = command.arg(mac(2)).args(options).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let story = clients(&[]);
    assert!(
        story.contains(&format!("in state/logs/\n  {name}\n")),
        "{story}"
    );
    let story: serde_json::Value = serde_json::from_str(&clients(&["--json"])).unwrap();
    assert!(
        story
            .to_string()
            .contains(&format!("\"logs\":[\"{name}\"]")),
        "{story}"
    );
}

#[test]
fn it_is_taken_of_a_box_whose_installation_is_under_way_or_failed_and_of_no_other() {
    let service = Start::fresh().service();
    let refused = |mac: &str, why: &str| {
        let problem = put(&service, mac, &gzip(10)).problem(409);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("no installation"), "{why}: {detail}");
        assert!(
            names(&service.data)
                .iter()
                .all(|name| !name.starts_with(&mac.replace(':', "-")))
        );
    };
    refused(&mac(1), "nobody knows it");
    let cases = [
        (2, "install", "start", true),
        (3, "install", "progress", true),
        (4, "install", "fail", true),
        (5, "install", "done", false),
        (6, "driver", "fail", false),
        (7, "ready", "done", false),
    ];
    for (n, stage, phase, is_taken) in cases {
        assert_eq!(service.heartbeat(&mac(n), stage, phase).status, 200);
        match is_taken {
            true => assert_eq!(
                put(&service, &mac(n), &gzip(10)).status,
                201,
                "{stage} {phase}"
            ),
            false => refused(&mac(n), &format!("{stage} {phase}")),
        }
    }
    // Told to install, which is on record a moment later, and not heard of since.
    let target = format!("/boot/{}/grub.cfg", mac(8));
    assert!(service.get_as_box(&target).text().contains("install"));
    eventually("the word to install on record", || {
        (put(&service, &mac(8), &gzip(10)).status == 201).then_some(())
    });
    // A box that was ready, and is installed again.
    assert_eq!(service.heartbeat(&mac(7), "install", "start").status, 200);
    assert_eq!(put(&service, &mac(7), &gzip(10)).status, 201);
}

/// The most memory that the service had so far, in bytes.
fn most_memory(service: &Service) -> usize {
    let status = format!("/proc/{}/status", service.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: usize = line
        .unwrap()
        .trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse()
        .unwrap();
    kib * 1024
}

#[test]
fn a_body_over_the_limit_is_a_413_whether_it_says_how_long_it_is_or_not() {
    let service = Start::fresh().service();
    fails_to_install(&service, &mac(1));
    // Before any of it was sent.
    let mut told = begin(&service, &mac(1), &format!("Content-Length: {}", LIMIT + 1));
    read_response(&mut told).unwrap().problem(413);
    let mut untold = begin(&service, &mac(1), "Transfer-Encoding: chunked");
    let body = gzip(LIMIT + 1);
    let mut chunk = format!("{:x}\r\n", body.len()).into_bytes();
    chunk.extend_from_slice(&body);
    untold.write_all(&chunk).unwrap();
    read_response(&mut untold).unwrap().problem(413);
    assert_eq!(names(&service.data), [""; 0]);

    let before = most_memory(&service);
    assert_eq!(put(&service, &mac(1), &gzip(LIMIT)).status, 201);
    assert_eq!(names(&service.data).len(), 1);
    // To the disk as it comes.
    let more = most_memory(&service) - before;
    figure(&format!(
        "a log of 16 MiB takes {} KiB of memory",
        more / 1024
    ));
    assert!(more < 4 * MIB, "{more}");
}

#[test]
fn what_is_no_gzip_breaks_off_or_comes_too_slowly_leaves_nothing() {
    let service = Start::fresh().service();
    for n in 1..=3 {
        fails_to_install(&service, &mac(n));
    }
    for body in [&b""[..], b"\x1f", b"PK\x03\x04", &vec![b'x'; MIB]] {
        put(&service, &mac(1), body).problem(422);
    }
    // Both are on their way at once.
    let mut slow = begin(&service, &mac(2), "Content-Length: 1000");
    slow.write_all(&gzip(100)).unwrap();
    let mut broken = begin(&service, &mac(3), "Content-Length: 1000");
    broken.write_all(&gzip(100)).unwrap();
    eventually("two files on their way", || {
        (names(&service.data).len() == 2).then_some(())
    });
    drop(broken);
    eventually("one of them gone", || {
        (names(&service.data).len() == 1).then_some(())
    });
    let began = Instant::now();
    read_response(&mut slow).unwrap().problem(408);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(names(&service.data), [""; 0]);
}

#[test]
fn of_a_box_the_last_three_are_kept_whatever_the_clock_says() {
    let service = Start::fresh().service();
    for n in 1..=2 {
        fails_to_install(&service, &mac(n));
    }
    assert_eq!(put(&service, &mac(2), &gzip(10)).status, 201);
    let of_other = names(&service.data);
    // All within a second or two.
    for bytes in 11..=15 {
        assert_eq!(put(&service, &mac(1), &gzip(bytes)).status, 201);
    }
    let lengths = |data: &Path| -> Vec<u64> {
        let own = names(data)
            .into_iter()
            .filter(|name| name.starts_with("00-00-5e-00-53-01-"));
        own.map(|name| std::fs::metadata(folder(data).join(name)).unwrap().len())
            .collect()
    };
    assert_eq!(lengths(&service.data), [13, 14, 15]);
    // Written before the clock was set back.
    service.stage(
        "state/logs/00-00-5e-00-53-01-20991231T235959Z.tar.gz",
        "1234567",
    );
    assert_eq!(put(&service, &mac(1), &gzip(16)).status, 201);
    assert_eq!(lengths(&service.data), [15, 7, 16]);
    assert!(names(&service.data).contains(&of_other[0]));
}

#[test]
fn in_all_a_gibibyte_is_kept_and_what_others_put_there_is_left_alone() {
    let service = Start::fresh().service();
    fails_to_install(&service, &mac(1));
    std::fs::create_dir_all(folder(&service.data)).unwrap();
    let sparse = |name: &str, bytes: usize| {
        let file = std::fs::File::create(folder(&service.data).join(name)).unwrap();
        file.set_len(bytes as u64).unwrap();
    };
    // A box with two, one of them the oldest but for that of a box which has no other.
    let of = |n: usize, day: usize| format!("02-00-00-00-00-{n:02x}-202601{day:02}T000000Z.tar.gz");
    for n in 1..=54 {
        sparse(&of(n, 1), LIMIT);
    }
    sparse(&of(0xaa, 2), LIMIT);
    sparse(&of(0xaa, 3), LIMIT);
    let foreign = [
        "notes.txt",
        "02-00-00-00-00-01-2026.tar.gz",
        "x-20260101T000000Z.tar.gz",
    ];
    for name in foreign {
        sparse(name, LIMIT);
    }
    assert_eq!(put(&service, &mac(1), &gzip(LIMIT)).status, 201);
    let left = names(&service.data);
    assert!(
        !left.contains(&of(0xaa, 2)) && left.contains(&of(0xaa, 3)),
        "{left:?}"
    );
    assert!((1..=54).all(|n| left.contains(&of(n, 1))), "{left:?}");
    assert!(
        foreign
            .iter()
            .all(|name| left.contains(&(*name).to_owned())),
        "{left:?}"
    );
    let bytes = |name: &String| {
        std::fs::metadata(folder(&service.data).join(name))
            .unwrap()
            .len()
    };
    let kept = left.iter().filter(|name| !foreign.contains(&name.as_str()));
    assert!(kept.map(bytes).sum::<u64>() <= 1 << 30);
}

#[test]
fn eight_boxes_send_at_once_one_file_each_and_the_others_come_again() {
    let service = Start::fresh().service();
    for n in 1..=9 {
        fails_to_install(&service, &mac(n));
    }
    let mut under_way: Vec<TcpStream> = (1..=8)
        .map(|n| {
            let mut stream = begin(&service, &mac(n), "Content-Length: 1000");
            stream.write_all(&gzip(500)).unwrap();
            stream
        })
        .collect();
    eventually("eight files on their way", || {
        (names(&service.data).len() == 8).then_some(())
    });
    for n in [1, 9] {
        let answer = put(&service, &mac(n), &gzip(10));
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, "2"),
            "{n}"
        );
    }
    // None of that keeps a report waiting.
    assert_eq!(service.heartbeat(&mac(9), "install", "fail").status, 200);
    for stream in &mut under_way {
        stream.write_all(&gzip(500)).unwrap();
        assert_eq!(read_response(stream).unwrap().status, 201);
    }
    assert_eq!(put(&service, &mac(9), &gzip(10)).status, 201);
    let left = names(&service.data);
    assert_eq!(left.len(), 9);
    assert!(
        left.iter().all(|name| name.ends_with("Z.tar.gz")),
        "{left:?}"
    );
}

#[test]
fn a_box_that_arp_knows_as_another_pushes_nothing_out() {
    needs!(Need::NetworkNamespaces);
    let lan = Lan::new();
    let lan = lan.without_questions_of_the_device();
    let service = lan.start().service();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("logs.tar.gz");
    std::fs::write(&file, gzip(10)).unwrap();
    let put = |mac: &str| {
        let url = format!("http://{}/logs/{mac}", service.address);
        let answers = lan.curl(DEVICE, &["--upload-file", file.to_str().unwrap(), &url]);
        (answers[0].status, answers[0].body.clone())
    };
    let other = mac(1);
    for mac in [MAC, &other] {
        let fail = json!({"mac": mac, "stage": "install", "phase": "fail"});
        assert_eq!(lan.heartbeat(DEVICE, &service, fail).status, 200);
    }
    let (status, detail) = put(&other);
    assert!(status == 403 && detail.contains(MAC), "{status} {detail}");
    assert_eq!(names(&service.data), [""; 0]);
    // Its own is taken, by its name or without one.
    assert_eq!(put(MAC).0, 201);
    assert_eq!(put("unknown").0, 201);
    let own = MAC.replace(':', "-");
    assert!(
        names(&service.data)
            .iter()
            .all(|name| name.starts_with(&own))
    );
    // And that of a box that devices.json says it is a port of.
    service.stage(
        "devices.json",
        &json!({&other: {"macs": [MAC]}}).to_string(),
    );
    assert_eq!(put(&other).0, 201);
    assert!(
        names(&service.data)
            .iter()
            .any(|name| name.starts_with("00-00-5e-00-53-01"))
    );
}

#[test]
fn no_path_leads_out_of_the_folder_and_nothing_is_served_from_it() {
    let service = Start::fresh().service();
    fails_to_install(&service, &mac(1));
    let name = put(&service, &mac(1), &gzip(10)).json()["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = names(&service.data);
    let own = mac(1);
    for target in [
        "/logs/..%2f..%2fsite.json".to_owned(),
        "/logs/%2e%2e".to_owned(),
        "/logs/../../onboard/x".to_owned(),
        format!("/logs/{own}%2f..%2fx"),
        format!("/logs/{own}%00"),
        format!("/logs/{own}/x"),
        "/logs/ff:ff:ff:ff:ff:ff".to_owned(),
        "/logs/".to_owned(),
        "/logs".to_owned(),
    ] {
        let answer = try_put(&service, &target, &gzip(10)).unwrap();
        assert!(
            [400, 404, 405, 422].contains(&answer.status),
            "{target}: {}",
            answer.status
        );
    }
    assert_eq!(names(&service.data), before);
    for target in [
        "/logs".to_owned(),
        "/logs/".to_owned(),
        format!("/logs/{own}"),
        format!("/logs/{name}"),
        format!("/onboard/../state/logs/{name}"),
        format!("/onboard/%2e%2e/state/logs/{name}"),
        format!("/images/..%2f..%2fstate/logs/{name}"),
    ] {
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            let answer = request(service.address, method, &target, &[], b"").unwrap();
            assert!(
                [400, 404, 405].contains(&answer.status),
                "{method} {target}: {}",
                answer.status
            );
        }
    }
    let put_only = service.get(&format!("/logs/{own}"));
    assert_eq!((put_only.status, put_only.header("allow")), (405, "PUT"));
}

/// A fault of the disk at a call on the file that is on its way. Its name has the time in it, so it is
/// found by the folder of a trace: only the calls of uploads are these.
fn fault(calls: &str, error: &str, status: u16) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let trace = folder.path().join("trace");
    let inject = format!("inject={calls}:error={error}:when=1");
    // A path for each second that the upload may begin in.
    let now = jiff::Timestamp::now();
    let paths: Vec<String> = (0..30)
        .map(|second| {
            let at = now + jiff::SignedDuration::from_secs(second);
            let name = format!(
                "00-00-5e-00-53-01-{}.tar.gz.tmp",
                at.strftime("%Y%m%dT%H%M%SZ")
            );
            self::folder(&data).join(name).to_str().unwrap().to_owned()
        })
        .collect();
    let mut options: Vec<&str> = paths.iter().flat_map(|path| ["-P", path]).collect();
    options.extend(["-e", &inject]);
    let service = Start::by(under_strace(&trace, &options), &data).service();
    fails_to_install(&service, &mac(1));
    put(&service, &mac(1), &gzip(MIB)).problem(status);
    assert!(
        std::fs::read_to_string(&trace)
            .unwrap()
            .contains("(INJECTED)")
    );
    assert_eq!(names(&data), [""; 0]);
    service.wait_for_log(&[
        "WARN",
        "the installer's log of 00:00:5e:00:53:01",
        "is not kept",
    ]);
    // Another one is: each thread meets the fault once.
    assert_eq!(service.heartbeat(&mac(1), "install", "fail").status, 200);
    eventually("a log that is kept", || {
        (put(&service, &mac(1), &gzip(MIB)).status == 201).then_some(())
    });
    assert_eq!(names(&data).len(), 1);
}

#[test]
fn a_full_disk_is_a_507_a_broken_one_a_500_and_nothing_is_left() {
    needs!(Need::Strace);
    std::thread::scope(|scope| {
        for (calls, error, status) in [
            ("write", "ENOSPC", 507),
            ("write", "EDQUOT", 507),
            ("fsync", "ENOSPC", 507),
            ("fsync", "EIO", 500),
            ("write", "EIO", 500),
            ("/^rename", "EIO", 500),
        ] {
            scope.spawn(move || fault(calls, error, status));
        }
    });
}

#[test]
fn logs_leave_the_records_their_space() {
    needs!(Need::Mounts);
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::new(
        &["-t", "tmpfs", "-o", "size=64m", "tmpfs"],
        &folder.path().join("data"),
    );
    let service = Start::on(&mount.at).service();
    fails_to_install(&service, &mac(1));
    put(&service, &mac(1), &gzip(10)).problem(507);
    let line = service.wait_for_log(&["WARN", "is not kept", "bytes are free"]);
    assert!(line.contains("268435456"), "{line}");
    assert_eq!(names(&mount.at), [""; 0]);
    assert_eq!(service.heartbeat(&mac(1), "install", "fail").status, 200);
    mount.remount("size=512m");
    assert_eq!(put(&service, &mac(1), &gzip(10)).status, 201);
}

#[test]
fn a_kill_at_each_step_leaves_whole_files_and_what_was_begun_goes_at_the_next_start() {
    needs!(Need::Strace);
    let first = gzip(MIB);
    let mut left = Vec::new();
    // The call, and which one of a thread; on the file that is on its way, or on what lies there.
    for (call, when, of_folder) in [
        ("openat", 1, false),
        ("write", 1, false),
        ("write", 5, false),
        ("fsync", 1, false),
        ("/^rename", 1, false),
        ("fsync", 1, true),
        ("unlink", 1, true),
    ] {
        let calls = format!("{call} {when}");
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_owned();
        let kept = Start::on(&data).service();
        fails_to_install(&kept, &mac(1));
        for _ in 0..3 {
            assert_eq!(put(&kept, &mac(1), &first).status, 201);
        }
        assert!(kept.stop().success());
        let before = names(&data);

        let inject = format!("inject={call}:signal=KILL:when={when}");
        let logs = self::folder(&data);
        let mut paths = Vec::new();
        if of_folder {
            paths.push(logs.to_str().unwrap().to_owned());
            paths.extend(
                before
                    .iter()
                    .map(|name| logs.join(name).to_str().unwrap().to_owned()),
            );
        }
        // A second on which it may begin: behind the last one.
        let last = before.last().unwrap();
        let time = &last["00-00-5e-00-53-01-".len()..last.len() - ".tar.gz".len()];
        let last = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).unwrap();
        for second in (1..30).filter(|_| !of_folder) {
            let at = last + jiff::SignedDuration::from_secs(second);
            let name = format!(
                "00-00-5e-00-53-01-{}.tar.gz.tmp",
                at.strftime("%Y%m%dT%H%M%SZ")
            );
            paths.push(logs.join(name).to_str().unwrap().to_owned());
        }
        let mut options: Vec<&str> = paths.iter().flat_map(|path| ["-P", path]).collect();
        options.extend(["-e", &inject]);
        let trace = folder.path().join("trace");
        let mut service = Start::by(under_strace(&trace, &options), &data).service();
        let answer = try_put(&service, &format!("/logs/{}", mac(1)), &gzip(2 * MIB));
        assert!(answer.is_err(), "{calls}: {answer:?}");
        assert_eq!(service.wait_for_end().signal(), Some(9), "{calls}");
        let after = names(&data);
        left.push(format!("{calls}: {}", after.len()));

        let again = Start::on(&data).service();
        let whole = names(&data);
        assert!(
            whole.iter().all(|name| name.ends_with("Z.tar.gz")),
            "{calls}: {whole:?}"
        );
        // None is lost but what gave way to one that is there.
        let new: Vec<_> = whole.iter().filter(|name| !before.contains(name)).collect();
        assert!(
            before
                .iter()
                .skip(new.len())
                .all(|name| whole.contains(name)),
            "{calls}: {whole:?}"
        );
        for name in &whole {
            let length = std::fs::metadata(logs.join(name)).unwrap().len() as usize;
            assert!(
                length == MIB || length == 2 * MIB,
                "{calls}: {name} {length}"
            );
        }
        assert_eq!(put(&again, &mac(1), &first).status, 201);
        assert_eq!(names(&data).len(), 3, "{calls}");
    }
    figure(&format!(
        "files after a kill, before the start: {}",
        left.join(", ")
    ));
}

/// What is answered with 201 outlasts a power cut: file, name and folder are on the disk by then.
#[test]
fn it_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_answer() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let options = ["-y", "-e", "trace=fsync,/^rename,/^send,/^write"];
    let data = folder.path().join("data");
    let service = Start::by(under_strace(&trace, &options), &data).service();
    fails_to_install(&service, &mac(1));
    assert_eq!(put(&service, &mac(1), &gzip(MIB)).status, 201);
    assert!(service.stop().success());
    let trace = std::fs::read_to_string(&trace).unwrap();
    let logs = self::folder(&data);
    let in_folder = |rest: &str| format!("{}{rest}", logs.display());
    let place = |what: &str, is_it: &dyn Fn(&str) -> bool| {
        let place = trace.lines().position(is_it);
        place.unwrap_or_else(|| panic!("no {what} in:\n{trace}"))
    };
    let steps = [
        place("write", &|line| {
            line.contains("write") && line.contains(".tar.gz.tmp>")
        }),
        place("fsync of the file", &|line| {
            line.contains("fsync(") && line.contains(".tar.gz.tmp>")
        }),
        place("rename", &|line| {
            line.contains("rename") && line.contains(".tar.gz.tmp\"")
        }),
        place("fsync of the folder", &|line| {
            line.contains("fsync(") && line.contains(&in_folder(">"))
        }),
        place("answer", &|line| line.contains("HTTP/1.1 201")),
    ];
    assert!(steps.is_sorted(), "{steps:?}\n{trace}");
    // The folder itself, when it was made.
    let parent = format!("{}>", data.join("state").display());
    place("fsync of the state folder", &|line| {
        line.contains("fsync(") && line.contains(&parent)
    });
}

#[test]
fn what_another_process_is_writing_is_not_taken_for_what_a_killed_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let one = Start::on(folder.path()).service();
    fails_to_install(&one, &mac(1));
    let mut stream = begin(&one, &mac(1), "Content-Length: 1000");
    stream.write_all(&gzip(500)).unwrap();
    eventually("a file on its way", || {
        (names(folder.path()).len() == 1).then_some(())
    });
    let left = "state/logs/00-00-5e-00-53-02-20260101T000000Z.tar.gz.tmp";
    stage(folder.path(), left, "begun");
    let _other = Start::on(folder.path()).service();
    assert_eq!(names(folder.path()).len(), 1);
    assert!(!folder.path().join(left).exists());
    stream.write_all(&gzip(500)).unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 201);
}

#[test]
fn a_box_that_is_forgotten_takes_its_logs_along_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path()).service();
    for n in 1..=2 {
        fails_to_install(&service, &mac(n));
        assert_eq!(put(&service, &mac(n), &gzip(10)).status, 201);
        assert_eq!(put(&service, &mac(n), &gzip(10)).status, 201);
    }
    let forget = || {
        let mut command = Command::new(BINARY);
        let command = command
            .env("DATA_PATH", folder.path())
            .args(["forget", &mac(1)]);
        command.env_remove("JOURNAL_STREAM").output().unwrap()
    };
    let output = forget();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("removed: 2 logs of 00:00:5e:00:53:01"),
        "{said}"
    );
    let left = names(folder.path());
    assert_eq!(left.len(), 2);
    assert!(
        left.iter()
            .all(|name| name.starts_with("00-00-5e-00-53-02-")),
        "{left:?}"
    );
}
