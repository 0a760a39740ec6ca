//! HTTP manners: problems, methods, slashes, connections kept, refused, timed out and bounded, and
//! what `/healthz` says.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::needs::{Need, needs};
use crate::support::system::Mount;
use crate::support::*;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::{Value, json};

const MAC: &str = "3c:6d:66:0a:1b:2c";

/// A connection that is kept.
struct Kept {
    stream: BufReader<TcpStream>,
}

impl Kept {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Sends a GET, and reads the answer.
    fn get(&mut self, target: &str) -> (u16, Vec<u8>) {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        self.answer()
    }

    /// Reads one answer, and leaves what follows it.
    fn answer(&mut self) -> (u16, Vec<u8>) {
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let line = line
                .strip_suffix("\r\n")
                .expect("a line of the answer's head");
            match line.split_once(": ") {
                None if line.is_empty() => break,
                None => status = line.split(' ').nth(1).and_then(|code| code.parse().ok()),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap();
                }
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (status.unwrap(), body)
    }

    /// Waits for the service to close, and tells how long that took.
    fn time_to_close(mut self) -> Duration {
        let begin = Instant::now();
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = self.stream.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest), "");
        begin.elapsed()
    }
}

/// Sends bytes as they are, and reads until the service closes.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A connection from another loopback address than the usual.
fn connect_from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(source, 0)).unwrap();
    connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

#[test]
fn what_is_not_served_is_a_404_problem() {
    let service = Start::fresh().service();
    for target in [
        "/favicon.ico",
        "/board",
        "/board/",
        "/cloud-init",
        "/cloud-init/",
        "/cloud-init/other-data",
        "/cloud-init/3c:6d:66:0a:1b:2c/other-data",
        "/cloud-init/a/b/user-data",
        "/clients/",
        "/clients/3c:6d:66:0a:1b:2c/stages",
        "/heartbeat/",
        "/healthz/",
        "/HEALTHZ",
        "/healthz%2f",
        "*",
        "/%ff",
    ] {
        let answer = service.get(target);
        let problem = answer.problem(404);
        assert_eq!(
            problem,
            json!({
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "no such route: expected one of /, /board/…, /boot/…, /cloud-init/…, /onboard/…, /images/…, /bootaa64.efi, /grubaa64.efi, /heartbeat, /report/…, /logs/…, /clients, /metrics, /healthz",
            }),
            "{target}"
        );
    }
}

#[test]
fn a_method_that_is_not_served_is_a_405_problem_with_allow() {
    let service = Start::fresh().stage("onboard/file", "x").service();
    let get_head = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"];
    let post = ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"];
    for (target, methods, allow) in [
        ("/cloud-init/?mac=user-data", get_head, "GET,HEAD"),
        ("/cloud-init/user-data", get_head, "GET,HEAD"),
        (
            "/cloud-init/3c:6d:66:0a:1b:2c/user-data",
            get_head,
            "GET,HEAD",
        ),
        ("/onboard/file", get_head, "GET,HEAD"),
        ("/heartbeat", post, "POST"),
        ("/clients", get_head, "GET,HEAD"),
        ("/clients/3c:6d:66:0a:1b:2c", get_head, "GET,HEAD"),
        ("/healthz", get_head, "GET,HEAD"),
    ] {
        for method in methods {
            let answer = request(service.address, method, target, &[], b"").unwrap();
            assert_eq!(answer.status, 405, "{method} {target}");
            assert_eq!(answer.header("allow"), allow, "{method} {target}");
            if method == "HEAD" {
                assert_eq!(answer.body, b"");
                continue;
            }
            let detail = answer.problem(405)["detail"].clone();
            assert_eq!(
                detail,
                "this method is not allowed here: see the Allow header"
            );
        }
    }
}

#[test]
fn head_is_get_without_the_body() {
    let service = Start::fresh().stage("onboard/file", "content").service();
    assert_eq!(service.heartbeat(MAC, "driver", "done").status, 200);
    for target in [
        "/cloud-init/user-data?mac=3c:6d:66:0a:1b:2c",
        "/cloud-init/3c:6d:66:0a:1b:2c/meta-data",
        "/cloud-init/vendor-data",
        "/cloud-init/?mac=3c:6d:66:0a:1b:2cuser-data",
        "/onboard/file",
        "/clients",
        "/clients/3c:6d:66:0a:1b:2c",
        "/healthz",
        "/clients/3c:6d:66:0a:1b:2d",
        "/clients/nonsense",
        "/nothing",
    ] {
        let get = service.get(target);
        let head = request(service.address, "HEAD", target, &[], b"").unwrap();
        assert_eq!(head.status, get.status, "{target}");
        assert_eq!(head.body, b"", "{target}");
        for name in ["content-type", "content-length"] {
            assert_eq!(head.header(name), get.header(name), "{target} {name}");
        }
        let length = get.header("content-length");
        assert_eq!(length, get.body.len().to_string(), "{target}");
    }
}

#[test]
fn doubled_slashes_in_a_path_count_as_one() {
    let service = Start::fresh().stage("onboard/folder/file", "x").service();
    let record = service.heartbeat(MAC, "driver", "done");
    assert_eq!(
        service.get("//clients///3c:6d:66:0a:1b:2c").body,
        record.body
    );
    assert_eq!(service.get("///onboard//folder////file").text(), "x");
    assert_eq!(service.get("//healthz").status, 200);
    let seed = service.get("/cloud-init/3c:6d:66:0a:1b:2c/meta-data");
    assert_eq!(seed.status, 200);
    for target in [
        "//cloud-init//3c:6d:66:0a:1b:2c//meta-data",
        "/cloud-init//meta-data?mac=3c:6d:66:0a:1b:2c",
        "//cloud-init//?mac=3c:6d:66:0a:1b:2cmeta-data",
    ] {
        assert_eq!(service.get(target).text(), seed.text(), "{target}");
    }
    let body = format!(r#"{{"mac": "{MAC}", "stage": "ready", "phase": "done"}}"#);
    assert_eq!(service.post("//heartbeat", &body).status, 200);
    // The query is left as it is.
    assert_eq!(
        service
            .get("/cloud-init/meta-data?a=//&mac=3c:6d:66:0a:1b:2c")
            .text(),
        seed.text()
    );
}

#[test]
fn a_connection_serves_many_requests_errors_included() {
    let service = Start::fresh().stage("onboard/file", "content").service();
    let mut kept = Kept::open(service.address);
    let bad = r#"{"stage": "nope", "phase": "done"}"#;
    let post = |body: &str| {
        format!(
            "POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for round in 1..=20 {
        assert_eq!(kept.get("/healthz").0, 200);
        assert_eq!(kept.get("/nothing").0, 404);
        assert_eq!(kept.get("/onboard/file"), (200, b"content".to_vec()));
        kept.send(&post(bad));
        assert_eq!(kept.answer().0, 422);
        kept.send("DELETE /clients HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(kept.answer().0, 405);
        kept.send(&post(&format!(
            r#"{{"mac": "{MAC}", "stage": "driver", "phase": "progress"}}"#
        )));
        let (status, record) = kept.answer();
        assert_eq!(status, 200);
        let record: Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(record["stages"].as_array().unwrap().len(), round);
    }
    // Requests that are sent without waiting are answered in their order.
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let three = [
        get("/onboard/file"),
        get("/nothing"),
        get("/clients/3c:6d:66:0a:1b:2c"),
    ];
    kept.send(&three.concat());
    assert_eq!(kept.answer(), (200, b"content".to_vec()));
    assert_eq!(kept.answer().0, 404);
    let (status, record) = kept.answer();
    assert_eq!(status, 200);
    assert!(record.starts_with(br#"{"mac":"3c:6d:66:0a:1b:2c""#));
}

#[test]
fn http_1_0_and_absolute_targets_are_understood() {
    let service = Start::fresh().service();
    // Some boot loaders speak 1.0, without a Host.
    let answer = exchange(
        service.address,
        b"GET /cloud-init/vendor-data HTTP/1.0\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    let absolute = format!(
        "GET http://{0}/healthz HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n",
        service.address
    );
    let answer = exchange(service.address, absolute.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    // `curl` asks so before a large body.
    let mut kept = Kept::open(service.address);
    let body = format!(r#"{{"mac": "{MAC}", "stage": "driver", "phase": "done"}}"#);
    kept.send(&format!(
        "POST /heartbeat HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    assert_eq!(kept.answer().0, 100);
    kept.send(&body);
    assert_eq!(kept.answer().0, 200);
}

#[test]
fn a_malformed_request_is_refused_and_the_service_lives() {
    let service = Start::fresh().service();
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20);
    let kinds: [&[u8]; 13] = [
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /heal thz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nna\x00me: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\x01b\r\n\r\n",
        b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\r\n\r\n",
        &tls_hello,
    ];
    for bytes in kinds {
        let answer = exchange(service.address, bytes);
        let shown = String::from_utf8_lossy(bytes);
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{shown}: {answer}"
        );
    }
    // HTTP/2 is not spoken: closed without an answer, which its preface would not understand.
    let answer = exchange(service.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(answer, "");
    // A proxy's request is no request of ours, but well-formed.
    let answer = exchange(
        service.address,
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert!(
        answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 405 "),
        "{answer}"
    );
    assert_eq!(service.get("/healthz").json()["status"], "ok");
    assert_eq!(service.get("/clients").text(), "{\n}\n");
    assert!(!service.log().contains("panicked"), "{}", service.log());
}

#[test]
fn a_head_over_16_kib_is_a_431() {
    let service = Start::fresh().service();
    let head = |padding: usize| {
        let padding = "x".repeat(padding);
        format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {padding}\r\n\r\n")
    };
    let answer = exchange(service.address, head(8 * 1024).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(20 * 1024));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200));
    for bytes in [head(20 * 1024), head(4 * 1024 * 1024), long_target, many] {
        let answer = exchange(service.address, bytes.as_bytes());
        // The reset that closes on what was never read may overtake the answer.
        let refused = "HTTP/1.1 431 Request Header Fields Too Large\r\n";
        assert!(answer.is_empty() || answer.starts_with(refused), "{answer}");
    }
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn a_connection_that_stays_silent_is_closed_after_10_s() {
    let service = Start::fresh().service();
    let silent = Kept::open(service.address);
    let mut half_a_head = Kept::open(service.address);
    half_a_head.send("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Part: ");
    let mut idle = Kept::open(service.address);
    assert_eq!(idle.get("/healthz").0, 200);
    let times = std::thread::scope(|scope| {
        [silent, half_a_head, idle]
            .map(|kept| scope.spawn(|| kept.time_to_close()))
            .map(|thread| thread.join().unwrap())
    });
    for time in times {
        assert!(
            (Duration::from_millis(9_500)..Duration::from_secs(15)).contains(&time),
            "{times:?}"
        );
    }
}

#[test]
fn a_head_that_drips_is_cut_after_10_s() {
    let service = Start::fresh().service();
    let mut stream = TcpStream::connect(service.address).unwrap();
    let begin = Instant::now();
    let mut byte = [0];
    // A byte every half second is a sign of life, but no request.
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nX: ").unwrap();
    while begin.elapsed() < TIMEOUT {
        match stream.read(&mut byte) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if stream.write_all(b"x").is_err() {
                    break;
                }
            }
            _ => break,
        }
    }
    let took = begin.elapsed();
    assert!(
        (Duration::from_millis(9_500)..Duration::from_secs(15)).contains(&took),
        "{took:?}"
    );
}

#[test]
fn a_thousand_silent_connections_do_not_keep_a_heartbeat_waiting() {
    // One address gets three quarters of the places at most.
    needs!(Need::OpenFiles(2_500));
    let service = Start::fresh()
        .env("MAX_CONNECTIONS", "1400")
        .env("PEER_CONNECTIONS", "1024")
        .service();
    let silent: Vec<TcpStream> = (0..1_000)
        .map(|_| TcpStream::connect(service.address).unwrap())
        .collect();
    // All of them are accepted, and none is closed yet.
    let fds = format!("/proc/{}/fd", service.pid().as_raw_nonzero());
    eventually("1,000 accepted connections", || {
        (fs::read_dir(&fds).unwrap().count() >= 1_000).then_some(())
    });
    for phase in ["start", "progress", "done"] {
        let begin = Instant::now();
        assert_eq!(service.heartbeat(MAC, "driver", phase).status, 200);
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(2), "{phase}: {took:?}");
    }
    let seed = service.get("/cloud-init/user-data?mac=3c:6d:66:0a:1b:2c");
    assert!(seed.text().starts_with("#cloud-config\n"));
    assert!(fs::read_dir(&fds).unwrap().count() >= 1_000);
    drop(silent);
}

#[test]
fn connections_over_the_limit_wait_for_a_place() {
    let service = Start::fresh().env("MAX_CONNECTIONS", "2").service();
    let mut first = Kept::open(service.address);
    let mut second = Kept::open(service.address);
    assert_eq!(first.get("/healthz").0, 200);
    assert_eq!(second.get("/healthz").0, 200);
    // The kernel takes the third, the service does not.
    let mut third = Kept::open(service.address);
    third.send("GET /onboard/none HTTP/1.1\r\nHost: x\r\n\r\n");
    let pause = Duration::from_millis(300);
    third
        .stream
        .get_ref()
        .set_read_timeout(Some(pause))
        .unwrap();
    let early = third.stream.fill_buf().map(<[u8]>::len);
    assert!(early.is_err(), "served beyond the limit: {early:?} bytes");
    assert_eq!(first.get("/healthz").0, 200);
    third
        .stream
        .get_ref()
        .set_read_timeout(Some(TIMEOUT))
        .unwrap();
    drop(second);
    assert_eq!(third.answer().0, 404);
    // Places come back however a connection ends.
    drop((first, third));
    for _ in 0..5 {
        exchange(service.address, b"nonsense\r\n\r\n");
        let mut broken = Kept::open(service.address);
        broken.send("POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{");
        drop(broken);
        drop(Kept::open(service.address));
        assert_eq!(service.get("/healthz").status, 200);
    }
}

#[test]
fn a_peer_outside_the_allowed_networks_is_closed_unread_and_counted() {
    let service = Start::fresh()
        .env("ALLOWED_NETWORKS", "127.0.0.1/32,10.88.0.0/24")
        .service();
    assert_eq!(service.get("/healthz").json()["peers_refused"], 0);
    let stranger = Ipv4Addr::new(127, 0, 0, 2);

    // Closed without a word from it.
    let mut silent = connect_from(stranger, service.address);
    let mut answer = Vec::new();
    let begin = Instant::now();
    let _ = silent.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    assert!(begin.elapsed() < Duration::from_secs(5));

    // And nothing that it says counts.
    for _ in 0..2 {
        let body = format!(r#"{{"mac": "{MAC}", "stage": "ready", "phase": "done"}}"#);
        let mut stream = connect_from(stranger, service.address);
        let _ = write!(
            stream,
            "POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    assert_eq!(service.get("/healthz").json()["peers_refused"], 3);
    assert_eq!(service.get("/clients").text(), "{\n}\n");
    service.wait_for_log(&[
        "WARN",
        "outside the allowed networks",
        "127.0.0.2",
        "refused=1",
    ]);
}

#[test]
fn only_loopback_and_the_provisioning_lan_are_allowed_unless_told_otherwise() {
    // Loopback as a whole is by default; where it is not in the list, it is refused too.
    let service = Start::fresh().service();
    let mut stream = connect_from(Ipv4Addr::new(127, 9, 9, 9), service.address);
    write!(
        stream,
        "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 200);

    let service = Start::fresh()
        .env("ALLOWED_NETWORKS", "10.88.0.0/24")
        .service();
    assert!(request(service.address, "GET", "/healthz", &[], b"").is_err());
    service.wait_for_log(&["WARN", "outside the allowed networks", "127.0.0.1"]);
}

#[test]
fn a_peer_of_ipv6_is_admitted_by_its_own_networks() {
    needs!(Need::Ipv6);
    let service = Start::fresh().env("LISTEN", "[::1]:0").service();
    assert_eq!(service.get("/healthz").status, 200);
    let service = Start::fresh()
        .env("LISTEN", "[::1]:0")
        .env("ALLOWED_NETWORKS", "127.0.0.0/8")
        .service();
    assert!(request(service.address, "GET", "/healthz", &[], b"").is_err());
}

#[test]
fn healthz_says_what_works() {
    let service = Start::fresh().service();
    assert_eq!(service.heartbeat(MAC, "driver", "done").status, 200);
    let health = service.get("/healthz");
    assert_eq!(health.header("content-type"), "application/json");
    assert_eq!(
        (health.status, health.text()),
        (
            200,
            r#"{"status":"ok","version":"0.1.0","state_writable":true,"template_renders":true,"clients":1,"ready":0,"on_their_way":1,"failed":0,"stalled":0,"peers_refused":0,"connections_over_limit":0}"#
        )
    );
    // It leaves nothing behind.
    let files = fs::read_dir(service.data.join("state")).unwrap().count();
    assert_eq!(files, 2, "clients.json and its lock");

    // A broken template: boxes get the fallback, which is degraded but not down.
    service.stage(
        "cloud-init-templates/user-data.yaml.j2",
        "#cloud-config\n{{ nope }}\n",
    );
    let health = service.get("/healthz");
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["status"], "degraded");
    assert_eq!(health.json()["template_renders"], false);
    service.stage(
        "cloud-init-templates/user-data.yaml.j2",
        "#cloud-config\nhostname: x\n",
    );
    assert_eq!(service.get("/healthz").json()["status"], "ok");
}

#[test]
fn healthz_is_a_503_while_the_state_cannot_be_written() {
    // A file where the folder should be.
    let service = Start::fresh().stage("state", "in the way").service();
    let health = service.get("/healthz");
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["status"], "failing");
    assert_eq!(health.json()["state_writable"], false);
    service.wait_for_log(&["WARN", "the state is not writable"]);
    // Boxes boot all the same; what they report is refused, not lost without a word.
    let seed = service.get("/cloud-init/user-data?mac=3c:6d:66:0a:1b:2c");
    assert!(seed.text().starts_with("#cloud-config\n"));
    let refused = service.heartbeat(MAC, "driver", "done");
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "2");
    // It goes on by itself.
    fs::remove_file(service.data.join("state")).unwrap();
    assert_eq!(service.heartbeat(MAC, "driver", "done").status, 200);
    let health = service.get("/healthz");
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &json!("ok"))
    );
}

#[test]
fn healthz_is_a_503_while_the_state_is_mounted_read_only() {
    needs!(Need::Mounts);
    let service = Start::fresh().service();
    assert_eq!(service.heartbeat(MAC, "driver", "start").status, 200);
    let state = service.data.join("state");
    let mount = Mount::new(&["--bind", state.to_str().unwrap()], &state);
    mount.remount("bind,ro");
    let health = service.get("/healthz");
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &json!("failing"))
    );
    let refused = service.heartbeat(MAC, "driver", "progress");
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "2");
    // What is on record can still be read.
    let record = service.get(&format!("/clients/{MAC}")).json();
    assert_eq!(record["stages"].as_array().unwrap().len(), 1);
    mount.remount("bind,rw");
    assert_eq!(service.get("/healthz").status, 200);
    assert_eq!(service.heartbeat(MAC, "driver", "done").status, 200);
    drop(service); // which keeps the mount busy
}

/// Needs a fault: nothing that works takes so long. An fsync is made to take 32 s.
#[test]
fn a_request_that_takes_over_30_s_is_a_504() {
    needs!(Need::Strace);
    let folder = tempfile::tempdir().unwrap();
    stage(folder.path(), "state/clients.json", "{}");
    // With -D the service is the child of this test, and strace ends when it does.
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync"]);
    strace.args(["-e", "inject=fsync:delay_enter=32s:when=1", BINARY]);
    let service = Start::by(strace, folder.path()).service();
    let mut kept = Kept::open(service.address);
    let body = format!(r#"{{"mac": "{MAC}", "stage": "driver", "phase": "done"}}"#);
    let timeout = Some(Duration::from_secs(45));
    kept.stream.get_ref().set_read_timeout(timeout).unwrap();
    let begin = Instant::now();
    kept.send(&format!(
        "POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    // Others are served.
    assert_eq!(service.get("/cloud-init/vendor-data").status, 200);
    let (status, problem) = kept.answer();
    let took = begin.elapsed();
    assert_eq!(status, 504);
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    assert_eq!(
        problem["detail"],
        "the answer took too long: a heartbeat may be on record or not"
    );
    assert!(
        (Duration::from_secs(29)..Duration::from_secs(40)).contains(&took),
        "{took:?}"
    );
}
