//! A home with one installed app that tries whatever it is told.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pilot_appstore::{
    AppId, AuditEntry, CallError, CallRequest, Consent, Host, Protection, Publishers, Sha256,
    TestSetting, sign,
};
use pilot_trust::DocumentSecret;
use pilot_types::Seed;
use serde_json::json;
use tempfile::TempDir;

/// The app, statically linked, built once for every text of it.
pub(crate) fn program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Ok(built) = std::env::var("PILOT_ESCAPE_APP") {
            return fs::read(built).unwrap();
        }
        linked("+crt-static")
    })
}

/// The same, which needs the machine's libraries.
pub(crate) fn dynamic_program() -> Vec<u8> {
    linked("-crt-static")
}

fn linked(how: &str) -> Vec<u8> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/app.rs");
    let hash = Sha256::of(&fs::read(source).unwrap());
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("escape{how}-{hash}"));
    if !built.exists() {
        build(source, how, &built);
    }
    fs::read(built).unwrap()
}

/// Other tests may build it at the same time: it gets its name when it is whole.
fn build(source: &str, how: &str, to: &Path) {
    let dir = tempfile::tempdir_in(to.parent().unwrap()).unwrap();
    let out = dir.path().join("app");
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let built = Command::new(compiler)
        .args(["--edition", "2024", "-C", "opt-level=1", "-C"])
        .args([&format!("target-feature={how}"), "-o"])
        .args([&out, Path::new(source)])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{words}");
    fs::rename(out, to).unwrap();
}

/// The program that becomes an app.
pub(crate) fn pilotctl() -> PathBuf {
    let copy = std::env::var_os("PILOT_ESCAPE_CTL").map(PathBuf::from);
    copy.unwrap_or_else(|| env!("CARGO_BIN_EXE_pilotctl").into())
}

pub(crate) fn secret() -> DocumentSecret {
    DocumentSecret::from_seed(Seed::new([1; 32]))
}

/// How the app is made and held.
#[derive(Clone, Default)]
pub(crate) struct Setting {
    pub(crate) grants: Vec<String>,
    pub(crate) limits: &'static str,
    pub(crate) without: Vec<Protection>,
    /// Names that lead to this machine.
    pub(crate) names: Vec<&'static str>,
}

impl Setting {
    fn test_setting(&self) -> TestSetting {
        let known = self.names.clone();
        TestSetting {
            without: self.without.iter().copied().collect(),
            names: Some(Arc::new(move |name| {
                if known.contains(&name) {
                    return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
                }
                Err(io::ErrorKind::NotFound.into())
            })),
        }
    }
}

pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) host: Host,
}

impl Bench {
    pub(crate) fn new(setting: &Setting) -> Self {
        Self::of(setting, |bundle| write_bundle(bundle, setting, "1.0.0"))
    }

    /// The same with a bundle of its own.
    pub(crate) fn of(setting: &Setting, write: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        Publishers::new(&home).trust(secret().public(), "").unwrap();
        let bundle = dir.path().join("bundle");
        write(&bundle);
        let host = Host::with(&home, vec![pilotctl().into()], setting.test_setting()).unwrap();
        let consent = Consent {
            yes: true,
            ..Consent::default()
        };
        host.store()
            .install(&sign(&bundle, &secret()).unwrap(), &consent)
            .unwrap();
        Self { dir, host }
    }

    pub(crate) fn plain() -> Self {
        Self::new(&Setting::default())
    }

    /// What came of an attempt.
    pub(crate) async fn attempt(&self, what: &str) -> Result<String, CallError> {
        let request = CallRequest {
            app: "escape".to_owned(),
            method: "escape.try".to_owned(),
            params: json!({ "try": what }),
            caller: "test".into(),
            deadline: Some(Duration::from_secs(20)),
        };
        let result = self.host.call(request).await?;
        Ok(result["came_of_it"].as_str().unwrap().to_owned())
    }

    /// The word that the audit log has for the end of the app's process.
    pub(crate) fn audited_end(&self) -> Option<AuditEntry> {
        let entries = self.host.audit().last(Some(&id()), 100).unwrap();
        entries
            .into_iter()
            .rev()
            .find(|entry| entry.event == "stop")
    }

    /// What the audit log has of connections.
    pub(crate) fn audited_connections(&self) -> Vec<AuditEntry> {
        let entries = self.host.audit().last(Some(&id()), 1000).unwrap();
        let mut connections = entries;
        connections.retain(|entry| entry.event == "connect");
        connections
    }

    /// The app answers again after it was ended.
    pub(crate) async fn recovers(&self) {
        self.host.stop(&id()).await;
        assert_eq!(self.attempt("nothing").await.unwrap(), "done");
    }
}

pub(crate) fn id() -> AppId {
    "org.example.escape".parse().unwrap()
}

pub(crate) fn write_bundle(dir: &Path, setting: &Setting, version: &str) {
    fs::create_dir_all(dir).unwrap();
    let grants: String = setting
        .grants
        .iter()
        .map(|grant| format!("[[grants]]\ngrant = \"{grant}\"\nreason = \"to try\"\n"))
        .collect();
    let call_ms = if setting.limits.contains("call_ms") {
        ""
    } else {
        "call_ms = 1500"
    };
    let manifest = format!(
        "id = \"org.example.escape\"\nversion = \"{version}\"\ndescription = \"Tries\"\nlicence = \"MIT\"\n\
         entry = \"escape\"\n[methods.try]\nsummary = \"Tries\"\n\
         params = {{ type = \"object\", required = [\"try\"] }}\n\
         result = {{ type = \"object\", required = [\"came_of_it\"] }}\n\
         [limits]\nmemory_mb = 32\n{call_ms}\n{}\n{grants}",
        setting.limits
    );
    fs::write(dir.join("manifest.toml"), manifest).unwrap();
    fs::write(dir.join("escape"), program()).unwrap();
}
