//! The readers, and what each promises.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use gb10_provision_api::device::heartbeat::{DETAIL_BYTES, Heartbeat};
use gb10_provision_api::device::installer::{Event, Installations};
use gb10_provision_api::device::mac::{MacAddr, claimed};
use gb10_provision_api::seed::yaml::check_mapping;
use gb10_provision_api::seed::{Device, Format, Onboarding, RENDERING_STACK, SeedFile, Templates};
use gb10_provision_api::site::{KnownDevice, SiteFiles};
use gb10_provision_api::store::{CHANGE_TIMEOUT, Store, Subject};
use serde_json::Value;

use super::{corpus, fuzz};
use crate::support::*;

/// Longest error that an answer repeats, in bytes: an excerpt and what was expected.
const ERROR_BYTES: usize = 1024;

fn mac() -> MacAddr {
    "3c:6d:66:0a:1b:2c".parse().unwrap()
}

#[test]
fn a_mac_is_read_or_refused_shortly_and_means_the_same_when_read_again() {
    fuzz(corpus::MACS, |input| {
        let text = String::from_utf8_lossy(input);
        match claimed(&text) {
            Ok(Some(mac)) => {
                assert_eq!(mac.to_string().parse(), Ok(mac));
                assert_eq!(mac.slug().parse(), Ok(mac));
            }
            Ok(None) => {}
            Err(error) => assert!(error.to_string().len() < ERROR_BYTES),
        }
    });
}

#[test]
fn a_heartbeat_is_read_or_refused_shortly() {
    fuzz(corpus::HEARTBEATS, |input| {
        match Heartbeat::from_json(input) {
            Ok(heartbeat) => {
                let detail = serde_json::to_value(&heartbeat.detail).unwrap();
                assert!(
                    detail
                        .as_str()
                        .is_none_or(|detail| detail.len() <= DETAIL_BYTES)
                );
            }
            Err(error) => assert!(error.to_string().len() < ERROR_BYTES, "{error}"),
        }
    });
}

#[test]
fn an_installers_event_is_a_milestone_with_a_bounded_detail_or_nothing() {
    let mut installations = Installations::default();
    fuzz(corpus::EVENTS, |input| {
        if let Some(milestone) = installations.take(mac(), &Event::from_json(input)) {
            let detail = serde_json::to_value(&milestone.detail).unwrap();
            assert!(
                detail
                    .as_str()
                    .is_some_and(|detail| detail.len() <= DETAIL_BYTES)
            );
        }
    });
}

#[test]
fn any_state_file_takes_a_change_and_loses_nothing_that_was_in_it() {
    let folder = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let state = folder.path().join("state");
    let store = Store::open(state.clone(), 1000).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let file = state.join("clients.json");
    let mut corrupt = 0;
    fuzz(corpus::CLIENTS, |input| {
        // Each of those takes half a second, in which an editor may still mend it.
        if serde_json::from_slice::<Value>(input).is_err() {
            corrupt += 1;
            if corrupt % 100 != 1 {
                return;
            }
        }
        let new = state.join("new");
        fs::write(&new, input).unwrap();
        fs::rename(&new, &file).unwrap();
        let subject = Subject {
            mac: "02:fe:00:00:00:01".parse().unwrap(),
            is_confirmed: true,
        };
        let changed = store.change(subject, CHANGE_TIMEOUT, |_| Ok(()));
        if runtime.block_on(changed).is_err() {
            return;
        }
        let after: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        if let Ok(Value::Object(before)) = serde_json::from_slice::<Value>(input) {
            let is_there = |key: &String| {
                let canonical = key.parse::<MacAddr>().map(|mac| mac.to_string());
                after.get(key).is_some()
                    || canonical.is_ok_and(|canonical| after.get(canonical).is_some())
            };
            assert!(before.keys().all(is_there), "{after}");
        }
        for entry in fs::read_dir(&state).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains(".corrupt-") {
                fs::remove_file(path).unwrap();
            }
        }
    });
}

fn site_files(name: &str, inputs: &[&[u8]]) {
    let folder = tempfile::tempdir().unwrap();
    fuzz(inputs, |input| {
        fs::write(folder.path().join(name), input).unwrap();
        let files = SiteFiles::load(folder.path());
        let _ = (files.site(), files.devices());
        for fault in files.faults() {
            assert!(fault.to_string().len() < ERROR_BYTES, "{fault}");
        }
    });
}

#[test]
fn any_site_json_is_read_or_named_as_a_fault() {
    site_files("site.json", corpus::SITES);
}

#[test]
fn any_devices_json_is_read_or_named_as_a_fault() {
    site_files("devices.json", corpus::DEVICES);
}

#[test]
fn any_template_gives_a_device_something_that_cloud_init_reads() {
    let folder = tempfile::tempdir().unwrap();
    let site_files = Arc::new(SiteFiles::load(folder.path()));
    let lan = SocketAddr::from(([10, 88, 0, 1], 8088));
    let device = Device {
        mac: Some(mac()),
        known: KnownDevice::default(),
        lan,
        provision_url: format!("http://{lan}"),
        onboarding: Onboarding::default(),
    };
    let secret = "$6$salt$secret-that-is-nowhere-else";
    let check = move |input: &[u8]| {
        fs::write(folder.path().join("user-data.yaml.j2"), input).unwrap();
        let templates = Templates::load(folder.path().to_owned(), secret, Arc::clone(&site_files));
        let rendered = templates.render(SeedFile::UserData, &device).unwrap();
        let text = rendered.text;
        let is_read = match Format::of(&text) {
            Some(Format::CloudConfig) => check_mapping(&text).is_ok(),
            format => format.is_some(),
        };
        assert!(is_read, "{text}");
        if let Some(fault) = rendered.fault {
            assert!(
                !fault.to_string().contains("secret-that-is-nowhere-else"),
                "{fault}"
            );
        }
    };
    // As the service's own threads do, which have the stack that rendering needs.
    let rendering = std::thread::Builder::new().stack_size(RENDERING_STACK);
    let fuzzing = rendering.spawn(move || fuzz(corpus::TEMPLATES, check));
    fuzzing.unwrap().join().unwrap();
}

#[test]
fn any_range_gets_the_bytes_that_it_asks_for_or_a_refusal() {
    let content: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let service = Start::fresh()
        .env("LOG", "error,gb10_provision_api::service=info")
        .service();
    fs::create_dir(service.data.join("onboard")).unwrap();
    fs::write(service.data.join("onboard/file"), &content).unwrap();
    fuzz(corpus::RANGES, |input| {
        let range: String = String::from_utf8_lossy(input)
            .chars()
            .filter(|c| c.is_ascii_graphic() || *c == ' ')
            .collect();
        let headers = [("Range", range.as_str())];
        let answer = request(service.address, "GET", "/onboard/file", &headers, b"").unwrap();
        match answer.status {
            200 => assert_eq!(answer.body, content),
            206 if answer.header("content-type").starts_with("multipart/") => {}
            206 => {
                let place = answer
                    .header("content-range")
                    .strip_prefix("bytes ")
                    .unwrap();
                let (first, rest) = place.split_once('-').unwrap();
                let (last, length) = rest.split_once('/').unwrap();
                assert_eq!(length, "10000");
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                assert_eq!(answer.body, content[first..=last]);
            }
            status => assert!([400, 416, 431].contains(&status), "{status}"),
        }
    });
}
