//! Shows that no template takes more than its share of time, memory or stack: one that would is a
//! fault like any other, and the service goes on.

use std::time::{Duration, Instant};

use crate::support::*;

const USER_DATA: &str = "cloud-init-templates/user-data.yaml.j2";
const SEED: &str = "/cloud-init/02:00:00:00:00:01/user-data";

/// Most memory that the service may have taken at any time, in KiB.
const MEMORY: u64 = 128 * 1024;

/// Nests a list as deep as there is fuel for.
const NESTED: &str = "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(DEPTH) %}\
    {% set ns.l = [ns.l] %}{% set ns.m = [ns.m] %}{% endfor %}";

/// Lists that double: 2^40 items in few bytes.
const DOUBLED: &str = "{% set ns = namespace(l=[1]) %}{% for i in range(40) %}\
    {% set ns.l = [ns.l, ns.l] %}{% endfor %}";

/// A text of 4 MiB.
const LARGE: &str = "{% set large = 'x' * 4194304 %}";

fn excessive() -> Vec<String> {
    let mut sources: Vec<String> = [
        // Widths.
        "{{ '%2000000000d'|format(1) }}",
        "{{ '%.2000000000f'|format(1.5) }}",
        "{{ '%*d'|format(2000000000, 1) }}",
        "{{ '{:2000000000d}'.format(1) }}",
        "{{ '{:.2000000000f}'.format(1.5) }}",
        "{{ '{:>99999999999999999999}'.format(1) }}",
        "{{ 'a'.ljust(2000000000) }}",
        "{{ 'a'.center(2000000000) }}",
        "{{ 'a'|indent(2000000000, true) }}",
        "{{ [1]|tojson(indent=2000000000) }}",
        // Repetitions.
        "{{ 'x' * 2000000000 }}",
        "{{ 2000000000 * 'x' }}",
        "{{ ([1] * 2000000000)|list|length }}",
        "{{ [1] * 2000000000 }}",
        "{{ ([1] * 2000000000)|tojson }}",
        "{{ ([1] * 2000000000)|join('x') }}",
        "{{ 'x'.join([1] * 2000000000) }}",
        "{{ ([1] * 2000000000)|sort|length }}",
        "{{ ([1] * 2000000000)|unique|list|length }}",
        "{{ ([1] * 2000000000)|max }}",
        "{{ ([['a', 1]] * 2000000000)|urlencode }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}a line of some length that is written again and again\n{% endfor %}",
        // Recursion.
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% include 'user-data.yaml.j2' %}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    ]
    .map(str::to_owned)
    .into();
    for made_of_large in [
        "{{ large.join(range(1000)) }}",
        "{{ range(1000)|join(large) }}",
        "{{ large.replace('x', large) }}",
        "{{ large|replace('x', large) }}",
        "{{ large.replace('', large) }}",
        "{{ ('{}' * 1000).format(large) }}",
        "{{ ('{0}' * 1000).format(large) }}",
        "{{ ('x\n' * 1000)|indent(large) }}",
        "{{ large.split('x')|length }}",
        "{{ large|escape }}",
        "{{ ('&' * 4194304)|escape|length }}",
        "{{ large|list|length }}",
    ] {
        sources.push(format!("{LARGE}{made_of_large}"));
    }
    for depth in ["3000", "99999"] {
        for use_of_nested in [
            "{{ ns.l }}",
            "{{ ns.l|string }}",
            "{{ ns.l|tojson }}",
            "{{ ns.l|join }}",
            "{{ '%s'|format(ns.l) }}{{ nosuch }}",
            "{{ '{}'.format(ns.l) }}",
            "{{ ns.l ~ '' }}{{ nosuch }}",
            "{{ ns.l == ns.m }}{{ nosuch }}",
            "{{ ns.l < ns.m }}{{ nosuch }}",
        ] {
            sources.push(format!("{NESTED}{use_of_nested}").replace("DEPTH", depth));
        }
    }
    for use_of_doubled in ["{{ ns.l }}", "{{ ns.l|tojson }}", "{{ '{}'.format(ns.l) }}"] {
        sources.push(format!("{DOUBLED}{use_of_doubled}"));
    }
    let nested =
        |open: &str, close: &str| format!("{{{{ {}{} }}}}", open.repeat(3000), close.repeat(3000));
    for (open, close) in [
        ("[", "]"),
        ("(", ")"),
        ("{1: ", "}"),
        ("-", "1"),
        ("not ", "1"),
    ] {
        sources.push(nested(open, close));
    }
    sources.push("{% if 1 %}".repeat(3000) + &"{% endif %}".repeat(3000));
    sources.push("{% for i in [1] %}".repeat(3000) + &"{% endfor %}".repeat(3000));
    for link in [
        "|abs",
        " ~ 1",
        "+1",
        ".x",
        "()",
        "[1]",
        " if 1 else 1",
        " and 1",
        " is odd",
    ] {
        for chain in [1_000, 3_500, 100_000] {
            let chain = link.repeat(chain);
            sources.push(format!("{{{{ 1{chain} }}}}{{{{ nosuch }}}}"));
            sources.push(format!(
                "{{% if {{1: {{2: 3}}}}{chain} %}}{{% endif %}}{{{{ nosuch }}}}"
            ));
        }
    }
    for branches in [3_900, 100_000] {
        let branches = "{% elif 1 %}".repeat(branches);
        sources.push(format!(
            "{{% if 0 %}}{branches}{{% endif %}}{{{{ nosuch }}}}"
        ));
    }
    sources
}

#[test]
fn a_template_that_asks_for_too_much_is_a_fault_and_ends_soon() {
    let service = Start::fresh().service();
    for source in excessive() {
        let shown: String = source.chars().take(200).collect();
        // A text that is a fault by itself does not show whether it was bounded.
        service.stage(USER_DATA, &format!("#cloud-config\na: '{source}'\n"));
        let asked = Instant::now();
        let answer = request(service.address, "GET", SEED, &[], b"");
        let answer = answer.unwrap_or_else(|error| panic!("{shown}: {error}\n{}", service.log()));
        assert_eq!(answer.status, 200, "{shown}");
        assert!(answer.text().contains("# The fallback"), "{shown}");
        // Debug builds are slow, and so is a machine that runs other tests besides.
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "{shown}: {:?}",
            asked.elapsed()
        );
    }
    let peak = peak_memory(&service);
    figure(&format!("at most {} MiB of memory", peak / 1024));
    assert!(peak < MEMORY, "{peak} KiB");
    service.stage(USER_DATA, "#cloud-config\na: {{ mac }}\n");
    assert_eq!(
        service.get(SEED).text(),
        "#cloud-config\na: 02:00:00:00:00:01"
    );
}

fn peak_memory(service: &Service) -> u64 {
    let status = format!("/proc/{}/status", service.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn the_start_check_and_reload_survive_what_a_request_survives() {
    let source = format!("#cloud-config\n{NESTED}a: {{{{ ns.l == ns.m }}}}\n");
    let source = source.replace("DEPTH", "99999");
    let service = Start::fresh().stage(USER_DATA, &source).service();
    service.signal(rustix::process::Signal::HUP);
    assert!(service.get(SEED).text().contains("# The fallback"));
    let check = std::process::Command::new(BINARY)
        .arg("check")
        .env("DATA_PATH", &service.data)
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(1));
    let stderr = String::from_utf8(check.stderr).unwrap();
    assert!(stderr.contains("user-data.yaml.j2:"), "{stderr}");
    assert!(stderr.contains("fuel"), "{stderr}");
    assert!(service.stop().success());
}

#[test]
fn what_a_site_may_well_want_is_not_bounded() {
    let keys = "{% for i in range(3000) %}  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{{ '%06d'|format(i) }} key{{ i }}@site\n{% endfor %}";
    let source = format!("#cloud-config\nkeys:\n{keys}");
    let service = Start::fresh().stage(USER_DATA, &source).service();
    let answer = service.get(SEED);
    assert!(
        answer.text().ends_with("key2999@site\n"),
        "{}",
        service.log()
    );
}
