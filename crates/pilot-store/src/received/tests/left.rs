//! What broken transfers leave.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::super::partial;
use super::*;

const MIB: u64 = FILE_CHUNK;

fn agent(byte: u8) -> AgentId {
    AgentId::new([byte; 32])
}

/// Begins, writes so many chunks and breaks off.
fn leave(files: &ReceivedFiles, transfer: &Transfer, chunks: u64) {
    let mut incoming = files.begin(transfer).unwrap();
    for chunk in 0..chunks {
        let bytes = vec![chunk as u8; MIB as usize];
        incoming.write(chunk * MIB, &bytes).unwrap();
    }
}

fn entries(files: &ReceivedFiles) -> usize {
    fs::read_dir(files.dir()).unwrap().count()
}

#[test]
fn another_try_goes_on_where_the_first_broke_off_also_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    let wanted = transfer(ONE, "a/large", 5 * MIB);
    leave(&files, &wanted, 2);
    let files = open(&home);
    let mut again = files.begin(&wanted).unwrap();
    assert_eq!(again.held(), 2 * MIB);
    let mut byte = [9];
    again.read(MIB, &mut byte).unwrap();
    assert_eq!(byte, [1]);
    again.write(2 * MIB, &vec![2; 3 * MIB as usize]).unwrap();
    assert!(files.list().unwrap().is_empty());
    let stored = files.finish(again, &wanted.name, facts(1)).unwrap();
    let len = fs::metadata(files.dir().join(stored.name)).unwrap().len();
    assert_eq!(len, 5 * MIB);
    assert_eq!(entries(&files), 1);
}

#[test]
fn what_was_left_is_for_the_same_sender_path_and_size_alone() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    leave(&files, &transfer(ONE, "a", 5 * MIB), 2);
    for other in [
        transfer(agent(2), "a", 5 * MIB),
        transfer(ONE, "b", 5 * MIB),
        transfer(ONE, "d/a", 5 * MIB),
        transfer(ONE, "a", 6 * MIB),
    ] {
        assert_eq!(files.begin(&other).unwrap().held(), 0);
    }
    assert_eq!(
        files.begin(&transfer(ONE, "a", 5 * MIB)).unwrap().held(),
        2 * MIB
    );
}

#[test]
fn what_is_in_use_is_nobody_elses_and_less_than_a_chunk_is_not_kept() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    let wanted = transfer(ONE, "a", 5 * MIB);
    let mut first = files.begin(&wanted).unwrap();
    first.write(0, &[1; 1000]).unwrap();
    let again = files.begin(&wanted).unwrap_err();
    assert!(
        matches!(again, ReceivedError::Coming { is_same: true }),
        "{again}"
    );
    let other = Transfer {
        id: FileId::new([8; 16]),
        ..wanted.clone()
    };
    let again = files.begin(&other).unwrap_err();
    assert!(
        matches!(again, ReceivedError::Coming { is_same: false }),
        "{again}"
    );
    assert_eq!(files.begin_apart(&other).unwrap().held(), 0);
    drop(first);
    assert_eq!(entries(&files), 0);
    assert_eq!(files.begin(&wanted).unwrap().held(), 0);
}

#[test]
fn what_is_left_is_bounded_by_number_and_the_oldest_gives_way() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    for number in 0..=MAX_IDLE_OF_ONE as u64 {
        leave(&files, &transfer(ONE, "a", 2 * MIB + number), 1);
    }
    assert_eq!(lock(&files.books).idle.len(), MAX_IDLE_OF_ONE);
    assert_eq!(files.begin(&transfer(ONE, "a", 2 * MIB)).unwrap().held(), 0);
    let second = files.begin(&transfer(ONE, "a", 2 * MIB + 1)).unwrap();
    assert_eq!(second.held(), MIB);
    drop(second);
    for sender in 2..=6 {
        for number in 0..MAX_IDLE_OF_ONE as u64 {
            leave(&files, &transfer(agent(sender), "a", 2 * MIB + number), 1);
        }
    }
    assert_eq!(lock(&files.books).idle.len(), MAX_IDLE);
    assert_eq!(entries(&files), MAX_IDLE);
}

#[test]
fn what_is_old_or_lost_is_removed_at_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    for name in ["old", "young"] {
        leave(&files, &transfer(ONE, name, 2 * MIB), 1);
    }
    let path = |name| {
        let name = partial::name_of(&transfer(ONE, name, 2 * MIB)).unwrap();
        files.dir().join(name)
    };
    let then = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
    let old = fs::File::options().write(true).open(path("old")).unwrap();
    old.set_modified(then).unwrap();
    fs::write(files.dir().join(".part-nonsense"), b"x").unwrap();
    let files = open(&home);
    assert!(!path("old").exists() && path("young").exists());
    assert_eq!(entries(&files), 1);
}

#[test]
fn what_is_left_gives_way_to_what_comes() {
    let home = tempfile::tempdir().unwrap();
    let quota = Some(6 * MIB);
    let files = ReceivedFiles::open(home.path(), quota).unwrap();
    leave(&files, &transfer(ONE, "a", 4 * MIB), 3);
    leave(&files, &transfer(ONE, "b", 4 * MIB), 2);
    // 5 MiB are left, and 6 may be taken: the oldest goes.
    let coming = files.begin(&transfer(ONE, "c", 3 * MIB)).unwrap();
    assert_eq!(lock(&files.books).idle.len(), 1);
    let refused = files.begin(&transfer(ONE, "d", 4 * MIB)).unwrap_err();
    assert!(
        matches!(refused, ReceivedError::Quota { available, .. } if available == 3 * MIB),
        "{refused}"
    );
    drop(coming);
    // What goes on with its own need not give way to itself.
    assert_eq!(
        files.begin(&transfer(ONE, "b", 4 * MIB)).unwrap().held(),
        2 * MIB
    );
}

#[test]
fn a_second_name_of_a_file_that_came_is_not_written_to() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    let wanted = transfer(ONE, "a", 2 * MIB);
    leave(&files, &wanted, 1);
    let left = files.dir().join(partial::name_of(&wanted).unwrap());
    fs::hard_link(&left, files.dir().join("a")).unwrap();
    let mut again = files.begin(&wanted).unwrap();
    assert_eq!(again.held(), 0);
    again.write(0, b"other").unwrap();
    assert_eq!(fs::read(files.dir().join("a")).unwrap()[..5], [0; 5]);
}

#[test]
fn a_transfer_that_came_whole_is_known_also_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    let wanted = transfer(ONE, "a", 4);
    assert_eq!(files.stored_before(&wanted), None);
    let mut incoming = files.begin(&wanted).unwrap();
    incoming.write(0, b"data").unwrap();
    let named = ReceivedFile {
        transfer: Some(wanted.id),
        ..facts(1)
    };
    files.finish(incoming, &wanted.name, named).unwrap();
    for files in [&files, &open(&home)] {
        let known = files.stored_before(&wanted);
        assert_eq!(known, Some(("a".parse().unwrap(), [1; 32])));
        let other = transfer(agent(2), "a", 4);
        assert_eq!(files.stored_before(&other), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is begun, written, left, finished and started anew: the books say what is on the disk, and what was left is found.
    #[test]
    fn the_books_agree_with_the_disk(steps in prop::collection::vec((0..6_u8, 0..3_u8, 0..3_u64), 1..24)) {
        let home = tempfile::tempdir().unwrap();
        let mut files = open(&home);
        let mut left = std::collections::BTreeMap::new();
        for (what, name, chunks) in steps {
            let wanted = transfer(ONE, &format!("f{name}"), 3 * MIB);
            match what {
                0..=3 => {
                    let mut incoming = files.begin(&wanted).unwrap();
                    let held = left.remove(&name).unwrap_or(0);
                    prop_assert_eq!(incoming.held(), held);
                    incoming.write(0, &vec![1; (chunks * MIB) as usize]).unwrap();
                    let held = held.max(chunks * MIB);
                    if what == 3 {
                        incoming.write(0, &vec![2; 3 * MIB as usize]).unwrap();
                        files.finish(incoming, &wanted.name, facts(1)).unwrap();
                    } else if held > 0 {
                        left.insert(name, held);
                    }
                }
                4 => files = open(&home),
                _ => drop(files.clear().unwrap()),
            }
            let books = lock(&files.books);
            let idle: u64 = left.values().sum();
            let entries = fs::read_dir(files.dir()).unwrap().flatten();
            let on_disk: u64 = entries.map(|it| it.metadata().unwrap().len()).sum();
            prop_assert_eq!(on_disk, books.listed_bytes + idle);
            prop_assert_eq!((books.coming_bytes, books.written_bytes, books.idle.len()), (0, 0, left.len()));
        }
    }
}
