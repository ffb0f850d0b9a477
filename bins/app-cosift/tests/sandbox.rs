//! The app as an owner has it: installed with a folder, held by the sandbox, killed while it indexes. Without a harness: this very
//! program is also the one that becomes the app.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../../../crates/pilot-appstore/tests/alone/mod.rs"]
mod alone;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use pilot_appstore::{CallError, CallRequest, Consent, Host, Publishers, sign};
use pilot_trust::DocumentSecret;
use pilot_types::Seed;
use serde_json::{Value, json};

const NAME: &str = "a_folder_that_was_granted_is_indexed_within_the_sandbox_and_survives_a_kill";

fn main() -> ExitCode {
    alone::run(NAME, a_folder_is_indexed())
}

/// The app of this build, which is linked dynamically: it asks for the libraries too.
fn installed(home: &Path, bundle: &Path, folder: &Path) -> Host {
    let secret = DocumentSecret::from_seed(Seed::new([1; 32]));
    fs::create_dir_all(home).unwrap();
    fs::create_dir_all(bundle).unwrap();
    let libs = "[[grants]]\ngrant = \"libs\"\nreason = \"it is a test's\"\n";
    let manifest = format!("{}\n{libs}", include_str!("../bundle/manifest.toml"));
    fs::write(bundle.join("manifest.toml"), manifest).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_app-cosift"), bundle.join("app-cosift")).unwrap();
    Publishers::new(home).trust(secret.public(), "").unwrap();
    let bundle = sign(bundle, &secret).unwrap();
    let own = std::env::current_exe().unwrap();
    let host = Host::start(home, vec![own.into()]).unwrap();
    let grants = [
        "libs".to_owned(),
        "data".to_owned(),
        "net:127.0.0.1:*".to_owned(),
        format!("read:{}", folder.display()),
    ];
    let consent = Consent {
        grants: grants.iter().map(|grant| grant.parse().unwrap()).collect(),
        ..Consent::default()
    };
    host.store().install(&bundle, &consent).unwrap();
    host
}

async fn call(host: &Host, method: &str, params: Value) -> Result<Value, CallError> {
    let request = CallRequest {
        app: "cosift".to_owned(),
        method: method.to_owned(),
        params,
        caller: "test".into(),
        deadline: None,
    };
    host.call(request).await
}

async fn a_folder_is_indexed() {
    let dir = tempfile::tempdir().unwrap();
    let (notes, other) = (dir.path().join("notes"), dir.path().join("other"));
    for folder in [&notes, &other] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("a.md"), "# Otters\n\nThey hold hands.").unwrap();
    }
    for number in 0..3000 {
        let text = format!(
            "Note {number} about newts. {}",
            "words and words. ".repeat(200)
        );
        fs::write(notes.join(format!("{number}.txt")), text).unwrap();
    }
    let host = installed(&dir.path().join("home"), &dir.path().join("bundle"), &notes);
    let id = "pilot.cosift".parse().unwrap();
    host.probe(&id).await.unwrap();
    let index = json!({ "path": notes, "timeout_ms": 50_000 });
    // Killed in the middle: what was made to last stays, and the next call goes on from there.
    let killed = tokio::join!(call(&host, "index", index.clone()), async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let pid = host.standing(&id).await.pid.unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    host.stop(&id).await;
    let done = call(&host, "index", index.clone()).await.unwrap();
    let sum = done["indexed"].as_u64().unwrap() + done["unchanged"].as_u64().unwrap();
    assert_eq!((sum, &done["complete"]), (3001, &json!(true)), "{killed:?}");
    let again = call(&host, "index", index).await.unwrap();
    assert_eq!(
        (&again["indexed"], &again["unchanged"]),
        (&json!(0), &json!(3001))
    );
    let found = call(&host, "search", json!({ "query": "otters hands" }))
        .await
        .unwrap();
    let hit = &found["hits"][0];
    assert_eq!(hit["source"], json!(notes.join("a.md")));
    assert!(hit["passage"].as_str().unwrap().contains("hold hands"));
    let refused = call(&host, "index", json!({ "path": other }))
        .await
        .unwrap_err();
    let grant = format!("--grant read:{}", other.display());
    assert!(refused.to_string().contains(&grant), "{refused}");
    let status = call(&host, "status", json!({})).await.unwrap();
    assert_eq!(status["sources"][0]["items"], json!(3001));
    let forget = json!({ "source": notes });
    assert_eq!(
        call(&host, "forget", forget).await.unwrap()["items"],
        json!(3001)
    );
    let empty = call(&host, "search", json!({ "query": "newts" }))
        .await
        .unwrap();
    assert_eq!(empty["hits"], json!([]));
    host.end().await;
}
