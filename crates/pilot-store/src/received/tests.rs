use std::fs::OpenOptions;
use std::io::Write;

use pilot_wire::limits::FILE_CHUNK;

use super::books::{MAX_IDLE, MAX_IDLE_OF_ONE, RESERVE};
use super::*;

mod directories;
mod left;

const ONE: AgentId = AgentId::new([1; 32]);

fn open(home: &tempfile::TempDir) -> ReceivedFiles {
    ReceivedFiles::open(home.path(), None).unwrap()
}

/// A file of a sender; another name for each size.
fn transfer(from: AgentId, name: &str, size: u64) -> Transfer {
    Transfer {
        from,
        id: FileId::new([7; 16]),
        name: name.parse().unwrap(),
        size,
    }
}

fn begin(files: &ReceivedFiles, from: AgentId, size: u64) -> Result<IncomingFile, ReceivedError> {
    files.begin_apart(&transfer(from, "a", size))
}

fn facts(byte: u8) -> ReceivedFile {
    ReceivedFile {
        name: String::new(),
        bytes: 4,
        from: AgentId::new([byte; 32]),
        sha256: [byte; 32],
        received_at: UnixTime::from_secs(u64::from(byte)),
        transfer: None,
    }
}

fn store(files: &ReceivedFiles, name: &str, bytes: &[u8]) -> ReceivedFile {
    let mut incoming = begin(files, ONE, bytes.len() as u64).unwrap();
    incoming.write(0, bytes).unwrap();
    files
        .finish(incoming, &name.parse().unwrap(), facts(1))
        .unwrap()
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    fs::write(files.dir().join("a.txt"), b"mine").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", files.dir().join("a (1).txt")).unwrap();
    assert_eq!(store(&files, "a.txt", b"new!").name, "a (2).txt");
    assert_eq!(store(&files, "a.txt", b"next").name, "a (3).txt");
    assert_eq!(fs::read(files.dir().join("a.txt")).unwrap(), b"mine");
    assert_eq!(fs::read(files.dir().join("a (2).txt")).unwrap(), b"new!");
}

#[test]
fn the_list_survives_a_restart_and_what_was_half_written_does_not() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    let stored = store(&files, "a", b"data");
    // As a process that was killed leaves them, with half a line.
    let path = files.dir().join(format!(".part-{ONE}-new-x1y2z3"));
    fs::write(&path, b"half").unwrap();
    OpenOptions::new()
        .append(true)
        .open(files.list.path())
        .unwrap()
        .write_all(b"{\"name\":\"b")
        .unwrap();
    assert!(path.exists());
    let files = open(&home);
    assert!(!path.exists());
    assert_eq!(files.list().unwrap(), vec![stored.clone()]);
    let next = store(&files, "b", b"more");
    let files = open(&home);
    assert_eq!(files.list().unwrap(), vec![stored, next]);
}

#[test]
fn clearing_deletes_what_came_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    store(&files, "a", b"data");
    fs::write(files.dir().join("mine"), b"mine").unwrap();
    assert_eq!(files.clear().unwrap().len(), 1);
    assert!(files.list().unwrap().is_empty());
    assert!(files.dir().join("mine").exists() && !files.dir().join("a").exists());
}

#[test]
fn a_second_file_with_the_longest_name_is_listed_under_a_name_that_fits() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    let long = format!("{}.pdf", "x".repeat(236));
    assert_eq!(store(&files, &long, b"one").name, long);
    let second = store(&files, &long, b"two").name;
    assert_eq!(second, format!("{} (1).pdf", "x".repeat(232)));
    assert_eq!(fs::read(files.dir().join(second)).unwrap(), b"two");
}

#[test]
fn a_file_that_cannot_be_listed_does_not_stay() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    store(&files, "a", b"data");
    let listed = fs::read(files.list.path()).unwrap();
    fs::rename(files.list.path(), home.path().join("aside")).unwrap();
    std::os::unix::fs::symlink("/dev/full", files.list.path()).unwrap();
    // The list is not read for it: this one has no end.
    let mut incoming = begin(&files, ONE, 4).unwrap();
    incoming.write(0, b"more").unwrap();
    let name = "b".parse().unwrap();
    let error = files.finish(incoming, &name, facts(2)).unwrap_err();
    assert!(error.is_no_space(), "{error:?}");
    assert!(error.to_string().contains("received.jsonl"), "{error}");
    assert!(!files.dir().join("b").exists());
    fs::rename(home.path().join("aside"), files.list.path()).unwrap();
    assert_eq!(fs::read(files.list.path()).unwrap(), listed);
    assert_eq!(store(&files, "b", b"more").name, "b");
    assert_eq!(files.list().unwrap().len(), 2);
}

#[test]
fn what_does_not_fit_is_refused_before_a_byte_comes() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    let refused = begin(&files, ONE, u64::MAX / 2).unwrap_err();
    assert!(matches!(refused, ReceivedError::Space { .. }), "{refused}");
    assert_eq!(fs::read_dir(files.dir()).unwrap().count(), 0);
}

#[test]
fn files_on_their_way_in_are_promised_their_room() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    let books = lock(&files.books);
    let room = books.room(books.free().unwrap(), 0);
    drop(books);
    let large = room / 10 * 6;
    let first = begin(&files, ONE, large).unwrap();
    let refused = begin(&files, ONE, large).unwrap_err();
    assert!(refused.is_no_space(), "{refused}");
    drop(first);
    begin(&files, ONE, large).unwrap();
    assert_eq!(lock(&files.books).coming_bytes, 0);
}

#[test]
fn one_sender_does_not_keep_out_the_others() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    let senders = (0..).map(|byte| AgentId::new([byte; 32]));
    let mut coming = vec![];
    for sender in senders.take(MAX_COMING / MAX_FROM_ONE) {
        for _ in 0..MAX_FROM_ONE {
            coming.push(begin(&files, sender, 1).unwrap());
        }
        assert!(matches!(begin(&files, sender, 1), Err(ReceivedError::Busy)));
    }
    let other = AgentId::new([99; 32]);
    assert!(matches!(begin(&files, other, 1), Err(ReceivedError::Busy)));
    coming.pop();
    begin(&files, other, 1).unwrap();
}

#[test]
fn files_take_three_quarters_of_the_disk_at_most() {
    const GIB: u64 = 1 << 30;
    let mut books = Books::default();
    assert_eq!(books.room(8 * GIB, 0), 6 * GIB);
    assert_eq!(books.room(RESERVE * 2, 0), RESERVE);
    assert_eq!(books.room(RESERVE, 0), 0);
    books.listed_bytes = 4 * GIB;
    assert_eq!(books.room(4 * GIB, 0), 2 * GIB);
    (books.coming_bytes, books.written_bytes) = (GIB, GIB / 2);
    assert_eq!(books.room(4 * GIB - GIB / 2, 0), GIB);
    // Others filled the disk.
    assert_eq!(books.room(GIB, 0), 0);
}

#[test]
fn what_the_owner_took_away_counts_no_more() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    store(&files, "a", b"data");
    assert_eq!(lock(&files.books).listed_bytes, 4);
    fs::remove_file(files.dir().join("a")).unwrap();
    begin(&files, ONE, u64::MAX / 2).unwrap_err();
    assert_eq!(lock(&files.books).listed_bytes, 0);
    assert_eq!(lock(&files.books).listed, 1);
}
