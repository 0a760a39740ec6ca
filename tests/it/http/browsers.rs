//! Shows that a page in an operator's browser can neither report here nor read what is on record.

use crate::support::*;

const MAC: &str = "3c:6d:66:0a:1b:2c";

fn heartbeat_from(service: &Service, origin: &str) -> Response {
    let body = format!(r#"{{"mac": "{MAC}", "stage": "network", "phase": "done"}}"#);
    let headers = [("Origin", origin)];
    request(
        service.address,
        "POST",
        "/heartbeat",
        &headers,
        body.as_bytes(),
    )
    .unwrap()
}

#[test]
fn a_page_of_another_server_is_refused_whatever_it_asks_for() {
    let service = Start::fresh().service();
    let port = service.address.port();
    for origin in [
        "http://evil.example".to_owned(),
        "null".to_owned(),
        String::new(),
        format!("https://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{}", port ^ 1),
        "http://127.0.0.1".to_owned(),
        format!("http://10.88.0.1:{port}"),
        format!("http://localhost.evil.example:{port}"),
        format!("http://evil.example:{port}#localhost:{port}"),
    ] {
        let problem = heartbeat_from(&service, &origin).problem(403);
        assert!(
            problem["detail"].as_str().unwrap().starts_with("Origin: "),
            "{problem}"
        );
        let headers = [("Origin", origin.as_str())];
        for target in [
            "/clients",
            "/healthz",
            "/cloud-init/user-data",
            "/onboard/manifest.json",
        ] {
            let answer = request(service.address, "GET", target, &headers, b"").unwrap();
            assert_eq!(answer.status, 403, "{origin}: {target}");
        }
    }
    assert_eq!(service.get("/clients").text(), "{\n}\n");
    for origin in [
        format!("http://127.0.0.1:{port}"),
        format!("http://LOCALHOST:{port}"),
    ] {
        assert_eq!(heartbeat_from(&service, &origin).status, 200, "{origin}");
    }
}

#[test]
fn records_are_read_by_an_address_or_a_name_of_this_host_alone() {
    let service = Start::fresh()
        .env("SERVER_NAMES", "prov.lan,Rack-7")
        .service();
    assert_eq!(service.heartbeat(MAC, "network", "done").status, 200);
    let read = |host: &str| {
        let headers = [("Host", host)];
        ["/clients", "/clients/3c-6d-66-0a-1b-2c"]
            .map(|target| request(service.address, "GET", target, &headers, b"").unwrap())
    };
    let own = rustix::system::uname();
    let own = own.nodename().to_str().unwrap();
    for host in [
        "127.0.0.1",
        "127.0.0.1:8088",
        "10.88.0.1",
        "[::1]",
        "[::1]:80",
        "localhost",
        "LocalHost:8088",
        "localhost.",
        "prov.lan",
        "PROV.LAN:80",
        "rack-7",
        own,
    ] {
        for answer in read(host) {
            assert_eq!(answer.status, 200, "{host}");
        }
    }
    for host in [
        "evil.example",
        "evil.example:8088",
        "prov.lan.evil.example",
        "127.0.0.1.evil.example",
        "1.2.3",
    ] {
        for answer in read(host) {
            let problem = answer.problem(403);
            assert!(
                problem["detail"].as_str().unwrap().contains("SERVER_NAMES"),
                "{problem}"
            );
        }
    }
    // Boxes may be led here by any name.
    let headers = [("Host", "provision.example")];
    let seed = request(
        service.address,
        "GET",
        "/cloud-init/user-data",
        &headers,
        b"",
    )
    .unwrap();
    assert_eq!(seed.status, 200);
}

#[test]
fn no_answer_is_sniffed_and_no_seed_is_kept() {
    let service = Start::fresh().service();
    for target in [
        "/clients",
        "/healthz",
        "/onboard/manifest.json",
        "/nowhere",
        "/cloud-init/user-data",
    ] {
        let answer = service.get(target);
        assert_eq!(
            answer.header("x-content-type-options"),
            "nosniff",
            "{target}"
        );
    }
    for file in ["user-data", "meta-data", "vendor-data", "network-config"] {
        let seed = service.get(&format!("/cloud-init/{MAC}/{file}"));
        assert_eq!(seed.header("cache-control"), "no-store", "{file}");
    }
}
