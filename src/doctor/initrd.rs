//! What is in an initrd: for which kernels it has modules, and whether one of them drives the RJ45
//! port of a GB10.
//!
//! An initrd is one archive of cpio after the other, of which the last ones are compressed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;

use crate::tools;

/// The alias of the RJ45 port of a GB10, RTL8127, as the list of a kernel's modules has it.
pub const RTL8127: &str = "pci:v000010ECd00008127";

/// The lists of what the modules of a kernel drive, and of what is built into it.
const LISTS: [&str; 2] = ["modules.alias", "modules.builtin.modinfo"];

/// What unpacks an initrd, however it is compressed; of the package that `boot stage` needs, too.
const UNPACKER: &str = "bsdcat";

/// Longest that unpacking may take, in seconds.
const TIMEOUT: u32 = 60;

/// Most that is read of what is unpacked, of a name and of a list, in bytes.
const LARGEST: u64 = 4 << 30;
const LONGEST_NAME: u64 = 4096;
const LARGEST_LIST: u64 = 64 << 20;

/// The head of an entry (`newc` of cpio(5)): a mark, then thirteen numbers of eight digits.
const HEAD: usize = 110;
const MARKS: [&[u8]; 2] = [b"070701", b"070702"];
const DIGITS: usize = 8;
const SIZE: usize = 6;
const NAME_SIZE: usize = 11;

/// The name of an archive's last entry.
const LAST: &str = "TRAILER!!!";

/// What is in an initrd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Initrd {
    /// The versions of the kernels whose modules it has.
    pub versions: BTreeSet<String>,
    /// Whether it has a list of what they drive.
    pub has_list: bool,
    /// Whether that has RTL8127.
    pub knows_rtl8127: bool,
    /// Whether it ended as it should.
    pub is_whole: bool,
}

/// Reads it to its end.
pub fn read(path: &Path) -> io::Result<Initrd> {
    let mut found = Initrd::default();
    let mut file = BufReader::new(File::open(path)?);
    if archives(&mut file, &mut found)? == Next::Other {
        let mut packed = file.get_ref();
        let buffered = i64::try_from(file.buffer().len()).map_err(io::Error::other)?;
        packed.seek(SeekFrom::Current(-buffered))?;
        unpacked(packed.try_clone()?, &mut found)?;
    }
    Ok(found)
}

fn unpacked(packed: File, found: &mut Initrd) -> io::Result<()> {
    let mut child = tools::bounded(TIMEOUT, UNPACKER)
        .stdin(packed)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // The archive before it ended well, but is not all.
    found.is_whole = false;
    let output = child.stdout.take();
    let read = match output {
        Some(output) => archives(&mut BufReader::new(output.take(LARGEST)), found),
        None => Ok(Next::End),
    };
    // It ends, for its output is closed.
    let status = child.wait()?;
    match (read, tools::is_missing(status)) {
        (_, true) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{UNPACKER} is not installed"),
        )),
        (Ok(Next::End), _) => Ok(()),
        (Ok(Next::Other), _) => Err(io::Error::other("no archive of cpio")),
        (Err(error), _) => Err(error),
    }
}

/// What follows archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing.
    End,
    /// Something else: an archive that is compressed.
    Other,
}

/// Reads archives, of which each begins where the one before has ended.
fn archives(input: &mut impl BufRead, found: &mut Initrd) -> io::Result<Next> {
    loop {
        let available = input.fill_buf()?;
        match available.first() {
            None => return Ok(Next::End),
            // Between two there may be any number.
            Some(0) => {
                let zeros = available.iter().take_while(|byte| **byte == 0).count();
                input.consume(zeros);
            }
            Some(b'0') => archive(input, found)?,
            Some(_) => return Ok(Next::Other),
        }
    }
}

fn archive(input: &mut impl BufRead, found: &mut Initrd) -> io::Result<()> {
    found.is_whole = false;
    loop {
        let mut head = [0; HEAD];
        input.read_exact(&mut head)?;
        let broken = || io::Error::other("an archive that is broken");
        if !MARKS.iter().any(|mark| head.starts_with(mark)) {
            return Err(broken());
        }
        let number = |place: usize| {
            let at = MARKS[0].len() + place * DIGITS;
            let digits = std::str::from_utf8(head.get(at..at + DIGITS)?).ok()?;
            u64::from_str_radix(digits, 16).ok()
        };
        let (Some(size), Some(name_size)) = (number(SIZE), number(NAME_SIZE)) else {
            return Err(broken());
        };
        if name_size > LONGEST_NAME {
            return Err(broken());
        }
        let mut name = Vec::new();
        exactly(input, name_size, |part| {
            part.read_to_end(&mut name).map(|_| ())
        })?;
        skip(input, padding(HEAD as u64 + name_size))?;
        let name = String::from_utf8_lossy(&name);
        let name = name.trim_end_matches('\0');
        if name == LAST {
            found.is_whole = true;
            return skip(input, size);
        }
        found.versions.extend(version(name));
        let is_list = LISTS.contains(&name.rsplit('/').next().unwrap_or_default());
        if is_list && size <= LARGEST_LIST {
            found.has_list = true;
            let mut list = Vec::new();
            exactly(input, size, |part| part.read_to_end(&mut list).map(|_| ()))?;
            let list = String::from_utf8_lossy(&list);
            found.knows_rtl8127 |= list.contains(RTL8127);
        } else {
            skip(input, size)?;
        }
        skip(input, padding(size))?;
    }
}

/// Bytes up to the next multiple of four.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(4) - size
}

/// Gives so many bytes to `take`, which reads them all.
fn exactly<R: BufRead>(
    input: &mut R,
    size: u64,
    take: impl FnOnce(&mut io::Take<&mut R>) -> io::Result<()>,
) -> io::Result<()> {
    let mut part = input.take(size);
    take(&mut part)?;
    match part.limit() {
        0 => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn skip(input: &mut impl BufRead, size: u64) -> io::Result<()> {
    exactly(input, size, |part| {
        io::copy(part, &mut io::sink()).map(|_| ())
    })
}

/// The version of the kernel whose module or list this is: `usr/lib/modules/VERSION/…`.
fn version(path: &str) -> Option<String> {
    let (before, rest) = path.split_once("lib/modules/")?;
    let (version, file) = rest.split_once('/')?;
    let is_place = ["", "./", "usr/", "./usr/", "/", "/usr/"].contains(&before);
    // A folder alone, without a file, is nothing yet.
    (is_place && !file.is_empty() && !version.is_empty()).then(|| version.to_owned())
}
