//! Where the mutations begin, and what they put in.

/// Pieces that readers stumble over.
pub const AWKWARD: &[&[u8]] = &[
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\x1b[2J",
    b"\\ud83d",
    b"\\u0000",
    b"{{",
    b"}}",
    b"{%",
    b"[[[[[[[[[[[[[[[[",
    b"((((((((((((((((",
    b"-",
    b"99999999999999999999999999",
    b"1e999",
    b"null",
    b"\"\"",
    b"../",
    b"%00",
    b"\xf0\x9f\x9a\x80",
    b"\xe2\x80\xae",
];

pub const MACS: &[&[u8]] = &[
    b"3c:6d:66:0a:1b:2c",
    b"3C-6D-66-0A-1B-2C",
    b"3c6d.660a.1b2c",
    b"3c6d660a1b2c",
    b"01-3c-6d-66-0a-1b-2c",
    b"00:00:00:00:00:00",
    b"ff:ff:ff:ff:ff:ff",
    b"unknown",
    b"",
];

pub const HEARTBEATS: &[&[u8]] = &[
    br#"{"mac": "3c:6d:66:0a:1b:2c", "stage": "network", "phase": "done", "detail": "10 Gb/s"}"#,
    br#"{"stage": "install", "phase": "fail", "detail": null, "facts": {"a": [1, 2.5, true]}}"#,
    br#"{"mac": "", "stage": "ready", "phase": "start"}"#,
    b"[]",
];

pub const EVENTS: &[&[u8]] = &[
    br#"{"name": "subiquity/Install/install", "description": "", "event_type": "start", "origin": "curtin", "timestamp": 1761990000.5}"#,
    br#"{"name": "subiquity/Install/install/curtin_install/run/cmd-install/stage-partitioning", "description": "configuring storage", "event_type": "finish", "result": "FAIL"}"#,
    br#"{"name": "subiquity/Late/run_user_supplied/command_3", "description": null, "event_type": "start"}"#,
    br#"{"name": "subiquity/load_autoinstall_config", "event_type": "finish", "result": "FAIL", "files": [{"content": "aGk="}]}"#,
];

pub const CLIENTS: &[&[u8]] = &[
    br#"{"3c:6d:66:0a:1b:2c": {"mac": "3c:6d:66:0a:1b:2c", "ip": "10.88.0.9", "hostname": "spark-07", "current_stage": "driver", "last_heartbeat": "2026-11-01T10:00:00.000Z", "seed": {"count": 1}, "stages": [{"stage": "driver", "phase": "fail", "timestamp": "2026-11-01T10:00:00.000Z", "detail": "x"}]}}"#,
    br#"{"3C-6D-66-0A-1B-2C": {"stages": null}, "rack": 7, "02:00:00:00:00:01": null}"#,
    b"{\n}\n",
];

pub const SITES: &[&[u8]] = &[
    br#"{"username": "gb10", "authorized_keys": ["ssh-ed25519 AAAA a@b"], "timezone": "Europe/Berlin", "packages": ["tmux"], "rack": {"row": 3}}"#,
    br#"{"password_hash": "$6$salt$hash", "apt_mirror": "http://10.88.0.1/ubuntu", "proxy": null}"#,
];

pub const DEVICES: &[&[u8]] = &[
    br#"{"3c:6d:66:0a:1b:2c": {"hostname": "spark-07", "macs": ["3c:6d:66:0a:1b:2d"], "role": "train", "vars": {"a": 1}}}"#,
    br#"{"3c6d660a1b2c": {}, "02:00:00:00:00:01": {"macs": []}}"#,
];

pub const TEMPLATES: &[&[u8]] = &[
    b"#cloud-config\nautoinstall:\n  version: 1\n  identity:\n    hostname: {{ hostname }}\n    password: \"{{ fallback_password_hash }}\"\n",
    b"#cloud-config\n{% for n in range(3) %}{{ loop.index }}: {{ mac.split(':') | map('int', base=16) | list | tojson }}\n{% endfor %}",
    b"#cloud-config\n{% set x = namespace(n=0) %}{% macro m(a, b=2) %}{{ a ~ b }}{% endmacro %}{{ m('x') | indent(4) | replace('x', 'y') }}: {{ '%05d' | format(7) }}\n",
    b"#cloud-config\n{# comment #}{% if device.role == 'train' %}a: {{ site.rack | default('none', true) }}{% else %}b: \"{{ mac_slug[:4] | upper }}\"{% endif %}\n",
];

pub const RANGES: &[&[u8]] = &[
    b"bytes=0-",
    b"bytes=5-9",
    b"bytes=-5",
    b"bytes=0-0,5-6",
    b"bytes=99999-",
    b"bytes=-0",
    b"items=1-2",
];
