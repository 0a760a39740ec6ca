//! Places: what one address, all downloads and a slow reader can have, and what is left to others.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use gb10_provision_api::net::paced::{Debt, MOST_DEBT};
use gb10_provision_api::net::repeats::Repeats;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustix::process::Signal;

use crate::support::*;

const MAC: &str = "3c:6d:66:0a:1b:2c";

/// A box by its address of the loopback network.
fn connect_as(n: u8, to: SocketAddr) -> TcpStream {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, n), 0)).unwrap();
    connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Asks on a connection that stays open, and gives the status once the answer has begun.
fn ask(stream: &mut TcpStream, path: &str) -> u16 {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).unwrap();
    let status = std::str::from_utf8(&begin[9..]).unwrap();
    status.parse().unwrap()
}

/// One request of a box on a connection of its own.
fn ask_as(n: u8, service: &Service, path: &str) -> std::io::Result<Response> {
    let mut stream = connect_as(n, service.address);
    let _ = write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    read_response(&mut stream)
}

/// A file of zeros below the onboarding folder.
fn stage_zeros(service: &Service, name: &str, length: u64) {
    service.stage(&format!("onboard/{name}"), "");
    let file = fs::File::options()
        .write(true)
        .open(service.data.join("onboard").join(name));
    file.unwrap().set_len(length).unwrap();
}

#[test]
fn an_address_that_has_its_connections_gets_no_more_and_the_others_theirs() {
    let service = Start::fresh().env("PEER_CONNECTIONS", "3").service();
    let mut kept: Vec<TcpStream> = (0..3).map(|_| connect_as(2, service.address)).collect();
    for stream in &mut kept {
        assert_eq!(ask(stream, "/onboard/none"), 404);
    }
    for _ in 0..5 {
        let begin = Instant::now();
        let mut byte = [0];
        let read = connect_as(2, service.address).read(&mut byte);
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
    let health = ask_as(3, &service, "/healthz").unwrap().json();
    assert_eq!(health["connections_over_limit"], 5);
    // The repetitions are counted, not told.
    service.wait_for_log(&["WARN", "as many connections as it may", "127.0.0.2"]);
    let log = service.log();
    assert_eq!(log.matches("as many connections as it may").count(), 1);
    drop(kept.pop());
    let answer = eventually("its place back", || ask_as(2, &service, "/healthz").ok());
    assert_eq!(answer.status, 200);
}

#[test]
fn one_address_cannot_have_all_places_even_if_there_are_few() {
    let service = Start::fresh().env("MAX_CONNECTIONS", "8").service();
    let _kept: Vec<TcpStream> = (0..8).map(|_| connect_as(2, service.address)).collect();
    let health = ask_as(3, &service, "/healthz").unwrap().json();
    assert_eq!(health["connections_over_limit"], 2);
}

#[test]
fn a_socket_to_which_nobody_connects_holds_no_place() {
    let service = Start::fresh()
        .env("MAX_CONNECTIONS", "1")
        .env("LISTEN", "127.0.0.1:0,127.0.0.5:0")
        .service();
    let other = service.wait_for_log(&["listening on http://127.0.0.5:"]);
    let (_, other) = other.split_once("http://").unwrap();
    let other = other.split_whitespace().next().unwrap().parse().unwrap();
    for _ in 0..3 {
        for address in [service.address, other] {
            let answer = request(address, "GET", "/healthz", &[], b"");
            assert_eq!(answer.unwrap().status, 200);
        }
    }
}

#[test]
fn who_was_accepted_and_waits_for_a_place_is_answered_at_a_stop() {
    let service = Start::fresh().env("MAX_CONNECTIONS", "1").service();
    let mut first = connect_as(2, service.address);
    assert_eq!(ask(&mut first, "/onboard/none"), 404);
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask_as(3, &service, "/healthz"));
        let fds = format!("/proc/{}/fd", service.pid().as_raw_nonzero());
        let sockets = || {
            let entries = fs::read_dir(&fds).unwrap().flatten();
            let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
            links
                .filter(|link| link.to_string_lossy().starts_with("socket:"))
                .count()
        };
        let before = sockets();
        // It may be accepted already; then nothing changes any more.
        let deadline = Instant::now() + Duration::from_secs(1);
        while sockets() == before && Instant::now() < deadline {
            std::thread::yield_now();
        }
        service.signal(Signal::TERM);
        waiting.join().unwrap()
    });
    assert_eq!(waiting.unwrap().status, 200);
}

#[test]
fn downloads_leave_places_for_heartbeats() {
    let service = Start::fresh().env("MAX_CONNECTIONS", "4").service();
    stage_zeros(&service, "large", 64 << 20);
    // Three quarters of four.
    let mut downloads: Vec<TcpStream> = (2..5).map(|n| connect_as(n, service.address)).collect();
    for stream in &mut downloads {
        assert_eq!(ask(stream, "/onboard/large"), 200);
    }
    let refused = ask_as(5, &service, "/onboard/large").unwrap();
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "2");
    assert_eq!(service.heartbeat(MAC, "driver", "done").status, 200);
    drop(downloads.pop());
    eventually("a place for a download", || {
        let answer = ask_as(5, &service, "/onboard/gb10-onboard").unwrap();
        (answer.status == 200).then_some(())
    });
}

/// The bytes that the kernel keeps for the peer of a connection of the service, proc_net_tcp.
fn unsent(ours: SocketAddr, peer: SocketAddr) -> Option<u64> {
    let end = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => {
            let ip = u32::from_ne_bytes(ip.octets());
            format!("{ip:08X}:{:04X}", address.port())
        }
        IpAddr::V6(_) => panic!("an IPv4 address"),
    };
    let (ours, peer) = (end(ours), end(peer));
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let line = table
        .lines()
        .find(|line| line.contains(&format!(" {ours} {peer} ")))?;
    let queues = line.split_whitespace().nth(4)?;
    u64::from_str_radix(queues.split_once(':')?.0, 16).ok()
}

#[test]
fn the_kernel_keeps_little_for_a_peer_that_does_not_read() {
    let service = Start::fresh().service();
    stage_zeros(&service, "large", 64 << 20);
    let mut stream = connect_as(2, service.address);
    assert_eq!(ask(&mut stream, "/onboard/large"), 200);
    let peer = stream.local_addr().unwrap();
    let (mut last, mut still) = (0, 0);
    let kept = eventually("a queue that grows no more", || {
        let now = unsent(service.address, peer)?;
        still = if now == last { still + 1 } else { 0 };
        last = now;
        (still > 20 && now > 0).then_some(now)
    });
    figure(&format!("kept for a peer that does not read: {kept} bytes"));
    assert!(kept <= 512 * 1024, "{kept}");
}

#[test]
fn a_download_that_stands_still_is_cut_off_after_a_minute_and_a_slow_one_is_not() {
    let service = Start::fresh().service();
    stage_zeros(&service, "large", 64 << 20);
    let begin = Instant::now();
    let fds = format!("/proc/{}/fd", service.pid().as_raw_nonzero());
    let is_open = || {
        let links = fs::read_dir(&fds).unwrap().flatten();
        let mut links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
        links.any(|link| link.ends_with("onboard/still"))
    };
    stage_zeros(&service, "still", 64 << 20);
    let mut still = connect_as(2, service.address);
    assert_eq!(ask(&mut still, "/onboard/still"), 200);
    let mut slow = connect_as(3, service.address);
    assert_eq!(ask(&mut slow, "/onboard/large"), 200);
    let mut piece = vec![0; 32 * 1024];
    let mut cut_off = None;
    while begin.elapsed() < Duration::from_secs(80) {
        slow.read_exact(&mut piece).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        if cut_off.is_none() && !is_open() {
            cut_off = Some(begin.elapsed());
        }
    }
    let cut_off = cut_off.expect("the one that stands still is not cut off");
    assert!(
        (Duration::from_secs(59)..Duration::from_secs(75)).contains(&cut_off),
        "{cut_off:?}"
    );
    // And nothing of it remains in the kernel.
    assert_eq!(
        unsent(service.address, still.local_addr().unwrap()),
        None,
        "its connection"
    );
    slow.read_exact(&mut piece).unwrap();
}

/// The second in which a peer that takes `bytes` every `seconds` is cut off, within an hour.
fn cut_off(bytes: usize, seconds: u64) -> Option<u64> {
    let (start, mut debt) = (Instant::now(), Debt::default());
    (0..3600).step_by(seconds as usize).find(|second| {
        let now = (start + Duration::from_secs(*second)).into();
        debt.wait(now);
        let then = now + Duration::from_secs(seconds);
        let is_over = debt.limit(now) <= then;
        debt.pay(bytes, || then);
        is_over
    })
}

#[test]
fn a_peer_below_the_least_rate_is_cut_off_soon_and_one_above_it_never() {
    for (bytes, seconds, within) in [
        (0, 1, Some(60)),
        (1, 1, Some(60)),
        (256 * 1024, 25, Some(100)),
        (16 * 1024, 1, Some(130)),
        (32 * 1024, 1, None),
        (1024 * 1024, 30, None),
        // It stalls for most of a minute, and then takes megabytes.
        (4 << 20, 59, None),
        (4 << 20, 61, Some(0)),
    ] {
        let cut_off = cut_off(bytes, seconds);
        let case = format!("{bytes} bytes in {seconds} s: {cut_off:?}");
        assert_eq!(cut_off.is_some(), within.is_some(), "{case}");
        assert!(cut_off <= within, "{case}");
    }
}

#[test]
fn what_a_peer_took_early_is_no_credit_for_later() {
    let (now, mut debt) = (Instant::now().into(), Debt::default());
    debt.pay(1 << 30, || now);
    debt.wait(now);
    assert_eq!(debt.limit(now), now + MOST_DEBT);
}

#[test]
fn a_line_that_a_peer_repeats_is_told_once_a_minute_with_its_number() {
    let repeats = Repeats::default();
    let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    assert_eq!(repeats.count(one, start), Some(1));
    assert_eq!(repeats.count(other, start), Some(1));
    for second in 1..60 {
        assert_eq!(repeats.count(one, at(second)), None);
    }
    assert_eq!(repeats.count(one, at(60)), Some(60));
    assert_eq!(repeats.count(one, at(61)), None);
}

#[test]
fn peers_without_end_are_not_all_remembered() {
    let repeats = Repeats::default();
    let start = Instant::now();
    let told = |now| {
        let peers = (0..5000_u32).map(|n| IpAddr::from(Ipv4Addr::from(n)));
        peers.filter(|ip| repeats.count(*ip, now).is_some()).count()
    };
    assert_eq!(told(start), 1024);
    assert_eq!(told(start), 0);
    assert_eq!(told(start + Duration::from_secs(60)), 1024);
}

/// The service behind a command of the shell, such as a limit.
fn start_behind(limit: &str) -> (tempfile::TempDir, Start) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &format!(r#"{limit} && exec "$0""#), BINARY]);
    let start = Start::by(command, folder.path());
    (folder, start)
}

#[test]
fn too_few_open_files_are_told_at_the_start_and_fewer_connections_are_served() {
    let (_folder, start) = start_behind("ulimit -n 64");
    let service = start.service();
    let line = service.wait_for_log(&["WARN", "MAX_CONNECTIONS=1024", "the limit is 64"]);
    let (_, served) = line.split_once("the limit is 64: ").unwrap();
    let served: u8 = served.split(' ').next().unwrap().parse().unwrap();
    assert!((4..30).contains(&served), "{line}");
    // As many as it said, and twice, hold nothing up and break nothing.
    let kept: Vec<TcpStream> = (0..2 * served)
        .map(|n| connect_as(10 + n, service.address))
        .collect();
    drop(kept);
    assert_eq!(service.heartbeat(MAC, "driver", "done").status, 200);
    assert!(!service.log().contains("could not be accepted"));

    // Where the limit may be raised, it is.
    let (_folder, start) = start_behind("ulimit -Sn 256");
    let service = start.service();
    assert_eq!(service.get("/healthz").status, 200);
    assert!(!service.log().contains("WARN"), "{}", service.log());
}

#[test]
fn a_limit_on_the_size_of_files_refuses_heartbeats_and_kills_nobody() {
    let (_folder, start) = start_behind("ulimit -f 1");
    let service = start.service();
    let detail = "x".repeat(2000);
    let body =
        format!(r#"{{"mac": "{MAC}", "stage": "driver", "phase": "done", "detail": "{detail}"}}"#);
    for _ in 0..2 {
        service.post("/heartbeat", &body).problem(503);
    }
    service.wait_for_log(&["ERROR", "the state was not written", "File too large"]);
    assert!(service.get("/cloud-init/user-data").status == 200);
    // Still the same process.
    assert_eq!(service.stop().code(), Some(0));
}
