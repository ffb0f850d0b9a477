use tempfile::TempDir;

use super::*;
use crate::catalogue::{INDEX, publish, yank};
use crate::signed::sign;
use crate::testing::{DRAFT, secret, write_draft};

const URL: &str = "https://apps.example.org/";

/// A catalogue far away and a home.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        Publishers::new(&dir.path().join("home"))
            .trust(secret(1).public(), "")
            .unwrap();
        Self { dir }
    }

    fn far(&self) -> CatalogueUrl {
        CatalogueUrl::of_dir(&self.dir.path().join("far"))
    }

    fn publish(&self, version: &str) {
        let dir = self.dir.path().join(version);
        write_draft(&dir, &DRAFT.replace("1.2.0", version));
        sign(&dir, &secret(1)).unwrap();
        publish(&dir, &self.far(), &secret(1)).unwrap();
    }

    fn index(&self) -> Vec<u8> {
        fs::read(self.far().dir().join(INDEX)).unwrap()
    }

    fn mirror(&self) -> (Mirror, Publishers) {
        let home = self.dir.path().join("home");
        (Mirror::of(&home, URL), Publishers::new(&home))
    }

    /// Fetches the bundle of the mirror's first entry, with one file changed by the way.
    fn fetch(&self, change: Option<&str>) -> Result<(), MirrorError> {
        let (mirror, publishers) = self.mirror();
        let catalogue = Catalogue::open(&mirror.url(), &publishers).unwrap();
        let entry = &catalogue.entries()[0];
        let from = self
            .far()
            .dir()
            .join(entry.id.as_str())
            .join(entry.version.to_string());
        let read = |name: &str| {
            let mut bytes = fs::read(from.join(name)).unwrap();
            if change == Some(name) {
                bytes[0] ^= 1;
            }
            bytes
        };
        let arriving = mirror.begin(entry, &read(MANIFEST), &read(SIGNATURE))?;
        for file in arriving.files().to_vec() {
            arriving.add(&file, &read(file.as_str()))?;
        }
        arriving.finish()?;
        assert!(!mirror.lacks(entry));
        Ok(())
    }
}

#[test]
fn what_was_fetched_is_a_catalogue_of_its_own() {
    let world = World::new();
    world.publish("1.0.0");
    let (mirror, publishers) = world.mirror();
    assert_eq!(mirror.seen(), None);
    mirror.take_index(&world.index(), &publishers).unwrap();
    assert!(mirror.seen().is_some());
    let catalogue = Catalogue::open(&mirror.url(), &publishers).unwrap();
    let entry = &catalogue.entries()[0];
    assert!(mirror.lacks(entry));
    world.fetch(None).unwrap();
    let bundle = Bundle::open(&catalogue.bundle_dir(entry)).unwrap();
    assert_eq!(bundle.signed().hash(), entry.manifest_sha256);
}

#[test]
fn an_index_that_is_older_than_one_that_was_seen_is_refused() {
    let world = World::new();
    let (mirror, publishers) = world.mirror();
    world.publish("1.0.0");
    let first = world.index();
    world.publish("1.1.0");
    let second = world.index();
    let id = "org.example.echo".parse().unwrap();
    yank(&id, &"1.0.0".parse().unwrap(), &world.far(), &secret(1)).unwrap();
    let third = world.index();
    let refused = |older: &[u8], words: &str| {
        let error = mirror.take_index(older, &publishers).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    for index in [&first, &second, &second] {
        mirror.take_index(index, &publishers).unwrap();
    }
    refused(&first, "1.1.0 is gone");
    mirror.take_index(&third, &publishers).unwrap();
    refused(&second, "1.0.0 is no more withdrawn");
    let kept = fs::read(mirror.url().dir().join(INDEX)).unwrap();
    assert_eq!(kept, third);
}

#[test]
fn what_is_not_signed_by_whom_it_should_is_refused() {
    let world = World::new();
    let (mirror, publishers) = world.mirror();
    world.publish("1.0.0");
    let mut index = world.index();
    index[40] ^= 1;
    assert!(mirror.take_index(&index, &publishers).is_err());
    let nobody = Publishers::new(world.dir.path());
    assert!(mirror.take_index(&world.index(), &nobody).is_err());
    assert!(mirror.take_index(&[0xFF; 100], &publishers).is_err());
    assert_eq!(mirror.seen(), None, "nothing was kept");
}

#[test]
fn a_bundle_of_which_one_byte_was_changed_by_the_way_is_refused() {
    let world = World::new();
    let (mirror, publishers) = world.mirror();
    world.publish("1.0.0");
    mirror.take_index(&world.index(), &publishers).unwrap();
    for file in [MANIFEST, SIGNATURE, "README.md", "bin/echo"] {
        let fetched = world.fetch(Some(file));
        assert!(fetched.is_err(), "{file}");
        let left = fs::read_dir(mirror.url().dir().join("org.example.echo"));
        assert!(
            left.map_or(0, Iterator::count) == 0,
            "{file} left something"
        );
    }
    world.fetch(None).unwrap();
}
