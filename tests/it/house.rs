//! The house is as `src/lib.rs` draws it: rooms on floors, and no arrow that runs up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file of `src`, in lines: what a reader takes in at one sitting.
const MAX_LINES: usize = 400;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below `src`, by its path relative to that, with its text.
fn files() -> BTreeMap<PathBuf, String> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![source()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let name = path.strip_prefix(source()).unwrap().to_owned();
                found.insert(name, text);
            }
        }
    }
    found
}

/// The floor of each room, by the table in `src/lib.rs`.
fn floors() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | "));
    let rows = rows.filter_map(|row| row.split_once(" | "));
    let rows = rows.filter_map(|(floor, rooms)| Some((floor.parse::<u32>().ok()?, rooms)));
    rows.flat_map(|(floor, rooms)| {
        let names = rooms
            .split("[`")
            .skip(1)
            .filter_map(|part| part.split_once("`]"));
        names.map(move |(name, _)| (name.to_owned(), floor))
    })
    .collect()
}

/// The room that a file is in; none for the map and the door.
fn room(file: &Path) -> Option<String> {
    let first = file.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib" && name != "main").then(|| name.to_owned())
}

/// The rooms that a file's code names.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let named = code.flat_map(|line| line.split("crate::").skip(1));
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    named
        .map(|rest| rest.chars().take_while(|c| is_part(*c)).collect())
        .collect()
}

#[test]
fn every_room_stands_on_the_map() {
    let rooms: BTreeSet<String> = files().keys().filter_map(|file| room(file)).collect();
    let mapped: BTreeSet<String> = floors().into_keys().collect();
    assert_eq!(rooms, mapped);
}

#[test]
fn a_room_imports_only_from_rooms_below_it() {
    let floors = floors();
    let mut arrows = 0;
    for (file, text) in files() {
        let Some(room) = room(&file) else {
            continue;
        };
        for import in imports(&text) {
            // A name that is no room is found by the compiler, but an arrow must not hide in it.
            let below = floors.get(&import).unwrap_or_else(|| {
                panic!("{}: crate::{import} names no room", file.display());
            });
            arrows += 1;
            assert!(
                import == room || *below < floors[&room],
                "{}: {room} imports from {import}, which is not below it",
                file.display()
            );
        }
    }
    assert!(arrows > 50, "only {arrows} imports were found");
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    for (file, text) in files() {
        let lines = text.lines().count();
        assert!(
            lines <= MAX_LINES,
            "{} has {lines} lines: at most {MAX_LINES}",
            file.display()
        );
    }
}
