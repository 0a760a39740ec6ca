//! What boxes boot is served from the boot folder, by the reader of onboarding files: ranges, HEAD
//! and the walls around the folder are shown of that one in `onboard::files`.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::*;

const KERNEL: &str = "/images/ubuntu-24.04.4/vmlinuz";

fn service() -> Service {
    Start::fresh()
        .stage("boot/bootaa64.efi", "the shim")
        .stage("boot/grubaa64.efi", "the GRUB")
        .stage("boot/grub/grub.cfg", "# staged")
        .stage("boot/images/ubuntu-24.04.4/vmlinuz", "0123456789")
        .stage("boot/images/ubuntu-24.04.4/image.json", "{}")
        .stage("boot/images/ubuntu-24.04.4/installer.iso", "an ISO")
        .stage("boot/images/.staging/vmlinuz", "half of it")
        .service()
}

fn ask(service: &Service, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    request(service.address, method, target, headers, b"").unwrap()
}

#[test]
fn shim_grub_and_images_are_served_with_their_length_and_type() {
    let service = service();
    for (target, content, content_type) in [
        ("/bootaa64.efi", "the shim", "application/efi"),
        ("/grubaa64.efi", "the GRUB", "application/efi"),
        (KERNEL, "0123456789", "application/octet-stream"),
        (
            "//images//ubuntu-24.04.4/./vmlinuz",
            "0123456789",
            "application/octet-stream",
        ),
        (
            "/images/ubuntu-24.04.4/image.json",
            "{}",
            "application/json",
        ),
        (
            "/images/ubuntu-24.04.4/installer.iso",
            "an ISO",
            "application/octet-stream",
        ),
    ] {
        let answer = service.get(target);
        assert_eq!((answer.status, answer.text()), (200, content), "{target}");
        assert_eq!(answer.header("content-length"), content.len().to_string());
        assert_eq!(answer.header("content-type"), content_type, "{target}");
        // Firmware asks for the head first, and believes the length.
        let head = ask(&service, "HEAD", target, &[]);
        assert_eq!((head.status, head.body.len()), (200, 0), "{target}");
        assert_eq!(
            head.header("content-length"),
            answer.header("content-length")
        );
        assert_eq!(head.header("etag"), answer.header("etag"));
    }
    service.wait_for_log(&["boot file served: images/ubuntu-24.04.4/vmlinuz to 127.0.0.1, 200"]);
    let answer = ask(&service, "POST", KERNEL, &[]);
    answer.problem(405);
}

#[test]
fn a_part_of_an_image_is_served_and_a_version_is_known_by_its_etag() {
    let service = service();
    let part = ask(&service, "GET", KERNEL, &[("Range", "bytes=2-4")]);
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let etag = part.header("etag").to_owned();
    assert_eq!(
        ask(&service, "GET", KERNEL, &[("If-None-Match", &etag)]).status,
        304
    );
    let behind = ask(&service, "GET", KERNEL, &[("Range", "bytes=10-")]);
    behind.problem(416);
    service.stage("boot/images/ubuntu-24.04.4/vmlinuz", "abcdefghij");
    let whole = ask(
        &service,
        "GET",
        KERNEL,
        &[("Range", "bytes=2-4"), ("If-Range", &etag)],
    );
    assert_eq!((whole.status, whole.text()), (200, "abcdefghij"));
}

#[test]
fn nothing_else_of_the_boot_folder_or_beyond_it_is_served() {
    let service = service();
    fs::write(service.data.join("secret"), "secret").unwrap();
    fs::write(service.data.join("boot/other"), "other").unwrap();
    let image = service.data.join("boot/images/ubuntu-24.04.4");
    symlink("../../../secret", image.join("leads-out")).unwrap();
    symlink(service.data.join("secret"), image.join("absolute")).unwrap();
    fs::create_dir(image.join("folder")).unwrap();
    fs::write(image.join("folder/deep"), "deep").unwrap();
    for target in [
        "/images/",
        "/images/ubuntu-24.04.4",
        "/images/ubuntu-24.04.4/",
        "/images/ubuntu-24.04.4/initrd",
        "/images/ubuntu-24.04.4/folder",
        "/images/ubuntu-24.04.4/folder/deep",
        "/images/ubuntu-24.04.4/leads-out",
        "/images/ubuntu-24.04.4/absolute",
        "/images/.staging/vmlinuz",
        "/images/../secret",
        "/images/..%2f..%2fsecret",
        "/images/ubuntu-24.04.4/..%2f..%2f..%2fsecret",
        "/images/%2fetc%2fpasswd",
        "/images/ubuntu-24.04.4/%00",
        "/images/other",
        "/other",
        "/boot/other",
        "/bootaa64.efi/x",
        "/BOOTAA64.EFI",
    ] {
        let answer = service.get(target);
        answer.problem(404);
        assert!(!answer.text().contains("secret\n"), "{target}");
    }
    service.wait_for_log(&[
        "boot file not served: images/ubuntu-24.04.4/leads-out",
        "leads out of its folder",
    ]);
}

#[test]
fn without_a_boot_folder_all_of_it_is_a_404_until_it_is_staged() {
    let service = Start::fresh().service();
    service.get("/bootaa64.efi").problem(404);
    service.get(KERNEL).problem(404);
    service.stage("boot/bootaa64.efi", "the shim");
    assert_eq!(service.get("/bootaa64.efi").status, 200);
}
