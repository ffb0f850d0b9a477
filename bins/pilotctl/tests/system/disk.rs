//! Disks that are full, and homes that may not be written.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pilot_lab::{Lab, Machine, befriend, is_mutual, run, start, wait};

use super::{count_in_inbox, message, write_random};

const PATIENCE: Duration = Duration::from_secs(30);

/// A small disk in memory; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).expect("the laboratory's directory is ours");
        let options = format!("size={size},mode=700");
        let mut mount = Command::new("mount");
        run(mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at));
        Self(at.to_owned())
    }

    /// Waits for programs that are ending: the system counts their files until the last of their threads is gone.
    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        wait("the disk is mounted anew", PATIENCE, || {
            let mut mount = Command::new("mount");
            let mounted = mount.args(["-o", &options]).arg(&self.0).output();
            mounted.expect("mount starts").status.success()
        });
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("room for a name");
        for size in [4096, 512, 1] {
            let error = loop {
                if let Err(error) = file.write_all(&vec![1; size]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull);
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Programs that end with their machine may still use it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The words of a command that must fail, its hint behind them.
fn refused(machine: &Machine, command: &[&str]) -> String {
    let (answer, code) = machine.json(command);
    assert_ne!(code, 0, "{command:?}: {answer}");
    println!("{command:?}: {answer}");
    format!("{} {}", answer["message"], answer["hint"])
}

/// The first agent that knocked.
fn knock(machine: &Machine) -> String {
    let mut knock = None;
    wait("pending", PATIENCE, || {
        let pending = machine.data(&["pending"]);
        knock = pending["pending"][0]["address"].as_str().map(String::from);
        knock.is_some()
    });
    knock.expect("waited for")
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_full_disk_refuses_in_words_and_goes_on_when_there_is_room() {
    let lab = Lab::new();
    let [server, alice, bob, carol] = ["server", "alice", "bob", "carol"].map(|it| lab.machine(it));
    let disk = Disk::mount(bob.home(), "3m");
    let rendezvous = server.rendezvous();
    let _daemons = [(&alice, "alice"), (&bob, "bob"), (&carol, "carol")]
        .map(|(machine, name)| start(machine, name, &rendezvous));
    befriend(&alice, "bob", &bob);
    let file = lab.directory().join("large");
    write_random(&file, 5_000_000);
    let words = refused(&alice, &["send-file", "bob", file.to_str().expect("UTF-8")]);
    assert!(
        words.contains("no space") && words.contains("received --clear"),
        "{words}"
    );
    let names = fs::read_dir(bob.home().join("received")).expect("a directory");
    assert_eq!(names.count(), 0);
    assert_eq!(bob.data(&["received"])["total"], 0);

    carol.data(&["handshake", "bob", "let us talk"]);
    let carols = knock(&bob);
    let ballast = disk.fill();
    let send = ["send-message", "bob", "--data", "full"];
    for _ in 0..2 {
        let words = refused(&alice, &send);
        assert!(
            words.contains("no space") && words.contains("inbox --clear"),
            "{words}"
        );
    }
    let words = refused(&bob, &["approve", &carols]);
    assert!(
        words.contains("no space") && words.contains("state.redb"),
        "{words}"
    );
    assert_eq!(bob.data(&["info"])["hostname"], "bob");
    assert!(!is_mutual(&carol), "a grant left that is not stored");

    fs::remove_file(ballast).expect("it is there");
    assert_eq!(message(&alice, "bob", "room"), "stored");
    let bodies = ["full", "room"].map(|body| count_in_inbox(&bob, body));
    assert_eq!(bodies, [0, 1]);
    wait("what was decided is stored, and leaves", PATIENCE, || {
        is_mutual(&carol)
    });
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_home_that_cannot_be_written_is_named_and_its_identity_stays() {
    let lab = Lab::new();
    let [server, alice] = ["server", "alice"].map(|it| lab.machine(it));
    let disk = Disk::mount(alice.home(), "3m");
    let rendezvous = server.rendezvous();
    let home = alice.home().to_str().expect("UTF-8").to_owned();
    let command = [
        "daemon",
        "start",
        "--hostname",
        "alice",
        "--rendezvous",
        &rendezvous.url,
    ];

    let ballast = disk.fill();
    let words = refused(&alice, &command);
    assert!(words.contains(&home) && words.contains("space"), "{words}");
    assert!(!alice.home().join("identity.json").exists());
    fs::remove_file(ballast).expect("it is there");
    let daemon = start(&alice, "alice", &rendezvous);
    let address = daemon.ready["address"].clone();
    daemon.terminate();

    let identity = fs::read(alice.home().join("identity.json")).expect("an identity");
    disk.remount("ro");
    let words = refused(&alice, &command);
    assert!(
        words.contains(&home) && words.contains("written"),
        "{words}"
    );
    disk.remount("rw");
    let after = fs::read(alice.home().join("identity.json")).expect("an identity");
    assert_eq!(after, identity);
    assert_eq!(
        start(&alice, "alice", &rendezvous).ready["address"],
        address
    );
}
