//! Files in directories.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn directories_are_made_and_only_the_last_name_is_numbered() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    assert_eq!(store(&files, "a/b/c.txt", b"one!").name, "a/b/c.txt");
    assert_eq!(store(&files, "a/b/c.txt", b"two!").name, "a/b/c (1).txt");
    assert_eq!(store(&files, "a/d", b"more").name, "a/d");
    let read = |name: &str| fs::read(files.dir().join(name)).unwrap();
    assert_eq!(
        (read("a/b/c.txt"), read("a/d")),
        (b"one!".to_vec(), b"more".to_vec())
    );
}

#[test]
fn clearing_leaves_no_empty_directory_and_no_other_file() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    store(&files, "a/b/c", b"data");
    store(&files, "d/e", b"data");
    fs::write(files.dir().join("d/mine"), b"mine").unwrap();
    assert_eq!(files.clear().unwrap().len(), 2);
    assert!(!files.dir().join("a").exists());
    assert!(files.dir().join("d/mine").exists() && !files.dir().join("d/e").exists());
}

#[test]
fn no_symbolic_link_leads_out_of_the_directory() {
    let home = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let files = open(&home);
    symlink(outside.path(), files.dir().join("link")).unwrap();
    for name in ["link/a", "link/b/c"] {
        let mut incoming = begin(&files, ONE, 4).unwrap();
        incoming.write(0, b"data").unwrap();
        let refused = files.finish(incoming, &name.parse().unwrap(), facts(1));
        assert!(
            matches!(refused, Err(ReceivedError::InTheWay { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    // Nor when it took the place of a directory of ours.
    store(&files, "a/b", b"data");
    fs::rename(files.dir().join("a"), files.dir().join("aside")).unwrap();
    fs::write(outside.path().join("b"), b"theirs").unwrap();
    symlink(outside.path(), files.dir().join("a")).unwrap();
    files.clear().unwrap();
    assert!(outside.path().join("b").exists());
}

#[test]
fn a_file_where_a_directory_is_to_be_is_in_the_way_and_nothing_is_left() {
    let home = tempfile::tempdir().unwrap();
    let files = open(&home);
    store(&files, "a", b"data");
    let mut incoming = begin(&files, ONE, 4).unwrap();
    incoming.write(0, b"data").unwrap();
    let refused = files.finish(incoming, &"a/b".parse().unwrap(), facts(1));
    assert!(
        matches!(refused, Err(ReceivedError::InTheWay { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read_dir(files.dir()).unwrap().count(), 1);
    assert_eq!(files.list().unwrap().len(), 1);
}
