//! What templates take from Ansible, which Jinja2 has not, and what to write instead.

use minijinja::ErrorKind;

/// Names of filters, and what to write instead.
const FILTERS: [(&[&str], &str); 18] = [
    (&["to_json", "to_nice_json"], "write tojson"),
    (
        &["to_yaml", "to_nice_yaml"],
        "write tojson, for JSON is YAML, too",
    ),
    (
        &["from_json", "from_yaml"],
        "values of site.json and devices.json are no texts: use them as they are",
    ),
    (
        &["password_hash", "hash", "checksum"],
        "make the hash beforehand, with mkpasswd, and put it into site.json",
    ),
    (
        &["bool"],
        "write true or false in site.json, without quotes, and use it as it is",
    ),
    (
        &["b64encode", "b64decode"],
        "put the text into site.json as it shall be, or have the box run base64",
    ),
    (&["regex_replace"], "write replace('old', 'new')"),
    (
        &["regex_search", "regex_findall"],
        "write 'part' in text, or text.split('part')",
    ),
    (
        &["ipaddr", "ipv4", "ipv6", "ipsubnet", "ipwrap"],
        "put the parts of the address into site.json or devices.json",
    ),
    (&["combine"], "put the whole object into site.json"),
    (
        &["mandatory"],
        "leave it out: an undefined value is a fault by itself",
    ),
    (&["ternary"], "write a if condition else b"),
    (&["quote"], "write quotes around it, or tojson"),
    (&["basename"], "write path.split('/') | last"),
    (
        &["flatten", "subelements", "zip", "product"],
        "write a loop in a loop",
    ),
    (&["dict2items"], "write d.items()"),
    (&["items2dict"], "write a loop"),
    (&["comment"], "write # before each line"),
];

/// Tests, and what to write instead.
const TESTS: [(&[&str], &str); 2] = [
    (
        &["match", "search", "regex", "contains"],
        "write 'part' in text, or text.startswith('part')",
    ),
    (&["version", "version_compare"], "compare the numbers"),
];

/// Functions, and what to write instead.
const FUNCTIONS: [(&[&str], &str); 1] = [(
    &["lookup", "query", "q"],
    "put what it would look up into site.json or devices.json",
)];

/// Variables that Ansible gathers.
const VARIABLES: [&str; 4] = ["hostvars", "groups", "group_names", "inventory_hostname"];

/// What to write instead of what an error of that kind complains of; none where that is not
/// Ansible's.
pub(super) fn instead(kind: ErrorKind, detail: &str) -> Option<String> {
    let table: &[(&[&str], &str)] = match kind {
        ErrorKind::UnknownFilter => &FILTERS,
        ErrorKind::UnknownTest => &TESTS,
        ErrorKind::UnknownFunction => &FUNCTIONS,
        ErrorKind::UndefinedError => {
            let mut words = detail.split(|c: char| !c.is_alphanumeric() && c != '_');
            let is_fact = |word: &str| word.starts_with("ansible_") || VARIABLES.contains(&word);
            return words.any(is_fact).then(|| {
                "a variable of Ansible's: values come from site.json and devices.json".to_owned()
            });
        }
        _ => return None,
    };
    let mut words = detail.split([' ', '`', '.']);
    let find = |word: &str| table.iter().find(|(names, _)| names.contains(&word));
    let (_, what) = words.find_map(find)?;
    Some(format!("that is Ansible's: {what}"))
}
