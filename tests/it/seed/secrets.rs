//! Shows that a fault in a staged file is told without any value of `site.json`, and without the
//! fallback password.

use std::net::Ipv4Addr;
use std::process::Command;

use crate::support::*;

const USER_DATA: &str = "cloud-init-templates/user-data.yaml.j2";
const SEED: &str = "/cloud-init/02:00:00:00:00:01/user-data";

const FALLBACK: &str = "$6$fallbacksalt$fallback.hash/nowhere.else";
const HASH: &str = "$6$sitesalt$site.hash/nowhere.else";
const PSK: &str = "it's a \"Passphrase\"\\ of ours";
const PIN: &str = "31415926";

fn site() -> String {
    serde_json::json!({
        "password_hash": HASH,
        "psk": PSK,
        "pin": 31_415_926,
        "door": {"codes": [PSK, 31_415_926]},
    })
    .to_string()
}

/// Everything that a secret could be known by, in whatever case and quoting.
fn assert_hidden(text: &str, whose: &str) {
    let lower = text.to_lowercase();
    for part in [
        "nowhere.else",
        "sitesalt",
        "fallbacksalt",
        "passphrase",
        PIN,
        "3141592",
    ] {
        assert!(!lower.contains(part), "{part} of {whose} in\n{text}");
    }
}

fn check(service: &Service) -> String {
    let check = Command::new(BINARY)
        .arg("check")
        .env("DATA_PATH", &service.data)
        .env("FALLBACK_PASSWORD_HASH", FALLBACK)
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(1));
    String::from_utf8([check.stdout, check.stderr].concat()).unwrap()
}

#[test]
fn what_a_template_does_with_a_secret_is_told_without_it() {
    let service = Start::fresh()
        .env("FALLBACK_PASSWORD_HASH", FALLBACK)
        .stage("site.json", &site())
        .service();
    let secrets = [
        "site.password_hash",
        "site.psk",
        "site.pin",
        "site.door.codes[0]",
        "fallback_password_hash",
        "site.password_hash|upper",
        "site.password_hash[3:]",
        "(site.psk ~ 'x')",
    ];
    let uses = [
        "{% include SECRET %}",
        "{% include [SECRET, 'none.j2'] %}",
        "{% extends SECRET %}",
        "{% import SECRET as m %}",
        "{% from SECRET import m %}",
        "{{ SECRET // 0 }}",
        "{{ SECRET % 0 }}",
        "{{ SECRET ** 99999 }}",
        "{{ -SECRET * 10 ** 38 }}",
        "{{ SECRET.x.y }}",
        "{{ SECRET() }}",
        "{{ site[SECRET].x }}",
        "{{ [1]|map(SECRET)|list }}",
        "{{ [1]|select(SECRET)|list }}",
        "{{ [1]|sort(**{SECRET: 1}) }}",
        "{{ dict(**{SECRET|string: 1}).x.y }}",
        "{{ {SECRET: 1}.x.y }}",
        "{{ SECRET|format(1) }}",
        "{{ SECRET.format() }}",
        "{{ SECRET|int(none) + none }}",
        "{{ SECRET|batch('x') }}",
        "{{ SECRET|round('x') }}",
        "{{ 'x'|indent(SECRET ~ none|abs) }}",
        "{{ range(SECRET) }}",
        "{{ namespace(SECRET) }}",
        "{{ SECRET|tojson(indent=SECRET) }}",
        "{{ 'a'.split(SECRET, SECRET) }}",
        "{{ 'a'.zfill(SECRET) }}",
        "{% macro m() %}{% endmacro %}{{ m(**{SECRET|string: 1}) }}",
    ];
    // An address for each secret: one would be over its quota of lines.
    for (secret, last) in secrets.into_iter().zip(10..) {
        let asks = Some(Ipv4Addr::new(127, 0, 0, last));
        for source in uses {
            let source = source.replace("SECRET", secret);
            service.stage(USER_DATA, &format!("#cloud-config\na: b\n{source}: [\n"));
            let seed = request_from(asks, service.address, "GET", SEED, &[], b"").unwrap();
            assert_eq!(seed.status, 200);
            assert_hidden(&service.log(), &source);
        }
    }
    let log = service.log();
    let faults = log.matches("a staged template failed").count();
    assert_eq!(
        faults,
        secrets.len() * uses.len(),
        "each of them is a fault"
    );
    // What stands in the template is told.
    service.stage(USER_DATA, "#cloud-config\n{% include 'none.j2' %}\n");
    service.get(SEED);
    service.wait_for_log(&[
        "a staged template failed",
        "non-existing template 'none.j2'",
    ]);
    service.stage(USER_DATA, "#cloud-config\n{% include site.psk %}\n");
    assert_hidden(&check(&service), "check");
}

#[test]
fn a_value_of_the_wrong_type_is_told_without_the_value() {
    // What serde puts behind a value stands in this one, too.
    let long = r#""a Passphrase, expected `x`, expected""#;
    let sites = [
        format!("{{\n\"password_hash\": {PIN}}}"),
        format!("{{\n\"password_hash\": -{PIN}.5}}"),
        format!("{{\n\"password_hash\": \"{PIN} nowhere.else\"}}"),
        "{\n\"password_hash\": [\"nowhere.else\"]}".to_owned(),
        "{\n\"password_hash\": {\"nowhere.else\": 1}}".to_owned(),
        format!("{{\n\"authorized_keys\": {long}}}"),
        format!("{{\n\"packages\": {PIN}}}"),
        format!("{{\n\"proxy\": {PIN}e3}}"),
        format!("{{\n\"password_hash\": \"{HASH}\" \"x\"}}"),
        format!("{{\n\"password_hash\": \"{HASH}}}"),
        format!("{{\n\"password_hash\": {HASH}}}"),
        format!("[\n\"{HASH}\"]"),
        format!("\n\"{HASH}\""),
        format!("\n{PIN}"),
    ];
    for site in &sites {
        let service = Start::fresh()
            .env("FALLBACK_PASSWORD_HASH", FALLBACK)
            .stage("site.json", site)
            .service();
        service.get(SEED);
        service.wait_for_log(&["WARN", "site.json:"]);
        assert_hidden(&service.log(), site);
        assert_hidden(&check(&service), site);
    }
}
