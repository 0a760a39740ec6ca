//! The real service in a process of its own, and a plain HTTP/1.1 client for it.

pub mod beats;
pub mod golden;
pub mod lan;
pub mod needs;
pub mod rack;
pub mod system;
pub mod tmux;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_gb10-provision-api");

/// Longest that anything in these tests is waited for.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A running service on a loopback port of its own. Dropping it kills it.
pub struct Service {
    child: Child,
    pub address: SocketAddr,
    pub data: PathBuf,
    log: Arc<Log>,
    _folder: Option<TempDir>,
}

/// The lines that the service wrote to stderr so far.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    news: Condvar,
}

/// How to start a service.
pub struct Start {
    pub command: Command,
    data: PathBuf,
    folder: Option<TempDir>,
}

impl Start {
    /// With an empty data folder of its own.
    pub fn fresh() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        Self {
            folder: Some(folder),
            ..Self::on(&data)
        }
    }

    /// On a data folder that the caller keeps.
    pub fn on(data: &Path) -> Self {
        Self::by(Command::new(BINARY), data)
    }

    /// By a command that ends in the service, such as `strace … gb10-provision-api`.
    pub fn by(mut command: Command, data: &Path) -> Self {
        command
            .env("DATA_PATH", data)
            .env("LISTEN", "127.0.0.1:0")
            .env_remove("JOURNAL_STREAM");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self {
            command,
            data: data.to_owned(),
            folder: None,
        }
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Stages a file in the data folder before the start.
    pub fn stage(self, name: &str, text: &str) -> Self {
        stage(&self.data, name, text);
        self
    }

    /// Starts, and waits until the service listens.
    pub fn service(self) -> Service {
        self.try_service()
            .unwrap_or_else(|(_, log)| panic!("the service did not start:\n{log}"))
    }

    /// Passes sockets as systemd does: from fd 3 on, with LISTEN_FDS and LISTEN_PID. At most two.
    pub fn on_sockets(data: &Path, sockets: impl IntoIterator<Item = OwnedFd>) -> Self {
        let mut start = Self::by(Command::new("sh"), data);
        let mut passed = 0;
        for socket in sockets {
            passed += 1;
            match passed {
                1 => start.command.stdin(socket),
                _ => start.command.stdout(socket),
            };
        }
        // A child's fds beyond 2 cannot be chosen without `unsafe`, so a shell moves them.
        let moves = if passed == 1 { "3<&0" } else { "3<&0 4<&1" };
        let script = format!(
            r#"export LISTEN_PID=$$ LISTEN_FDS={passed}; exec "$0" "$@" {moves} </dev/null >/dev/null"#
        );
        start.command.args(["-c", &script, BINARY]);
        start
    }

    /// Starts on a socket that the caller passes, and waits for nothing: it listens already.
    pub fn service_at(self, address: SocketAddr) -> Service {
        let mut service = self.spawn();
        service.address = address;
        service
    }

    /// Starts; an error has the exit status and the log of a service that ended instead.
    pub fn try_service(self) -> Result<Service, (ExitStatus, String)> {
        let mut service = self.spawn();
        let Some(line) = service
            .log
            .wait_for(|line| line.contains("listening on http://"))
        else {
            let status = service.child.wait().unwrap();
            return Err((status, service.log()));
        };
        let (_, address) = line.split_once("http://").unwrap();
        service.address = address.split_whitespace().next().unwrap().parse().unwrap();
        Ok(service)
    }

    fn spawn(mut self) -> Service {
        let mut child = self.command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Log::default());
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lines.lock().unwrap().0.push(line);
                lines.news.notify_all();
            }
            lines.lines.lock().unwrap().1 = true;
            lines.news.notify_all();
        });
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        Service {
            child,
            address,
            data: self.data,
            log,
            _folder: self.folder,
        }
    }
}

impl Log {
    fn wait_for(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + TIMEOUT;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.0.iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.1 || left.is_zero() {
                return None;
            }
            lines = self.news.wait_timeout(lines, left).unwrap().0;
        }
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().0.join("\n")
    }
}

impl Service {
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Everything that was logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Everything that was logged by a process that has ended.
    pub fn whole_log(&self) -> String {
        self.log.wait_for(|_| false);
        self.log()
    }

    /// Waits for a line of the log that has all of `parts`.
    pub fn wait_for_log(&self, parts: &[&str]) -> String {
        self.log
            .wait_for(|line| parts.iter().all(|part| line.contains(part)))
            .unwrap_or_else(|| panic!("no line with {parts:?} in the log:\n{}", self.log()))
    }

    /// Waits for the end of the process.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        eventually("the end of the service", || self.child.try_wait().unwrap())
    }

    /// SIGTERM, and the exit status.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_end()
    }

    pub fn get(&self, target: &str) -> Response {
        request(self.address, "GET", target, &[], b"").unwrap()
    }

    /// As a box gets it: from an address that is not the service's own end.
    pub fn get_as_box(&self, target: &str) -> Response {
        request_from(Some(BOX), self.address, "GET", target, &[], b"").unwrap()
    }

    pub fn post(&self, target: &str, body: &str) -> Response {
        request(self.address, "POST", target, &[], body.as_bytes()).unwrap()
    }

    pub fn heartbeat(&self, mac: &str, stage: &str, phase: &str) -> Response {
        let body = format!(r#"{{"mac": "{mac}", "stage": "{stage}", "phase": "{phase}"}}"#);
        self.post("/heartbeat", &body)
    }

    pub fn stage(&self, name: &str, text: &str) {
        stage(&self.data, name, text);
    }

    pub fn state_file(&self) -> PathBuf {
        self.data.join("state/clients.json")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file below the data folder, with the folders that it needs.
pub fn stage(data: &Path, name: &str, text: &str) {
    let path = data.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // In one step: half of a file would be a fault of its own.
    let new = path.with_file_name(".being-staged");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Asserts that this is a problem of that status, and returns it.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], "about:blank");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        problem
    }
}

/// A loopback address that is not the service's own end: a box, as far as the service can tell.
pub const BOX: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// One request on a connection of its own. The target goes out as it is given.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    request_from(None, address, method, target, headers, body)
}

/// A connection, from an address of the caller's choice.
pub fn connect_from(source: Option<Ipv4Addr>, address: SocketAddr) -> std::io::Result<TcpStream> {
    let Some(source) = source else {
        return TcpStream::connect(address);
    };
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((source, 0)))?;
    connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

/// The same, from an address of the caller's choice.
pub fn request_from(
    source: Option<Ipv4Addr>,
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        head += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if method == "POST" {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    let mut stream = connect_from(source, address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // A server that refuses a large body may answer and close before it has read it all.
    let sent = stream.write_all(&[head.as_bytes(), body].concat());
    read_response(&mut stream).or_else(|error| sent.and(Err(error)))
}

/// Reads an answer up to the end of the connection.
pub fn read_response(stream: &mut TcpStream) -> std::io::Result<Response> {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    let broken = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "no whole answer");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else {
        return Err(ended.err().unwrap_or_else(broken));
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|s| s.parse().ok());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let body = bytes.split_off(end + 4);
    Ok(Response {
        status: status.ok_or_else(broken)?,
        headers,
        body,
    })
}

/// Runs a program with this as its input, all of which it has to read before it prints much.
pub fn feed(command: &mut Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    process.wait_with_output().unwrap()
}

/// What a program of Debian's Python makes of `input`, which it reads as JSON, and prints as JSON.
pub fn by_python<T: DeserializeOwned>(command: &[&OsStr], input: &impl Serialize) -> T {
    let mut python = Command::new("/usr/bin/python3");
    let input = serde_json::to_string(input).unwrap();
    let output = feed(python.args(command), &input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits, in short steps, until there is a value.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match look() {
            Some(value) => return value,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            None => panic!("waited {} s in vain for {what}", TIMEOUT.as_secs()),
        }
    }
}

/// Prints a figure that a test measured; `tests/run` shows it beside the test's name.
pub fn figure(text: &str) {
    println!("# {text}");
}

/// Whether this test runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
