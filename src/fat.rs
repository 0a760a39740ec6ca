//! A file system for a USB stick, in memory: FAT16 with a few files in its root folder, as
//! Microsoft's FAT specification (fatgen103) lays it out.
//!
//! Written here, so that no program for it needs to be installed, no secret passes through a file of
//! another program, and the same files give the same bytes. `docs/decisions/0011` has the reasons.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Bytes of a sector, and here of a cluster too.
const SECTOR: usize = 512;
/// All of it: 8 MiB. With a sector a cluster that makes FAT16, which has 4,085 to 65,524 clusters.
const SECTORS: u16 = 16_384;
/// What comes before the first table: the boot sector alone.
const RESERVED: u16 = 1;
/// The tables, which are alike, and the sectors of each: two bytes for a cluster.
const TABLES: u8 = 2;
const TABLE_SECTORS: u16 = 64;
/// The root folder.
const ROOT_ENTRIES: u16 = 512;
const ENTRY: usize = 32;

/// Where the parts begin.
const TABLES_AT: usize = RESERVED as usize * SECTOR;
const TABLE: usize = TABLE_SECTORS as usize * SECTOR;
const ROOT_AT: usize = TABLES_AT + TABLES as usize * TABLE;
const DATA_AT: usize = ROOT_AT + ROOT_ENTRIES as usize * ENTRY;
const SIZE: usize = SECTORS as usize * SECTOR;

/// The first cluster has this number.
const FIRST: usize = 2;
const CLUSTERS: usize = (SIZE - DATA_AT) / SECTOR;

/// A disk that is no floppy, in the boot sector and in the first place of a table.
const MEDIA: u8 = 0xf8;
/// The end of a file's chain.
const END: u16 = 0xffff;

/// What an entry of a folder is.
const VOLUME_LABEL: u8 = 0x08;
const ARCHIVE: u8 = 0x20;
const LONG_NAME: u8 = 0x0f;
/// Set in the entry with the last part of a long name, which comes first.
const LAST_PART: u8 = 0x40;
/// Units of UTF-16 in each part.
const PART: usize = 13;

/// The files have no room.
#[derive(Debug, thiserror::Error)]
#[error("the files are too large for {SIZE} bytes")]
pub struct NoRoom;

/// A file system of that label, of at most 11 characters, with these files in its root folder. Their
/// names are ASCII, and each has that time.
///
/// # Errors
/// Where they have no room in 8 MiB.
pub fn image(label: &str, files: &[(&str, &[u8])], time: Timestamp) -> Result<Vec<u8>, NoRoom> {
    let stamp = Stamp::of(time);
    let mut table = vec![0xff00 | u16::from(MEDIA), END];
    let mut root = entry(padded(label), VOLUME_LABEL, stamp, 0, 0);
    let mut data = Vec::new();
    for (number, (name, content)) in (1..).zip(files) {
        let clusters = content.len().div_ceil(SECTOR);
        if table.len() + clusters > FIRST + CLUSTERS {
            return Err(NoRoom);
        }
        let first = match clusters {
            0 => 0,
            _ => number_of(table.len())?,
        };
        // Each cluster names the next one.
        for _ in 1..clusters {
            table.push(number_of(table.len() + 1)?);
        }
        if clusters > 0 {
            table.push(END);
        }
        data.extend_from_slice(content);
        data.resize(data.len().next_multiple_of(SECTOR), 0);
        let short = short_name(name, number);
        let size = u32::try_from(content.len()).map_err(|_| NoRoom)?;
        root.extend(long_name(name, short));
        root.extend(entry(short, ARCHIVE, stamp, first, size));
    }
    if root.len() > DATA_AT - ROOT_AT {
        return Err(NoRoom);
    }
    let table: Vec<u8> = table.into_iter().flat_map(u16::to_le_bytes).collect();
    let mut image = boot_sector(label, time);
    for _ in 0..TABLES {
        let at = image.len();
        image.extend_from_slice(&table);
        image.resize(at + TABLE, 0);
    }
    image.extend(root);
    image.resize(DATA_AT, 0);
    image.extend(data);
    image.resize(SIZE, 0);
    Ok(image)
}

fn number_of(cluster: usize) -> Result<u16, NoRoom> {
    u16::try_from(cluster).map_err(|_| NoRoom)
}

/// The first sector, which says how the rest is laid out. Nothing is ever booted from it.
fn boot_sector(label: &str, time: Timestamp) -> Vec<u8> {
    let mut sector = Vec::with_capacity(SIZE);
    sector.extend(b"\xeb\x3c\x90MSWIN4.1");
    sector.extend((SECTOR as u16).to_le_bytes());
    // Sectors of a cluster.
    sector.push(1);
    sector.extend(RESERVED.to_le_bytes());
    sector.push(TABLES);
    sector.extend(ROOT_ENTRIES.to_le_bytes());
    sector.extend(SECTORS.to_le_bytes());
    sector.push(MEDIA);
    sector.extend(TABLE_SECTORS.to_le_bytes());
    // Sectors of a track, and heads: nobody asks.
    sector.extend(32_u16.to_le_bytes());
    sector.extend(64_u16.to_le_bytes());
    // Sectors before this one, and their number where it takes more than 16 bits.
    sector.extend([0; 8]);
    // The BIOS's number of the disk, nothing, and the mark that these three follow.
    sector.extend(b"\x80\0\x29");
    sector.extend((time.as_second() as u32).to_le_bytes());
    sector.extend(padded(label));
    sector.extend(b"FAT16   ");
    // Code that goes round in circles.
    sector.extend(b"\xeb\xfe");
    sector.resize(SECTOR - 2, 0);
    sector.extend(b"\x55\xaa");
    sector
}

/// A time as an entry has it, in UTC: to two seconds, from 1980 to 2107.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    time: u16,
    date: u16,
}

impl Stamp {
    fn of(time: Timestamp) -> Self {
        let time = time.to_zoned(TimeZone::UTC).datetime();
        let year = time.year().clamp(1980, 2107) - 1980;
        let bits = |value: i16, by: u32| (value as u16) << by;
        Self {
            time: bits(time.hour().into(), 11)
                | bits(time.minute().into(), 5)
                | bits((time.second() / 2).into(), 0),
            date: bits(year, 9) | bits(time.month().into(), 5) | bits(time.day().into(), 0),
        }
    }
}

fn entry(name: [u8; 11], attributes: u8, stamp: Stamp, first: u16, size: u32) -> Vec<u8> {
    let (time, date) = (stamp.time.to_le_bytes(), stamp.date.to_le_bytes());
    let mut entry = Vec::with_capacity(ENTRY);
    entry.extend(name);
    entry.extend([attributes, 0, 0]);
    // Made, read, written; between them the upper half of a cluster's number, for FAT32.
    entry.extend([time, date, date, [0, 0], time, date].as_flattened());
    entry.extend(first.to_le_bytes());
    entry.extend(size.to_le_bytes());
    entry
}

/// The name for who knows no long ones: `USER-D~1`.
fn short_name(name: &str, number: u8) -> [u8; 11] {
    let stem: String = name.chars().take(6).collect();
    padded(&format!("{stem}~{number}"))
}

fn padded(name: &str) -> [u8; 11] {
    let mut padded = [b' '; 11];
    for (place, byte) in padded.iter_mut().zip(name.bytes()) {
        *place = byte.to_ascii_uppercase();
    }
    padded
}

/// The entries with a long name, which stand before the one with the short name, the last part first.
fn long_name(name: &str, short: [u8; 11]) -> Vec<u8> {
    let sum = short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let units: Vec<u16> = name.encode_utf16().collect();
    let parts: Vec<(u8, &[u16])> = (1..).zip(units.chunks(PART)).collect();
    let mut entries = Vec::new();
    let mut mark = LAST_PART;
    for (number, part) in parts.into_iter().rev() {
        // A zero behind the name, and what is left is all ones.
        let mut padded = [END; PART];
        for (place, unit) in padded.iter_mut().zip(part.iter().chain(&[0])) {
            *place = *unit;
        }
        let bytes = padded.map(u16::to_le_bytes);
        let bytes = bytes.as_flattened();
        entries.push(number | mark);
        mark = 0;
        entries.extend_from_slice(&bytes[..10]);
        entries.extend([LONG_NAME, 0, sum]);
        entries.extend_from_slice(&bytes[10..22]);
        entries.extend([0, 0]);
        entries.extend_from_slice(&bytes[22..]);
    }
    entries
}
