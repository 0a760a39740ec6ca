//! `gb10-provision-api boot stage`: what it takes, what it makes of it, and what it refuses.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::media::*;
use crate::support::needs::{Need, needs, skip};
use crate::support::system;
use rustix::fs::{CWD, FileType, Mode, mknodat};

const TOOLS: [Need; 2] = [Need::Program("bsdtar"), Need::Program("xorriso")];

/// What a whole image makes of an empty boot folder.
const WHOLE: [&str; 8] = [
    "bootaa64.efi",
    "grubaa64.efi",
    "images",
    "images/ubuntu-24.04.4",
    "images/ubuntu-24.04.4/image.json",
    "images/ubuntu-24.04.4/initrd",
    "images/ubuntu-24.04.4/installer.iso",
    "images/ubuntu-24.04.4/vmlinuz",
];

/// The loaders of the host's packages, which no test may depend on.
fn host_has_loaders() -> bool {
    fs::exists("/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed").unwrap()
}

#[test]
fn ubuntu_s_iso_and_archive_become_an_image_with_the_kernel_for_newer_hardware() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    let run = folder.stage(&[ISO, ARCHIVE]).well();
    assert!(
        run.output.contains("kernel 6.17.0-14-generic (HWE)"),
        "{run:?}"
    );
    assert_eq!(folder.names(), WHOLE);
    let read = |path| fs::read(path).unwrap();
    assert_eq!(read(folder.of_image("initrd")), b"initrd 6.17.0-14-generic");
    assert_eq!(
        read(folder.of_image("installer.iso")),
        read(folder.path(ISO))
    );
    assert_eq!(read(folder.boot().join("bootaa64.efi")), loader("shim"));
    assert_eq!(read(folder.boot().join("grubaa64.efi")), loader("GRUB"));

    let record = folder.record();
    assert_eq!(record["name"], NAME);
    assert_eq!(record["kernel"]["version"], HWE);
    assert_eq!(record["kernel"]["hwe"], true);
    assert_eq!(record["iso"]["file"], ISO);
    assert_eq!(record["iso"]["volume"], "Ubuntu-Server 24.04.4 LTS arm64");
    for (part, file) in [
        ("kernel", "vmlinuz"),
        ("initrd", "initrd"),
        ("iso", "installer.iso"),
    ] {
        let path = folder.of_image(file);
        assert_eq!(record[part]["size"], fs::metadata(&path).unwrap().len());
        assert_eq!(record[part]["sha256"], folder.sum(&path), "{part}");
    }
    let staged_at = record["staged_at"].as_str().unwrap();
    assert!(staged_at.parse::<jiff::Timestamp>().is_ok(), "{staged_at}");
}

#[test]
fn everybody_may_read_it_whatever_the_umask_of_who_stages() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    // It cannot be linked, for then it would be as its owner has it.
    fs::set_permissions(folder.path(ISO), Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new("sh");
    let script = r#"umask 077; exec "$0" boot stage "$@""#;
    command.args(["-c", script, crate::support::BINARY, ISO, ARCHIVE]);
    command
        .current_dir(folder.path(""))
        .env("DATA_PATH", folder.path("data"));
    let run = Run::of(command.output().unwrap()).well();
    assert!(run.output.contains(", copied,"), "{run:?}");
    for (path, mode, _) in folder.snapshot() {
        let is_file = path.contains('.') && !path.ends_with(NAME)
            || path.ends_with("vmlinuz")
            || path.ends_with("initrd");
        assert_eq!(mode, if is_file { 0o644 } else { 0o755 }, "{path}");
    }
    assert_eq!(fs::metadata(folder.boot()).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn the_iso_is_linked_where_nobody_else_can_write_it_and_copied_otherwise() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    let path = folder.path(ISO);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    for (mode, is_linked) in [(0o644, true), (0o444, true), (0o664, false), (0o640, false)] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let run = folder.stage(&[ISO, ARCHIVE]).well();
        let staged = folder.of_image("installer.iso");
        assert_eq!(inode(&staged) == inode(&path), is_linked, "{mode:o}");
        assert_eq!(
            run.output.contains(", linked,"),
            is_linked,
            "{mode:o}: {run:?}"
        );
        assert_eq!(
            fs::metadata(&path).unwrap().mode() & 0o777,
            mode,
            "the operator's file"
        );
    }
    // From the boot folder itself, and by a link.
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    symlink(&path, folder.path("link-live-server.iso")).unwrap();
    folder.stage(&["link-live-server.iso"]).well();
    folder
        .stage(&["data/boot/images/link/installer.iso", "--name", "again"])
        .well();
    assert_eq!(
        inode(&folder.boot().join("images/again/installer.iso")),
        inode(&path)
    );
}

#[test]
fn a_given_sum_is_checked_for_each_file_and_a_wrong_one_stages_nothing() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    let (iso, archive) = (
        folder.sum(&folder.path(ISO)),
        folder.sum(&folder.path(ARCHIVE)),
    );
    let wrong = OTHER_SUM;
    for (file, sums) in [(ISO, [wrong, &archive]), (ARCHIVE, [&iso, wrong])] {
        let sums = ["--sha256", sums[0], "--sha256", sums[1]];
        let run = folder.stage(&[&[ISO, ARCHIVE][..], &sums].concat());
        let found = folder.sum(&folder.path(file));
        run.refused(&[
            file,
            &found,
            &format!("expected {wrong}"),
            "nothing is staged",
        ]);
        assert!(
            !folder.names().iter().any(|name| name != "images"),
            "{:?}",
            folder.names()
        );
    }
    // One sum for two files: which of them is meant?
    let run = folder.stage(&[ISO, ARCHIVE, "--sha256", &iso]);
    assert_eq!(run.code, Some(2), "{run:?}");
    run.refused(&["--sha256", "once for each FILE"]);
    folder
        .stage(&[ISO, "--sha256", &iso[1..]])
        .refused(&["64 hexadecimal digits"]);
    // In the order of the files, and in capitals, too.
    let upper = iso.to_uppercase();
    let files = ["--sha256", &archive, "--sha256", &upper, ARCHIVE, ISO];
    folder.stage(&files).well();
    assert_eq!(folder.record()["iso"]["sha256"], iso);
}

#[test]
fn what_is_no_image_is_refused_with_what_came_and_what_was_expected() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    let whole = fs::read(folder.path(ISO)).unwrap();
    let archive = fs::read(folder.path(ARCHIVE)).unwrap();
    let expected = "expected the ISO of an installer";
    let incomplete = "incomplete";
    let cases: [(&str, &[u8], [&str; 2]); 9] = [
        (
            "half.iso",
            &whole[..whole.len() / 2],
            ["download is incomplete", "has "],
        ),
        (
            "last-block.iso",
            &whole[..whole.len() - 1],
            [incomplete, "is an ISO of"],
        ),
        (
            "descriptor.iso",
            &whole[..16 * 2048 + 100],
            [expected, "no ISO 9660 image"],
        ),
        ("start.iso", &whole[..1000], [expected, "(1000 bytes)"]),
        ("nothing.iso", b"", [expected, "an empty file"]),
        (
            "login.iso",
            b"<!DOCTYPE html><title>Sign in",
            [expected, "a web page"],
        ),
        ("disk.iso", b"QFI\xfb and so on", [expected, "qcow2"]),
        ("zip.iso", b"PK\x03\x04", [expected, "a ZIP archive"]),
        ("linux.iso", &kernel(HWE), [expected, "a program or kernel"]),
    ];
    for (name, bytes, parts) in cases {
        folder.write(name, bytes);
        let run = folder.stage(&[name, ARCHIVE]);
        run.refused(&[name, parts[0], parts[1], "nothing is staged"]);
    }
    folder.write("half.tar.gz", &archive[..archive.len() / 2]);
    folder
        .stage(&[ISO, "half.tar.gz"])
        .refused(&["half.tar.gz", incomplete]);
    folder
        .stage(&[ISO, "no-such-file"])
        .refused(&["no-such-file", "No such file"]);
    folder
        .stage(&[ISO, "data"])
        .refused(&["data: not a regular file"]);
    mknodat(
        CWD,
        folder.path("pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    folder
        .stage(&["pipe"])
        .refused(&["pipe: not a regular file"]);
    folder
        .stage(&[ARCHIVE])
        .refused(&["0 ISO and 1 archive", "expected one ISO"]);
    folder
        .stage(&[ISO, ISO, ARCHIVE])
        .refused(&["2 ISO and 1 archive"]);
    folder.stage(&[]).refused(&["FILE"]);
    assert!(!folder.boot().exists(), "{:?}", folder.names());
}

#[test]
fn media_without_what_boots_a_gb10_are_refused() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    let kernel = kernel(HWE);
    let foreign = program(X86_64, "");
    let packed_foreign = packed(&["gzip"], &foreign);
    let initrd = ("casper/initrd", &b"initrd"[..]);
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(Files<'_>, &str); 6] = [
        (&[("README", b"x")], "expected Ubuntu's live-server ISO"),
        (
            &[("casper/vmlinuz", &kernel)],
            "no casper/vmlinuz beside casper/initrd",
        ),
        (
            &[("casper/vmlinuz", &foreign), initrd],
            "a kernel for x86-64: expected one for arm64",
        ),
        (
            &[("casper/vmlinuz", &packed_foreign), initrd],
            "a kernel for x86-64",
        ),
        (
            &[("casper/vmlinuz", b"text"), initrd],
            "no kernel that is known here",
        ),
        (
            &[("casper/vmlinuz", &kernel), ("casper/initrd", b"")],
            "casper/initrd in odd.iso: is empty",
        ),
    ];
    for (files, reason) in cases {
        folder.iso("odd.iso", files);
        // The kernel in the archive is none for an ISO without.
        let run = folder.stage(&["odd.iso", ARCHIVE]);
        run.refused(&[reason, "odd.iso", "nothing is staged"]);
        assert!(
            !folder.names().iter().any(|name| name != "images"),
            "{:?}",
            folder.names()
        );
    }
    let foreign = Folder::empty();
    foreign.write("amd64/bootx64.efi", b"x");
    assert!(system::run(
        "tar",
        &[
            "-czf",
            folder.path("amd64.tar.gz").to_str().unwrap(),
            "-C",
            foreign.path("").to_str().unwrap(),
            "amd64"
        ],
    ));
    folder.stage(&[ISO, "amd64.tar.gz"]).refused(&[
        "amd64.tar.gz",
        "arm64/bootaa64.efi",
        "netboot archive for arm64",
    ]);
}

#[test]
fn a_kernel_tells_its_version_however_it_is_packed() {
    needs!(TOOLS[0], TOOLS[1], Need::Program("zstd"));
    let folder = Folder::new();
    let kernels = [
        kernel("6.17.0-1-a"),
        packed(&["gzip"], &kernel("6.17.0-1-a")),
        unpacking_kernel("6.17.0-1-a", &["gzip"]),
        unpacking_kernel("6.17.0-1-a", &["zstd", "-q", "-c"]),
    ];
    for kernel in kernels {
        folder.iso(
            "odd.iso",
            &[("casper/vmlinuz", &kernel), ("casper/initrd", b"initrd")],
        );
        folder.stage(&["odd.iso", ARCHIVE, "--name", NAME]).well();
        let record = folder.record();
        assert_eq!(record["kernel"]["version"], "6.17.0-1-a");
        assert_eq!(record["kernel"]["hwe"], false);
        assert_eq!(fs::read(folder.of_image("vmlinuz")).unwrap(), kernel);
    }
}

#[test]
fn a_medium_without_long_names_is_read_as_well() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    folder.write("tree/casper/vmlinuz", &kernel(HWE));
    folder.write("tree/casper/initrd", b"initrd");
    let (iso, tree) = (folder.path("plain.iso"), folder.path("tree"));
    let arguments = ["-as", "mkisofs", "-quiet", "--norock", "-o"];
    let paths = [iso.to_str().unwrap(), tree.to_str().unwrap()];
    assert!(system::run("xorriso", &[&arguments[..], &paths].concat()));
    folder.stage(&["plain.iso", ARCHIVE]).well();
    assert!(folder.boot().join("images/plain/vmlinuz").exists());
}

#[test]
fn shim_and_grub_come_from_the_archive_or_stay_and_without_any_nothing_is_staged() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    if !host_has_loaders() {
        let run = folder.stage(&[ISO]);
        run.refused(&[
            "no network GRUB",
            "netboot archive",
            "grub-efi-arm64-signed",
        ]);
        assert!(!folder.boot().exists());
    }
    folder.stage(&[ISO, ARCHIVE]).well();
    let run = folder.stage(&[ISO]).well();
    assert!(
        run.output.contains("shim and GRUB: those that were there"),
        "{run:?}"
    );
    folder.archive("newer.tar.gz", " of the next release");
    folder.stage(&[ISO, "newer.tar.gz"]).well();
    let grub = fs::read(folder.boot().join("grubaa64.efi")).unwrap();
    assert_eq!(grub, loader("GRUB of the next release"));

    // One that is for another machine never replaces a good one.
    let before = folder.snapshot();
    folder.write("packed/arm64/bootaa64.efi", &loader("shim"));
    folder.write("packed/arm64/grubaa64.efi", &program(X86_64, "GRUB"));
    let (archive, tree) = (folder.path("odd.tar.gz"), folder.path("packed"));
    let arguments = [
        archive.to_str().unwrap(),
        "-C",
        tree.to_str().unwrap(),
        "arm64",
    ];
    assert!(system::run("tar", &[&["-czf"], &arguments[..]].concat()));
    folder
        .stage(&[ISO, "odd.tar.gz"])
        .refused(&["grubaa64.efi in odd.tar.gz", "no EFI program for arm64"]);
    assert_eq!(folder.snapshot(), before);
}

/// With packages that this machine need not have: their files in a mount namespace.
#[test]
fn without_an_archive_the_loaders_of_the_host_s_packages_are_taken() {
    needs!(TOOLS[0], TOOLS[1], Need::Mounts);
    let folder = Folder::new();
    let usr = |path: &str, bytes: &[u8]| folder.write(&format!("usr-lib/{path}"), bytes);
    usr(
        "grub/arm64-efi-signed/grubnetaa64.efi.signed",
        &loader("host's GRUB"),
    );
    fs::create_dir(folder.path("work")).unwrap();
    let script = r#"
        mount -t overlay -o "lowerdir=/usr/lib,upperdir=$PWD/usr-lib,workdir=$PWD/work" overlay /usr/lib || exit 77
        exec "$0" boot stage "$@""#;
    let stage = |name: &str| {
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "sh",
                "-c",
                script,
                crate::support::BINARY,
                ISO,
                "--name",
                name,
            ])
            .current_dir(folder.path(""))
            .env("DATA_PATH", folder.path("data"));
        Run::of(command.output().unwrap())
    };
    let run = stage("a");
    if run.code == Some(77) {
        return skip("needs to mount an overlay");
    }
    run.well();
    let read = |name| fs::read(folder.boot().join(name)).unwrap();
    if !fs::exists("/usr/lib/shim/shimaa64.efi.signed").unwrap() {
        assert_eq!(read("bootaa64.efi"), loader("shim of the ISO"));
    }
    assert_eq!(read("grubaa64.efi"), loader("host's GRUB"));

    usr("shim/shimaa64.efi.signed", &loader("host's shim"));
    fs::remove_dir_all(folder.boot()).unwrap();
    let run = stage("b").well();
    assert!(
        run.output
            .contains("shim: /usr/lib/shim/shimaa64.efi.signed\n"),
        "{run:?}"
    );
    assert_eq!(read("bootaa64.efi"), loader("host's shim"));
}

#[test]
fn an_image_is_named_by_its_iso_or_by_the_operator_and_several_stand_side_by_side() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    folder.stage(&[ISO, ARCHIVE]).well();
    folder.ubuntu("DGXOS-7.4.0.iso", "6.14.0-1-nvidia");
    folder.stage(&["DGXOS-7.4.0.iso"]).well();
    folder.stage(&["DGXOS-7.4.0.iso", "--name", "dgx_7"]).well();
    let images = folder.boot().join("images");
    let mut names: Vec<_> = fs::read_dir(&images)
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["DGXOS-7.4.0", "dgx_7", NAME]);
    assert_eq!(folder.record()["kernel"]["version"], HWE);

    fs::rename(folder.path(ISO), folder.path("my ISO (1).iso")).unwrap();
    let run = folder.stage(&["my ISO (1).iso"]);
    run.refused(&["\"my ISO (1)\" is no name of an image", "--name"]);
    for name in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        ".x",
        "-x",
        "a b",
        "a;b",
        &"x".repeat(65),
    ] {
        let argument = format!("--name={name}");
        folder
            .stage(&["DGXOS-7.4.0.iso", &argument])
            .refused(&["is no name of an image"]);
    }
    assert_eq!(fs::read_dir(&images).unwrap().count(), 3);
}

#[test]
fn an_image_that_is_staged_again_is_replaced_as_a_whole() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    folder.stage(&[ISO, ARCHIVE]).well();
    fs::write(folder.of_image("stray"), "of the former").unwrap();
    // Whoever downloads it goes on with the former.
    let under_way = File::open(folder.of_image("initrd")).unwrap();
    folder.ubuntu("second.iso", "6.18.0-2-generic");
    folder.stage(&["second.iso", "--name", NAME]).well();
    assert_eq!(folder.names(), WHOLE);
    assert_eq!(folder.record()["kernel"]["version"], "6.18.0-2-generic");
    assert_eq!(
        fs::read(folder.of_image("initrd")).unwrap(),
        b"initrd 6.18.0-2-generic"
    );
    let former = std::io::read_to_string(under_way).unwrap();
    assert_eq!(former, "initrd 6.17.0-14-generic");
}

#[test]
fn the_name_of_a_volume_does_nothing_to_a_terminal() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    let file = File::options().write(true).open(folder.path(ISO)).unwrap();
    file.write_all_at(b"\x1b[2J\nready\xff", 16 * 2048 + 40)
        .unwrap();
    let run = folder.stage(&[ISO, ARCHIVE]).well();
    assert!(run.output.contains(r"(\u{1b}[2J\nready"), "{run:?}");
    assert!(!run.output.contains('\x1b'), "{run:?}");
}

#[test]
fn without_bsdtar_its_package_is_named() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    let mut command = folder.command(&["boot", "stage", ISO, ARCHIVE]);
    let run = Run::of(command.env("PATH", "/nowhere").output().unwrap());
    run.refused(&["bsdtar is missing", "apt install libarchive-tools"]);
}

#[test]
fn a_data_folder_that_is_not_there_is_not_made() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    fs::remove_dir(folder.path("data")).unwrap();
    folder
        .stage(&[ISO, ARCHIVE])
        .refused(&["/data: no such folder"]);
    assert!(!folder.path("data").exists());
}

#[test]
fn a_link_on_a_medium_is_the_file_that_it_leads_to() {
    needs!(TOOLS[0], TOOLS[1]);
    let folder = Folder::new();
    folder.write("tree/live/kernel", &kernel(HWE));
    folder.write("tree/casper/initrd", b"the initrd");
    let tree = folder.path("tree");
    let casper = tree.join("casper");
    // A second name, which an ISO has without content, and links up and down.
    fs::hard_link(tree.join("live/kernel"), casper.join("vmlinuz")).unwrap();
    symlink("../live/./kernel", casper.join("hwe-vmlinuz")).unwrap();
    symlink("/casper/initrd", casper.join("hwe-initrd")).unwrap();
    let (iso, tree) = (folder.path("links.iso"), tree);
    let make = |iso: &Path, tree: &Path| {
        let arguments = ["-as", "mkisofs", "-quiet", "-r", "-o"];
        let paths = [iso.to_str().unwrap(), tree.to_str().unwrap()];
        assert!(system::run("xorriso", &[&arguments[..], &paths].concat()));
    };
    make(&iso, &tree);
    folder.stage(&["links.iso", ARCHIVE, "--name", NAME]).well();
    assert_eq!(fs::read(folder.of_image("initrd")).unwrap(), b"the initrd");
    assert_eq!(fs::read(folder.of_image("vmlinuz")).unwrap(), kernel(HWE));
    assert_eq!(folder.record()["kernel"]["hwe"], true);

    // Without the second pair, the kernel with two names is taken.
    fs::remove_file(tree.join("casper/hwe-vmlinuz")).unwrap();
    make(&iso, &tree);
    folder.stage(&["links.iso", "--name", NAME]).well();
    assert_eq!(fs::read(folder.of_image("vmlinuz")).unwrap(), kernel(HWE));

    // One to nothing is none, nor is one that leads to itself.
    for target in ["nowhere", "initrd"] {
        fs::remove_file(tree.join("casper/initrd")).unwrap();
        symlink(target, tree.join("casper/initrd")).unwrap();
        make(&iso, &tree);
        let run = folder.stage(&["links.iso"]);
        run.refused(&["no casper/vmlinuz beside casper/initrd"]);
    }
}
