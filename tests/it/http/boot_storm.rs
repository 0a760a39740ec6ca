//! Shows a boot storm: 254 devices fetch all files of their seeds, post the events of an
//! installation and beat at once. No error, every milestone on record, and how long it took.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::support::*;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// As many as a /24 has addresses.
const DEVICES: u8 = 254;

const FILES: [&str; 4] = ["network-config", "meta-data", "user-data", "vendor-data"];
const BEATS: usize = 10;

/// What is in the events that are milestones. Of the other events, which are answered and
/// forgotten, each device posts its own sixth: all of them would only take longer.
const MILESTONES: [&str; 8] = [
    "subiquity/Install/install\"",
    "/configure_apt\"",
    "/stage-",
    "/installing-kernel\"",
    "/configuring-bootloader\"",
    "/postinstall\"",
    "/run_user_supplied/command_",
    "subiquity/Shutdown",
];
const SHARE: usize = 6;

/// Longest that one request may take. cloud-init gives up a request after 10 s.
const LIMIT: Duration = Duration::from_secs(10);

/// A connection that does not fit in the listener's backlog waits so long for TCP's second try;
/// one that fits waits for nobody, however busy the service is.
const SECOND_TRY: Duration = Duration::from_secs(1);

/// Longest that all may take, here, in a debug build that shares its cores with the devices.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Those of all events that the device of this number posts.
fn events_of<'a>(device: usize, all: &[&'a str]) -> Vec<&'a str> {
    let posts = |(n, event): &(usize, &&str)| {
        n % SHARE == device % SHARE || MILESTONES.iter().any(|part| event.contains(part))
    };
    let events = all.iter().enumerate().filter(posts);
    events.map(|(_, event)| *event).collect()
}

/// What is asked for, as an index of all latencies.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Seed,
    Event,
    Heartbeat,
}

/// A simulated device: its own address of the loopback network, its own MAC.
struct Device {
    ip: Ipv4Addr,
    mac: String,
    service: SocketAddr,
    latencies: [Vec<Duration>; 3],
    connects: Vec<Duration>,
}

impl Device {
    fn mac(n: u8) -> String {
        format!("00:00:5e:00:53:{n:02x}")
    }

    fn new(n: u8, service: SocketAddr) -> Self {
        Self {
            ip: Ipv4Addr::new(127, 0, 1, n),
            mac: Self::mac(n),
            service,
            latencies: Default::default(),
            connects: Vec::new(),
        }
    }

    /// One request on a connection of its own, as cloud-init and subiquity have it.
    fn ask(&mut self, kind: Kind, expected: u16, head: &str, body: &str) {
        let began = Instant::now();
        let connected = self.connect();
        self.connects.push(began.elapsed());
        let answer = connected.and_then(|mut stream| {
            let length = body.len();
            let request = format!(
                "{head} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}",
                self.service
            );
            stream.write_all(request.as_bytes())?;
            read_response(&mut stream)
        });
        self.latencies[kind as usize].push(began.elapsed());
        let answer = answer.unwrap_or_else(|error| panic!("{head} of {}: {error}", self.mac));
        assert_eq!(answer.status, expected, "{head}: {}", answer.text());
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let SocketAddr::V4(service) = self.service else {
            panic!("an IPv4 address");
        };
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddrV4::new(self.ip, 0))?;
        connect(&socket, &service)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(stream)
    }

    /// A boot, an installation, and the beats of a box that is on its way meanwhile.
    fn run(&mut self, events: &[&str]) {
        for file in FILES {
            let head = format!("GET /cloud-init/{}/{file}", self.mac);
            self.ask(Kind::Seed, 200, &head, "");
        }
        let post = format!("POST /report/{}", self.mac);
        let beat = format!(
            r#"{{"mac": "{}", "stage": "payload", "phase": "progress"}}"#,
            self.mac
        );
        for part in events.chunks(events.len().div_ceil(BEATS)) {
            for event in part {
                self.ask(Kind::Event, 204, &post, event);
            }
            self.ask(Kind::Heartbeat, 200, "POST /heartbeat", &beat);
        }
    }
}

/// Prints how long something took, and returns the 99th percentile and the slowest.
fn print_latencies<'a>(what: &str, all: impl Iterator<Item = &'a Duration>) -> [Duration; 2] {
    let mut all: Vec<Duration> = all.copied().collect();
    all.sort_unstable();
    let (median, p99) = (all[all.len() / 2], all[all.len() * 99 / 100]);
    let slowest = *all.last().unwrap();
    figure(&format!(
        "{} x {what}: median {median:.1?}, p99 {p99:.1?}, slowest {slowest:.1?}",
        all.len()
    ));
    [p99, slowest]
}

#[test]
fn a_boot_storm_of_254_devices_meets_no_error_and_loses_no_milestone() {
    let events: Vec<&str> = include_str!("../data/subiquity-webhook-events.jsonl")
        .lines()
        .collect();
    // All known, as those of a LAN are by the kernel's ARP table.
    let known: Vec<String> = (1..=DEVICES)
        .map(|n| format!(r#""{}": {{}}"#, Device::mac(n)))
        .collect();
    let known = format!("{{{}}}", known.join(","));
    let service = Start::fresh().stage("devices.json", &known).service();
    let mut devices: Vec<Device> = (1..=DEVICES)
        .map(|n| Device::new(n, service.address))
        .collect();
    let all_at_once = Barrier::new(devices.len());
    let began = Instant::now();
    let mut posted = 0;
    std::thread::scope(|scope| {
        for (n, device) in devices.iter_mut().enumerate() {
            let (events, all_at_once) = (events_of(n, &events), &all_at_once);
            posted += events.len();
            scope.spawn(move || {
                all_at_once.wait();
                device.run(&events);
            });
        }
    });
    let took = began.elapsed();

    let kinds = [Kind::Seed, Kind::Event, Kind::Heartbeat];
    figure(&format!("a boot storm of {DEVICES} devices: {took:.1?}"));
    let [p99, _] = print_latencies("connect", devices.iter().flat_map(|d| &d.connects));
    assert!(p99 < SECOND_TRY, "{p99:?}");
    for kind in kinds {
        let all = devices.iter().flat_map(|d| &d.latencies[kind as usize]);
        let [_, slowest] = print_latencies(&format!("{kind:?}"), all);
        assert!(slowest < LIMIT, "{kind:?}: {slowest:?}");
    }
    let requests: usize = devices
        .iter()
        .flat_map(|device| device.latencies.each_ref().map(Vec::len))
        .sum();
    assert_eq!(requests, posted + devices.len() * (FILES.len() + BEATS));
    assert!(took < TIME_LIMIT, "{took:?}");

    // The last beat of each device was answered behind all its milestones.
    let clients = service.get("/clients").json();
    assert_eq!(clients.as_object().unwrap().len(), usize::from(DEVICES));
    for device in &devices {
        let record = &clients[&device.mac];
        assert_eq!(record["ip"], device.ip.to_string());
        let stages = record["stages"].as_array().unwrap();
        let installs: Vec<_> = stages
            .iter()
            .filter(|event| event["stage"] == "install")
            .map(|event| event["detail"].as_str().unwrap())
            .collect();
        let expected = [
            "the installer runs",
            "configuring apt",
            "partitioning",
            "copying the system",
            "configuring the installed system",
            "installing kernel",
            "installing boot loader",
            "final configuration",
            "running late command 0",
            "running late command 1",
            "installed",
        ];
        assert_eq!(installs, expected, "{}", device.mac);
        assert_eq!(stages.len(), expected.len() + BEATS);
    }
    let fetches = eventually("the fetches on record", || {
        let clients = service.get("/clients").json();
        let records = clients.as_object().unwrap().values();
        let counts: Vec<_> = records
            .filter_map(|r| r["seed"]["count"].as_u64())
            .collect();
        (counts.len() == devices.len()).then_some(counts)
    });
    assert!(fetches.iter().all(|count| *count == 1), "{fetches:?}");
    let log = service.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "a warning");
}
