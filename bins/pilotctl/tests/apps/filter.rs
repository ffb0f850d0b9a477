//! The owner's filter: an app that is asked about what comes and goes.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use super::bench::{Setting, write_bundle};
use super::peers::{Pair, until};

const GUARD: &str = "org.example.guard";

/// `worker` has a filter for everything.
fn guarded() -> Pair {
    let pair = Pair::granted(&[]);
    let worker = &pair.worker;
    let bundle = worker.dir.path().join("guard");
    write_bundle(&bundle, &Setting::default(), "1.0.0");
    let path = bundle.join("manifest.toml");
    let manifest = fs::read_to_string(&path).unwrap();
    let method = "[methods.filter]\nsummary = \"Looks\"\nparams = { type = \"object\" }\n\
                  result = { type = \"object\" }\n[limits]";
    let manifest = manifest.replace("org.example.escape", GUARD);
    fs::write(&path, manifest.replace("[limits]", method)).unwrap();
    let (dir, catalogue) = (bundle.to_str().unwrap(), worker.catalogue());
    worker.ok(&["appstore", "sign", dir]);
    worker.ok(&["appstore", "publish", dir, "--catalogue", &catalogue]);
    worker.ok(&["appstore", "install", "guard", "--catalogue", &catalogue]);
    let all = "inbox,outbox,events,arguments,results";
    let set = worker.ok(&["appstore", "filter", "set", "guard", "--stages", all]);
    assert_eq!(
        (&set["app"], &set["on_failure"]),
        (&json!(GUARD), &json!("block"))
    );
    pair
}

/// The newest message of `worker`, as its inbox shows it.
fn newest(pair: &Pair) -> Value {
    let inbox = pair.worker.ok(&["inbox"]);
    inbox["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone()
}

#[test]
fn a_message_that_is_blocked_is_kept_apart_and_one_that_is_flagged_says_so() {
    let pair = guarded();
    let send = |text: &str| pair.planner.ok(&["send-message", "worker", "--data", text]);
    send("it rains");
    let message = newest(&pair);
    assert_eq!(
        (&message["data"], &message["filter"]),
        (&json!("it rains"), &Value::Null)
    );
    send("FLAG me");
    let message = newest(&pair);
    assert_eq!(message["data"], "FLAG me");
    assert_eq!(
        message["filter"],
        json!({"app": GUARD, "verdict": "flag", "reason": "it says so", "findings": []})
    );
    send("BLOCK me");
    let message = newest(&pair);
    assert_eq!(
        (&message["data"], &message["bytes"]),
        (&Value::Null, &json!(8))
    );
    assert_eq!(message["filter"]["verdict"], "block");
    assert_eq!(message["filter"]["findings"], json!([{"rule": "word"}]));
    let id = message["id"].as_str().unwrap();
    pair.worker
        .refused(&["inbox", "read", id], "permission_denied");
    let read = pair.worker.ok(&["inbox", "read", id, "--quarantined"]);
    assert_eq!(read["messages"][0]["data"], "BLOCK me");
    // It is not lost by a start, nor is the filter.
    pair.worker.ok(&["daemon", "stop"]);
    pair.worker.ok(&["daemon", "start"]);
    assert_eq!(newest(&pair)["id"], id);
    let audit = pair.worker.ok(&["appstore", "audit", "guard"]);
    let entries = audit["entries"].as_array().unwrap().iter();
    let found: Vec<_> = entries
        .filter(|entry| entry["event"] == "filter" && entry["caller"] == "daemon")
        .map(|entry| {
            (
                &entry["target"],
                &entry["outcome"],
                entry["agent"].is_string(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (&json!("inbox"), &json!("flag"), true),
            (&json!("inbox"), &json!("block"), true)
        ]
    );
}

#[test]
fn what_goes_out_events_and_calls_pass_the_filter_too() {
    let pair = guarded();
    let (worker, planner) = (&pair.worker, &pair.planner);
    let out = ["send-message", "planner", "--data", "BLOCK it"];
    let refused = worker.refused(&out, "permission_denied");
    let words = refused["message"].as_str().unwrap();
    assert_eq!(
        words,
        "the filter org.example.guard blocks the message: it says so"
    );
    assert_eq!(planner.ok(&["inbox"])["total"], 0);
    let flagged = worker.ok(&["send-message", "planner", "--data", "FLAG it"]);
    assert_eq!(flagged["filter"]["verdict"], "flag");

    let publish = ["publish", "worker", "news", "--data"];
    planner.ok(&[&publish[..], &["it rains"]].concat());
    let refused = planner.refused(&[&publish[..], &["BLOCK"]].concat(), "permission_denied");
    assert_eq!(
        refused["message"],
        "the event did not pass the receiver's filter"
    );

    let call = |what: &str| json!({ "try": what }).to_string();
    let arguments = call("BLOCK");
    let local = ["appstore", "call", "escape", "try", &arguments];
    let refused = worker.refused(&local, "permission_denied");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("blocks the arguments")
    );
    let remote = ["appstore", "call", "worker/escape", "try", &arguments];
    let refused = planner.refused(&remote, "permission_denied");
    assert_eq!(
        refused["message"],
        "worker: the arguments did not pass its filter"
    );
    let result = call("no such word: BLO");
    worker.ok(&["appstore", "call", "escape", "try", &result]);
    // The filter itself is called by its owner, whatever the words.
    let itself = json!({"stage": "inbox", "text": "BLOCK"}).to_string();
    let said = worker.ok(&["appstore", "call", "guard", "filter", &itself]);
    assert_eq!(said["verdict"], "block");

    let counts = &worker.ok(&["appstore", "filter", "status"])["counts"];
    assert_eq!(
        (&counts["blocked"], &counts["flagged"]),
        (&json!(4), &json!(1))
    );
    worker.ok(&["appstore", "filter", "clear"]);
    worker.ok(&["send-message", "planner", "--data", "BLOCK it"]);
}

#[test]
fn nothing_gets_past_a_filter_by_making_it_fail() {
    let pair = guarded();
    let (worker, planner) = (&pair.worker, &pair.planner);
    planner.ok(&["send-message", "worker", "--data", "HANG"]);
    let message = newest(&pair);
    assert_eq!(message["filter"]["verdict"], "block");
    let reason = message["filter"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("the filter failed: "), "{reason}");
    worker.ok(&["appstore", "uninstall", "guard"]);
    planner.ok(&["send-message", "worker", "--data", "it rains"]);
    assert_eq!(newest(&pair)["filter"]["verdict"], "block");
    let refused = worker.refused(
        &["send-message", "planner", "--data", "x"],
        "permission_denied",
    );
    let hint = refused["hint"].as_str().unwrap();
    assert!(hint.contains("appstore filter status"), "{hint}");
    // An app that is no filter does not become one.
    let set = ["appstore", "filter", "set", "escape", "--stages", "inbox"];
    worker.refused(&set, "invalid_argument");
    worker.ok(&["appstore", "filter", "clear"]);
    planner.ok(&["send-message", "worker", "--data", "it rains"]);
    assert_eq!(newest(&pair)["filter"], Value::Null);
}

#[test]
fn an_answer_in_quarantine_is_none_for_who_waits_for_it() {
    let pair = guarded();
    let (worker, planner) = (&pair.worker, &pair.planner);
    let ask = ["send-message", "planner", "--data", "well?", "--wait=20s"];
    let asking = worker.command(&ask).stdout(Stdio::piped()).spawn().unwrap();
    until(|| planner.ok(&["inbox"])["total"] == 1);
    let asked = planner.ok(&["inbox"])["messages"][0]["id"].clone();
    let asked = asked.as_str().unwrap();
    planner.ok(&[
        "send-message",
        "worker",
        "--data",
        "BLOCK",
        "--reply-to",
        asked,
    ]);
    let output = asking.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["code"], "permission_denied", "{answer}");
    assert!(
        answer["hint"].as_str().unwrap().contains("--quarantined"),
        "{answer}"
    );
}
