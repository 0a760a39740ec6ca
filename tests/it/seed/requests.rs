//! Shows that the seed is served in every form in which a device asks for it, and what a template
//! gets to know of the device and of the way on which it came.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use crate::support::needs::{Need, needs};
use crate::support::*;

const MAC: &str = "aa:bb:cc:dd:ee:ff";

/// Templates that say which file they are, and for whom.
const STAGED: [(&str, &str); 4] = [
    ("user-data", "#cloud-config\nuser: '{{ mac }}'"),
    ("meta-data", "meta: '{{ mac }}'"),
    ("vendor-data", "#cloud-config\nvendor: '{{ mac }}'"),
    ("network-config", "network: '{{ mac }}'"),
];

/// Every variable of a template, a line each.
const VARIABLES: &str = "#cloud-config\n\
    mac: '{{ mac }}'\n\
    mac_slug: '{{ mac_slug }}'\n\
    lan_ip: '{{ lan_ip }}'\n\
    hostname: '{{ hostname }}'\n\
    provision_url: '{{ provision_url }}'\n";

fn with_all_files_staged() -> Service {
    let mut start = Start::fresh();
    for (file, template) in STAGED {
        start = start.stage(&format!("cloud-init-templates/{file}.yaml.j2"), template);
    }
    start.service()
}

fn with_variables() -> Start {
    Start::fresh().stage("cloud-init-templates/user-data.yaml.j2", VARIABLES)
}

/// The value of a template's variable in an answer.
fn variable(answer: &Response, name: &str) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let prefix = format!("{name}: '");
    let line = answer
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(&prefix));
    line.and_then(|value| value.strip_suffix('\''))
        .unwrap()
        .to_owned()
}

#[test]
fn every_file_is_served_in_every_form_of_the_seed_url() {
    let service = with_all_files_staged();
    for (file, template) in STAGED {
        let known = template.replace("{{ mac }}", MAC);
        let unknown = template.replace("{{ mac }}", "unknown");
        let forms = [
            // What cloud-init makes of s=http://h/cloud-init/ and the other forms of a seed URL.
            (format!("/cloud-init/{file}"), &unknown),
            (format!("/cloud-init/{MAC}/{file}"), &known),
            (format!("/cloud-init/{file}?mac={MAC}"), &known),
            (format!("/cloud-init/?mac={MAC}{file}"), &known),
            (format!("/cloud-init/?mac={MAC}&f={file}"), &known),
            (format!("/cloud-init?mac={MAC}{file}"), &known),
            (format!("/cloud-init?mac={MAC}&f={file}"), &known),
            // A boot loader's variable that is not set.
            (format!("/cloud-init//{file}"), &unknown),
            (format!("/cloud-init/{file}?mac="), &unknown),
            (format!("/cloud-init/?mac={file}"), &unknown),
            (format!("/cloud-init/?mac=&f={file}"), &unknown),
            (format!("/cloud-init/{file}?"), &unknown),
            // Slashes of both parts of a URL.
            (format!("//cloud-init//{file}"), &unknown),
            (format!("/cloud-init///{MAC}//{file}"), &known),
            (format!("///cloud-init/{MAC}/{file}"), &known),
            (format!("/cloud-init//?mac={MAC}{file}"), &known),
            (format!("/cloud-init//{file}?mac={MAC}"), &known),
            // Percent-encoded.
            (
                format!("/cloud-init/aa%3Abb%3acc%3Add%3Aee%3Aff/{file}"),
                &known,
            ),
            (
                format!("/cloud-init/{file}?mac=aa%3Abb%3Acc%3Add%3Aee%3aff"),
                &known,
            ),
            (
                format!("/cloud-init/?mac=aa%3Abb%3Acc%3Add%3Aee%3Aff{file}"),
                &known,
            ),
            (
                format!("/cloud-init/{MAC}/{}", file.replace('-', "%2D")),
                &known,
            ),
            // Other arguments, before and behind.
            (format!("/cloud-init/{file}?x=1&mac={MAC}&y=2"), &known),
            (format!("/cloud-init/?x=1&mac={MAC}&f={file}"), &known),
        ];
        for (target, expected) in forms {
            let answer = service.get(&target);
            assert_eq!(
                (answer.status, answer.text()),
                (200, expected.as_str()),
                "{target}"
            );
            assert!(
                answer.header("content-type").starts_with("text/plain"),
                "{target}"
            );

            let head = request(service.address, "HEAD", &target, &[], b"").unwrap();
            assert_eq!((head.status, head.body.len()), (200, 0), "{target}");
            assert_eq!(
                head.header("content-length"),
                expected.len().to_string(),
                "{target}"
            );
        }
    }
}

#[test]
fn an_absolute_target_as_a_proxy_sends_it_is_served() {
    let service = with_all_files_staged();
    let target = format!("http://{}//cloud-init/{MAC}/user-data", service.address);
    assert_eq!(
        service.get(&target).text(),
        format!("#cloud-config\nuser: '{MAC}'")
    );
}

#[test]
fn what_is_no_file_of_the_seed_is_404() {
    let service = with_all_files_staged();
    for target in [
        "/cloud-init/",
        "/cloud-init",
        "/cloud-init/userdata",
        "/cloud-init/user-data.yaml.j2",
        "/cloud-init/USER-DATA",
        "/cloud-init/aa:bb:cc:dd:ee:ff",
        "/cloud-init/aa:bb:cc:dd:ee:ff/",
        "/cloud-init/aa:bb:cc:dd:ee:ff/passwd",
        "/cloud-init/aa:bb:cc:dd:ee:ff/user-data/more",
        "/cloud-init/kitchen/passwd",
        "/cloud-init/?mac=aa:bb:cc:dd:ee:ff",
        "/cloud-init/?mac=aa:bb:cc:dd:ee:ffpasswd",
        "/cloud-init/?user-data=1",
        "/cloud-init/../healthz",
        "/cloud-init/%2e%2e/user-data/..",
    ] {
        service.get(target).problem(404);
    }
    // The path exists, but not for this.
    let answer = service.post("/cloud-init/user-data", "x");
    answer.problem(405);
    assert_eq!(answer.header("allow"), "GET,HEAD");
}

#[test]
fn the_embedded_seed_needs_no_staging_and_costs_a_boot_no_wait() {
    let service = Start::fresh().service();
    let seed = |file: &str| {
        let answer = service.get(&format!("/cloud-init/{MAC}/{file}"));
        assert_eq!(answer.status, 200, "{file}");
        answer.text().to_owned()
    };
    let user_data = seed("user-data");
    assert!(user_data.starts_with("#cloud-config\n"));
    assert!(
        user_data.contains("\n    hostname: \"gb10-pxe-aa-bb-cc-dd-ee-ff\"\n"),
        "{user_data}"
    );
    let heartbeat = format!("http://{}/heartbeat", service.address);
    assert!(user_data.contains(&heartbeat), "{user_data}");
    assert_eq!(
        seed("meta-data"),
        "instance-id: \"gb10-pxe-aa-bb-cc-dd-ee-ff\"\nlocal-hostname: \"gb10-pxe-aa-bb-cc-dd-ee-ff\""
    );
    // A 404 on either would cost every boot ten seconds.
    for file in ["vendor-data", "network-config"] {
        assert_eq!(seed(file), "");
        let head = request(
            service.address,
            "HEAD",
            &format!("/cloud-init/{file}"),
            &[],
            b"",
        );
        let head = head.unwrap();
        assert_eq!((head.status, head.header("content-length")), (200, "0"));
    }
}

#[test]
fn what_is_staged_of_a_seed_takes_the_place_of_what_is_embedded_file_by_file() {
    let service = Start::fresh()
        .stage(
            "cloud-init-templates/user-data.yaml.j2",
            "#cloud-config\na: b\n",
        )
        .service();
    let get = |file: &str| {
        service
            .get(&format!("/cloud-init/{MAC}/{file}"))
            .text()
            .to_owned()
    };
    assert_eq!(get("user-data"), "#cloud-config\na: b");
    assert!(get("meta-data").starts_with("instance-id: \"gb10-pxe-aa-bb"));
    assert_eq!(get("vendor-data"), "");
    assert_eq!(get("network-config"), "");
    service.stage(
        "cloud-init-templates/meta-data.yaml.j2",
        "{\"instance-id\": \"{{ mac_slug }}\"}",
    );
    service.stage(
        "cloud-init-templates/network-config.yaml.j2",
        "version: 2\n",
    );
    // Of vendor-data, cloud-init takes scripts as well.
    service.stage(
        "cloud-init-templates/vendor-data.yaml.j2",
        "#!/bin/sh\necho: {{ lan_ip }}: -\n",
    );
    assert_eq!(get("meta-data"), "{\"instance-id\": \"aa-bb-cc-dd-ee-ff\"}");
    assert_eq!(get("network-config"), "version: 2");
    assert_eq!(get("vendor-data"), "#!/bin/sh\necho: 127.0.0.1: -");
    assert_eq!(get("user-data"), "#cloud-config\na: b");
}

#[test]
fn a_template_knows_the_device_and_the_address_that_it_reached() {
    let service = with_variables().service();
    let answer = service.get("/cloud-init/AABB.CCDD.EEFF/user-data");
    assert_eq!(
        answer.text(),
        format!(
            "#cloud-config\n\
             mac: 'aa:bb:cc:dd:ee:ff'\n\
             mac_slug: 'aa-bb-cc-dd-ee-ff'\n\
             lan_ip: '127.0.0.1'\n\
             hostname: 'gb10-pxe-aa-bb-cc-dd-ee-ff'\n\
             provision_url: 'http://{}'",
            service.address
        )
    );
    let answer = service.get("/cloud-init/user-data");
    assert_eq!(variable(&answer, "mac"), "unknown");
    assert_eq!(variable(&answer, "mac_slug"), "unknown");
    assert_eq!(variable(&answer, "hostname"), "gb10-pxe-unknown");
}

#[test]
fn lan_ip_is_the_address_that_the_connection_arrived_at() {
    // Two addresses of one host, as of a host with two LANs.
    let service = with_variables()
        .env("LISTEN", "127.0.0.1:0,127.0.0.2:0")
        .service();
    let first = service.get("/cloud-init/user-data");
    assert_eq!(variable(&first, "lan_ip"), "127.0.0.1");
    let line = service.wait_for_log(&["listening on http://127.0.0.2:"]);
    let second: SocketAddr = line
        .split_once("http://")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .unwrap();
    // Whatever the Host header says.
    let headers = [("Host", "10.88.0.1:8088")];
    let answer = request(second, "GET", "/cloud-init/user-data", &headers, b"").unwrap();
    assert_eq!(variable(&answer, "lan_ip"), "127.0.0.2");
    assert_eq!(variable(&answer, "provision_url"), "http://10.88.0.1:8088");
}

#[test]
fn an_ipv4_mapped_or_ipv6_address_is_spelled_as_a_url_needs_it() {
    needs!(Need::Ipv6);
    let service = with_variables()
        .env("LISTEN", "[::ffff:127.0.0.1]:0")
        .service();
    let port = service.address.port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let bad_host = [("Host", "")];
    let answer = request(address, "GET", "/cloud-init/user-data", &bad_host, b"").unwrap();
    assert_eq!(variable(&answer, "lan_ip"), "127.0.0.1");
    assert_eq!(
        variable(&answer, "provision_url"),
        format!("http://127.0.0.1:{port}")
    );

    let start = with_variables().env("LISTEN", "[::1]:0");
    let service = start.service();
    let answer = request(
        service.address,
        "GET",
        "/cloud-init/user-data",
        &bad_host,
        b"",
    )
    .unwrap();
    assert_eq!(variable(&answer, "lan_ip"), "::1");
    let port = service.address.port();
    assert_eq!(
        variable(&answer, "provision_url"),
        format!("http://[::1]:{port}")
    );
}

#[test]
fn provision_url_is_of_the_host_header_where_that_is_an_authority() {
    let service = with_variables().service();
    for host in [
        "10.88.0.1",
        "10.88.0.1:8088",
        "provision",
        "provision.lan:80",
        "gb10_provision-1.example:65535",
        "[::1]",
        "[fd88::1]:8088",
        "PROVISION.lan",
    ] {
        let headers = [("Host", host)];
        let answer = request(
            service.address,
            "GET",
            "/cloud-init/user-data",
            &headers,
            b"",
        );
        let url = variable(&answer.unwrap(), "provision_url");
        assert_eq!(url, format!("http://{host}"));
    }
}

/// The URL that a box is told that asks with a Host header.
fn provision_url(service: &Service, host: &str) -> String {
    let headers = [("Host", host)];
    let target = "/cloud-init/user-data";
    let answer = request(service.address, "GET", target, &headers, b"");
    variable(&answer.unwrap(), "provision_url")
}

#[test]
fn an_address_without_a_port_is_that_of_the_socket_and_any_other_host_is_meant() {
    let service = with_variables().service();
    let own = format!("http://{}", service.address);
    assert_eq!(provision_url(&service, "127.0.0.1"), own);
    // Something in front has a name or an address of its own, or another port.
    for front in ["127.0.0.2", "provision", "127.0.0.1:80"] {
        assert_eq!(provision_url(&service, front), format!("http://{front}"));
    }
}

#[test]
fn an_address_without_a_port_is_that_of_the_socket_however_it_is_written() {
    needs!(Need::Ipv6);
    let service = with_variables().env("LISTEN", "[::1]:0").service();
    let own = format!("http://{}", service.address);
    for host in ["[::1]", "[0:0:0:0:0:0:0:1]", "[0::0001]"] {
        assert_eq!(provision_url(&service, host), own);
    }
    assert_eq!(provision_url(&service, "[::2]"), "http://[::2]");
    // What is no address of a URL is none.
    assert_eq!(provision_url(&service, "::1"), own);
}

#[test]
fn public_url_goes_before_whatever_the_box_asked() {
    for (setting, url) in [
        ("http://front.lan", "http://front.lan"),
        (
            "https://front.lan:8443/gb10/",
            "https://front.lan:8443/gb10",
        ),
        ("http://[fd88::1]:8088", "http://[fd88::1]:8088"),
    ] {
        let service = with_variables().env("PUBLIC_URL", setting).service();
        for host in ["127.0.0.1", "provision:80", "a b"] {
            assert_eq!(provision_url(&service, host), url);
        }
    }
    // Empty is not set.
    let service = with_variables().env("PUBLIC_URL", "").service();
    assert_eq!(
        provision_url(&service, "provision:80"),
        "http://provision:80"
    );
}

#[test]
fn a_host_header_that_could_mean_something_to_a_shell_or_to_yaml_is_not_used() {
    let service = with_variables().service();
    let own = format!("http://{}", service.address);
    for host in [
        "",
        "a;reboot",
        "a|reboot",
        "$(reboot)",
        "`reboot`",
        "x\"y",
        "x'y",
        "a b",
        "a\tb",
        "user@h",
        "user:password@h",
        "h/path",
        "h?query",
        "h#fragment",
        "http://h",
        "h:",
        "h:99999",
        "h:65536",
        "h:-1",
        "h:+80",
        "h:80a",
        "h:80:80",
        ":80",
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[zz]",
        "[10.88.0.1]",
        "a[b]",
        "[::1][::1]",
        "[::1]80",
        "h,i",
        "h%41",
        "{{ mac }}",
        "h&i",
        "h\\i",
        "h<i>",
        "é",
        "#",
    ] {
        let headers = [("Host", host)];
        let answer = request(
            service.address,
            "GET",
            "/cloud-init/user-data",
            &headers,
            b"",
        );
        assert_eq!(
            variable(&answer.unwrap(), "provision_url"),
            own,
            "Host: {host}"
        );
    }
    let two = [("Host", "10.88.0.1"), ("Host", "10.88.0.2")];
    let answer = request(service.address, "GET", "/cloud-init/user-data", &two, b"");
    assert_eq!(variable(&answer.unwrap(), "provision_url"), own);
    // Nobody in between has a say.
    let forwarded = [
        ("Host", "10.88.0.1:8088"),
        ("X-Forwarded-Host", "evil"),
        ("Forwarded", "host=evil"),
        ("X-Forwarded-For", "10.88.0.9"),
    ];
    let answer = request(
        service.address,
        "GET",
        "/cloud-init/user-data",
        &forwarded,
        b"",
    );
    assert_eq!(
        variable(&answer.unwrap(), "provision_url"),
        "http://10.88.0.1:8088"
    );
    assert!(!service.log().contains("10.88.0.9"));
}

#[test]
fn a_boot_loaders_http_1_0_without_a_host_is_served() {
    let service = with_variables().service();
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
        .write_all(b"GET /cloud-init/user-data HTTP/1.0\r\n\r\n")
        .unwrap();
    let answer = read_response(&mut stream).unwrap();
    assert_eq!(
        variable(&answer, "provision_url"),
        format!("http://{}", service.address)
    );
}

#[test]
fn each_seed_has_one_line_in_the_log_with_mac_address_and_template_and_no_content() {
    let service = Start::fresh()
        .stage(
            "cloud-init-templates/user-data.yaml.j2",
            "#cloud-config\na: xyzzy\n",
        )
        .service();
    service.get(&format!("/cloud-init/{MAC}/user-data"));
    service.get(&format!("/cloud-init/meta-data?mac={MAC}"));
    service.get("/cloud-init/vendor-data");
    let mac = format!("gb10.mac=\"{MAC}\"");
    let from = "gb10.ip=127.0.0.1";
    let of = |file: &str, parts: &[&str]| {
        let file = format!("file=\"{file}\"");
        service
            .wait_for_log(&[&["INFO seed served", from, "gb10.status=200", &file], parts].concat());
    };
    of(
        "user-data",
        &[&mac, "mac_source=\"path\"", "gb10.template=\"staged\""],
    );
    of(
        "meta-data",
        &[&mac, "mac_source=\"query\"", "gb10.template=\"embedded\""],
    );
    of(
        "vendor-data",
        &[
            "gb10.mac=\"unknown\"",
            "mac_source=\"unknown\"",
            "gb10.template=\"none\"",
        ],
    );
    assert_eq!(service.log().matches("seed served").count(), 3);
    assert!(!service.log().contains("xyzzy"));
}
