//! `gb10-provision-api cidata`: the image of a stick, and whatever befalls the command.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gb10_provision_api::fat;
use gb10_provision_api::seed::yaml;
use jiff::Timestamp;

use crate::support::needs::{Need, needs};
use crate::support::system::{Mount, run};
use crate::support::{BINARY, figure, stage};

const MAC: &str = "3c:6d:66:0a:1b:2c";
const FILES: [&str; 4] = ["user-data", "meta-data", "vendor-data", "network-config"];

/// What reads the image as any other FAT, without mounting it.
const MTOOLS: Need = Need::Program("mcopy");

/// A folder to work in, with a data folder in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let devices = format!(
            r#"{{"{MAC}": {{"hostname": "spark-07", "install": "never", "macs": ["3c:6d:66:0a:1b:2d"]}}}}"#
        );
        folder.stage("devices.json", &devices);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn stage(&self, name: &str, text: &str) {
        stage(&self.path("data"), name, text);
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[("SOURCE_DATE_EPOCH", "1800000000")])
    }

    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("DATA_PATH", self.path("data"))
            .envs(environment.iter().copied());
        command.output().unwrap()
    }

    /// Makes an image, which must work.
    fn cidata(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(&[&["cidata"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        fs::read(self.path(arguments[1])).unwrap()
    }

    /// Makes one, which must be refused with these words, and leave the folder as it was.
    fn refused(&self, arguments: &[&str], words: &[&str]) {
        let before = self.names();
        let output = self.run(&[&["cidata"], arguments].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        for word in words.iter().chain(&["nothing is written"]) {
            assert!(said.contains(word), "{word:?} in {said:?}");
        }
        assert_eq!(text(&output.stdout), "");
        assert_eq!(self.names(), before, "{arguments:?}");
    }

    /// What `render` prints.
    fn rendered(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(&[&["render"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A file of an image, as mtools reads it.
    fn file(&self, image: &str, name: &str) -> Vec<u8> {
        let output = Command::new("mcopy")
            .args(["-n", "-i"])
            .arg(self.path(image))
            .args([&format!("::{name}"), "-"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// What fsck.fat finds wrong.
fn fsck(image: &Path) -> String {
    let output = Command::new("/usr/sbin/fsck.fat")
        .args(["-n", "-v"])
        .arg(image)
        .output()
        .unwrap();
    match output.status.success() {
        true => String::new(),
        false => text(&output.stdout) + &text(&output.stderr),
    }
}

#[test]
fn the_image_has_the_files_that_render_prints_and_the_label_that_cloud_init_looks_for() {
    needs!(MTOOLS, Need::Program("blkid"));
    let folder = Folder::new();
    folder.stage(
        "cloud-init-templates/user-data.yaml.j2",
        "#cloud-config\na: {{ hostname | tojson }}\n",
    );
    folder.stage(
        "cloud-init-templates/vendor-data.yaml.j2",
        "#cloud-config\nb: {{ provision_url | tojson }}\n",
    );
    folder.stage(
        "cloud-init-templates/network-config.yaml.j2",
        "version: 2\n",
    );
    let at = ["--reached-at", "10.88.0.7:80"];
    for (profile, user_data) in [("dgx-os", "dgx-os"), ("installer", "user-data")] {
        let image = format!("{profile}.img");
        // By another port of the box.
        let arguments = ["3c-6d-66-0a-1b-2d", &image, "--profile", profile];
        folder.cidata(&[&arguments[..], &at].concat());
        for file in FILES {
            let printed = match file {
                "user-data" => user_data,
                other => other,
            };
            let expected = folder.rendered(&[&[MAC, printed][..], &at].concat());
            assert!(folder.file(&image, file) == expected, "{profile}: {file}");
        }
        let user_data = text(&folder.file(&image, "user-data"));
        assert!(user_data.contains("\"spark-07\""), "{user_data}");
        assert!(text(&folder.file(&image, "vendor-data")).contains("http://10.88.0.7:80"));
        let found = Command::new("blkid")
            .arg("-p")
            .arg(folder.path(&image))
            .output()
            .unwrap();
        let found = text(&found.stdout);
        for word in [r#" LABEL="CIDATA""#, r#"TYPE="vfat""#, r#"VERSION="FAT16""#] {
            assert!(found.contains(word), "{found}");
        }
    }
    let names = Command::new("mdir")
        .args(["-b", "-i"])
        .arg(folder.path("dgx-os.img"))
        .arg("::")
        .output();
    let mut names: Vec<_> = text(&names.unwrap().stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    let mut expected = FILES.map(|file| format!("::/{file}"));
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn it_is_for_a_box_with_dgx_os_unless_it_is_told_otherwise() {
    needs!(MTOOLS);
    let folder = Folder::new();
    folder.cidata(&[MAC, "a.img"]);
    assert!(folder.file("a.img", "user-data") == folder.rendered(&[MAC, "dgx-os"]));
    // A template of the site's, or one of the box's own, wins.
    folder.stage(
        "cloud-init-templates/user-data.yaml.j2",
        "#cloud-config\na: 1\n",
    );
    folder.cidata(&[MAC, "b.img"]);
    assert!(folder.file("b.img", "user-data") == folder.file("a.img", "user-data"));
    folder.stage(
        "cloud-init-templates/dgx-os.yaml.j2",
        "#cloud-config\nof: site\n",
    );
    folder.cidata(&[MAC, "c.img"]);
    assert_eq!(
        text(&folder.file("c.img", "user-data")),
        "#cloud-config\nof: site"
    );
    folder.stage(
        "cloud-init-templates/3c-6d-66-0a-1b-2c/dgx-os.yaml.j2",
        "#cloud-config\nof: box\n",
    );
    folder.cidata(&[MAC, "d.img"]);
    assert_eq!(
        text(&folder.file("d.img", "user-data")),
        "#cloud-config\nof: box"
    );
    let check = folder.run(&["check"]);
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn the_onboarding_in_it_is_what_the_service_serves() {
    let folder = Folder::new();
    let user_data = || {
        let text = text(&folder.rendered(&[MAC, "dgx-os"]));
        serde_json::to_value(yaml::value(&text).unwrap()).unwrap()
    };
    let content = |path: &str| {
        let user_data = user_data();
        let files = user_data["write_files"].as_array().unwrap().clone();
        let file = files.into_iter().find(|file| file["path"] == path).unwrap();
        file["content"].as_str().unwrap().to_owned()
    };
    let source = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/onboard");
        fs::read_to_string(path.join(name)).unwrap()
    };
    let unit = "/etc/systemd/system/gb10-onboard.service";
    assert_eq!(
        content("/usr/local/sbin/gb10-onboard"),
        source("gb10-onboard")
    );
    assert_eq!(content(unit), source("gb10-onboard.service"));
    assert_eq!(
        content("/etc/gb10-onboard.conf"),
        format!("PROVISION_URL=http://10.88.0.1:8088\nMAC={MAC}\n")
    );
    // A site's own.
    let odd = "#!/bin/sh\n# 'ü' \"{{ no }}\" \\ <&> \t: - |\n\n\n";
    folder.stage("onboard/gb10-onboard", odd);
    assert_eq!(content("/usr/local/sbin/gb10-onboard"), odd);
    assert_eq!(content(unit), source("gb10-onboard.service"));
    fs::write(folder.path("data/onboard/gb10-onboard"), [0xff, 0xfe]).unwrap();
    folder.refused(
        &[MAC, "stick.img"],
        &["onboard/gb10-onboard: cannot be read"],
    );
    let large = "x".repeat(600_000);
    folder.stage("onboard/gb10-onboard", &large);
    folder.refused(&[MAC, "stick.img"], &["is longer than 524288 bytes"]);
    // The autoinstall takes nothing from there.
    folder.cidata(&[MAC, "stick.img", "--profile", "installer"]);
}

#[test]
fn the_user_follows_from_what_the_site_says() {
    let folder = Folder::new();
    let user_data = |site: &str| {
        folder.stage("site.json", site);
        let text = text(&folder.rendered(&[MAC, "dgx-os"]));
        serde_json::to_value(yaml::value(&text).unwrap()).unwrap()
    };
    let neither = user_data("{}");
    assert_eq!(neither["users"][0]["name"], "gb10");
    assert_eq!(neither["users"][0]["lock_passwd"], false);
    assert_eq!(neither["chpasswd"]["expire"], true);
    assert_eq!(neither["ssh_pwauth"], true);
    assert_eq!(neither["hostname"], "spark-07");

    let keys = user_data(r#"{"username": "ops", "authorized_keys": ["ssh-ed25519 AAAA ops"]}"#);
    assert_eq!(keys["users"][0]["name"], "ops");
    assert_eq!(keys["users"][0]["lock_passwd"], true);
    assert!(keys["users"][0].get("hashed_passwd").is_none());
    assert_eq!(keys["users"][0]["sudo"], "ALL=(ALL) NOPASSWD:ALL");
    assert!(keys.get("chpasswd").is_none());
    assert_eq!(keys["ssh_pwauth"], false);

    let hash = "$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g.";
    let both =
        format!(r#"{{"password_hash": "{hash}", "authorized_keys": ["ssh-ed25519 AAAA ops"]}}"#);
    let both = user_data(&both);
    assert_eq!(both["users"][0]["hashed_passwd"], hash);
    assert_eq!(both["users"][0]["lock_passwd"], false);
    assert!(both["users"][0].get("sudo").is_none() && both.get("chpasswd").is_none());
    assert!(both.get("autoinstall").is_none());
}

#[test]
fn the_same_seed_and_time_give_the_same_bytes() {
    let folder = Folder::new();
    let first = folder.cidata(&[MAC, "a.img"]);
    assert!(folder.cidata(&[MAC, "b.img"]) == first);
    for (time, expected) in [
        ("1800000001", 0),
        ("1", 0),
        ("17000000000", 0),
        ("tomorrow", 1),
        ("", 1),
    ] {
        let arguments = ["cidata", MAC, "c.img", "--force"];
        let output = folder.run_with(&arguments, &[("SOURCE_DATE_EPOCH", time)]);
        assert_eq!(output.status.code(), Some(expected), "{time:?}: {output:?}");
        assert_ne!(fs::read(folder.path("c.img")).unwrap(), first);
    }
}

#[test]
fn a_file_that_is_there_stays_without_force() {
    let folder = Folder::new();
    let path = folder.path("stick.img");
    fs::write(&path, "precious").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    folder.refused(
        &[MAC, "stick.img"],
        &["stick.img: is there; --force replaces it"],
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    folder.cidata(&[MAC, "stick.img", "--force"]);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(folder.names(), ["data", "stick.img"]);
}

#[test]
fn what_is_no_file_is_never_written_to() {
    let folder = Folder::new();
    fs::create_dir(folder.path("folder")).unwrap();
    fs::write(folder.path("behind"), "precious").unwrap();
    symlink("behind", folder.path("link")).unwrap();
    symlink("nowhere", folder.path("dangling")).unwrap();
    let mut cases = vec![
        ("folder", "is a folder"),
        ("link", "is a link"),
        ("dangling", "is a link"),
        ("/dev/null", "is no regular file"),
        ("nowhere/stick.img", "No such file or directory"),
        ("behind/stick.img", "Not a directory"),
    ];
    let disk = fs::read_dir("/dev").unwrap().flatten().find(|entry| {
        use std::os::unix::fs::FileTypeExt;
        entry.file_type().is_ok_and(|kind| kind.is_block_device())
    });
    let disk = disk.map(|entry| entry.path().to_str().unwrap().to_owned());
    cases.extend(disk.as_deref().map(|disk| {
        (
            disk,
            "is a block device: expected a file, which is then copied to a stick with dd",
        )
    }));
    for (name, reason) in cases {
        for force in [&[][..], &["--force"]] {
            folder.refused(&[&[MAC, name][..], force].concat(), &[name, reason]);
        }
    }
    assert_eq!(
        fs::read_to_string(folder.path("behind")).unwrap(),
        "precious"
    );
}

#[test]
fn whatever_is_wrong_with_what_is_staged_nothing_is_written() {
    let folder = Folder::new();
    folder.stage(
        "cloud-init-templates/user-data.yaml.j2",
        "#cloud-config\n{{ nothing }}\n",
    );
    folder.stage("cloud-init-templates/dgx-os.yaml.j2", "{{ nothing }}\n");
    let secret = "$6$salt$secret";
    folder.refused(
        &[MAC, "stick.img"],
        &["user-data: dgx-os.yaml.j2:1: ", "`nothing` is undefined"],
    );
    folder.refused(
        &[MAC, "stick.img", "--profile", "installer"],
        &["user-data: user-data.yaml.j2:2: "],
    );
    let check = folder.run(&["check"]);
    let said = text(&check.stdout) + &text(&check.stderr);
    assert!(said.contains("dgx-os.yaml.j2:1:"), "{said}");
    folder.stage("cloud-init-templates/dgx-os.yaml.j2", "a: 1\n");
    folder.refused(
        &[MAC, "stick.img"],
        &["dgx-os.yaml.j2: the rendered text does not begin with #cloud-config"],
    );
    folder.stage(
        "cloud-init-templates/dgx-os.yaml.j2",
        "#cloud-config\na: 1\n",
    );
    folder.stage("cloud-init-templates/network-config.yaml.j2", "a: [\n");
    folder.refused(
        &[MAC, "stick.img"],
        &["network-config: network-config.yaml.j2: line "],
    );
    fs::remove_file(folder.path("data/cloud-init-templates/network-config.yaml.j2")).unwrap();
    folder.stage(
        "site.json",
        &format!(r#"{{"password_hash": "{secret}", "username": "Root"}}"#),
    );
    folder.refused(&[MAC, "stick.img"], &["site.json:1"]);
    folder.stage("site.json", "{}");
    folder.stage("devices.json", "{");
    folder.refused(&[MAC, "stick.img"], &["devices.json:1"]);
    folder.stage("devices.json", "{}");
    folder.cidata(&[MAC, "stick.img"]);
}

#[test]
fn a_box_that_nobody_knows_and_one_that_would_be_installed_are_told() {
    let folder = Folder::new();
    let notes_with = |settings: &[&str], arguments: &[&str]| {
        let command = [settings, &["cidata"], arguments, &["stick.img", "--force"]];
        let output = folder.run(&command.concat());
        assert!(output.status.success(), "{output:?}");
        assert!(text(&output.stdout).contains("dd if=stick.img of=/dev/sdX"));
        text(&output.stderr)
    };
    let notes = |arguments: &[&str]| notes_with(&[], arguments);
    assert_eq!(notes(&[MAC]), "");
    let unknown = notes(&["3c:6d:66:0a:1b:30"]);
    assert!(
        unknown.contains("devices.json does not know 3c:6d:66:0a:1b:30"),
        "{unknown}"
    );
    assert!(unknown.contains("its DGX OS may be replaced"), "{unknown}");
    let installed = notes(&["3c:6d:66:0a:1b:30", "--profile", "installer"]);
    assert!(!installed.contains("DGX OS"), "{installed}");
    let armed = notes_with(&["--install", "armed"], &["3c:6d:66:0a:1b:30"]);
    assert!(
        armed.contains("does not know") && !armed.contains("replaced"),
        "{armed}"
    );
}

#[test]
fn the_service_gives_the_user_data_of_a_stick_to_nobody() {
    let service = crate::support::Start::fresh().service();
    for target in [
        &format!("/cloud-init/{MAC}/dgx-os"),
        "/cloud-init/dgx-os",
        &format!("/cloud-init/?mac={MAC}dgx-os"),
        &format!("/cloud-init/?mac={MAC}&f=dgx-os"),
        &format!("/cloud-init/?mac={MAC}grub.cfg"),
    ] {
        assert_eq!(service.get_as_box(target).status, 404, "{target}");
    }
}

/// The calls that change something on the disk, from the one behind the creation of the new file on.
/// openat(2) is none of them: how often files that were just written are read is a matter of time.
const CHANGING: &str = "trace=write,fchmod,fsync,renameat,unlinkat";

fn traced(folder: &Folder, options: &[&str], arguments: &[&str]) -> Output {
    let mut command = Command::new("strace");
    command
        .arg("-o")
        .arg(folder.path("trace"))
        .args(options)
        .arg(BINARY)
        .args(arguments)
        .current_dir(folder.0.path())
        .env("DATA_PATH", folder.path("data"))
        .env("SOURCE_DATE_EPOCH", "1800000000");
    command.output().unwrap()
}

#[test]
fn a_kill_at_each_system_call_leaves_the_former_file_or_the_whole_image() {
    needs!(Need::Strace);
    for force in [false, true] {
        let folder = Folder::new();
        let path = folder.path("stick.img");
        let arguments: Vec<&str> = ["cidata", MAC, "stick.img"]
            .into_iter()
            .chain(force.then_some("--force"))
            .collect();
        let prepare = || match force {
            true => fs::write(&path, "precious").unwrap(),
            false => drop(fs::remove_file(&path)),
        };
        prepare();
        let before = fs::read(&path).ok();
        assert!(
            traced(&folder, &["-e", CHANGING], &arguments)
                .status
                .success()
        );
        let after = fs::read(&path).unwrap();
        assert_eq!(after.len(), 8 << 20);
        let trace = fs::read_to_string(folder.path("trace")).unwrap();
        let names = trace
            .lines()
            .filter_map(|line| Some(line.split_once('(')?.0));
        let names: Vec<_> = names
            .filter(|name| name.bytes().all(|it| it.is_ascii_lowercase()))
            .collect();
        let first = trace
            .lines()
            .position(|line| line.starts_with("fchmod("))
            .unwrap();
        let (mut old, mut new) = (0, 0);
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for (at, name) in names.iter().enumerate() {
            let count = counts.entry(name).or_default();
            *count += 1;
            if at < first {
                continue;
            }
            let when = format!("killed at {name} {count}");
            prepare();
            let inject = format!("inject={name}:signal=KILL:when={count}");
            let killed = traced(&folder, &["-e", CHANGING, "-e", &inject], &arguments);
            assert_eq!(killed.status.signal(), Some(9), "{when}: {killed:?}");
            match fs::read(&path).ok() {
                found if found == before => old += 1,
                found if found.as_ref() == Some(&after) => {
                    assert_eq!(mode(&path), 0o600, "{when}");
                    new += 1;
                }
                _ => panic!("{when}: half of it"),
            }
            let temporary = folder.path("stick.img.tmp");
            if temporary.exists() {
                // Half of a secret is one, too.
                assert_eq!(mode(&temporary), 0o600, "{when}");
            }
            // The next run clears up.
            prepare();
            folder.cidata(&[&[MAC, "stick.img"], &arguments[3..]].concat());
            assert!(!temporary.exists(), "{when}");
        }
        figure(&format!(
            "force {force}: {old} kills before it was in force, {new} after"
        ));
        assert!(old >= 4 && new >= 1, "{old} {new}");
    }
}

#[test]
fn a_call_that_fails_leaves_the_former_file_and_no_litter() {
    needs!(Need::Strace);
    let folder = Folder::new();
    let path = folder.path("stick.img");
    fs::write(&path, "precious").unwrap();
    for (call, error, step) in [
        ("write", "ENOSPC", "writing"),
        ("fsync", "EIO", "fsync of"),
        ("renameat", "EROFS", "renaming"),
        ("fchmod", "EPERM", "setting the mode of"),
    ] {
        let inject = format!("inject={call}:error={error}:when=1");
        let arguments = ["cidata", MAC, "stick.img", "--force"];
        let output = traced(
            &folder,
            &["-e", &format!("trace={call}"), "-e", &inject],
            &arguments,
        );
        assert_eq!(output.status.code(), Some(1), "{call}: {output:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains(&format!("{step} stick.img failed: ")),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(folder.names(), ["data", "stick.img", "trace"]);
    }
}

#[test]
fn a_folder_that_is_full_or_read_only_gets_nothing() {
    needs!(Need::Mounts);
    let folder = Folder::new();
    let there = folder.path("there");
    fs::create_dir(&there).unwrap();
    {
        let _full = Mount::new(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], &there);
        folder.refused(
            &[MAC, "there/stick.img"],
            &["writing there/stick.img failed: No space left"],
        );
        assert_eq!(fs::read_dir(&there).unwrap().count(), 0);
    }
    let _read_only = Mount::new(&["-t", "tmpfs", "-o", "ro", "tmpfs"], &there);
    folder.refused(
        &[MAC, "there/stick.img"],
        &["creating there/stick.img failed: Read-only file system"],
    );
}

#[test]
fn fsck_finds_nothing_wrong_with_files_of_any_size_until_they_have_no_room() {
    needs!(MTOOLS);
    let folder = Folder::new();
    let time = Timestamp::from_second(1_800_000_000).unwrap();
    let path = folder.path("image");
    // About each boundary of a cluster, and one of all that is there.
    let most = 16_223 * 512;
    for sizes in [
        [0, 0, 0, 0],
        [1, 511, 512, 513],
        [0, 1024, 0, 1],
        [1 << 20, 1 << 20, 1 << 20, 1 << 20],
        [most, 0, 0, 0],
        [most - 1024, 0, 1, 512],
    ] {
        let contents = sizes.map(|size| (0..size).map(|n| (n % 251) as u8).collect::<Vec<_>>());
        let names = [
            "user-data",
            "a",
            "exactly-13-ch",
            "a-name-that-takes-three-parts",
        ];
        let files: Vec<_> = names
            .into_iter()
            .zip(contents.iter().map(|content| &content[..]))
            .collect();
        let image = fat::image("CIDATA", &files, time).unwrap();
        assert_eq!(image.len(), 8 << 20);
        fs::write(&path, &image).unwrap();
        assert_eq!(fsck(&path), "", "{sizes:?}");
        for (name, content) in files {
            assert!(folder.file("image", name) == content, "{sizes:?}: {name}");
        }
    }
    let content = vec![0; most + 1];
    assert!(fat::image("CIDATA", &[("a", &content)], time).is_err());
    let content = vec![0; most];
    assert!(fat::image("CIDATA", &[("a", &content), ("b", b"b")], time).is_err());
    // Nor do times beyond what it can say.
    for second in [-1, 0, 315_532_799, 253_000_000_000] {
        let time = Timestamp::from_second(second).unwrap();
        fs::write(&path, fat::image("CIDATA", &[("a", b"a")], time).unwrap()).unwrap();
        assert_eq!(fsck(&path), "", "{second}");
    }
}

#[test]
fn a_person_can_change_a_file_on_it() {
    needs!(MTOOLS);
    let folder = Folder::new();
    folder.cidata(&[MAC, "stick.img"]);
    let image = folder.path("stick.img");
    let image = image.to_str().unwrap();
    let longer = "#cloud-config\n".repeat(40_000);
    fs::write(folder.path("user-data"), &longer).unwrap();
    fs::write(folder.path("another"), "another").unwrap();
    let changed = folder.path("user-data");
    assert!(run(
        "mcopy",
        &["-o", "-i", image, changed.to_str().unwrap(), "::user-data"]
    ));
    let another = folder.path("another");
    assert!(run(
        "mcopy",
        &["-i", image, another.to_str().unwrap(), "::"]
    ));
    assert_eq!(fsck(&folder.path("stick.img")), "");
    assert!(folder.file("stick.img", "user-data") == longer.as_bytes());
}
