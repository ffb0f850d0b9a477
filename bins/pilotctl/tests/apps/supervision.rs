//! What the supervisor does with apps that fail, and with many calls.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use pilot_appstore::{CallError, CallRequest, Consent, sign};
use serde_json::json;
use tokio::task::JoinSet;

use crate::bench::{Bench, Setting, dynamic_program, id, secret, write_bundle};

#[tokio::test]
async fn an_app_that_crashes_waits_is_suspended_and_starts_again_when_told() {
    let bench = Bench::plain();
    let mut ends = 0;
    loop {
        match bench.attempt("crash").await {
            Err(CallError::Ended(_)) => ends += 1,
            Err(CallError::Recovering(wait)) => tokio::time::sleep(wait).await,
            Err(CallError::Suspended(failures, _)) => {
                assert_eq!((failures, ends), (5, 5));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.host.standing(&id()).await.state, "suspended");
    bench.recovers().await;
    let standing = bench.host.standing(&id()).await;
    assert_eq!((standing.state, standing.failures), ("running", 0));
}

#[tokio::test]
async fn calls_wait_for_each_other_and_each_gets_its_own_answer() {
    let bench = Arc::new(Bench::new(&Setting {
        limits: "in_flight = 4",
        ..Setting::default()
    }));
    let mut calls = JoinSet::new();
    for number in 0..200 {
        let bench = Arc::clone(&bench);
        calls.spawn(async move {
            let error = bench.attempt(&format!("no{number}")).await.unwrap();
            assert_eq!(error, format!("no such attempt: no{number}"));
        });
    }
    while let Some(called) = calls.join_next().await {
        called.unwrap();
    }
    let standing = bench.host.standing(&id()).await;
    assert_eq!((standing.starts, standing.calls), (1, 200));
}

#[tokio::test]
async fn calls_beyond_those_that_may_wait_are_told_to_come_back() {
    let bench = Arc::new(Bench::new(&Setting {
        limits: "in_flight = 1\ncall_ms = 60000",
        ..Setting::default()
    }));
    let mut calls = JoinSet::new();
    let call = |what: &'static str| {
        let bench = Arc::clone(&bench);
        async move { bench.attempt(what).await }
    };
    calls.spawn(call("sleep 3000"));
    while bench.host.standing(&id()).await.state != "running" {
        tokio::task::yield_now().await;
    }
    for _ in 0..300 {
        calls.spawn(call("nothing"));
    }
    let mut busy = 0;
    while let Some(called) = calls.join_next().await {
        match called.unwrap() {
            Ok(_) => {}
            Err(CallError::Busy) => busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(busy, 300 - 256);
}

#[tokio::test]
async fn an_app_that_nobody_calls_is_ended_and_the_next_call_starts_it() {
    let bench = Bench::new(&Setting {
        limits: "idle_seconds = 1",
        ..Setting::default()
    });
    bench.attempt("nothing").await.unwrap();
    while bench.host.standing(&id()).await.state == "running" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.audited_end().unwrap().outcome, "idle");
    bench.attempt("nothing").await.unwrap();
}

#[tokio::test]
async fn arguments_are_checked_with_their_path_and_every_call_is_in_the_audit_log() {
    let bench = Bench::plain();
    let call = |method: &str, params| {
        bench.host.call(CallRequest {
            app: "escape".to_owned(),
            method: method.to_owned(),
            params,
            caller: "someone".into(),
            deadline: None,
        })
    };
    let error = call("escape.try", json!({"tri": 1})).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Params(words) if words.contains("$: \"try\"")),
        "{error}"
    );
    assert!(matches!(
        call("escape.fly", json!({})).await,
        Err(CallError::NoMethod { .. })
    ));
    let huge = json!({"try": "x".repeat(1 << 20)});
    assert!(matches!(call("try", huge).await, Err(CallError::TooLarge)));
    let help = call("escape.help", json!({})).await.unwrap();
    assert_eq!(help["methods"][0]["name"], "escape.try");
    assert_eq!(
        bench.host.standing(&id()).await.state,
        "stopped",
        "nothing was started for that"
    );
    let audit = bench.host.audit().last(None, 10).unwrap();
    let outcomes: Vec<_> = audit.iter().map(|entry| entry.outcome.as_str()).collect();
    assert_eq!(outcomes, ["invalid_params", "no_method", "too_large", "ok"]);
    assert!(
        audit
            .iter()
            .all(|e| e.caller == "someone" && e.params_sha256.is_some())
    );
}

#[tokio::test]
async fn a_running_app_of_a_revoked_publisher_is_not_called() {
    let bench = Bench::plain();
    bench.attempt("nothing").await.unwrap();
    bench
        .host
        .store()
        .publishers()
        .revoke(secret().public())
        .unwrap();
    let error = bench.attempt("nothing").await.unwrap_err();
    assert!(error.to_string().contains("is revoked"), "{error}");
}

#[tokio::test]
async fn a_program_that_was_swapped_is_not_started() {
    let bench = Bench::plain();
    bench.attempt("nothing").await.unwrap();
    bench.host.stop(&id()).await;
    let program = bench
        .dir
        .path()
        .join("home/apps/org.example.escape/1.0.0/escape");
    let mut bytes = fs::read(&program).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&program, bytes).unwrap();
    let error = bench.attempt("nothing").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "file escape is not the one that was signed"
    );
}

#[tokio::test]
async fn an_upgrade_ends_what_runs_and_the_next_call_is_the_new_version() {
    let bench = Bench::plain();
    bench.attempt("nothing").await.unwrap();
    let dir = bench.dir.path().join("second");
    write_bundle(&dir, &Setting::default(), "1.1.0");
    let bundle = sign(&dir, &secret()).unwrap();
    let id = id();
    let change = bench.host.change(&id, move |store| {
        store.install(&bundle, &Consent::default())
    });
    change.await.unwrap();
    assert_eq!(bench.audited_end().unwrap().outcome, "told");
    bench.attempt("nothing").await.unwrap();
    let audit = bench.host.audit().last(None, 1).unwrap();
    assert_eq!(audit[0].version.as_ref().unwrap().to_string(), "1.1.0");
}

#[tokio::test]
async fn a_deadline_of_the_caller_does_not_end_the_app() {
    let bench = Bench::plain();
    bench.attempt("nothing").await.unwrap();
    let pid = bench.host.standing(&id()).await.pid;
    let request = CallRequest {
        app: "escape".to_owned(),
        method: "try".to_owned(),
        params: json!({"try": "sleep 300"}),
        caller: "test".into(),
        deadline: Some(Duration::from_millis(50)),
    };
    let error = bench.host.call(request).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout(_)), "{error}");
    bench.attempt("nothing").await.unwrap();
    assert_eq!(bench.host.standing(&id()).await.pid, pid);
}

#[tokio::test]
async fn a_call_that_waits_while_the_app_is_removed_does_not_start_it_again() {
    let bench = Bench::new(&Setting {
        limits: "in_flight = 1",
        ..Setting::default()
    });
    bench.attempt("nothing").await.unwrap();
    let (id, gone) = (id(), id());
    let remove = async {
        // Both calls are on their way: one in the app, one behind it.
        while bench.host.waiting(&id) == 0 {
            tokio::task::yield_now().await;
        }
        let removed = bench
            .host
            .change(&id, move |store| store.uninstall(&gone, false));
        removed.await.unwrap();
    };
    let (first, second, ()) = tokio::join!(
        bench.attempt("sleep 1000"),
        bench.attempt("sleep 1000"),
        remove
    );
    // Which of them was the first to get there does not matter.
    let mut ends = [first, second].map(|end| end.unwrap_err().name());
    ends.sort_unstable();
    assert_eq!(ends, ["changing", "told"]);
    let error = bench.attempt("nothing").await.unwrap_err();
    assert_eq!(error.to_string(), "no app escape is installed");
}

/// What a name meant is kept until something changes.
#[tokio::test]
async fn a_short_name_that_became_ambiguous_is_not_guessed() {
    let bench = Bench::plain();
    bench.attempt("nothing").await.unwrap();
    let dir = bench.dir.path().join("other");
    write_bundle(&dir, &Setting::default(), "1.0.0");
    let manifest = fs::read_to_string(dir.join("manifest.toml")).unwrap();
    let other = manifest.replace("org.example.escape", "com.example.escape");
    fs::write(dir.join("manifest.toml"), other).unwrap();
    let bundle = sign(&dir, &secret()).unwrap();
    let other = "com.example.escape".parse().unwrap();
    let change = bench.host.change(&other, move |store| {
        store.install(&bundle, &Consent::default())
    });
    change.await.unwrap();
    let error = bench.attempt("nothing").await.unwrap_err();
    assert!(error.to_string().contains("may mean"), "{error}");
}

#[tokio::test]
async fn a_dynamically_linked_app_loads_the_libraries_that_it_was_granted() {
    let bench = Bench::plain();
    let dir = bench.dir.path().join("dynamic");
    write_bundle(&dir, &Setting::default(), "1.1.0");
    fs::write(dir.join("escape"), dynamic_program()).unwrap();
    let refused = sign(&dir, &secret()).unwrap_err();
    assert!(refused.to_string().contains("entry escape"), "{refused}");
    let setting = Setting {
        grants: vec!["libs".to_owned()],
        ..Setting::default()
    };
    write_bundle(&dir, &setting, "1.1.0");
    fs::write(dir.join("escape"), dynamic_program()).unwrap();
    let bundle = sign(&dir, &secret()).unwrap();
    let consent = Consent {
        yes: true,
        ..Consent::default()
    };
    let id = id();
    let change = bench
        .host
        .change(&id, move |store| store.install(&bundle, &consent));
    change.await.unwrap();
    assert_eq!(bench.attempt("nothing").await.unwrap(), "done");
    let reading = bench.attempt("read /etc/passwd").await.unwrap();
    assert!(reading.contains("os error 13"), "{reading}");
    let other = bench
        .attempt("exec_fd 10 /lib64/ld-linux-x86-64.so.2")
        .await;
    assert!(
        !matches!(&other, Ok(came_of_it) if came_of_it == "done"),
        "{other:?}"
    );
}
