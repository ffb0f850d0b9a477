//! How long an app takes, of programs that were built before: `just apps-speed`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pilot_appstore::{CallRequest, Consent, Host, Publishers, sign};
use pilot_trust::DocumentSecret;
use pilot_types::Seed;
use serde_json::{Value, json};

/// Calls one after the other.
const CALLS: usize = 5000;
/// Calls at a time, and for how long.
const IN_FLIGHT: usize = 32;
const FOR: Duration = Duration::from_secs(5);
/// Texts that are searched.
const TEXTS: usize = 1000;

fn program(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} names no program"))
        .into()
}

fn bundle(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let manifest = include_str!("../bundle/manifest.toml");
    fs::write(dir.join("manifest.toml"), manifest).unwrap();
    fs::copy(program("PILOT_COSIFT"), dir.join("app-cosift")).unwrap();
}

async fn call(host: &Host, method: &str, params: Value) -> Value {
    let request = CallRequest {
        app: "cosift".to_owned(),
        method: method.to_owned(),
        params,
        caller: "test".into(),
        deadline: None,
    };
    host.call(request).await.unwrap()
}

/// The median and the 99th percentile of one call after the other, in µs.
async fn one_by_one(host: &Host, method: &str, params: &Value) -> (u128, u128) {
    let mut times = vec![];
    for _ in 0..CALLS {
        let begun = Instant::now();
        call(host, method, params.clone()).await;
        times.push(begun.elapsed().as_micros());
    }
    times.sort_unstable();
    (times[CALLS / 2], times[CALLS * 99 / 100])
}

async fn a_second(host: &Arc<Host>, method: &'static str, params: &Value) -> f64 {
    let (done, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let tasks = (0..IN_FLIGHT).map(|_| {
        let (host, done, params) = (Arc::clone(host), Arc::clone(&done), params.clone());
        tokio::spawn(async move {
            while begun.elapsed() < FOR {
                call(&host, method, params.clone()).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; just apps-speed runs it"]
async fn how_long_an_app_takes() {
    let dir = tempfile::tempdir().unwrap();
    let (home, notes) = (dir.path().join("home"), dir.path().join("notes"));
    fs::create_dir_all(&notes).unwrap();
    for number in 0..TEXTS {
        let text = format!(
            "Note {number}, of otters and newts.\n\n{}",
            "More words. ".repeat(50)
        );
        fs::write(notes.join(format!("{number}.md")), text).unwrap();
    }
    let secret = DocumentSecret::from_seed(Seed::new([1; 32]));
    fs::create_dir_all(&home).unwrap();
    Publishers::new(&home).trust(secret.public(), "").unwrap();
    bundle(&dir.path().join("bundle"));
    let bundle = sign(&dir.path().join("bundle"), &secret).unwrap();
    let host = Host::start(&home, vec![program("PILOTCTL").into()]).unwrap();
    let host = Arc::new(host);
    let consent = Consent {
        yes: true,
        grants: [format!("read:{}", notes.display()).parse().unwrap()].into(),
        ..Consent::default()
    };
    let begun = Instant::now();
    host.store().install(&bundle, &consent).unwrap();
    call(&host, "status", json!({})).await;
    println!(
        "install to the first answer: {} ms",
        begun.elapsed().as_millis()
    );
    let begun = Instant::now();
    call(&host, "index", json!({ "path": notes })).await;
    println!("{TEXTS} files indexed: {} ms", begun.elapsed().as_millis());
    let search = json!({ "query": "otters newts", "limit": 1 });
    for (method, params) in [("status", json!({})), ("search", search)] {
        let (median, late) = one_by_one(&host, method, &params).await;
        let rate = a_second(&host, method, &params).await;
        println!(
            "{method}: p50 {median} µs, p99 {late} µs; {IN_FLIGHT} in flight: {rate:.0} calls/s"
        );
    }
    host.end().await;
}
