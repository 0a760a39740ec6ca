//! What a kernel is for, and which version it is: told by the file itself.
//!
//! A kernel for arm64 comes as the plain `Image`, compressed by gzip, or as an EFI program that
//! unpacks itself (`zboot`).

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

/// What unpacks a kernel, however it is compressed; of the package that has bsdtar, too.
const UNPACKER: &str = "bsdcat";

/// Largest kernel when it is unpacked, in bytes.
const LARGEST: u64 = 1 << 30;

/// The mark of `Image`, and where it stands (Documentation/arch/arm64/booting.rst of Linux).
const ARM64: (usize, &[u8]) = (0x38, b"ARM\x64");

/// The mark of a kernel that unpacks itself, where the place and the length of its payload stand
/// (drivers/firmware/efi/libstub/zboot-header.S of Linux).
const ZBOOT: (usize, &[u8]) = (4, b"zimg");
const PAYLOAD_AT: usize = 8;
const PAYLOAD_BYTES: usize = 12;

/// The numbers of machines (PE format, 3.3.1), and how much of a program surely has that of its own.
const AARCH64: u16 = 0xaa64;
const X86_64: u16 = 0x8664;
pub(super) const HEADER_BYTES: u64 = 4096;

/// What stands before the version.
const BANNER: &[u8] = b"Linux version ";

/// Longest version, in bytes.
const VERSION_BYTES: usize = 64;

/// The version of a kernel for arm64, where it says one; an error says what the file is instead.
pub(super) fn version(file: &[u8]) -> Result<Option<String>, String> {
    let unpacked;
    let kernel = if file.starts_with(b"\x1f\x8b") {
        unpacked = unpack(file)?;
        &unpacked
    } else {
        file
    };
    if has(kernel, ARM64) {
        return Ok(banner(kernel));
    }
    match machine(kernel) {
        Some(AARCH64) if has(kernel, ZBOOT) => {
            let payload = (|| {
                let at = number(kernel, PAYLOAD_AT)?;
                kernel.get(at..at.checked_add(number(kernel, PAYLOAD_BYTES)?)?)
            })();
            let payload = payload.ok_or("a kernel that is cut short")?;
            Ok(banner(&unpack(payload)?))
        }
        Some(AARCH64) => Ok(banner(kernel)),
        Some(X86_64) => Err("a kernel for x86-64".to_owned()),
        _ => Err("no kernel that is known here".to_owned()),
    }
}

fn has(bytes: &[u8], (at, mark): (usize, &[u8])) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(mark))
}

/// The number in the four bytes there.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

/// Whether a file that begins so is an EFI program for arm64.
pub(super) fn is_arm64_program(start: &[u8]) -> bool {
    machine(start) == Some(AARCH64)
}

/// The machine that an EFI program is for.
fn machine(bytes: &[u8]) -> Option<u16> {
    let header = bytes.starts_with(b"MZ").then(|| number(bytes, 0x3c))??;
    let machine = bytes
        .get(header..)?
        .strip_prefix(b"PE\0\0")?
        .first_chunk()?;
    Some(u16::from_le_bytes(*machine))
}

fn banner(kernel: &[u8]) -> Option<String> {
    let mut starts = (kernel.windows(BANNER.len()).enumerate())
        .filter(|(_, window)| *window == BANNER)
        .map(|(at, _)| &kernel[at + BANNER.len()..]);
    starts.find_map(|rest| {
        let version = rest.iter().take(VERSION_BYTES + 1);
        let version: String = version
            .take_while(|byte| byte.is_ascii_graphic())
            .map(|byte| char::from(*byte))
            .collect();
        // Another text of the kernel has a placeholder there.
        let is_version = version.starts_with(|c: char| c.is_ascii_digit());
        (is_version && version.len() <= VERSION_BYTES).then_some(version)
    })
}

/// Unpacks what is compressed, whatever stands behind it.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let failed =
        |error: io::Error| format!("a kernel that cannot be unpacked: {UNPACKER}: {error}");
    let mut child = Command::new(UNPACKER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let mut unpacked = Vec::new();
    let read = thread::scope(|scope| {
        // It fails where the program has read enough, or stops at a fault: what counts is what it
        // has written.
        scope.spawn(move || input.map(|mut input| input.write_all(packed)));
        let output = output.map(|output| output.take(LARGEST));
        output.map_or(Ok(0), |mut output| output.read_to_end(&mut unpacked))
    });
    let ended = child.wait();
    read.and(ended).map_err(failed)?;
    match unpacked.is_empty() {
        true => Err("a kernel that cannot be unpacked".to_owned()),
        false => Ok(unpacked),
    }
}
