use std::os::unix::fs::symlink;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::signed::sign;
use crate::testing::{DRAFT, secret, write_draft};

fn signed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_draft(dir.path(), DRAFT);
    sign(dir.path(), &secret(1)).unwrap();
    dir
}

fn refusal(dir: &TempDir) -> String {
    Bundle::open(dir.path()).unwrap_err().to_string()
}

#[test]
fn what_was_signed_opens_and_signing_again_changes_nothing() {
    let dir = signed();
    let bundle = Bundle::open(dir.path()).unwrap();
    assert_eq!(bundle.manifest().files.len(), 2);
    let text = fs::read_to_string(dir.path().join(MANIFEST)).unwrap();
    assert!(text.contains("# An app."), "comments stay");
    sign(dir.path(), &secret(1)).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join(MANIFEST)).unwrap(), text);
    assert_eq!(
        sign(dir.path(), &secret(2)).unwrap().manifest().publisher,
        secret(2).public()
    );
}

#[test]
fn a_text_that_looks_like_generated_lines_is_refused_and_not_mangled() {
    let dir = tempfile::tempdir().unwrap();
    let draft = DRAFT.replace("\"Says it\"", "\"\"\"\\\n[files]\nSays it\"\"\"");
    write_draft(dir.path(), &draft);
    assert!(sign(dir.path(), &secret(1)).is_err());
    assert_eq!(
        fs::read_to_string(dir.path().join(MANIFEST)).unwrap(),
        draft
    );
}

#[test]
fn an_app_for_other_machines_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let with = |targets: &str| {
        let draft = DRAFT.replace("licence", &format!("targets = [{targets}]\nlicence"));
        write_draft(dir.path(), &draft);
        sign(dir.path(), &secret(1)).map(|_| ())
    };
    let here = Target::here();
    with(&format!("\"sparc64-solaris\", \"{here}\"")).unwrap();
    let refused = with("\"sparc64-solaris\"").unwrap_err();
    let expected = format!("it is for sparc64-solaris, and this machine is {here}");
    assert_eq!(refused.to_string(), expected);
}

#[test]
fn files_that_are_missing_unknown_or_changed_are_named() {
    let dir = signed();
    fs::write(dir.path().join("bin/other"), "x").unwrap();
    assert_eq!(refusal(&dir), "file bin/other is not in the manifest");
    fs::remove_file(dir.path().join("bin/other")).unwrap();
    fs::remove_file(dir.path().join("README.md")).unwrap();
    assert_eq!(refusal(&dir), "file README.md is missing");
    fs::write(dir.path().join("README.md"), "An app!\n").unwrap();
    assert_eq!(
        refusal(&dir),
        "file README.md is not the one that was signed"
    );
}

#[test]
fn links_and_pipes_are_no_part_of_a_bundle() {
    for target in ["/etc/passwd", "README.md"] {
        let dir = signed();
        symlink(target, dir.path().join("link")).unwrap();
        assert!(
            refusal(&dir).contains("link is neither a file"),
            "{}",
            refusal(&dir)
        );
    }
    let dir = signed();
    fs::remove_file(dir.path().join(MANIFEST)).unwrap();
    symlink("/etc/hostname", dir.path().join(MANIFEST)).unwrap();
    assert!(refusal(&dir).contains(MANIFEST));
    let dir = signed();
    let pipe = dir.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(refusal(&dir).contains("pipe is neither a file"));
}

#[test]
fn a_bomb_is_not_unrolled() {
    let dir = signed();
    let file = File::create(dir.path().join("hole")).unwrap();
    file.set_len(MAX_BYTES + 1).unwrap();
    assert!(refusal(&dir).contains("more than 268435456 bytes"));
    let dir = signed();
    for number in 0..=MAX_FILES {
        File::create(dir.path().join(format!("f{number}"))).unwrap();
    }
    assert!(refusal(&dir).contains("more than 1000 files"));
    let dir = signed();
    fs::create_dir_all(dir.path().join("a/a/a/a/a/a/a/a/a/a")).unwrap();
    assert!(refusal(&dir).contains("invalid file name"));
}

#[test]
fn another_publisher_cannot_take_a_manifest_over() {
    let dir = signed();
    let (ours, theirs) = (secret(1).public(), secret(2).public());
    let path = dir.path().join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&ours.to_string(), &theirs.to_string())).unwrap();
    assert!(refusal(&dir).contains("the signature is not the publisher's"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_changed_byte_is_refused_with_the_name_of_its_file(
        place in any::<prop::sample::Index>(), bit in 0..8_u8, file in 0..4_usize,
    ) {
        let dir = signed();
        let name = [MANIFEST, SIGNATURE, "README.md", "bin/echo"][file];
        let path = dir.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        // The line's end of a signature is no part of it.
        let length = if name == SIGNATURE { 128 } else { bytes.len() };
        bytes[place.index(length)] ^= 1 << bit;
        let is_same_digit = name == SIGNATURE
            && bytes.to_ascii_lowercase() == fs::read(&path).unwrap();
        fs::write(&path, &bytes).unwrap();
        prop_assume!(!is_same_digit);
        let words = refusal(&dir);
        prop_assert!(words.contains(name), "{name}: {words}");
    }
}
