//! The life of the process: settings, sockets, signals, what systemd is told, and its end.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::needs::{Need, needs};
use crate::support::*;
use rustix::net::{AddressFamily, SocketType, bind, socket};
use rustix::process::Signal;
use sd_notify::NotifyState;
use tempfile::TempDir;

const MAC: &str = "3c:6d:66:0a:1b:2c";
const HASH: &str = "$6$saltsalt$0123456789abcdefghijklmnopqrstuvwxyz";

/// Every setting: its variable, its flag, its default.
const SETTINGS: [(&str, &str, &str); 15] = [
    ("DATA_PATH", "--data-path", "./data"),
    ("LISTEN", "--listen", "127.0.0.1:8088"),
    (
        "ALLOWED_NETWORKS",
        "--allowed-networks",
        "10.88.0.0/24,127.0.0.0/8,::1/128",
    ),
    ("PUBLIC_URL", "--public-url", ""),
    ("MAX_CONNECTIONS", "--max-connections", "1024"),
    ("PEER_CONNECTIONS", "--peer-connections", "32"),
    ("MAX_CLIENTS", "--max-clients", "4096"),
    ("HISTORY_LIMIT", "--history-limit", "1000"),
    ("RECORD_BYTES", "--record-bytes", "262144"),
    ("INSTALL", "--install", "once"),
    ("INSTALL_ATTEMPTS", "--install-attempts", "3"),
    ("STALL_AFTER", "--stall-after", "15min"),
    ("FALLBACK_PASSWORD_HASH", "--fallback-password-hash", ""),
    ("ARP_TABLE", "--arp-table", "/proc/self/net/arp"),
    ("LOG", "--log", "info"),
];

/// Runs the binary to its end.
fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).envs(environment.iter().copied());
    command.output().unwrap()
}

fn heartbeat_head(length: usize, more: &str) -> String {
    format!("POST /heartbeat HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n")
}

fn heartbeat_body() -> String {
    format!(r#"{{"mac": "{MAC}", "stage": "driver", "phase": "done"}}"#)
}

/// A heartbeat that is under way: the service waits for its body.
fn begin_heartbeat(service: &Service) -> TcpStream {
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let head = heartbeat_head(heartbeat_body().len(), "Expect: 100-continue\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// A service whose end was expected; gives its exit code and its log.
fn failed_start(start: Start) -> (i32, String) {
    match start.try_service() {
        Ok(service) => panic!("it serves:\n{}", service.log()),
        Err((status, log)) => (status.code().unwrap(), log),
    }
}

// Settings.

#[test]
fn help_lists_every_setting_with_its_default_and_no_password_hash() {
    for environment in [&[][..], &[("FALLBACK_PASSWORD_HASH", HASH)]] {
        let help = output(&["--help"], environment);
        assert!(help.status.success());
        let help = String::from_utf8(help.stdout).unwrap();
        for (variable, flag, default) in SETTINGS {
            let (_, text) = help.split_once(&format!("{flag} <")).unwrap();
            let text = text.split("\n      --").next().unwrap();
            assert!(
                text.contains(&format!("[env: {variable}")),
                "{variable}: {text}"
            );
            if !default.is_empty() {
                assert!(
                    text.contains(&format!("[default: {default}]")),
                    "{variable}: {text}"
                );
            }
        }
        assert!(help.contains("check"));
        assert!(!help.contains("$6$"), "{help}");
        let short = String::from_utf8(output(&["-h"], environment).stdout).unwrap();
        assert!(!short.contains("$6$"), "{short}");
    }
}

#[test]
fn the_manual_lists_every_setting_with_its_default() {
    let manual = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/packaging/gb10-provision-api.8"
    );
    let manual = fs::read_to_string(manual).unwrap().replace(r"\-", "-");
    for (variable, flag, default) in SETTINGS {
        let entry = manual.split(".TP\n").find(|entry| {
            let heading = entry.lines().next().unwrap_or_default();
            heading.starts_with(&format!(".BR {flag} ")) && heading.ends_with(variable)
        });
        let entry = entry.unwrap_or_else(|| panic!("{variable} is not in the manual"));
        assert!(entry.contains(&format!("Default: {default}")), "{entry}");
    }
}

#[test]
fn version_is_the_crates() {
    let version = output(&["--version"], &[]);
    assert!(version.status.success());
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        concat!("gb10-provision-api ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn an_invalid_setting_stops_the_start_with_a_line_that_names_it() {
    for (variable, flag, value) in [
        ("DATA_PATH", "--data-path", ""),
        ("LISTEN", "--listen", ""),
        ("LISTEN", "--listen", "localhost:8088"),
        ("LISTEN", "--listen", "10.88.0.1"),
        ("LISTEN", "--listen", "127.0.0.1:99999"),
        ("LISTEN", "--listen", "127.0.0.1:0,,127.0.0.1:0"),
        ("ALLOWED_NETWORKS", "--allowed-networks", ""),
        ("ALLOWED_NETWORKS", "--allowed-networks", "10.88.0.0/33"),
        ("ALLOWED_NETWORKS", "--allowed-networks", "10.88.0.0"),
        (
            "ALLOWED_NETWORKS",
            "--allowed-networks",
            "10.88.0.0/24 127.0.0.0/8",
        ),
        ("PUBLIC_URL", "--public-url", "10.88.0.1:8088"),
        ("PUBLIC_URL", "--public-url", "ftp://10.88.0.1"),
        ("PUBLIC_URL", "--public-url", "http://"),
        ("PUBLIC_URL", "--public-url", "http://a:b@10.88.0.1"),
        ("PUBLIC_URL", "--public-url", "http://10.88.0.1:99999"),
        ("PUBLIC_URL", "--public-url", "http://10.88.0.1/$(reboot)"),
        ("PUBLIC_URL", "--public-url", "http://10.88.0.1/?a=b"),
        ("MAX_CONNECTIONS", "--max-connections", "0"),
        ("MAX_CONNECTIONS", "--max-connections", "many"),
        ("PEER_CONNECTIONS", "--peer-connections", "0"),
        ("MAX_CLIENTS", "--max-clients", "0"),
        ("MAX_CLIENTS", "--max-clients", "-1"),
        ("HISTORY_LIMIT", "--history-limit", "0"),
        ("HISTORY_LIMIT", "--history-limit", "1e3"),
        ("FALLBACK_PASSWORD_HASH", "--fallback-password-hash", ""),
        (
            "FALLBACK_PASSWORD_HASH",
            "--fallback-password-hash",
            "hunter2",
        ),
        (
            "FALLBACK_PASSWORD_HASH",
            "--fallback-password-hash",
            "$6$a$b\"\nx: y",
        ),
        ("ARP_TABLE", "--arp-table", ""),
        ("LOG", "--log", ""),
        // No level: taken for the name of a target, it would silence everything.
        ("LOG", "--log", "inof"),
        ("LOG", "--log", "warn,verbose"),
        ("LOG", "--log", "gb10_provision_api=loud"),
    ] {
        // A port that needs no luck, should it start after all.
        let listen = ("LISTEN", "127.0.0.1:0");
        for (arguments, environment) in [
            (vec![], vec![listen, (variable, value)]),
            (vec![format!("{flag}={value}")], vec![listen]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut start = Start::on(folder.path());
            start.command.args(&arguments).envs(environment);
            let (code, log) = failed_start(start);
            assert_eq!(code, 2, "{variable}={value}: {log}");
            let first = log.lines().next().unwrap();
            assert!(first.starts_with("error: "), "{variable}={value}: {log}");
            assert!(first.contains(flag), "{variable}={value}: {log}");
            let says_what = first.contains("expected ") || first.contains("a value is required");
            assert!(says_what, "{variable}={value}: {log}");
            // It may be the password itself.
            assert!(!log.contains("hunter2"), "{log}");
        }
    }
}

#[test]
fn a_flag_beats_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let of_flag = folder.path().join("of-flag");
    let mut start = Start::on(folder.path())
        .env("DATA_PATH", folder.path().join("of-environment"))
        .env("LISTEN", "0.0.0.0:0")
        .env("ALLOWED_NETWORKS", "10.88.0.0/24")
        .env("MAX_CONNECTIONS", "1")
        .env("MAX_CLIENTS", "1")
        .env("HISTORY_LIMIT", "1")
        .env("FALLBACK_PASSWORD_HASH", "$6$other$other")
        .env("LOG", "off");
    start
        .command
        .args(["--data-path", of_flag.to_str().unwrap()]);
    start.command.args(["--listen", "127.0.0.1:0"]);
    start.command.args(["--allowed-networks", "127.0.0.0/8"]);
    start.command.args(["--max-connections", "2"]);
    start.command.args(["--max-clients", "2"]);
    start.command.args(["--history-limit", "2"]);
    start.command.args(["--fallback-password-hash", HASH]);
    start.command.args(["--log", "info"]);
    let service = start.service();
    let held = TcpStream::connect(service.address).unwrap();
    for mac in [MAC, "3c:6d:66:0a:1b:2d"] {
        for phase in ["start", "done"] {
            let record = service.heartbeat(mac, "driver", phase).json();
            assert_eq!(record.get("events_dropped"), None, "{record}");
        }
    }
    drop(held);
    let seed = service.get(&format!("/cloud-init/user-data?mac={MAC}"));
    assert!(seed.text().contains(HASH) && !seed.text().contains("$6$other"));
    assert!(of_flag.join("state/clients.json").exists());
    assert!(!folder.path().join("of-environment").exists());
}

/// In a network namespace of its own: with 127.0.0.1:8088 free, and an address that is not
/// loopback, on which alone neighbours are looked up.
fn in_own_network(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Start {
    let script = r#"
        ip link set lo up && ip address add 10.88.0.1/24 dev lo &&
        cd "$0" && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", script]).arg(folder);
    command.arg(BINARY).args(arguments);
    let mut start = Start::by(command, folder);
    start.command.env_remove("DATA_PATH").env_remove("LISTEN");
    start.command.envs(environment.iter().copied());
    start
}

/// `curl` in the network namespace of the service.
fn curl_beside(service: &Service, arguments: &[&str]) -> String {
    let mut command = Command::new("nsenter");
    let pid = service.pid().as_raw_nonzero().to_string();
    command.args([
        "--net",
        "--target",
        &pid,
        "curl",
        "--silent",
        "--max-time",
        "20",
    ]);
    let output = command.args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_flag_of_the_arp_table_beats_the_environment() {
    needs!(Need::NetworkNamespaces, Need::Program("nsenter"));
    let folder = tempfile::tempdir().unwrap();
    let table = |name: &str, mac: &str| {
        let text = format!(
            "IP address       HW type     Flags       HW address            Mask     Device\n\
             10.88.0.1        0x1         0x2         {mac}     *        lo\n"
        );
        stage(folder.path(), name, &text);
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let of_environment = table("arp-1", "3c:6d:66:0a:00:01");
    let of_flag = table("arp-2", "3c:6d:66:0a:00:02");
    let listen = ("LISTEN", "10.88.0.1:8088");
    let environment = [listen, ("ARP_TABLE", of_environment.as_str())];
    for (arguments, mac) in [
        (&["--arp-table", of_flag.as_str()][..], "3c:6d:66:0a:00:02"),
        (&[], "3c:6d:66:0a:00:01"),
    ] {
        let service = in_own_network(folder.path(), &environment, arguments).service();
        let body = r#"{"stage": "driver", "phase": "done"}"#;
        let answer = curl_beside(&service, &["-d", body, "http://10.88.0.1:8088/heartbeat"]);
        assert!(
            answer.starts_with(&format!(r#"{{"mac":"{mac}""#)),
            "{answer}"
        );
    }
}

#[test]
fn without_any_setting_it_serves_on_127_0_0_1_8088_and_prints_what_to_try() {
    needs!(Need::NetworkNamespaces, Need::Program("nsenter"));
    let folder = tempfile::tempdir().unwrap();
    let printed = folder.path().join("printed");
    let mut start = in_own_network(folder.path(), &[], &[]);
    start.command.stdout(File::create(&printed).unwrap());
    let service = start.service();
    assert_eq!(service.address, "127.0.0.1:8088".parse().unwrap());
    let text = eventually("all that is printed", || {
        let text = fs::read_to_string(&printed).unwrap();
        text.ends_with("/healthz\n").then_some(text)
    });
    assert!(
        text.starts_with(
            "gb10-provision-api serves on http://127.0.0.1:8088; open that in a browser, or try:\n"
        ),
        "{text}"
    );
    // Each of the lines to try does what it says.
    let commands: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
    assert_eq!(commands.len(), 4, "{text}");
    let outcomes = [
        "#cloud-config\n",
        r#"{"mac":"00:00:5e:00:53:01""#,
        "{\n\"00:00:5e:00:53:01\": {",
        r#"{"status":"ok""#,
    ];
    for (line, outcome) in commands.iter().zip(outcomes) {
        let line = line.strip_prefix("curl ").unwrap();
        let arguments: Vec<String> = line
            .split('\'')
            .enumerate()
            .flat_map(|(index, part)| match index % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect(),
                _ => vec![part.to_owned()],
            })
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let answer = curl_beside(&service, &arguments);
        assert!(answer.starts_with(outcome), "{line}: {answer}");
    }
    assert!(folder.path().join("data/state/clients.json").exists());
}

#[test]
fn nobody_who_reads_along_is_needed() {
    // `gb10-provision-api | head -1`, and a terminal that was closed.
    let folder = tempfile::tempdir().unwrap();
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        OwnedFd::from(writer)
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut command = Command::new(BINARY);
    command
        .env("DATA_PATH", folder.path())
        .env("LISTEN", address.to_string());
    command.env("LOG", "trace").stdout(gone()).stderr(gone());
    let mut child = command.spawn().unwrap();
    let beat = || {
        let body = heartbeat_body();
        request(address, "POST", "/heartbeat", &[], body.as_bytes()).ok()
    };
    let ended = || child.try_wait().unwrap();
    let answer = eventually("an answer, or the end", {
        let mut ended = ended;
        move || beat().map(Ok).or_else(|| ended().map(Err))
    });
    let outcome = answer.map(|answer| answer.status);
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(outcome, Ok(200));
}

// Sockets.

#[test]
fn a_wildcard_address_is_refused() {
    for address in [
        "0.0.0.0:0",
        "[::]:0",
        "[::ffff:0.0.0.0]:0",
        "127.0.0.1:0,0.0.0.0:0",
    ] {
        let (code, log) = failed_start(Start::fresh().env("LISTEN", address));
        assert_eq!(code, 2, "{address}: {log}");
        let last = log.lines().last().unwrap();
        for part in [
            "ERROR refusing to listen on ",
            "a wildcard address is open to every network of this host, the WAN included",
            "name the LAN address instead",
        ] {
            assert!(last.contains(part), "{address}: {log}");
        }
    }
}

#[test]
fn an_address_that_cannot_be_bound_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    // 192.0.2.0/24 is for documentation (RFC 5737): no host has an address of it.
    for (address, reason) in [
        (taken.as_str(), "Address already in use"),
        ("192.0.2.1:8088", "Cannot assign requested address"),
    ] {
        let (code, log) = failed_start(Start::fresh().env("LISTEN", address));
        assert_eq!(code, 1, "{log}");
        let expected = format!("ERROR cannot listen on {address}: {reason}");
        assert!(log.contains(&expected), "{log}");
    }
    drop(holder);
}

#[test]
fn every_address_of_listen_is_served() {
    let service = Start::fresh()
        .env("LISTEN", "127.0.0.1:0,127.0.0.3:0")
        .service();
    let line = service.wait_for_log(&["listening on http://127.0.0.3:"]);
    let (_, second) = line.split_once("http://").unwrap();
    let second: SocketAddr = second.split(' ').next().unwrap().parse().unwrap();
    for address in [service.address, second] {
        assert_eq!(
            request(address, "GET", "/healthz", &[], b"")
                .unwrap()
                .status,
            200
        );
    }
}

fn listening() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener.into(), address)
}

#[test]
fn sockets_passed_by_systemd_are_served_and_nothing_else_is_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (one, first) = listening();
    let (two, second) = listening();
    for sockets in [
        vec![(one.try_clone().unwrap(), first)],
        vec![(one, first), (two, second)],
    ] {
        let (fds, addresses): (Vec<OwnedFd>, Vec<SocketAddr>) = sockets.into_iter().unzip();
        // Which would be refused, if anybody looked at it.
        let start = Start::on_sockets(folder.path(), fds).env("LISTEN", "0.0.0.0:8088");
        let service = start.service();
        for address in &addresses {
            service.wait_for_log(&[&format!("listening on http://{address}")]);
            for _ in 0..3 {
                let answer = request(*address, "GET", "/healthz", &[], b"").unwrap();
                assert_eq!(answer.status, 200);
            }
        }
        assert_eq!(
            service.log().matches("listening on").count(),
            addresses.len()
        );
        let sockets = listening_sockets(&service);
        assert_eq!(sockets, addresses.len());
    }
}

/// How many TCP sockets the service listens on.
fn listening_sockets(service: &Service) -> usize {
    let proc = format!("/proc/{}", service.pid().as_raw_nonzero());
    let listening: Vec<String> = ["net/tcp", "net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("{proc}/{table}")).ok())
        .flat_map(|table| table.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            // proc(5): the state, where 0A is LISTEN, and the inode.
            (columns[3] == "0A").then(|| format!("socket:[{}]", columns[9]))
        })
        .collect();
    let fds = fs::read_dir(format!("{proc}/fd")).unwrap();
    let targets = fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    targets
        .filter(|target| {
            listening
                .iter()
                .any(|socket| target.as_os_str() == socket.as_str())
        })
        .count()
}

#[test]
fn sockets_that_were_passed_to_another_process_are_not_taken() {
    let service = Start::fresh()
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1")
        .service();
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn a_passed_socket_that_cannot_be_served_stops_the_start_with_a_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let wildcard = |address: &str| OwnedFd::from(TcpListener::bind(address).unwrap());
    let unix = folder.path().join("socket");
    let only_bound = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&only_bound, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(peer.local_addr().unwrap()).unwrap();
    let not_tcp = "ERROR socket 0 passed by systemd is not a listening TCP socket (expected ListenStream=ADDRESS:PORT): ";
    let refused = "ERROR refusing to listen on ";
    let mut kinds: Vec<(&str, OwnedFd, &str)> = vec![
        ("0.0.0.0", wildcard("0.0.0.0:0"), refused),
        (
            "UDP",
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            not_tcp,
        ),
        ("unix", UnixListener::bind(unix).unwrap().into(), not_tcp),
        (
            "a file",
            File::open("/etc/hostname")
                .or_else(|_| File::open(BINARY))
                .unwrap()
                .into(),
            not_tcp,
        ),
        ("not listening", only_bound, not_tcp),
        ("Accept=yes", connected.into(), not_tcp),
    ];
    if TcpListener::bind("[::]:0").is_ok() {
        kinds.push(("[::]", wildcard("[::]:0"), refused));
    }
    for (kind, fd, expected) in kinds {
        let (code, log) = failed_start(Start::on_sockets(folder.path(), [fd]));
        assert_eq!(code, 1, "{kind}: {log}");
        assert!(
            log.lines().last().unwrap().contains(expected),
            "{kind}: {log}"
        );
    }
    // One bad socket among good ones is no less bad.
    let (good, _) = listening();
    let bad = wildcard("0.0.0.0:0");
    let (code, log) = failed_start(Start::on_sockets(folder.path(), [good, bad]));
    assert_eq!(code, 1);
    assert!(log.contains(refused), "{log}");
}

#[test]
fn systemds_own_socket_activation_starts_it() {
    needs!(Need::Program("systemd-socket-activate"));
    let folder = tempfile::tempdir().unwrap();
    let (fd, address) = listening();
    drop(fd);
    let mut activate = Command::new("systemd-socket-activate");
    activate.arg(format!("--listen={address}"));
    activate.arg(format!("--setenv=DATA_PATH={}", folder.path().display()));
    activate.arg(BINARY);
    let service = Start::by(activate, folder.path()).service_at(address);
    // The first connection starts it, and is served.
    let answer = eventually("a socket", || {
        request(address, "GET", "/healthz", &[], b"").ok()
    });
    assert_eq!(answer.status, 200);
    service.wait_for_log(&[&format!("listening on http://{address}")]);
    assert!(service.stop().success());
}

// Signals.

#[test]
fn sigterm_refuses_new_connections_and_finishes_what_is_under_way() {
    let mut service = Start::fresh().service();
    let address = service.address;
    let mut stream = begin_heartbeat(&service);
    service.signal(Signal::TERM);
    eventually("connections to be refused", || {
        is_refused(address).then_some(())
    });
    assert!(service.log().contains("INFO stopping"), "{}", service.log());
    stream.write_all(heartbeat_body().as_bytes()).unwrap();
    let answer = read_response(&mut stream).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["mac"], MAC);
    assert_eq!(service.wait_for_end().code(), Some(0));
    let file = fs::read_to_string(service.state_file()).unwrap();
    assert!(file.contains(MAC), "{file}");
    service.wait_for_log(&["INFO stopped"]);
}

/// A download that was begun and of which nothing more is read.
fn begin_download(service: &Service, length: u64) -> TcpStream {
    service.stage("onboard/model", "");
    let path = service.data.join("onboard/model");
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(length)
        .unwrap();
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
        .write_all(b"GET /onboard/model HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

#[test]
fn sigterm_lets_a_download_come_to_its_end() {
    let mut service = Start::fresh().service();
    let length = 64 << 20;
    let mut stream = begin_download(&service, length);
    service.signal(Signal::TERM);
    eventually("connections to be refused", || {
        is_refused(service.address).then_some(())
    });
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let end = rest
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    assert_eq!((rest.len() - end - 4) as u64, length);
    assert_eq!(service.wait_for_end().code(), Some(0));
}

#[test]
fn sigterm_waits_at_most_10_s_for_one_that_is_stuck() {
    let mut service = Start::fresh().service();
    let stuck = begin_download(&service, 1 << 30);
    let begin = Instant::now();
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_end().code(), Some(0));
    let took = begin.elapsed();
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(13)).contains(&took),
        "{took:?}"
    );
    service.wait_for_log(&["WARN", "connections are cut", "open=1"]);
    drop(stuck);
}

#[test]
fn sigterm_waits_for_no_idle_or_silent_connection() {
    let mut service = Start::fresh().service();
    let silent = TcpStream::connect(service.address).unwrap();
    let mut idle = TcpStream::connect(service.address).unwrap();
    idle.set_read_timeout(Some(TIMEOUT)).unwrap();
    idle.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    // A later connection was served, so the silent one is accepted as well.
    assert_eq!(service.get("/healthz").status, 200);
    let begin = Instant::now();
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_end().code(), Some(0));
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    drop((silent, idle));
}

#[test]
fn sigint_ends_it_like_sigterm() {
    let mut service = Start::fresh().service();
    let mut stream = begin_heartbeat(&service);
    service.signal(Signal::INT);
    eventually("connections to be refused", || {
        is_refused(service.address).then_some(())
    });
    stream.write_all(heartbeat_body().as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 200);
    assert_eq!(service.wait_for_end().code(), Some(0));
}

#[test]
fn a_restart_on_a_passed_socket_refuses_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, address) = listening();
    let start = || Start::on_sockets(folder.path(), [socket.try_clone().unwrap()]);
    let first = start().service();
    assert_eq!(first.heartbeat(MAC, "driver", "start").status, 200);
    assert!(first.stop().success());
    // Nobody accepts now. Whoever connects waits in the kernel's queue.
    let mut between = TcpStream::connect(address).unwrap();
    between.set_read_timeout(Some(TIMEOUT)).unwrap();
    let body = heartbeat_body();
    let head = heartbeat_head(body.len(), "Connection: close\r\n");
    between.write_all((head + &body).as_bytes()).unwrap();
    let second = start().service();
    let answer = read_response(&mut between).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["stages"].as_array().unwrap().len(), 2);
    assert!(second.stop().success());
}

#[test]
fn sighup_reads_templates_and_state_again_and_says_so() {
    let service = Start::fresh().service();
    let pid = service.pid();
    service.stage(
        "cloud-init-templates/user-data.yaml.j2",
        "#cloud-config\n{{ nope }}\n",
    );
    fs::write(service.state_file(), "broken").unwrap();
    let mut kept = begin_heartbeat(&service);
    service.signal(Signal::HUP);
    service.wait_for_log(&["INFO reloaded"]);
    // Faults show at once, not when the next box boots.
    let log = service.log();
    assert!(log.contains("WARN a staged template has a fault"), "{log}");
    assert!(log.contains("ERROR clients.json is corrupt"), "{log}");
    // What was under way goes on.
    kept.write_all(heartbeat_body().as_bytes()).unwrap();
    let mut answer = [0; 12];
    kept.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(service.pid(), pid);
    assert_eq!(service.get("/healthz").json()["status"], "degraded");
    assert!(service.stop().success());
}

// What systemd is told, sd_notify(3).

/// The socket that systemd would have.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self { socket, folder }
    }

    /// A service whose data folder is beside the socket.
    fn start(&self) -> Start {
        Start::on(self.folder.path()).env("NOTIFY_SOCKET", self.folder.path().join("notify"))
    }

    /// The next message: its lines.
    fn message(&self) -> Vec<String> {
        let mut buffer = [0; 8192];
        let length = self.socket.recv(&mut buffer).expect("a message");
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The next message that has such a line.
    fn message_with(&self, start: &str) -> Vec<String> {
        loop {
            let message = self.message();
            if message.iter().any(|line| line.starts_with(start)) {
                return message;
            }
        }
    }

    /// Whether nothing comes for so long.
    fn is_silent_for(&self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let silent = self.socket.recv(&mut [0; 8192]).is_err();
        self.socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        silent
    }
}

#[test]
fn systemd_learns_of_ready_once_state_and_templates_are_loaded() {
    let manager = Manager::new();
    let record = |stage: &str, phase: &str| {
        format!(
            r#"{{"current_stage": "{stage}", "last_heartbeat": "2026-01-01T00:00:00.000Z", "stages": [{{"stage": "{stage}", "phase": "{phase}", "timestamp": "2026-01-01T00:00:00.000Z"}}]}}"#
        )
    };
    let state = format!(
        r#"{{"3c:6d:66:00:00:01": {}, "3c:6d:66:00:00:02": {}, "3c:6d:66:00:00:03": {}}}"#,
        record("ready", "done"),
        record("driver", "fail"),
        record("install", "start"),
    );
    let service = manager
        .start()
        .stage("state/clients.json", &state)
        .stage(
            "cloud-init-templates/user-data.yaml.j2",
            "#cloud-config\n{{ nope }}\n",
        )
        .service();
    // The very first message knows all of it.
    let message = manager.message();
    assert_eq!(message.len(), 2, "{message:?}");
    assert_eq!(message[0], "READY=1");
    assert!(
        message[1].starts_with("STATUS=3 devices, 1 ready, 1 failed, 0 stalled; last heartbeat 2026-01-01T00:00:00.000Z; template broken: user-data.yaml.j2:2: undefined value"),
        "{message:?}"
    );
    assert_eq!(service.get("/healthz").json()["clients"], 3);
}

#[test]
fn systemd_is_told_how_things_stand() {
    let manager = Manager::new();
    let service = manager.start().service();
    assert_eq!(
        manager.message(),
        [
            "READY=1",
            "STATUS=0 devices, 0 ready, 0 failed, 0 stalled; last heartbeat never; templates ok"
        ]
    );
    let record = service.heartbeat(MAC, "driver", "fail").json();
    let time = record["last_heartbeat"].as_str().unwrap();
    assert_eq!(
        manager.message(),
        [format!(
            "STATUS=1 devices, 0 ready, 1 failed, 0 stalled; last heartbeat {time}; templates ok"
        )]
    );
    // Nothing new is nothing to tell.
    assert!(manager.is_silent_for(Duration::from_millis(1_500)));
}

#[test]
fn systemd_is_told_of_reload_and_stop() {
    let manager = Manager::new();
    let mut service = manager.start().service();
    manager.message_with("READY=1");
    for _ in 0..2 {
        let before = monotonic_microseconds();
        service.signal(Signal::HUP);
        // In one message, as Type=notify-reload wants it.
        let message = manager.message();
        assert_eq!(message.len(), 2, "{message:?}");
        assert_eq!(message[0], "RELOADING=1");
        let time: i128 = message[1]
            .strip_prefix("MONOTONIC_USEC=")
            .unwrap()
            .parse()
            .unwrap();
        assert!((before..=monotonic_microseconds()).contains(&time));
        assert_eq!(manager.message()[0], "READY=1");
    }
    let stuck = begin_heartbeat(&service);
    service.signal(Signal::TERM);
    let message = manager.message();
    assert_eq!(message[0], "STOPPING=1");
    // Longer than what is under way may take.
    assert_eq!(message[1], "EXTEND_TIMEOUT_USEC=15000000");
    drop(stuck);
    assert!(service.wait_for_end().success());
    assert!(manager.is_silent_for(Duration::from_millis(100)));
}

fn monotonic_microseconds() -> i128 {
    match NotifyState::monotonic_usec_now() {
        Ok(NotifyState::MonotonicUsec(now)) => now,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_watchdog_is_fed_in_time_and_not_by_a_process_that_hangs() {
    let manager = Manager::new();
    let service = manager.start().env("WATCHDOG_USEC", "600000").service();
    manager.message_with("READY=1");
    let mut last = Instant::now();
    for _ in 0..5 {
        assert_eq!(manager.message_with("WATCHDOG=1"), ["WATCHDOG=1"]);
        assert!(
            last.elapsed() < Duration::from_millis(600),
            "{:?}",
            last.elapsed()
        );
        last = Instant::now();
    }
    service.signal(Signal::STOP);
    // What was on its way when it stopped may still come.
    manager.is_silent_for(Duration::from_millis(300));
    assert!(manager.is_silent_for(Duration::from_millis(1_200)));
    service.signal(Signal::CONT);
    manager.message_with("WATCHDOG=1");
}

#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let manager = Manager::new();
    let start = manager
        .start()
        .env("WATCHDOG_USEC", "100000")
        .env("WATCHDOG_PID", "1");
    let _service = start.service();
    manager.message_with("READY=1");
    assert!(manager.is_silent_for(Duration::from_millis(500)));
}
