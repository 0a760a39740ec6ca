//! Onboarding files: what is served of a staged file, how a download resumes, and that nothing
//! outside the folder can be reached.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::needs::{Need, needs};
use crate::support::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// In a file that no device may get.
const SECRET: &str = "not for any device";

/// Bytes that tell each place of a file from its neighbours.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at % 251) as u8 ^ (at / 251) as u8)
        .collect()
}

/// A service with a file `onboard/file` of these bytes.
fn with_file(bytes: &[u8]) -> Service {
    let service = Start::fresh().stage("onboard/file", "").service();
    fs::write(service.data.join("onboard/file"), bytes).unwrap();
    service
}

fn get(service: &Service, target: &str, headers: &[(&str, &str)]) -> Response {
    request(service.address, "GET", target, headers, b"").unwrap()
}

fn head(service: &Service, target: &str, headers: &[(&str, &str)]) -> Response {
    request(service.address, "HEAD", target, headers, b"").unwrap()
}

/// Stages a file of that length whose blocks take no space.
fn stage_sparse(service: &Service, name: &str, length: u64) -> File {
    let path = service.data.join("onboard").join(name);
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    file.set_len(length).unwrap();
    file
}

/// A download that was begun: its head was read, its body is read by whoever holds this.
struct Download {
    stream: TcpStream,
    /// Of the body, what came along with the head.
    begun: usize,
}

impl Download {
    fn begin(service: &Service, target: &str) -> Self {
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(
            stream,
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut bytes = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).unwrap();
            assert_ne!(length, 0);
            bytes.extend_from_slice(&piece[..length]);
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                assert!(bytes.starts_with(b"HTTP/1.1 200 "));
                let begun = bytes.len() - end - 4;
                return Self { stream, begun };
            }
        }
    }

    /// How many bytes of the body come until the connection ends.
    fn read_to_end(mut self) -> u64 {
        let mut buffer = vec![0; MIB as usize];
        let mut total = self.begun as u64;
        while let Ok(length @ 1..) = self.stream.read(&mut buffer) {
            total += length as u64;
        }
        total
    }
}

/// The most memory that the service ever had, in bytes.
fn peak_memory(service: &Service) -> u64 {
    let pid = service.pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib = line.trim().strip_suffix(" kB").unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

#[test]
fn a_staged_file_is_served_whole_with_its_type_and_its_validators() {
    let service = Start::fresh().service();
    for (name, content_type) in [
        ("gb10-onboard.service", "text/plain"),
        ("gb10-onboard.timer", "text/plain"),
        ("manifest.json", "application/json"),
        ("onboard.sh", "application/x-sh"),
        ("notes.txt", "text/plain"),
        ("ca.pem", "application/x-x509-ca-cert"),
        ("driver.tar", "application/x-tar"),
        ("driver.tar.gz", "application/gzip"),
        ("driver.deb", "application/octet-stream"),
        ("no-extension", "application/octet-stream"),
        (
            "payload/deep/er/model.safetensors",
            "application/octet-stream",
        ),
    ] {
        service.stage(&format!("onboard/{name}"), "what is in it\n");
        let answer = service.get(&format!("/onboard/{name}"));
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(answer.text(), "what is in it\n");
        assert_eq!(answer.header("content-type"), content_type, "{name}");
        assert_eq!(answer.header("content-length"), "14");
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert!(answer.header("last-modified").ends_with(" GMT"), "{name}");
        let etag = answer.header("etag");
        assert!(
            etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2,
            "{etag}"
        );
    }
}

#[test]
fn head_says_what_get_would_and_sends_no_body() {
    let service = with_file(&pattern(1000));
    let (get, head) = (
        service.get("/onboard/file"),
        head(&service, "/onboard/file", &[]),
    );
    assert_eq!(head.status, 200);
    assert_eq!(head.body, b"");
    for name in [
        "content-length",
        "content-type",
        "etag",
        "last-modified",
        "accept-ranges",
    ] {
        assert_eq!(head.header(name), get.header(name), "{name}");
        assert_ne!(head.header(name), "", "{name}");
    }
    let missing = request(service.address, "HEAD", "/onboard/none", &[], b"").unwrap();
    assert_eq!((missing.status, missing.body), (404, Vec::new()));
}

#[test]
fn a_file_that_did_not_change_is_a_304() {
    let service = with_file(&pattern(1000));
    let answer = service.get("/onboard/file");
    let (etag, modified) = (answer.header("etag"), answer.header("last-modified"));
    for condition in [
        ("If-None-Match", etag),
        ("If-None-Match", &format!("\"other\", {etag}")),
        ("If-None-Match", &format!("W/{etag}")),
        ("If-None-Match", "*"),
        ("If-Modified-Since", modified),
        ("If-Modified-Since", "Fri, 31 Dec 2100 23:59:59 GMT"),
    ] {
        let answer = get(&service, "/onboard/file", &[condition]);
        assert_eq!(answer.status, 304, "{condition:?}");
        assert_eq!(answer.body, b"", "{condition:?}");
        assert_eq!(answer.header("etag"), etag, "{condition:?}");
    }
    for conditions in [
        &[("If-None-Match", "\"other\"")][..],
        &[("If-Modified-Since", "Thu, 01 Jan 1970 00:00:01 GMT")],
        // The tag is the stronger of the two.
        &[
            ("If-None-Match", "\"other\""),
            ("If-Modified-Since", modified),
        ],
        &[("If-Match", etag)],
        &[("If-Unmodified-Since", modified)],
    ] {
        let answer = get(&service, "/onboard/file", conditions);
        assert_eq!(answer.status, 200, "{conditions:?}");
        assert_eq!(answer.body, pattern(1000), "{conditions:?}");
    }
    for condition in [
        ("If-Match", "\"other\""),
        ("If-Match", &format!("W/{etag}")),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:01 GMT"),
    ] {
        get(&service, "/onboard/file", &[condition]).problem(412);
    }
    get(&service, "/onboard/file", &[("If-Match", "nonsense")]).problem(400);

    // Changed, though its length is the same: the old tag fetches the new bytes.
    let mut other = pattern(1000);
    other.reverse();
    fs::write(service.data.join("onboard/file"), &other).unwrap();
    let answer = get(&service, "/onboard/file", &[("If-None-Match", etag)]);
    assert_eq!((answer.status, &answer.body), (200, &other));
    assert_ne!(answer.header("etag"), etag);
}

#[test]
fn each_kind_of_range_gives_its_part_of_the_file() {
    let bytes = pattern(1000);
    let service = with_file(&bytes);
    for (range, part, content_range) in [
        ("bytes=0-0", 0..1, "bytes 0-0/1000"),
        ("bytes=0-99", 0..100, "bytes 0-99/1000"),
        ("bytes=500-599", 500..600, "bytes 500-599/1000"),
        ("bytes=999-999", 999..1000, "bytes 999-999/1000"),
        ("bytes=900-", 900..1000, "bytes 900-999/1000"),
        ("bytes=0-", 0..1000, "bytes 0-999/1000"),
        ("bytes=-1", 999..1000, "bytes 999-999/1000"),
        ("bytes=-300", 700..1000, "bytes 700-999/1000"),
        // RFC 9110, 14.1.2: what lies behind the end is left out; a suffix longer than the file
        // is the whole file.
        ("bytes=990-5000", 990..1000, "bytes 990-999/1000"),
        (
            "bytes=990-18446744073709551615",
            990..1000,
            "bytes 990-999/1000",
        ),
        ("bytes=-1000", 0..1000, "bytes 0-999/1000"),
        ("bytes=-5000", 0..1000, "bytes 0-999/1000"),
        // One that can be given, one that cannot.
        ("bytes=10-19,2000-", 10..20, "bytes 10-19/1000"),
    ] {
        let answer = get(&service, "/onboard/file", &[("Range", range)]);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), content_range, "{range}");
        assert_eq!(answer.header("content-length"), part.len().to_string());
        assert_eq!(answer.body, bytes[part], "{range}");
    }
    for range in [
        "bytes=1000-",
        "bytes=1000-1999",
        "bytes=18446744073709551615-",
        "bytes=-0",
    ] {
        let answer = get(&service, "/onboard/file", &[("Range", range)]);
        answer.problem(416);
        assert_eq!(answer.header("content-range"), "bytes */1000", "{range}");
    }
    // What is no range of bytes counts as absent.
    for range in ["bytes=a-b", "bytes=", "bytes=5", "lines=1-2", "bytes 0-9"] {
        let answer = get(&service, "/onboard/file", &[("Range", range)]);
        assert_eq!((answer.status, &answer.body), (200, &bytes), "{range}");
    }
    // Only GET has parts (RFC 9110, 14.2).
    let answer = head(&service, "/onboard/file", &[("Range", "bytes=0-9")]);
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, "1000")
    );
}

#[test]
fn several_ranges_come_as_parts_of_one_body() {
    let text: String = (0..1000).map(|number| format!("{number:04}\n")).collect();
    let service = with_file(text.as_bytes());
    let answer = get(
        &service,
        "/onboard/file",
        &[("Range", "bytes=0-4, 50-59,-5")],
    );
    assert_eq!(answer.status, 206);
    let content_type = answer.header("content-type");
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let part = |range: &str, text: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Range: bytes {range}/5000\r\n\
             content-type: application/octet-stream\r\n\r\n{text}"
        )
    };
    let expected = [
        part("0-4", "0000\n"),
        part("50-59", "0010\n0011\n"),
        part("4995-4999", "0999\n"),
        format!("\r\n--{boundary}--\r\n"),
    ];
    assert_eq!(answer.text(), expected.concat());
    assert_eq!(
        answer.header("content-length"),
        answer.body.len().to_string()
    );
    // Many parts of everything cost no more than everything.
    let greedy = format!("bytes={}", vec!["0-"; 500].join(","));
    let answer = get(&service, "/onboard/file", &[("Range", &greedy)]);
    assert_eq!((answer.status, answer.text()), (200, text.as_str()));
}

#[test]
fn an_empty_file_is_served_and_has_no_ranges() {
    let service = with_file(b"");
    let answer = service.get("/onboard/file");
    assert_eq!((answer.status, answer.header("content-length")), (200, "0"));
    for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
        let answer = get(&service, "/onboard/file", &[("Range", range)]);
        answer.problem(416);
        assert_eq!(answer.header("content-range"), "bytes */0", "{range}");
    }
}

#[test]
fn a_download_cut_in_the_middle_resumes_to_the_same_bytes() {
    let bytes = pattern(8 * MIB as usize);
    let service = with_file(&bytes);
    let etag = head(&service, "/onboard/file", &[]);
    let etag = etag.header("etag");

    let mut received = Vec::new();
    {
        let mut download = Download::begin(&service, "/onboard/file");
        let mut part = vec![0; 3 * MIB as usize];
        download.stream.read_exact(&mut part).unwrap();
        // What came with the head is counted, not kept: it is asked for again.
        received.extend_from_slice(&bytes[..download.begun]);
        received.extend_from_slice(&part);
    }
    assert_eq!(received, bytes[..received.len()]);
    let range = format!("bytes={}-", received.len());
    let conditions = [("Range", range.as_str()), ("If-Range", etag)];
    let rest = get(&service, "/onboard/file", &conditions);
    assert_eq!(rest.status, 206);
    received.extend_from_slice(&rest.body);
    assert!(received == bytes, "the parts do not make up the file");
}

#[test]
fn a_file_replaced_between_two_parts_is_sent_whole() {
    let old = pattern(1000);
    let service = with_file(&old);
    let first = get(&service, "/onboard/file", &[("Range", "bytes=0-499")]);
    let (etag, modified) = (first.header("etag"), first.header("last-modified"));
    let mut new = old.clone();
    new.reverse();
    let path = service.data.join("onboard/file");
    fs::write(path.with_extension("new"), &new).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    // Even where the new file claims the time of the old one.
    let old_time = SystemTime::now() - Duration::from_secs(3600);
    File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(old_time)
        .unwrap();
    // A date is no strong validator, so it never joins two parts either.
    for if_range in [etag, modified, &format!("W/{etag}")] {
        let conditions = [("Range", "bytes=500-"), ("If-Range", if_range)];
        let answer = get(&service, "/onboard/file", &conditions);
        assert_eq!(answer.status, 200, "{if_range}");
        assert_eq!(answer.body, new, "{if_range}");
        assert_eq!(answer.header("content-range"), "");
    }
}

#[test]
fn nothing_outside_the_folder_is_reached_by_any_spelling_of_a_path() {
    every_path_out_is_refused(&Start::fresh().service());
}

#[test]
fn a_symlink_inside_the_folder_works_and_one_that_leads_out_does_not() {
    symlinks_lead_nowhere_outside(&Start::fresh().service());
}

/// A unit with RestrictSUIDSGID= has no openat2(2), by which the kernel itself keeps below a folder.
/// The fault is injected, since it depends on the systemd that runs the service.
#[test]
fn without_openat2_the_folder_is_as_closed() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    // With -D the service is the child of this test, and strace ends when it does.
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-e", "inject=openat2:error=ENOSYS", "-o"]);
    strace.arg(&trace).arg(BINARY);
    let service = Start::by(strace, &data).service();
    every_path_out_is_refused(&service);
    symlinks_lead_nowhere_outside(&service);
    let trace = fs::read_to_string(trace).unwrap();
    assert!(trace.contains("ENOSYS"), "{trace}");
}

fn every_path_out_is_refused(service: &Service) {
    service.stage("onboard/folder/file", "inside");
    service.stage("secret", SECRET);
    service.stage("onboard-2/secret", SECRET);
    let absolute = service.data.join("secret");
    let absolute = absolute.to_str().unwrap();
    let encoded = absolute.replace('/', "%2F");
    for (target, status) in [
        ("/onboard/../secret".to_owned(), 404),
        ("/onboard/../onboard/folder/file".to_owned(), 404),
        ("/onboard/folder/../../secret".to_owned(), 404),
        ("/onboard/folder/../folder/file".to_owned(), 404),
        ("/onboard/%2e%2e/secret".to_owned(), 404),
        ("/onboard/%2E%2E%2Fsecret".to_owned(), 404),
        ("/onboard/..%2fsecret".to_owned(), 404),
        ("/onboard/folder%2f..%2f..%2fsecret".to_owned(), 404),
        ("/onboard/%252e%252e%252fsecret".to_owned(), 404),
        ("/onboard/..%5csecret".to_owned(), 404),
        ("/onboard/..%5c..%5csecret".to_owned(), 404),
        ("/onboard/....//secret".to_owned(), 404),
        ("/onboard/./../secret".to_owned(), 404),
        ("/onboard/..;/secret".to_owned(), 404),
        ("/onboard/..".to_owned(), 404),
        ("/onboard/%2e%2e".to_owned(), 404),
        ("/onboard-2/secret".to_owned(), 404),
        ("/onboard/../onboard-2/secret".to_owned(), 404),
        // Absolute, in a path whose doubled slashes are folded or encoded.
        (format!("/onboard/{absolute}"), 404),
        (format!("/onboard/{encoded}"), 404),
        (format!("/onboard//{encoded}"), 404),
        // A NUL ends a path for the kernel.
        ("/onboard/folder/file%00".to_owned(), 404),
        ("/onboard/folder/file%00.txt".to_owned(), 404),
        ("/onboard/%00".to_owned(), 404),
        ("/onboard/folder/file/".to_owned(), 404),
        (format!("/onboard/{}", "a/".repeat(5000)), 404),
        (format!("/onboard/{}", "a".repeat(300)), 404),
        // Overlong UTF-8 of `..`, which decodes to nothing valid.
        ("/onboard/%c0%ae%c0%ae/secret".to_owned(), 400),
        ("/onboard/%ff".to_owned(), 400),
    ] {
        let answer = service.get(&target);
        assert!(!answer.text().contains(SECRET), "{target}");
        let problem = answer.problem(status);
        // The answer tells a device nothing of the host's folders.
        assert!(!answer.text().contains(absolute), "{target}");
        if status == 404 && !target.starts_with("/onboard-2") {
            assert_eq!(problem["detail"], "no such file", "{target}");
        }
    }
    // A backslash is not in a URL at all.
    let answer = service.get("/onboard/..\\secret");
    assert!(matches!(answer.status, 400 | 404), "{}", answer.status);
    assert_eq!(service.get("/onboard/folder/file").text(), "inside");
}

#[test]
fn an_unusual_name_inside_the_folder_is_just_a_name() {
    let service = Start::fresh()
        .stage("onboard/with space.txt", "space")
        .stage("onboard/Übergröße.txt", "umlaut")
        .stage("onboard/back\\slash", "backslash")
        .stage("onboard/..two-dots", "dots")
        .stage("onboard/percent%41", "percent")
        .stage("onboard/query?", "question")
        .service();
    for (target, text) in [
        ("/onboard/with%20space.txt", "space"),
        ("/onboard/%C3%9Cbergr%C3%B6%C3%9Fe.txt", "umlaut"),
        ("/onboard/back%5cslash", "backslash"),
        ("/onboard/..two-dots", "dots"),
        ("/onboard/percent%2541", "percent"),
        ("/onboard/query%3f", "question"),
        ("//onboard///with%20space.txt?v=2", "space"),
    ] {
        let answer = service.get(target);
        assert_eq!((answer.status, answer.text()), (200, text), "{target}");
    }
}

fn symlinks_lead_nowhere_outside(service: &Service) {
    service.stage("onboard/v2/payload", "inside");
    service.stage("secret", SECRET);
    service.stage("outside/secret", SECRET);
    let onboard = service.data.join("onboard");
    let link = |to: &str, name: &str| symlink(to, onboard.join(name)).unwrap();
    link("v2/payload", "file-inside");
    link("v2", "folder-inside");
    link("folder-inside/payload", "chain-inside");
    link("v2/../v2/payload", "up-and-down-inside");
    for target in [
        "file-inside",
        "folder-inside/payload",
        "chain-inside",
        "up-and-down-inside",
    ] {
        let answer = service.get(&format!("/onboard/{target}"));
        assert_eq!((answer.status, answer.text()), (200, "inside"), "{target}");
    }

    let absolute = service.data.join("secret");
    link("../secret", "file-out");
    link(absolute.to_str().unwrap(), "file-out-absolute");
    link("/etc/passwd", "passwd");
    link("../outside", "folder-out");
    link("..", "parent");
    link("/", "root");
    link("file-out", "chain-1");
    link("chain-1", "chain-2");
    link("../../secret", "v2/deep-out");
    link("v2/../../secret", "up-too-far");
    link("../onboard/v2/payload", "out-and-in-again");
    link("nowhere", "dangling");
    link("loop", "loop");
    for target in [
        "file-out",
        "file-out-absolute",
        "passwd",
        "folder-out/secret",
        "folder-out",
        "parent/secret",
        "root/etc/passwd",
        "chain-2",
        "v2/deep-out",
        "up-too-far",
        "out-and-in-again",
        "dangling",
        "loop",
    ] {
        let answer = service.get(&format!("/onboard/{target}"));
        assert_eq!(answer.problem(404)["detail"], "no such file", "{target}");
        assert!(!answer.text().contains(SECRET), "{target}");
    }
    // The operator learns which, and why.
    service.wait_for_log(&["WARN", "not served", "file-out-absolute"]);
}

#[test]
fn folders_are_not_listed_and_a_missing_file_is_a_404() {
    let service = Start::fresh()
        .stage("onboard/folder/file", "inside")
        .stage("onboard/index.html", "an index")
        .service();
    for target in [
        "/onboard",
        "/onboard/",
        "/onboard/.",
        "/onboard/folder",
        "/onboard/folder/",
        "/onboard/missing",
        "/onboard/folder/missing",
        "/onboard/folder/file/below",
    ] {
        let answer = service.get(target);
        answer.problem(404);
        assert!(!answer.text().contains("index"), "{target}");
    }
    // Nor is it an error of the service when nothing at all is staged.
    let service = Start::fresh().service();
    service.get("/onboard/no-manifest.json").problem(404);
}

#[test]
fn what_is_not_staged_comes_from_the_defaults_and_what_is_staged_wins() {
    let service = Start::fresh().service();
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/onboard");
    let mut folders = vec![packaging.clone()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&packaging).unwrap().to_str().unwrap();
            let answer = service.get(&format!("/onboard/{name}"));
            assert_eq!(answer.status, 200, "{name}");
            assert_eq!(answer.body, std::fs::read(&path).unwrap(), "{name}");
            files += 1;
        }
    }
    assert!(files >= 11, "{files}");
    let whole = service.get("/onboard/manifest.json");
    let etag = whole.header("etag").to_owned();
    let range = [("Range", "bytes=4-"), ("If-Range", &etag)];
    let rest = request(
        service.address,
        "GET",
        "/onboard/manifest.json",
        &range,
        b"",
    )
    .unwrap();
    assert_eq!((rest.status, rest.body.as_slice()), (206, &whole.body[4..]));
    service.stage("onboard/manifest.json", "{}");
    assert_eq!(service.get("/onboard/manifest.json").text(), "{}");
    std::fs::remove_file(service.data.join("onboard/manifest.json")).unwrap();
    assert_eq!(service.get("/onboard/manifest.json").header("etag"), etag);
}

#[test]
fn what_is_no_regular_file_is_a_404_and_holds_nothing_up() {
    let service = Start::fresh().stage("onboard/file", "inside").service();
    let onboard = service.data.join("onboard");
    let mode = Mode::from_raw_mode(0o644);
    mknodat(CWD, onboard.join("pipe"), FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(onboard.join("socket")).unwrap();
    symlink("pipe", onboard.join("to-pipe")).unwrap();
    // Nobody ever writes to the pipe: more requests than the service has threads would hang it.
    for _ in 0..16 {
        service.get("/onboard/pipe").problem(404);
    }
    service.get("/onboard/to-pipe").problem(404);
    service.get("/onboard/socket").problem(404);
    assert_eq!(service.get("/onboard/file").text(), "inside");
}

#[test]
fn a_file_that_the_service_may_not_read_is_a_404_and_a_warning() {
    needs!(Need::Program("setpriv"));
    let folder = tempfile::tempdir().unwrap();
    stage(folder.path(), "onboard/locked", SECRET);
    stage(folder.path(), "onboard/locked-folder/file", SECRET);
    let none = fs::Permissions::from_mode(0o000);
    fs::set_permissions(folder.path().join("onboard/locked"), none.clone()).unwrap();
    fs::set_permissions(folder.path().join("onboard/locked-folder"), none).unwrap();
    // Root reads everything, unless its capabilities are taken from it.
    let command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-dac_override,-dac_read_search", BINARY]);
        command
    } else {
        Command::new(BINARY)
    };
    let service = Start::by(command, folder.path()).service();
    for target in ["locked", "locked-folder/file"] {
        let answer = service.get(&format!("/onboard/{target}"));
        assert_eq!(answer.problem(404)["detail"], "no such file");
        service.wait_for_log(&["WARN", "not served", target, "Permission denied"]);
    }
    let readable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path().join("onboard/locked-folder"), readable).unwrap();
}

#[test]
fn a_file_from_before_1970_is_served_without_a_date() {
    let service = with_file(b"old");
    let path = service.data.join("onboard/file");
    let file = File::options().append(true).open(&path).unwrap();
    let old = SystemTime::UNIX_EPOCH - Duration::from_millis(86_400_500);
    file.set_modified(old).unwrap();
    let answer = service.get("/onboard/file");
    assert_eq!((answer.status, answer.text()), (200, "old"));
    assert_eq!(answer.headers.get("last-modified"), None);
    let etag = answer.header("etag");
    let answer = get(&service, "/onboard/file", &[("If-None-Match", etag)]);
    assert_eq!(answer.status, 304);
    // One from the future is not newer than the answer itself.
    let future = SystemTime::now() + Duration::from_secs(86_400 * 365 * 50);
    file.set_modified(future).unwrap();
    let answer = service.get("/onboard/file");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("last-modified"), answer.header("date"));
}

#[test]
fn parts_of_a_5_gib_file_come_from_where_they_are() {
    let service = with_file(b"");
    let length = 5 * GIB;
    let file = stage_sparse(&service, "model", length);
    file.write_all_at(b"beyond 4 GiB", 4 * GIB + 7).unwrap();
    file.write_all_at(b"the end", length - 7).unwrap();
    let whole = head(&service, "/onboard/model", &[]);
    assert_eq!(whole.header("content-length"), "5368709120");
    for (range, text, content_range) in [
        (
            "bytes=4294967303-4294967314",
            "beyond 4 GiB",
            "bytes 4294967303-4294967314/5368709120",
        ),
        (
            "bytes=-7",
            "the end",
            "bytes 5368709113-5368709119/5368709120",
        ),
        (
            "bytes=5368709113-",
            "the end",
            "bytes 5368709113-5368709119/5368709120",
        ),
        ("bytes=0-3", "\0\0\0\0", "bytes 0-3/5368709120"),
    ] {
        let answer = get(&service, "/onboard/model", &[("Range", range)]);
        assert_eq!((answer.status, answer.text()), (206, text), "{range}");
        assert_eq!(answer.header("content-range"), content_range);
    }
    let behind = get(
        &service,
        "/onboard/model",
        &[("Range", "bytes=5368709120-")],
    );
    behind.problem(416);
    assert_eq!(behind.header("content-range"), "bytes */5368709120");
}

#[test]
fn a_1_gib_download_takes_no_more_memory_than_a_small_one() {
    let service = with_file(&pattern(4 * MIB as usize));
    stage_sparse(&service, "model", GIB);
    assert_eq!(service.get("/onboard/file").body.len(), 4 * MIB as usize);
    let before = peak_memory(&service);
    assert_eq!(
        Download::begin(&service, "/onboard/model").read_to_end(),
        GIB
    );
    let grown = peak_memory(&service) - before;
    assert!(grown < 8 * MIB, "{grown} bytes more");
}

#[test]
fn readers_that_stall_take_no_memory_and_keep_nobody_waiting() {
    let service = with_file(&pattern(4 * MIB as usize));
    stage_sparse(&service, "model", GIB);
    assert_eq!(service.get("/onboard/file").body.len(), 4 * MIB as usize);
    let before = peak_memory(&service);
    let stalled: Vec<Download> = (0..10)
        .map(|_| Download::begin(&service, "/onboard/model"))
        .collect();
    // Until the kernel's buffers are full and the service reads no further.
    let io = format!("/proc/{}/io", service.pid().as_raw_nonzero());
    let mut last = String::new();
    let mut same = 0;
    eventually("the end of all reading", || {
        std::thread::sleep(Duration::from_millis(20));
        let now = fs::read_to_string(&io).unwrap();
        let now = now.lines().next().unwrap().to_owned();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same == 10).then_some(())
    });
    let read: u64 = last.strip_prefix("rchar: ").unwrap().parse().unwrap();
    assert!(read < GIB, "the readers did not stall the service: {last}");
    assert_eq!(service.get("/onboard/file").body.len(), 4 * MIB as usize);
    let grown = peak_memory(&service) - before;
    assert!(grown < 8 * MIB, "{grown} bytes more");
    drop(stalled);
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn a_file_cut_short_during_its_download_ends_the_connection() {
    let service = with_file(b"");
    let length = 256 * MIB;
    let file = stage_sparse(&service, "model", length);
    let download = Download::begin(&service, "/onboard/model");
    file.set_len(MIB).unwrap();
    // Fewer bytes than Content-Length promised: the device sees a break, and no padding.
    let received = download.read_to_end();
    assert!(received < length, "{received}");
    assert_eq!(service.get("/onboard/model").body.len(), MIB as usize);
}

#[test]
fn a_file_replaced_during_its_download_is_finished_as_it_was() {
    let service = with_file(b"");
    stage_sparse(&service, "model", 64 * MIB);
    let download = Download::begin(&service, "/onboard/model");
    service.stage("onboard/model.new", "version 2");
    let onboard = service.data.join("onboard");
    fs::rename(onboard.join("model.new"), onboard.join("model")).unwrap();
    assert_eq!(download.read_to_end(), 64 * MIB);
    assert_eq!(service.get("/onboard/model").text(), "version 2");
}
