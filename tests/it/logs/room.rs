//! Which logs give way: a table of what lies there, and what goes.

use gb10_provision_api::device::history::Rfc3339;
use gb10_provision_api::device::mac::MacAddr;
use gb10_provision_api::logs::room::{FILES, FILES_OF_BOX, KEPT_BYTES, Kept, give_way};
use gb10_provision_api::logs::{FILE_BYTES, LogFile};

fn mac(n: u8) -> MacAddr {
    MacAddr::from_octets([2, 0, 0, 0, 0, n]).unwrap()
}

/// Logs of these boxes, the oldest first, each named by its place.
fn kept(boxes: &[u8], bytes: u64) -> Vec<Kept> {
    let log = |(place, n): (usize, &u8)| Kept {
        mac: mac(*n),
        log: LogFile {
            name: place.to_string(),
            at: Rfc3339(jiff::Timestamp::from_second(place as i64).unwrap()),
            bytes,
        },
    };
    boxes.iter().enumerate().map(log).collect()
}

/// The places of what gives way to the last one.
fn gone(boxes: &[u8], bytes: u64) -> Vec<usize> {
    let kept = kept(boxes, bytes);
    let logs = give_way(&kept, kept.last().unwrap().mac);
    logs.iter().map(|log| log.name.parse().unwrap()).collect()
}

#[test]
fn of_a_box_the_last_three_stay_whatever_others_have() {
    assert_eq!(FILES_OF_BOX, 3);
    let cases: [(&[u8], &[usize]); 6] = [
        (&[1], &[]),
        (&[1, 1, 1], &[]),
        (&[1, 1, 1, 1], &[0]),
        (&[2, 1, 1, 2, 1, 1], &[1]),
        // What another process or a kill left too many of.
        (&[2, 2, 2, 2, 2, 1], &[0, 1]),
        (&[2, 1, 2, 1, 2, 1, 2, 1], &[0, 1]),
    ];
    for (boxes, expected) in cases {
        assert_eq!(gone(boxes, 1), expected, "{boxes:?}");
    }
}

#[test]
fn in_all_the_oldest_goes_that_is_not_the_last_of_its_box_and_only_then_the_oldest() {
    // So that three find room.
    let third = KEPT_BYTES / 3;
    let cases: [(&[u8], &[usize]); 7] = [
        (&[1, 2, 3], &[]),
        // Every box has one: the oldest.
        (&[1, 2, 3, 4], &[0]),
        // The one that sends again takes the place of its own.
        (&[1, 2, 3, 3], &[2]),
        (&[1, 3, 2, 3], &[1]),
        // One that has several, before the last one of an older box.
        (&[1, 2, 2, 3], &[1]),
        (&[1, 2, 2, 3, 3], &[1, 3]),
        // Two of its own do not save the newest from making room.
        (&[3, 3, 3, 1], &[0]),
    ];
    for (boxes, expected) in cases {
        assert_eq!(gone(boxes, third), expected, "{boxes:?}");
    }
    // Never the newest itself.
    assert_eq!(gone(&[1], KEPT_BYTES + 1), [0; 0]);
    assert_eq!(gone(&[1, 2], KEPT_BYTES), [0]);
}

#[test]
fn one_box_that_sends_for_ever_costs_the_others_the_room_of_one_file() {
    let file = FILE_BYTES as u64;
    let others = (KEPT_BYTES / file) as u8;
    let mut all = kept(&(1..=others).collect::<Vec<_>>(), file);
    let mut lost = Vec::new();
    for round in 0..100 {
        let [mut next] = <[Kept; 1]>::try_from(kept(&[0], file)).unwrap();
        next.log.name = format!("round-{round}");
        all.push(next);
        let names: Vec<String> = give_way(&all, mac(0))
            .iter()
            .map(|log| log.name.clone())
            .collect();
        all.retain(|kept| !names.contains(&kept.log.name));
        lost.extend(names.into_iter().filter(|name| !name.starts_with("round")));
    }
    assert_eq!(lost, ["0"]);
}

#[test]
fn so_many_files_are_kept_however_small() {
    let boxes: Vec<u8> = (0..=FILES).map(|n| (n % 250) as u8).collect();
    let few = &boxes[..3 * 250];
    assert_eq!(gone(few, 0), [0; 0]);
    assert_eq!(gone(&boxes, 0).len(), boxes.len() - few.len());
}
