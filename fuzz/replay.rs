//! The committed corpora, for the tests of the crates that have fuzz bodies.

use std::fs;
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target)
}

/// Runs `body` on every file of the target's corpus, by name, so that a panic is preceded by the file that makes it.
#[allow(
    clippy::print_stdout,
    reason = "shown for a test that fails: the input that it failed on comes last"
)]
pub(crate) fn replay(target: &str, body: impl Fn(&[u8])) {
    let folder = corpus(target);
    let entries = fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder is readable").path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{} has next to nothing", folder.display());
    for file in files {
        println!("{}", file.display());
        body(&fs::read(&file).expect("the file is readable"));
    }
}

/// Writes inputs made of real messages, for a fuzzer to start from.
pub(crate) fn write_seeds(target: &str, seeds: impl IntoIterator<Item = Vec<u8>>) {
    let folder = corpus(target);
    fs::create_dir_all(&folder).expect("the checkout is writable");
    for (number, seed) in seeds.into_iter().enumerate() {
        let file = folder.join(format!("seed-{number:02}"));
        fs::write(file, seed).expect("the checkout is writable");
    }
}
