//! Shows that a download is one version of the file, or breaks.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use crate::support::*;

/// Larger than what the two ends of a connection hold between them.
const BYTES: usize = 64 * 1024 * 1024;

fn staged(fill: u8) -> Service {
    let service = Start::fresh().service();
    fs::create_dir(service.data.join("onboard")).unwrap();
    fs::write(service.data.join("onboard/image"), vec![fill; BYTES]).unwrap();
    service
}

/// Begins a download, lets something happen to the file, and goes on. Returns the body.
fn download_while(service: &Service, happens: impl FnOnce(&Path)) -> Vec<u8> {
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
        .write_all(b"GET /onboard/image HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut all = vec![0; 4096];
    let read = stream.read(&mut all).unwrap();
    all.truncate(read);
    happens(&service.data.join("onboard/image"));
    let _ = stream.read_to_end(&mut all);
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    all.split_off(end + 4)
}

#[test]
fn a_file_that_is_overwritten_during_its_download_breaks_the_connection() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("cp over it", |path| {
            fs::write(path, vec![b'n'; BYTES]).unwrap()
        }),
        ("a piece behind what was read", |path| {
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&[b'n'; 100], BYTES as u64 - 1000)
                .unwrap();
        }),
        ("truncated and grown again", |path| {
            let file = File::options().write(true).open(path).unwrap();
            file.set_len(10).unwrap();
            file.set_len(BYTES as u64).unwrap();
        }),
        ("the same, with its old time", |path| {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            fs::write(path, vec![b'n'; BYTES]).unwrap();
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(modified)
                .unwrap();
        }),
    ];
    for (what, change) in changes {
        let service = staged(b'o');
        let body = download_while(&service, change);
        assert!(
            body.len() < BYTES,
            "{what}: a whole body of {} bytes",
            body.len()
        );
        assert!(
            body.iter().all(|byte| *byte == b'o'),
            "{what}: bytes of two versions"
        );
    }
}

#[test]
fn a_file_that_is_replaced_by_another_is_downloaded_to_its_end() {
    let service = staged(b'o');
    let body = download_while(&service, |path| {
        let new = path.with_extension("new");
        fs::write(&new, "new").unwrap();
        fs::rename(new, path).unwrap();
    });
    assert_eq!(body.len(), BYTES);
    assert!(body.iter().all(|byte| *byte == b'o'));
    assert_eq!(service.get("/onboard/image").text(), "new");
}

#[test]
fn the_entity_tag_tells_versions_apart_that_have_one_time() {
    let service = staged(b'o');
    let path = service.data.join("onboard/image");
    let before = service.get("/onboard/image").header("etag").to_owned();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, vec![b'n'; BYTES]).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_ne!(service.get("/onboard/image").header("etag"), before);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// apt resumes so.
#[test]
fn if_range_with_the_date_of_the_file_gets_the_part_and_with_another_the_whole() {
    let service = Start::fresh().stage("onboard/file", "0123456789").service();
    let modified = service
        .get("/onboard/file")
        .header("last-modified")
        .to_owned();
    let get = |if_range: &str| {
        let headers = [("Range", "bytes=4-"), ("If-Range", if_range)];
        let answer = request(service.address, "GET", "/onboard/file", &headers, b"").unwrap();
        (answer.status, answer.text().to_owned())
    };
    let whole = (200, "0123456789".to_owned());
    assert_eq!(get(&modified), (206, "456789".to_owned()));
    assert_eq!(get("Thu, 01 Jan 1970 00:00:00 GMT"), whole);
    assert_eq!(get("Fri, 31 Dec 2100 00:00:00 GMT"), whole);
    assert_eq!(get("\"another\""), whole);
    assert_eq!(get("no date"), whole);
}
