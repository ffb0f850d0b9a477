use super::*;

const ONE: AgentId = AgentId::new([1; 32]);

fn facts(byte: u8) -> ReceivedFile {
    ReceivedFile {
        name: String::new(),
        bytes: 4,
        from: AgentId::new([byte; 32]),
        sha256: [byte; 32],
        received_at: UnixTime::from_secs(u64::from(byte)),
    }
}

fn store(files: &ReceivedFiles, name: &str, bytes: &[u8]) -> ReceivedFile {
    let mut incoming = files.begin(ONE, bytes.len() as u64).unwrap();
    incoming.write(bytes).unwrap();
    files
        .finish(incoming, &name.parse().unwrap(), facts(1))
        .unwrap()
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let files = ReceivedFiles::open(home.path()).unwrap();
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
    let files = ReceivedFiles::open(home.path()).unwrap();
    let stored = store(&files, "a", b"data");
    let mut broken = files.begin(ONE, 10).unwrap();
    broken.write(b"half").unwrap();
    // As a process that was killed leaves it, with half a line.
    let (_, path) = broken.file.keep().unwrap();
    OpenOptions::new()
        .append(true)
        .open(&files.list)
        .unwrap()
        .write_all(b"{\"name\":\"b")
        .unwrap();
    assert!(path.exists());
    let files = ReceivedFiles::open(home.path()).unwrap();
    assert!(!path.exists());
    assert_eq!(files.list().unwrap(), vec![stored.clone()]);
    let next = store(&files, "b", b"more");
    let files = ReceivedFiles::open(home.path()).unwrap();
    assert_eq!(files.list().unwrap(), vec![stored, next]);
}

#[test]
fn clearing_deletes_what_came_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let files = ReceivedFiles::open(home.path()).unwrap();
    store(&files, "a", b"data");
    fs::write(files.dir().join("mine"), b"mine").unwrap();
    assert_eq!(files.clear().unwrap().len(), 1);
    assert!(files.list().unwrap().is_empty());
    assert!(files.dir().join("mine").exists() && !files.dir().join("a").exists());
}

#[test]
fn a_second_file_with_the_longest_name_is_listed_under_a_name_that_fits() {
    let home = tempfile::tempdir().unwrap();
    let files = ReceivedFiles::open(home.path()).unwrap();
    let long = format!("{}.pdf", "x".repeat(236));
    assert_eq!(store(&files, &long, b"one").name, long);
    let second = store(&files, &long, b"two").name;
    assert_eq!(second, format!("{} (1).pdf", "x".repeat(232)));
    assert_eq!(fs::read(files.dir().join(second)).unwrap(), b"two");
}

#[test]
fn a_file_that_cannot_be_listed_does_not_stay() {
    let home = tempfile::tempdir().unwrap();
    let files = ReceivedFiles::open(home.path()).unwrap();
    store(&files, "a", b"data");
    let listed = fs::read(&files.list).unwrap();
    fs::rename(&files.list, home.path().join("aside")).unwrap();
    std::os::unix::fs::symlink("/dev/full", &files.list).unwrap();
    // The list is not read for it: this one has no end.
    let mut incoming = files.begin(ONE, 4).unwrap();
    incoming.write(b"more").unwrap();
    let name = "b".parse().unwrap();
    let error = files.finish(incoming, &name, facts(2)).unwrap_err();
    assert!(error.is_no_space(), "{error:?}");
    assert!(error.to_string().contains("received.jsonl"), "{error}");
    assert!(!files.dir().join("b").exists());
    fs::rename(home.path().join("aside"), &files.list).unwrap();
    assert_eq!(fs::read(&files.list).unwrap(), listed);
    assert_eq!(store(&files, "b", b"more").name, "b");
    assert_eq!(files.list().unwrap().len(), 2);
}

#[test]
fn what_does_not_fit_is_refused_before_a_byte_comes() {
    let home = tempfile::tempdir().unwrap();
    let files = ReceivedFiles::open(home.path()).unwrap();
    let refused = files.begin(ONE, u64::MAX / 2).unwrap_err();
    assert!(matches!(refused, ReceivedError::Space { .. }), "{refused}");
    assert_eq!(fs::read_dir(files.dir()).unwrap().count(), 0);
}

#[test]
fn files_on_their_way_in_are_promised_their_room() {
    let home = tempfile::tempdir().unwrap();
    let files = ReceivedFiles::open(home.path()).unwrap();
    let room = lock(&files.books).room(files.free().unwrap());
    let large = room / 10 * 6;
    let first = files.begin(ONE, large).unwrap();
    let refused = files.begin(ONE, large).unwrap_err();
    assert!(refused.is_no_space(), "{refused}");
    drop(first);
    files.begin(ONE, large).unwrap();
    assert_eq!(lock(&files.books).coming_bytes, 0);
}

#[test]
fn one_sender_does_not_keep_out_the_others() {
    let home = tempfile::tempdir().unwrap();
    let files = ReceivedFiles::open(home.path()).unwrap();
    let senders = (0..).map(|byte| AgentId::new([byte; 32]));
    let mut coming = vec![];
    for sender in senders.take(MAX_COMING / MAX_FROM_ONE) {
        for _ in 0..MAX_FROM_ONE {
            coming.push(files.begin(sender, 1).unwrap());
        }
        assert!(matches!(files.begin(sender, 1), Err(ReceivedError::Busy)));
    }
    let other = AgentId::new([99; 32]);
    assert!(matches!(files.begin(other, 1), Err(ReceivedError::Busy)));
    coming.pop();
    files.begin(other, 1).unwrap();
}

#[test]
fn files_take_three_quarters_of_the_disk_at_most() {
    const GIB: u64 = 1 << 30;
    let mut books = Books::default();
    assert_eq!(books.room(8 * GIB), 6 * GIB);
    assert_eq!(books.room(RESERVE * 2), RESERVE);
    assert_eq!(books.room(RESERVE), 0);
    books.listed_bytes = 4 * GIB;
    assert_eq!(books.room(4 * GIB), 2 * GIB);
    (books.coming_bytes, books.written_bytes) = (GIB, GIB / 2);
    assert_eq!(books.room(4 * GIB - GIB / 2), GIB);
    // Others filled the disk.
    assert_eq!(books.room(GIB), 0);
}

#[test]
fn what_the_owner_took_away_counts_no_more() {
    let home = tempfile::tempdir().unwrap();
    let files = ReceivedFiles::open(home.path()).unwrap();
    store(&files, "a", b"data");
    assert_eq!(lock(&files.books).listed_bytes, 4);
    fs::remove_file(files.dir().join("a")).unwrap();
    files.begin(ONE, u64::MAX / 2).unwrap_err();
    assert_eq!(lock(&files.books).listed_bytes, 0);
    assert_eq!(lock(&files.books).listed, 1);
}
