use std::fs;

use tempfile::TempDir;

use super::*;
use crate::signed::sign;
use crate::testing::{DRAFT, secret, write_draft};

struct Shop {
    dir: TempDir,
    url: CatalogueUrl,
}

impl Shop {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}", dir.path().join("shop").display());
        let url = url.parse().unwrap();
        Self { dir, url }
    }

    fn bundle(&self, name: &str, version: &str, publisher: u8) -> PathBuf {
        let dir = self.dir.path().join(name);
        write_draft(&dir, &DRAFT.replace("1.2.0", version));
        sign(&dir, &secret(publisher)).unwrap();
        dir
    }

    fn publishers(&self, trusted: u8) -> Publishers {
        let publishers = Publishers::new(self.dir.path());
        publishers.trust(secret(trusted).public(), "").unwrap();
        publishers
    }
}

#[test]
fn what_was_published_is_found_and_whole() {
    let shop = Shop::new();
    let bundle = shop.bundle("a", "1.0.0", 1);
    publish(&bundle, &shop.url, &secret(1)).unwrap();
    publish(&bundle, &shop.url, &secret(1)).unwrap();
    publish(&shop.bundle("b", "1.1.0", 1), &shop.url, &secret(1)).unwrap();
    let catalogue = Catalogue::open(&shop.url, &shop.publishers(1)).unwrap();
    assert_eq!(catalogue.entries().len(), 2);
    let entry = &catalogue.entries()[1];
    let opened = Bundle::open(&catalogue.bundle_dir(entry)).unwrap();
    assert_eq!(opened.signed().hash(), entry.manifest_sha256);
}

#[test]
fn a_version_never_changes_and_an_id_has_one_publisher() {
    let shop = Shop::new();
    let bundle = shop.bundle("a", "1.0.0", 1);
    publish(&bundle, &shop.url, &secret(1)).unwrap();
    fs::write(bundle.join("README.md"), "another\n").unwrap();
    sign(&bundle, &secret(1)).unwrap();
    let again = publish(&bundle, &shop.url, &secret(1));
    assert!(
        matches!(again, Err(CatalogueError::Published(..))),
        "{again:?}"
    );
    let taken = publish(&shop.bundle("c", "2.0.0", 2), &shop.url, &secret(1));
    assert!(matches!(taken, Err(CatalogueError::Taken(..))), "{taken:?}");
    let foreign = publish(&shop.bundle("d", "2.0.0", 1), &shop.url, &secret(2));
    assert!(
        matches!(foreign, Err(CatalogueError::Foreign(_))),
        "{foreign:?}"
    );
}

#[test]
fn any_changed_byte_of_an_index_is_refused() {
    let shop = Shop::new();
    publish(&shop.bundle("a", "1.0.0", 1), &shop.url, &secret(1)).unwrap();
    let publishers = shop.publishers(1);
    let path = shop.url.dir().join(INDEX);
    let good = fs::read(&path).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(
            Catalogue::open(&shop.url, &publishers).is_err(),
            "byte {place}"
        );
    }
    fs::write(&path, good).unwrap();
    Catalogue::open(&shop.url, &publishers).unwrap();
}

#[test]
fn a_signer_that_is_not_trusted_or_revoked_is_refused() {
    let shop = Shop::new();
    publish(&shop.bundle("a", "1.0.0", 1), &shop.url, &secret(1)).unwrap();
    let publishers = shop.publishers(2);
    let refused = Catalogue::open(&shop.url, &publishers).unwrap_err();
    assert!(refused.to_string().contains("is not trusted"), "{refused}");
    publishers.revoke(secret(1).public()).unwrap();
    let refused = Catalogue::open(&shop.url, &publishers).unwrap_err();
    assert!(refused.to_string().contains("is revoked"), "{refused}");
}

#[test]
fn a_yanked_version_says_so() {
    let shop = Shop::new();
    publish(&shop.bundle("a", "1.0.0", 1), &shop.url, &secret(1)).unwrap();
    let (id, version) = ("org.example.echo".parse().unwrap(), Version::new(1, 0, 0));
    assert!(yank(&id, &version, &shop.url, &secret(1)).unwrap());
    assert!(!yank(&id, &Version::new(9, 0, 0), &shop.url, &secret(1)).unwrap());
    let catalogue = Catalogue::open(&shop.url, &shop.publishers(1)).unwrap();
    assert!(catalogue.entries()[0].yanked);
}
