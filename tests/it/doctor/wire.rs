//! Shows that what comes off the wire or out of a file is read as it stands, whatever it is: answers
//! of DHCP, and initrds.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use gb10_provision_api::doctor::initrd::{Initrd, read};
use gb10_provision_api::doctor::{Packet, Request};
use proptest::prelude::*;

use crate::support::needs::{Need, needs};
use crate::support::rack::{ALIASES, VERSION, cpio, initrd};

/// An answer with these options, and this in its fields for names.
fn answer(options: &[u8], sname: &[u8], file: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[0] = 2;
    bytes[4..8].copy_from_slice(&[0, 0, 0, 9]);
    bytes[16..20].copy_from_slice(&[10, 88, 0, 77]);
    bytes[20..24].copy_from_slice(&[10, 88, 0, 1]);
    bytes[44..44 + sname.len()].copy_from_slice(sname);
    bytes[108..108 + file.len()].copy_from_slice(file);
    bytes.extend([99, 130, 83, 99]);
    bytes.extend(options);
    bytes
}

fn boot_file(bytes: &[u8]) -> Option<String> {
    Packet::parse(bytes).unwrap().boot_file
}

#[test]
fn an_answer_is_read_wherever_it_says_what_to_boot() {
    let packet = Packet::parse(&answer(
        b"\x36\x04\x0a\x58\x00\x01\x3c\x09PXEClient\xff",
        b"",
        b"a.efi",
    ));
    let packet = packet.unwrap();
    assert_eq!(packet.xid, 9);
    assert_eq!(packet.offered, Some(Ipv4Addr::new(10, 88, 0, 77)));
    assert_eq!(packet.server, Some(Ipv4Addr::new(10, 88, 0, 1)));
    assert_eq!(
        (packet.class.as_deref(), packet.boot_file.as_deref()),
        (Some("PXEClient"), Some("a.efi"))
    );
    // In an option; in one that stands in two pieces; in the fields, which have options in them.
    assert_eq!(
        boot_file(&answer(b"\x43\x06b.efi\x00\xff", b"", b"a.efi")).as_deref(),
        Some("b.efi")
    );
    assert_eq!(
        boot_file(&answer(b"\x00\x43\x02b.\x43\x03efi\xff", b"", b"")).as_deref(),
        Some("b.efi")
    );
    assert_eq!(
        boot_file(&answer(b"\x34\x01\x01\xff", b"", b"\x43\x05c.efi\xff")).as_deref(),
        Some("c.efi")
    );
    assert_eq!(
        boot_file(&answer(b"\x34\x01\x02\xff", b"\x43\x05d.efi\xff", b"")).as_deref(),
        Some("d.efi")
    );
    assert_eq!(boot_file(&answer(b"\xff", b"", b"")), None);
    // One that ends without its last option is read all the same.
    assert!(Packet::parse(&answer(b"", b"", b"")).is_some());
}

#[test]
fn what_is_no_answer_is_none() {
    let question = Request {
        xid: 9,
        mac: [2; 6],
        architecture: 11,
        class: "PXEClient",
        own: None,
    };
    assert_eq!(Packet::parse(&question.to_bytes()), None);
    let good = answer(b"\x36\x04\x0a\x58\x00\x01\xff", b"", b"");
    assert_eq!(Packet::parse(&good[..239]), None);
    // An option that is longer than the answer.
    assert_eq!(Packet::parse(&answer(b"\x36\x09\x0a\x58", b"", b"")), None);
    assert_eq!(Packet::parse(&answer(b"\x36", b"", b"")), None);
}

proptest! {
    #[test]
    fn no_answer_is_too_odd_to_be_read(bytes in prop::collection::vec(any::<u8>(), 0..600), options in prop::collection::vec(any::<u8>(), 0..300)) {
        Packet::parse(&bytes);
        Packet::parse(&answer(&options, b"", b""));
    }
}

fn read_bytes(bytes: &[u8]) -> std::io::Result<Initrd> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    read(file.path())
}

#[test]
fn an_initrd_is_read_however_it_is_compressed() {
    needs!(
        Need::Program("cpio"),
        Need::Program("bsdcat"),
        Need::Program("zstd"),
        Need::Program("xz")
    );
    for compressor in ["", "gzip", "xz", "zstd"] {
        let found = read_bytes(&initrd(VERSION, ALIASES, compressor)).unwrap();
        assert!(
            found.is_whole && found.has_list && found.knows_rtl8127,
            "{compressor}: {found:?}"
        );
        assert_eq!(
            found.versions.into_iter().collect::<Vec<_>>(),
            [VERSION],
            "{compressor}"
        );
        // The compressed one alone, as most come.
        let mut alone = initrd(VERSION, ALIASES, compressor);
        alone.drain(..512);
        assert!(read_bytes(&alone).unwrap().knows_rtl8127, "{compressor}");
    }
}

#[test]
fn an_initrd_that_is_none_is_refused() {
    needs!(Need::Program("cpio"), Need::Program("bsdcat"));
    for bytes in [
        &b"a web page"[..],
        b"<!doctype html>",
        b"07070",
        b"070701zzzz",
        &[0x1f, 0x8b, 8, 0],
    ] {
        let read = read_bytes(bytes);
        assert!(
            !read.as_ref().is_ok_and(|found| found.is_whole),
            "{bytes:?}: {read:?}"
        );
    }
    assert!(!read_bytes(b"").unwrap().is_whole);
    assert!(!read_bytes(&[0; 4096]).unwrap().is_whole);
    assert!(read(Path::new("/nonexistent")).is_err());
    // Cut short at any place, it is never whole, and nothing waits for the rest.
    let whole = initrd(VERSION, ALIASES, "");
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for length in (513..end).step_by(97) {
        let read = read_bytes(&whole[..length]);
        assert!(
            !read.as_ref().is_ok_and(|found| found.is_whole),
            "{length}: {read:?}"
        );
    }
}

#[test]
fn an_alias_counts_only_in_a_list_of_modules() {
    needs!(Need::Program("cpio"));
    let found = read_bytes(&cpio(&[
        ("etc/notes", ALIASES),
        ("usr/lib/modules/6.8.0/kernel/a.ko", ""),
    ]));
    let found = found.unwrap();
    assert!(!found.has_list && !found.knows_rtl8127 && found.is_whole);
    assert_eq!(found.versions.into_iter().collect::<Vec<_>>(), ["6.8.0"]);
    // A driver that is built in has it there.
    let built_in = "r8169.alias=pci:v000010ECd00008127sv*sd*bc*sc*i*\0";
    let found = read_bytes(&cpio(&[(
        "lib/modules/6.17.0/modules.builtin.modinfo",
        built_in,
    )]));
    assert!(found.unwrap().knows_rtl8127);
}
