//! The hash of the fallback's password as a credential. That systemd passes it is in tests/host.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::*;

const NAME: &str = "gb10-provision-api.fallback-password-hash";
const OF_CREDENTIAL: &str = "$6$credential$0123456789abcdefghijklmnopqrstuvwxyz";
const OF_VARIABLE: &str = "$6$variable$0123456789abcdefghijklmnopqrstuvwxyz";
const OF_OPTION: &str = "$6$option$0123456789abcdefghijklmnopqrstuvwxyz";

/// A folder as systemd passes it.
fn credentials(content: impl AsRef<[u8]>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(NAME), content).unwrap();
    folder
}

fn start_with(credentials: &Path) -> Start {
    Start::fresh()
        .env("CREDENTIALS_DIRECTORY", credentials)
        .env("LOG", "trace")
}

/// The seed, which has the hash, and the log, which must not.
fn served(service: &Service) -> String {
    let seed = service.get("/cloud-init/user-data?mac=3c:6d:66:0a:1b:2c");
    service.wait_for_log(&["seed served"]);
    let log = service.log();
    assert!(
        !log.contains("$6$") && !log.contains("0123456789ab"),
        "{log}"
    );
    seed.text().to_owned()
}

#[test]
fn a_credential_goes_before_the_variable_and_an_option_before_both() {
    for content in [OF_CREDENTIAL.to_owned(), format!("{OF_CREDENTIAL}\n")] {
        let folder = credentials(content);
        let service = start_with(folder.path()).service();
        assert!(served(&service).contains(OF_CREDENTIAL));
        assert!(!service.log().contains("passed over"), "{}", service.log());

        let start = start_with(folder.path()).env("FALLBACK_PASSWORD_HASH", OF_VARIABLE);
        let service = start.service();
        assert!(served(&service).contains(OF_CREDENTIAL));
        service.wait_for_log(&["note: FALLBACK_PASSWORD_HASH is passed over", NAME]);

        let mut start = start_with(folder.path()).env("FALLBACK_PASSWORD_HASH", OF_VARIABLE);
        start.command.args(["--fallback-password-hash", OF_OPTION]);
        assert!(served(&start.service()).contains(OF_OPTION));
    }
}

#[test]
fn without_one_or_with_an_empty_one_the_variable_counts() {
    let other = tempfile::tempdir().unwrap();
    let missing = other.path().join("missing");
    for folder in [
        credentials("").path(),
        credentials("\n").path(),
        other.path(),
        &missing,
    ] {
        let start = start_with(folder).env("FALLBACK_PASSWORD_HASH", OF_VARIABLE);
        assert!(served(&start.service()).contains(OF_VARIABLE));
        // Nor is it taken for an invalid hash where nothing else is set.
        let seed = served(&start_with(folder).service());
        assert!(seed.contains("$6$gb10provision$"), "{seed}");
    }
}

#[test]
fn an_unfit_one_stops_the_start_and_is_not_shown() {
    // systemd passes up to a megabyte.
    let long = format!("$6$salt$hunter2{}", "a".repeat(1 << 20));
    let unfit: [(&[u8], &str); 6] = [
        (b"hunter2", "not a crypt hash: expected $id$salt$hash"),
        (b"$6$hunter2", "not a crypt hash"),
        (b"$6$salt$hunter2\n$6$salt$hunter2", "not a crypt hash"),
        (b"$6$salt$hunter2\"\nx: y", "not a crypt hash"),
        (b"$6$salt$hunter2\xff", "UTF-8"),
        (long.as_bytes(), "longer than 4096 bytes"),
    ];
    for (content, reason) in unfit {
        let folder = credentials(content);
        let Err((status, log)) = start_with(folder.path()).try_service() else {
            panic!("it serves with {reason}");
        };
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(
            log.starts_with(&format!("error: the credential {NAME}: ")),
            "{log}"
        );
        assert!(log.contains(reason), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
    // It is there and cannot be read: a default password in its place would be a surprise.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(NAME)).unwrap();
    let Err((status, log)) = start_with(folder.path()).try_service() else {
        panic!("it serves");
    };
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("directory"), "{log}");
}
