//! Homes, their locks, and the two files that people read.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use pilot_store::{ConfigError, FileConfig, Home, HomeError, IdentityError};
use pilot_trust::Identity;
use pilot_types::Seed;
use tempfile::TempDir;

fn home() -> (TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path().join("a/b/agent")).unwrap();
    (dir, home)
}

fn identity(seed: u8) -> Identity {
    Identity::generate(Seed::new([seed; 32]), 0)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn words(error: &dyn std::error::Error) -> String {
    let source = error.source().map(words).unwrap_or_default();
    format!("{error} {source}")
}

#[test]
fn a_new_home_is_its_owners_alone() {
    let (_dir, home) = home();
    assert_eq!(mode(home.dir()), 0o700);
    home.save_new_identity(&identity(1)).unwrap();
    home.save_config(&FileConfig::default()).unwrap();
    let _lock = home.lock().unwrap();
    let _state = home.open_state().unwrap();
    let _inbox = home.open_inbox(1 << 20).unwrap();
    for name in [
        "identity.json",
        "config.json",
        "lock",
        "state.redb",
        "inbox.redb",
    ] {
        assert_eq!(mode(&home.path(name)), 0o600, "{name}");
    }
    assert_eq!(
        fs::read_dir(home.dir()).unwrap().count(),
        5,
        "nothing else is left"
    );
}

#[test]
fn a_file_in_the_place_of_a_home_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "x").unwrap();
    let error = Home::open(&path).unwrap_err();
    assert!(matches!(error, HomeError::Directory { .. }));
    assert!(
        words(&error).contains(path.to_str().unwrap()),
        "{}",
        words(&error)
    );
}

#[test]
fn a_second_daemon_is_told_who_holds_the_home() {
    let (_dir, home) = home();
    assert_eq!(home.locked_by(), None);
    let lock = home.lock().unwrap();
    let other = Home::open(home.dir()).unwrap();
    let error = other.lock().unwrap_err();
    let me = std::process::id();
    assert!(matches!(error, HomeError::Locked { pid: Some(pid), .. } if pid == me));
    assert!(words(&error).contains(&me.to_string()));
    assert_eq!(other.locked_by(), Some(me));
    drop(lock);
    assert_eq!(other.locked_by(), None, "its number in the file is stale");
    other.lock().unwrap();
}

#[test]
fn a_lock_sweeps_away_what_dead_writers_left() {
    let (_dir, home) = home();
    let left = home.path(".new-abc123");
    fs::write(&left, "half an ident").unwrap();
    fs::write(home.path("note.txt"), "mine").unwrap();
    let _lock = home.lock().unwrap();
    assert!(!left.exists());
    assert!(home.path("note.txt").exists());
}

#[test]
fn an_identity_is_kept() {
    let (_dir, home) = home();
    assert!(home.load_identity().unwrap().is_none());
    let identity = identity(1);
    home.save_new_identity(&identity).unwrap();
    let loaded = home.load_identity().unwrap().unwrap();
    assert_eq!(loaded.agent(), identity.agent());
    assert_eq!(loaded.to_json(), identity.to_json());
}

#[test]
fn a_writer_that_died_before_the_rename_left_no_identity() {
    let (_dir, home) = home();
    let text = identity(1).to_json();
    fs::write(home.path(".new-abc123"), &text[..text.len() / 2]).unwrap();
    assert!(home.load_identity().unwrap().is_none());
    home.save_new_identity(&identity(2)).unwrap();
    assert!(home.load_identity().unwrap().is_some());
}

#[test]
fn an_identity_is_never_overwritten() {
    let (_dir, home) = home();
    home.save_new_identity(&identity(1)).unwrap();
    let before = fs::read(home.identity_path()).unwrap();
    let error = home.save_new_identity(&identity(2)).unwrap_err();
    assert!(matches!(error, IdentityError::Exists { .. }));
    assert_eq!(fs::read(home.identity_path()).unwrap(), before);
}

#[test]
fn a_damaged_identity_is_named_and_left_as_it_is() {
    let whole = identity(1).to_json().into_bytes();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let garbage: [&[u8]; 6] = [
        b"",
        b"{}",
        b"\xFF\xFE\x00garbage",
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 3],
        &flipped,
    ];
    for bytes in garbage {
        let (_dir, home) = home();
        let path = home.identity_path();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let Err(error) = home.load_identity() else {
            panic!("{bytes:?} was taken for an identity");
        };
        assert!(matches!(error, IdentityError::Damaged { .. }), "{error:?}");
        let words = words(&error);
        assert!(
            words.contains(path.to_str().unwrap()) && words.contains("copy"),
            "{words}"
        );
        let saved = home.save_new_identity(&identity(2));
        assert!(matches!(saved, Err(IdentityError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), bytes, "untouched");
    }
}

#[test]
fn an_identity_that_others_may_read_is_refused_with_the_command() {
    let (_dir, home) = home();
    home.save_new_identity(&identity(1)).unwrap();
    let path = home.identity_path();
    for open in [0o640, 0o604, 0o620, 0o644, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
        let Err(error) = home.load_identity() else {
            panic!("mode {open:o} was accepted");
        };
        assert!(matches!(error, IdentityError::TooOpen { mode, .. } if mode == open));
        let command = format!("chmod 600 {}", path.display());
        assert!(words(&error).contains(&command), "{}", words(&error));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(home.load_identity().unwrap().is_some());
}

#[test]
fn a_configuration_keeps_what_it_does_not_know() {
    let (_dir, home) = home();
    assert_eq!(home.load_config().unwrap(), FileConfig::default());
    let text =
        r#"{"hostname":"worker","tags":["gpu"],"public":true,"catalogues":["x"],"later":{"a":1}}"#;
    fs::write(home.config_path(), text).unwrap();
    let mut config = home.load_config().unwrap();
    assert_eq!(config.hostname.as_ref().unwrap().as_str(), "worker");
    assert!(config.public && !config.auto_approve);
    config.public = false;
    config.rendezvous = vec!["pilot://x".to_owned()];
    home.save_config(&config).unwrap();
    assert_eq!(home.load_config().unwrap(), config);
    let text = fs::read_to_string(home.config_path()).unwrap();
    assert!(text.contains("catalogues") && text.contains("later"));
    assert!(!text.contains("public"), "unset fields are left out");
}

#[test]
fn a_malformed_configuration_names_the_field_and_stays() {
    let (_dir, home) = home();
    let cases = [
        (
            r#"{"public":"yes"}"#,
            "field public: expected true or false",
        ),
        (
            r#"{"hostname":"Not A Name"}"#,
            "field hostname: expected a hostname",
        ),
        (r#"{"tags":"gpu"}"#, "field tags: expected a list"),
        (
            r#"{"rendezvous":[1]}"#,
            "field rendezvous: expected a list of URLs",
        ),
        ("[]", "expected a JSON object"),
        ("{", "line 1"),
    ];
    for (text, expected) in cases {
        fs::write(home.config_path(), text).unwrap();
        let error = home.load_config().unwrap_err();
        assert!(matches!(error, ConfigError::Invalid { .. }));
        let words = words(&error);
        assert!(words.contains(expected), "{words}");
        assert!(words.contains("config.json"), "{words}");
        assert_eq!(fs::read_to_string(home.config_path()).unwrap(), text);
    }
}

#[test]
fn a_lock_whose_holder_is_about_to_be_gone_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    drop(home.lock().unwrap());
    // No process has this number: Linux gives none out above 2^22.
    fs::write(dir.path().join("lock"), "4194305\n").unwrap();
    let dying = fs::File::open(dir.path().join("lock")).unwrap();
    dying.lock_shared().unwrap();
    assert_eq!(home.locked_by(), None, "who only looks is not in the way");
    let ends = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(dying);
    });
    let _lock = home.lock().unwrap();
    ends.join().unwrap();
}
