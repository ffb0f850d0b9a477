//! Apps in Python: the sandbox holds the interpreter as it holds any program.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pilot_appstore::{CallError, Protection};

use super::bench::{Bench, Setting};
use super::connections::echo;

/// The limits of an app in Python: it needs more memory to begin with.
const LIMITS: &str = "memory_mb = 128\ncall_ms = 5000";

/// Whether this machine has an interpreter that may be used; says so where it has none.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn has_python() -> bool {
    let path = fs::canonicalize("/usr/bin/python3");
    let is_usable = path.is_ok_and(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let minor = name.strip_prefix("python3.").map(str::parse::<u32>);
        let minor = minor.and_then(Result::ok).unwrap_or_default();
        minor >= 9 && fs::metadata(path).unwrap().uid() == 0
    });
    if !is_usable {
        eprintln!(
            "skipped: this machine has no /usr/bin/python3 of version 3.9 or later that is root's"
        );
    }
    is_usable
}

fn bench(grants: &[&str], without: &[Protection]) -> Bench {
    let setting = Setting {
        grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
        limits: LIMITS,
        without: without.to_vec(),
        ..Setting::default()
    };
    Bench::of(&setting, |dir| write_bundle(dir, &setting))
}

fn write_bundle(dir: &Path, setting: &Setting) {
    super::bench::write_bundle(dir, setting, "1.0.0");
    fs::remove_file(dir.join("escape")).unwrap();
    let manifest = fs::read_to_string(dir.join("manifest.toml")).unwrap();
    let manifest = manifest
        .replace("entry = \"escape\"", "entry = \"escape.py\"")
        .replace("memory_mb = 32\n", "");
    let grant = "[[grants]]\ngrant = \"python\"\nreason = \"it is written so\"\n";
    fs::write(dir.join("manifest.toml"), format!("{manifest}{grant}")).unwrap();
    let is_connected = setting.grants.iter().any(|grant| grant.starts_with("net:"));
    let source = include_str!("escape.py");
    let word = if is_connected { "True" } else { "False" };
    fs::write(dir.join("escape.py"), source.replace("CONNECTED", word)).unwrap();
    fs::write(dir.join("helper.py"), "WORD = 'helped'\n").unwrap();
    fs::write(dir.join("pilot_app.py"), pilot_app::PYTHON_SOURCE).unwrap();
}

#[tokio::test]
async fn an_app_in_python_answers_and_is_alone() {
    if !has_python() {
        return;
    }
    let bench = bench(&[], &[]);
    assert_eq!(bench.attempt("nothing").await.unwrap(), "done");
    // Isolated, with no variable but the one that it sets itself, no directory to load modules from, its own module beside it.
    assert_eq!(
        bench.attempt("isolated").await.unwrap(),
        "1 LC_CTYPE False helped"
    );
    assert_eq!(
        bench.attempt("packages").await.unwrap(),
        "done",
        "none are found"
    );
    let error = bench.attempt("crash").await.unwrap_err();
    assert!(matches!(error, CallError::Ended(_)), "{error}");
}

#[tokio::test]
async fn what_it_must_not_do_ends_it_and_is_named() {
    if !has_python() {
        return;
    }
    for what in ["fork", "thread", "socket", "exec", "kill 1"] {
        let held = bench(&[], &[]);
        let came_of_it = held.attempt(what).await;
        assert!(
            matches!(came_of_it, Err(CallError::Ended(_))),
            "{what}: {came_of_it:?}"
        );
        assert_eq!(
            held.audited_end().unwrap().outcome,
            "forbidden_call",
            "{what}"
        );
    }
    for what in ["system", "run"] {
        match bench(&[], &[]).attempt(what).await {
            Ok(came_of_it) => assert!(came_of_it.contains("not permitted"), "{what}: {came_of_it}"),
            Err(error) => assert!(matches!(error, CallError::Ended(_)), "{what}: {error}"),
        }
    }
    // Each would go through without the filter.
    for what in ["fork", "thread", "socket"] {
        // How many threads and processes there may be is held apart.
        let off = [Protection::Calls, Protection::Threads, Protection::Groups];
        let came_of_it = bench(&[], &off).attempt(what).await.unwrap();
        assert!(
            !came_of_it.contains("not permitted"),
            "{what}: {came_of_it}"
        );
    }
}

#[tokio::test]
async fn no_file_is_opened_that_was_not_granted() {
    if !has_python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, "a secret").unwrap();
    let shown = file.display();
    let held = bench(&[], &[]);
    for what in [
        format!("read {shown}"),
        format!("write {shown}"),
        format!("list {}", dir.path().display()),
        "read /etc/passwd".to_owned(),
        "write /usr/lib/python3/written".to_owned(),
        format!(
            "read {}",
            held.dir.path().join("home/publishers.json").display()
        ),
    ] {
        let came_of_it = held.attempt(&what).await.unwrap();
        let is_refused =
            came_of_it.contains("Permission denied") || came_of_it.contains("not permitted");
        assert!(is_refused, "{what}: {came_of_it}");
    }
    let open = bench(&[], &[Protection::Files]);
    assert_eq!(
        open.attempt(&format!("read {shown}")).await.unwrap(),
        "a secret"
    );
    let granted = bench(&[&format!("read:{}", dir.path().display())], &[]);
    assert_eq!(
        granted.attempt(&format!("read {shown}")).await.unwrap(),
        "a secret"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "a secret");
}

#[tokio::test]
async fn its_limits_hold_it() {
    if !has_python() {
        return;
    }
    let held = bench(&[], &[]);
    let error = held.attempt("memory 500000000").await;
    assert!(!error.is_ok_and(|came_of_it| came_of_it == "500000000"));
    let held = bench(&[], &[]);
    let error = held.attempt("cpu").await.unwrap_err();
    assert!(
        matches!(error, CallError::Ended(_) | CallError::Timeout(_)),
        "{error}"
    );
}

#[tokio::test]
async fn a_module_that_was_changed_is_not_run() {
    if !has_python() {
        return;
    }
    let bench = bench(&[], &[]);
    assert_eq!(bench.attempt("nothing").await.unwrap(), "done");
    bench
        .host
        .stop(&"org.example.escape".parse().unwrap())
        .await;
    let module = bench
        .dir
        .path()
        .join("home/apps/org.example.escape/1.0.0/helper.py");
    fs::write(module, "WORD = 'changed'\n").unwrap();
    let error = bench.attempt("isolated").await.unwrap_err();
    assert!(
        error.to_string().contains("helper.py is not the one"),
        "{error}"
    );
}

#[tokio::test]
async fn it_connects_by_the_broker_where_it_was_granted() {
    if !has_python() {
        return;
    }
    let port = echo();
    let granted = bench(&[&format!("net:127.0.0.1:{port}")], &[]);
    let asked = format!("exchange 127.0.0.1 {port}");
    assert_eq!(granted.attempt(&asked).await.unwrap(), "hello");
    let other = granted.attempt("exchange example.org 443").await.unwrap();
    assert!(other.contains("example.org"), "{other}");
    assert_eq!(granted.audited_connections()[1].outcome, "not_granted");
}
