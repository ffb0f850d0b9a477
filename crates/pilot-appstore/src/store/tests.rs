use std::collections::BTreeSet;

use tempfile::TempDir;

use super::*;
use crate::grant::Grant;
use crate::publishers::PublishersError;
use crate::signed::sign;
use crate::testing::{DRAFT, secret, write_draft};

struct Bench {
    dir: TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        let kernel = Kernel {
            landlock: 6,
            seccomp: true,
            ..Kernel::default()
        };
        let store = Store::new(&home, kernel);
        store.publishers().trust(secret(1).public(), "").unwrap();
        Self { dir, store }
    }

    fn bundle(&self, version: &str, publisher: u8) -> Bundle {
        let dir = self.dir.path().join(format!("{version}-{publisher}"));
        write_draft(&dir, &DRAFT.replace("1.2.0", version));
        sign(&dir, &secret(publisher)).unwrap()
    }

    fn install(&self, version: &str) -> Result<Agreed, StoreError> {
        self.store.install(&self.bundle(version, 1), &yes())
    }

    fn version(&self) -> String {
        self.store
            .open(&id())
            .unwrap()
            .bundle
            .manifest()
            .version
            .to_string()
    }
}

fn yes() -> Consent {
    Consent {
        yes: true,
        ..Consent::default()
    }
}

fn id() -> AppId {
    "org.example.echo".parse().unwrap()
}

#[test]
fn an_app_is_installed_upgraded_rolled_back_and_removed() {
    let bench = Bench::new();
    assert!(matches!(
        bench.store.open(&id()),
        Err(StoreError::NotInstalled(_))
    ));
    assert_eq!(
        bench.install("1.0.0").unwrap().grants,
        BTreeSet::from([Grant::Libs])
    );
    assert_eq!(bench.version(), "1.0.0");
    assert!(matches!(
        bench.install("1.0.0"),
        Err(StoreError::Exists(..))
    ));
    bench.install("1.1.0").unwrap();
    bench.install("1.2.0").unwrap();
    assert_eq!(bench.version(), "1.2.0");
    let dir = bench.store.app_dir(&id());
    assert!(!dir.join("1.0.0").exists() && dir.join("1.1.0").exists());
    assert_eq!(bench.store.roll_back(&id()).unwrap().to_string(), "1.1.0");
    assert_eq!(bench.version(), "1.1.0");
    fs::create_dir_all(bench.store.data_dir(&id())).unwrap();
    let log = bench.store.log_path(&id());
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::write(&log, "hello\n").unwrap();
    bench.store.uninstall(&id(), true).unwrap();
    assert!(log.exists());
    assert!(bench.store.list().unwrap().is_empty() && bench.store.data_dir(&id()).exists());
    bench.install("1.0.0").unwrap();
    bench.store.uninstall(&id(), false).unwrap();
    assert!(!bench.store.data_dir(&id()).exists() && !dir.exists() && !log.exists());
}

#[test]
fn a_lower_version_and_another_publisher_are_refused() {
    let bench = Bench::new();
    bench.install("1.1.0").unwrap();
    let words = bench.install("1.0.9").unwrap_err().to_string();
    assert!(words.contains("1.0.9 is older"), "{words}");
    bench
        .store
        .publishers()
        .trust(secret(2).public(), "")
        .unwrap();
    let other = bench.store.install(&bench.bundle("2.0.0", 2), &yes());
    assert!(matches!(other, Err(StoreError::OtherPublisher { .. })));
    assert_eq!(bench.version(), "1.1.0");
}

#[test]
fn an_unknown_publisher_installs_nothing_and_a_revoked_one_runs_nothing() {
    let bench = Bench::new();
    let unknown = bench.store.install(&bench.bundle("1.0.0", 2), &yes());
    assert!(matches!(
        unknown,
        Err(StoreError::Publisher(PublishersError::NotTrusted(_)))
    ));
    bench.install("1.0.0").unwrap();
    bench.store.publishers().revoke(secret(1).public()).unwrap();
    let revoked = bench.store.open(&id()).unwrap_err();
    assert!(matches!(
        revoked,
        StoreError::Publisher(PublishersError::Revoked(_))
    ));
}

#[test]
fn what_was_changed_after_installation_does_not_open_and_is_repaired_by_installing_again() {
    let bench = Bench::new();
    bench.install("1.0.0").unwrap();
    let file = bench.store.app_dir(&id()).join("1.0.0/README.md");
    fs::write(file, "changed").unwrap();
    assert!(matches!(
        bench.store.open(&id()),
        Err(StoreError::Bundle(_))
    ));
    bench.install("1.0.0").unwrap();
    assert_eq!(bench.version(), "1.0.0");
}

#[test]
fn rights_that_were_added_to_the_record_are_not_granted() {
    let bench = Bench::new();
    bench.install("1.0.0").unwrap();
    let mut record = bench.store.record(&id()).unwrap();
    let agreed = record.agreed.get_mut(&Version::new(1, 0, 0)).unwrap();
    agreed.grants.insert("write:/srv".parse().unwrap());
    bench.store.save(&id(), &record).unwrap();
    assert!(matches!(
        bench.store.open(&id()),
        Err(StoreError::Damaged { .. })
    ));
}

/// What a crash leaves between any two steps is the old state or the new one, and goes away.
#[test]
fn leftovers_of_crashes_do_not_count_and_are_swept() {
    let bench = Bench::new();
    bench.install("1.0.0").unwrap();
    let apps = bench.store.apps();
    let dir = bench.store.app_dir(&id());
    for left in [
        apps.join(".old-abc/it"),
        bench.store.data_dir(&id()).with_file_name(".old-abc"),
        dir.join(".new-abc"),
        dir.join(".old-abc/it"),
        dir.join("2.0.0"),
        apps.join("org.example.half/1.0.0"),
    ] {
        fs::create_dir_all(left).unwrap();
    }
    fs::write(dir.join(".new-def"), "half a record").unwrap();
    assert_eq!(bench.store.list().unwrap(), [id()]);
    assert_eq!(bench.version(), "1.0.0");
    bench.store.sweep();
    let names = |dir: &Path| {
        let names = fs::read_dir(dir).unwrap().flatten();
        names
            .map(|e| e.file_name().into_string().unwrap())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&dir), ["1.0.0", RECORD].map(str::to_owned).into());
    assert!(names(&bench.store.home.join(DATA)).is_empty());
    assert_eq!(names(&apps), ["org.example.echo".to_owned()].into());
}

#[test]
fn short_names_work_where_they_are_unambiguous() {
    let bench = Bench::new();
    bench.install("1.0.0").unwrap();
    assert_eq!(bench.store.find("echo").unwrap(), id());
    assert_eq!(bench.store.find("org.example.echo").unwrap(), id());
    assert!(matches!(
        bench.store.find("nothing"),
        Err(StoreError::NotInstalled(_))
    ));
    let other = bench.store.apps().join("com.example.echo");
    fs::create_dir_all(&other).unwrap();
    fs::copy(bench.store.app_dir(&id()).join(RECORD), other.join(RECORD)).unwrap();
    assert!(matches!(
        bench.store.find("echo"),
        Err(StoreError::Ambiguous { .. })
    ));
    assert_eq!(bench.store.find("org.example.echo").unwrap(), id());
}
