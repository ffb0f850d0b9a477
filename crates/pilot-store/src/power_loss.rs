//! What the databases keep when the power goes, and what they say when the disk is full.
//!
//! Every write that was acknowledged is there afterwards, whole; one that was under way is there wholly or not at all;
//! and the database opens. `PILOT_SEEDS` sets the number of seeds of each property.

mod disk;
mod subjects;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use pilot_sim::SimRng;

use self::disk::{Call, Disk, NAME};
use self::subjects::Subject;
use crate::db::Db;
use crate::inbox::Inbox;
use crate::registry_db::RegistryDb;
use crate::state_db::StateDb;

fn seeds(default: u64) -> Range<u64> {
    let count = std::env::var("PILOT_SEEDS").ok();
    0..count.map_or(default, |count| {
        count.parse().expect("PILOT_SEEDS is a number")
    })
}

/// A new database, made as programs make it.
fn image<S: Subject>() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.redb");
    drop(Db::open(&path, &S::LAYOUT).unwrap());
    fs::read(path).unwrap()
}

fn open<S: Subject>(disk: &Disk) -> Result<S, String> {
    let db = Db::open_on(Path::new(NAME), Box::new(disk.clone()), &S::LAYOUT);
    db.map(S::over).map_err(|error| error.to_string())
}

/// Every row, by the number of its table and its key.
type Rows = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

/// All that a copy of these bytes holds.
fn rows<S: Subject>(bytes: Vec<u8>) -> Rows {
    let db = Db::open_on(Path::new(NAME), Box::new(Disk::new(bytes)), &S::LAYOUT);
    let db = db.unwrap_or_else(|error| panic!("it does not open: {error}"));
    let mut rows = Rows::new();
    for (number, table) in S::LAYOUT.tables.iter().enumerate() {
        let all = db.scan(*table, b"", |key, value| {
            rows.insert((number, key.to_vec()), value.to_vec());
            true
        });
        all.unwrap();
    }
    rows
}

/// Databases on disks that never fail, one for each state that is possible: what was refused may be there or not.
struct Possible<S>(Vec<(Disk, S)>);

impl<S: Subject> Possible<S> {
    fn only(bytes: Vec<u8>) -> Self {
        let disk = Disk::new(bytes);
        let store = open(&disk).unwrap();
        Self(vec![(disk, store)])
    }

    fn act(&mut self, operation: u64, is_done: bool) {
        let mut done = vec![];
        for (disk, mut store) in self.0.drain(..) {
            let before = disk.bytes();
            store.act(SimRng::new(operation)).unwrap();
            done.push((disk, store));
            if !is_done {
                done.extend(Self::only(before).0);
            }
        }
        self.0 = done;
    }

    /// The state that was found must be one of them; from here on it is the only one.
    fn settle(&mut self, found: Vec<u8>) {
        let all: Vec<_> = self
            .0
            .iter()
            .map(|(disk, _)| rows::<S>(disk.bytes()))
            .collect();
        let rows = rows::<S>(found.clone());
        let differences = all.iter().map(|possible| difference(possible, &rows));
        assert!(all.contains(&rows), "{:?}", differences.collect::<Vec<_>>());
        *self = Self::only(found);
    }
}

/// Rows that only one of them has, for the message of a failure.
fn difference(expected: &Rows, found: &Rows) -> Vec<(usize, Vec<u8>)> {
    let keys = expected.keys().chain(found.keys());
    keys.filter(|key| expected.get(key) != found.get(key))
        .cloned()
        .collect()
}

/// Three lives on one disk, each ended by a loss of power at any call.
fn lose_power<S: Subject>(image: &[u8], seed: u64) {
    let mut rng = SimRng::new(seed);
    let disk = Disk::new(image.to_vec());
    let mut possible = Possible::<S>::only(image.to_vec());
    for _ in 0..3 {
        let mut store = open::<S>(&disk).unwrap();
        disk.cut_power_after(rng.below(60));
        for _ in 0..12 {
            let operation = rng.below(u64::MAX);
            let done = store.act(SimRng::new(operation));
            possible.act(operation, done.is_ok());
            if let Err(words) = done {
                assert!(disk.is_off(), "{words}");
                break;
            }
        }
        // What ends with the process writes nothing more.
        disk.cut_power_after(0);
        drop(store);
        disk.restart(&mut rng);
        let restarted = open::<S>(&disk);
        drop(restarted.unwrap_or_else(|error| panic!("it does not open: {error}")));
        possible.settle(disk.bytes());
    }
}

/// A disk that is full for a while, and then loses power.
fn fill_up<S: Subject>(image: &[u8], seed: u64) {
    let mut rng = SimRng::new(seed);
    let disk = Disk::new(image.to_vec());
    let mut possible = Possible::<S>::only(image.to_vec());
    let mut store = open::<S>(&disk).unwrap();
    let mut act = |store: &mut S, rng: &mut SimRng| {
        let operation = rng.below(u64::MAX);
        let done = store.act(SimRng::new(operation));
        possible.act(operation, done.is_ok());
        done
    };
    for _ in 0..rng.below(4) {
        act(&mut store, &mut rng).unwrap();
    }
    let call = [Call::Write, Call::Length, Call::Sync][seed as usize % 3];
    disk.fill(call);
    let full = format!("no space is left for {NAME}: make room on its disk");
    let mut refused = 0;
    for _ in 0..6 {
        if let Err(words) = act(&mut store, &mut rng) {
            assert!(words.ends_with(&full), "{words}");
            refused += 1;
            if refused == 2 {
                break;
            }
        }
    }
    // Whatever it writes, it syncs; not all of it makes the file grow.
    assert!(refused > 0 || call == Call::Length);
    disk.make_room();
    for _ in 0..rng.below(4) {
        act(&mut store, &mut rng).expect("there is room again");
    }
    disk.cut_power_after(0);
    drop(store);
    disk.restart(&mut rng);
    drop(open::<S>(&disk).unwrap());
    possible.settle(disk.bytes());
}

fn each_seed<S: Subject>(default: u64, property: impl Fn(&[u8], u64)) {
    let image = image::<S>();
    for seed in seeds(default) {
        println!("seed {seed}");
        property(&image, seed);
    }
}

#[test]
fn an_agents_state_survives_a_loss_of_power() {
    each_seed::<StateDb>(200, lose_power::<StateDb>);
}

#[test]
fn an_inbox_survives_a_loss_of_power() {
    each_seed::<Inbox>(200, lose_power::<Inbox>);
}

#[test]
fn a_registry_survives_a_loss_of_power() {
    each_seed::<RegistryDb>(200, lose_power::<RegistryDb>);
}

#[test]
fn an_agents_state_goes_on_after_a_full_disk() {
    each_seed::<StateDb>(100, fill_up::<StateDb>);
}

#[test]
fn an_inbox_goes_on_after_a_full_disk() {
    each_seed::<Inbox>(100, fill_up::<Inbox>);
}

#[test]
fn a_registry_goes_on_after_a_full_disk() {
    each_seed::<RegistryDb>(100, fill_up::<RegistryDb>);
}
