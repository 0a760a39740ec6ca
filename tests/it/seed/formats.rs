//! User-data in each format that cloud-init knows, and in none.

use gb10_provision_api::seed::Format;

use crate::support::Start;

/// Texts, and the word by which `check` names their format; none where cloud-init ignores them.
const TEXTS: [(&str, Option<&str>); 26] = [
    ("#cloud-config\na: 1\n", Some("#cloud-config")),
    ("\n\n  \r\n  #cloud-config\na: 1\n", Some("#cloud-config")),
    ("#Cloud-Config\na: 1\n", Some("#cloud-config")),
    ("#cloud-config: yes\na: 1\n", Some("#cloud-config")),
    (
        "## template: jinja\n#cloud-config\na: {{ v1.region }}\n",
        Some("## template: jinja"),
    ),
    (
        "\n## Template: Jinja\n#cloud-config\n",
        Some("## template: jinja"),
    ),
    (
        "#cloud-config-archive\n- type: text/cloud-config\n  content: |\n    a: 1\n",
        Some("#cloud-config-archive"),
    ),
    ("#cloud-config-jsonp\n[]\n", Some("#cloud-config-jsonp")),
    ("#!/bin/sh\necho hello\n", Some("a script (#!)")),
    ("\r\n#!/usr/bin/env python3\n", Some("a script (#!)")),
    ("#include\nhttp://10.88.0.1/x\n", Some("#include")),
    ("#include-once\nhttp://10.88.0.1/x\n", Some("#include-once")),
    ("#include http://10.88.0.1/x\n", Some("#include")),
    (
        "#cloud-boothook\n#!/bin/sh\necho hello\n",
        Some("#cloud-boothook"),
    ),
    (
        "#part-handler\ndef list_types():\n    return []\n",
        Some("#part-handler"),
    ),
    (
        "Content-Type: multipart/mixed; boundary=\"x\"\nMIME-Version: 1.0\n\n--x\n",
        Some("MIME multi-part"),
    ),
    (
        "Mime-Version: 1.0\nContent-Type: text/cloud-config\n\na: 1\n",
        Some("MIME multi-part"),
    ),
    (
        "#cloud-config\nwrite_files:\n- content: \"MIME-Version: 1.0\"\n",
        Some("#cloud-config"),
    ),
    ("", None),
    ("autoinstall:\n  version: 1\n", None),
    ("# cloud-config\na: 1\n", None),
    ("#cloud-confi\na: 1\n", None),
    ("a: 1\n#cloud-config\n", None),
    ("\u{feff}#cloud-config\na: 1\n", None),
    ("#upstart-job\n", None),
    ("##template: jinja\n#cloud-config\n", None),
];

#[test]
fn the_formats_are_those_of_cloud_init() {
    for (text, name) in TEXTS {
        assert_eq!(Format::of(text).map(Format::name), name, "{text:?}");
    }
    // White space as Python has it. PyYAML then takes none of these.
    for space in [
        "\t", "\u{b}", "\x1c", "\x1f", "\u{85}", "\u{a0}", "\u{2003}", "\u{2028}",
    ] {
        let text = format!("{space}#CLOUD-CONFIG\na: 1\n");
        assert_eq!(Format::of(&text), Some(Format::CloudConfig), "{text:?}");
    }
    for text in ["\u{200b}#cloud-config\n", "\0#cloud-config\n"] {
        assert_eq!(Format::of(text), None, "{text:?}");
    }
    // The header of a message is looked for at its beginning alone.
    let late = format!("{}MIME-Version: 1.0\n", "x".repeat(4096));
    assert_eq!(Format::of(&late), None);
}

#[test]
fn each_format_is_served_as_the_template_says_and_anything_else_is_the_fallback() {
    let service = Start::fresh()
        .stage(
            "cloud-init-templates/user-data.yaml.j2",
            "#cloud-config\na: 0\n",
        )
        .service();
    for (text, name) in TEXTS {
        let template = format!("{{% raw %}}{text}{{% endraw %}}");
        service.stage("cloud-init-templates/user-data.yaml.j2", &template);
        let answer = service.get("/cloud-init/00:00:5e:00:53:01/user-data");
        match name {
            // Python's Jinja2 takes one line break from the end.
            Some(_) => assert_eq!(
                answer.text().trim_end(),
                text.trim_end().replace("\r\n", "\n")
            ),
            None => assert!(
                answer.text().contains("autoinstall:\n  version: 1"),
                "{text:?}"
            ),
        }
    }
}

/// What a template says before its first line of text leaves a blank line there.
#[test]
fn a_template_that_begins_with_a_comment_an_assignment_or_an_import_is_served() {
    let service = Start::fresh()
        .stage(
            "cloud-init-templates/lib.j2",
            "{% macro one() %}1{% endmacro %}",
        )
        .stage(
            "cloud-init-templates/user-data.yaml.j2",
            "#cloud-config\na: 0\n",
        )
        .service();
    for first in [
        "{# written by hand #}",
        "{% set a = 1 %}",
        "{% import 'lib.j2' as lib %}",
        "{% from 'lib.j2' import one %}\n\n",
        "  {# indented #}",
    ] {
        let template = format!("{first}\n#cloud-config\na: {{{{ mac }}}}\n");
        service.stage("cloud-init-templates/user-data.yaml.j2", &template);
        let answer = service.get("/cloud-init/00:00:5e:00:53:01/user-data");
        let text = answer.text();
        assert!(
            text.ends_with("#cloud-config\na: 00:00:5e:00:53:01"),
            "{first}: {text}"
        );
    }
}
