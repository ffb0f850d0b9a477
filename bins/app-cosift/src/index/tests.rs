use super::*;

fn text(item: &str, title: &str, words: &str) -> Text {
    Text {
        item: item.to_owned(),
        stamp: "1".to_owned(),
        title: title.to_owned(),
        text: words.to_owned(),
    }
}

fn filled(dir: &Path) -> Index {
    let mut index = Index::open(dir).unwrap();
    index.begin("/notes", Kind::Folder).unwrap();
    let otters = "Otters hold hands while they sleep.\n\nThey eat urchins.";
    index
        .put("/notes", text("/notes/a", "Otters", otters))
        .unwrap();
    let beavers = "Beavers build dams. An otter may live in one.";
    index
        .put("/notes", text("/notes/b", "Beavers", beavers))
        .unwrap();
    index.commit().unwrap();
    index
}

fn sources(index: &Index, query: &str) -> Vec<String> {
    let hits = index.search(query, 10).unwrap();
    hits.into_iter().map(|hit| hit.source).collect()
}

#[test]
fn the_best_passages_come_first_and_operators_mean_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path());
    assert_eq!(sources(&index, "otters"), ["/notes/a"]);
    let mut both = sources(&index, "dams OR (urchins");
    both.sort();
    assert_eq!(both, ["/notes/a", "/notes/b"]);
    let hit = &index.search("URCHINS", 1).unwrap()[0];
    assert!(hit.passage.contains("They eat urchins") && hit.score > 0.0);
    for query in [
        "",
        "  ",
        "\"",
        "title:*",
        "/.*/",
        "a AND (",
        &"x ".repeat(500),
    ] {
        assert!(index.search(query, 10).unwrap().len() <= 2, "{query:?}");
    }
}

#[test]
fn what_was_committed_is_there_after_a_kill_and_what_was_not_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path());
    index
        .put("/notes", text("/notes/c", "Cats", "Cats purr"))
        .unwrap();
    // Nothing of it is run down: as a process that is killed.
    std::mem::forget(index);
    let mut again = Index::open(dir.path()).unwrap();
    assert!(!again.was_lost());
    assert_eq!(again.state().items(), 2);
    assert_eq!(sources(&again, "otters"), ["/notes/a"]);
    assert_eq!(sources(&again, "cats"), Vec::<String>::new());
    again
        .put("/notes", text("/notes/c", "Cats", "Cats purr"))
        .unwrap();
    again.commit().unwrap();
    assert_eq!(sources(&again, "cats"), ["/notes/c"]);
}

#[test]
fn an_item_is_replaced_removed_and_forgotten_with_all_its_passages() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path());
    index
        .put("/notes", text("/notes/a", "Otters", "Now of newts"))
        .unwrap();
    index.commit().unwrap();
    assert_eq!(sources(&index, "urchins"), Vec::<String>::new());
    assert_eq!(sources(&index, "newts"), ["/notes/a"]);
    let kept = BTreeSet::from(["/notes/a".to_owned()]);
    assert_eq!(index.keep_only("/notes", &kept), 1);
    index.commit().unwrap();
    assert_eq!(sources(&index, "dams"), Vec::<String>::new());
    assert_eq!(index.forget("/notes").unwrap(), Some(1));
    assert_eq!(index.forget("/notes").unwrap(), None);
    assert_eq!(index.passages().unwrap(), 0);
    assert!(index.state().sources.is_empty());
}

#[test]
fn an_index_that_is_damaged_is_begun_anew_and_says_so() {
    for damage in ["meta.json", ".store", ".term", ".managed.json"] {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path()));
        let named = |path: &PathBuf| path.to_string_lossy().ends_with(damage);
        let mut files = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
        let file = files.find(named).unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        let mut index = Index::open(dir.path()).unwrap();
        assert!(index.was_lost(), "{damage}");
        index.begin("/notes", Kind::Folder).unwrap();
        index
            .put("/notes", text("/notes/a", "A", "whole again"))
            .unwrap();
        index.commit().unwrap();
        assert_eq!(sources(&index, "whole"), ["/notes/a"]);
    }
}

#[test]
fn there_is_room_for_so_much_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path());
    let much = "word ".repeat(14 * 1024 * 1024);
    let full = index.put("/notes", text("/notes/much", "Much", &much));
    assert!(matches!(full, Err(PutError::Full(words)) if words.contains("64 MiB")));
    assert!(index.begin("/notes", Kind::Feed).is_err());
    for number in 0..MAX_SOURCES - 1 {
        index.begin(&format!("/{number}"), Kind::Folder).unwrap();
    }
    assert!(index.begin("/one-more", Kind::Folder).is_err());
}

#[test]
fn without_a_directory_the_index_is_in_memory() {
    let mut index = Index::with(None, RamDirectory::create()).unwrap();
    assert!(!index.is_kept());
    index.begin("/notes", Kind::Folder).unwrap();
    index
        .put("/notes", text("/notes/a", "A", "otters"))
        .unwrap();
    index.commit().unwrap();
    assert_eq!(sources(&index, "otters"), ["/notes/a"]);
}
