//! Shows that HTTP is spoken as boot loaders and apt know it.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::*;

/// GRUB 2.06, and shim before 2025, look for these very bytes.
#[test]
fn header_names_have_their_capitals() {
    let service = Start::fresh().stage("onboard/file", "content").service();
    for target in [
        "/onboard/file",
        "/cloud-init/user-data",
        "/clients",
        "/nowhere",
        "/healthz",
    ] {
        let mut stream = TcpStream::connect(service.address).unwrap();
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: 10.88.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.contains("\r\nContent-Length: "),
            "{target}: {answer}"
        );
        assert!(answer.contains("\r\nContent-Type: "), "{target}: {answer}");
    }
}

#[test]
fn single_dots_in_a_path_count_for_nothing() {
    let service = Start::fresh()
        .stage("onboard/deep/Packages", "Package: x\n")
        .service();
    for target in [
        "/onboard/./deep/Packages",
        "/onboard/deep/./Packages",
        "/./onboard/././deep//./Packages",
        "/onboard/deep/Packages?x=/./",
    ] {
        let answer = service.get(target);
        assert_eq!(
            (answer.status, answer.text()),
            (200, "Package: x\n"),
            "{target}"
        );
    }
    for target in [
        "/onboard/../onboard/deep/Packages",
        "/onboard/deep/Packages/.",
        "/onboard/.deep",
    ] {
        assert_eq!(service.get(target).status, 404, "{target}");
    }
}
