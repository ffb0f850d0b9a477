//! Apps that another agent may call: what its owner named, so often, and until it is taken back.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::commands::Agent;

const ID: &str = "org.example.escape";
/// Between two looks at something that comes by itself, and how many of them.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 400;

/// `worker` has the app, `planner` is trusted by it and trusts it.
pub(crate) struct Pair {
    pub(crate) worker: Agent,
    pub(crate) planner: Agent,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let worker = Agent::beside(&dir, "worker");
        let planner = Agent::beside(&dir, "planner");
        worker.ok(&["appstore", "key", "new"]);
        worker.published("1.0.0", &[]);
        worker.ok(&["daemon", "start", "--hostname", "worker"]);
        planner.ok(&["daemon", "start", "--hostname", "planner"]);
        let catalogue = worker.catalogue();
        worker.ok(&["appstore", "install", "escape", "--catalogue", &catalogue]);
        planner.ok(&["handshake", "worker"]);
        until(|| worker.ok(&["pending"])["pending"] != json!([]));
        worker.ok(&["approve", "planner"]);
        planner.ok(&["handshake", "worker", "--wait=20s"]);
        Self { worker, planner }
    }

    pub(crate) fn granted(options: &[&str]) -> Self {
        let pair = Self::new();
        pair.grant(options);
        pair
    }

    fn grant(&self, options: &[&str]) -> Value {
        let approve = ["approve", "planner", "--apps", "escape"];
        self.worker.ok(&[&approve[..], options].concat())
    }

    /// A call that goes on until something ends it.
    fn begun(&self) -> Child {
        self.worker.ok(&["appstore", "restart", "escape"]);
        let asleep = json!({"try": "sleep 60000"}).to_string();
        let call = ["appstore", "call", "worker/escape", "try", &asleep];
        let child = self.planner.command(&call).stdout(Stdio::piped()).spawn();
        let child = child.unwrap();
        until(|| self.worker.ok(&["appstore", "status", "escape"])["state"] == "running");
        child
    }

    /// Entries of calls in the audit log, without the installation's own.
    fn calls(&self) -> Vec<Value> {
        let audit = self.worker.ok(&["appstore", "audit", "--limit", "10000"]);
        let entries = audit["entries"].as_array().unwrap().iter();
        let calls = entries.filter(|entry| entry["event"] == "call");
        calls.cloned().collect()
    }

    fn refused(&self, app: &str, code: &str) -> (String, String) {
        let call = ["appstore", "call", app, "try", "{\"try\":\"nothing\"}"];
        let refused = self.planner.refused(&call, code);
        let text = |key: &str| refused[key].as_str().unwrap_or_default().to_owned();
        (text("message"), text("hint"))
    }
}

pub(crate) fn until(holds: impl Fn() -> bool) {
    let came = (0..LOOKS).any(|_| {
        let holds = holds();
        if !holds {
            sleep(LOOK);
        }
        holds
    });
    assert!(came, "it never came to hold");
}

#[test]
fn a_peer_calls_what_it_was_granted_and_learns_of_nothing_else() {
    let pair = Pair::new();
    let (there, hint) = pair.refused("worker/escape", "not_trusted");
    let (nowhere, _) = pair.refused("worker/nothing", "not_trusted");
    assert_eq!(there, nowhere, "what is installed shows");
    assert_eq!(
        hint,
        "run `pilotctl approve planner --apps escape` on worker"
    );
    pair.planner
        .refused(&["appstore", "list", "worker"], "not_trusted");
    // Every port, but no app.
    pair.worker.ok(&["approve", "planner", "--ports", "all"]);
    assert_eq!(pair.refused("worker/escape", "not_trusted").0, there);

    let approved = pair.grant(&[]);
    assert_eq!(approved["scope"], "7,1000-1003");
    assert_eq!(
        approved["apps"],
        json!({"ids": [ID], "catalogue": false, "per_minute": 60, "budget": null, "used": 0})
    );
    assert_eq!(
        pair.worker.ok(&["trust"])["trusted"][0]["apps"],
        approved["apps"]
    );
    let call = |app: &str, what: &str| {
        let params = json!({ "try": what }).to_string();
        pair.planner.ok(&["appstore", "call", app, "try", &params])
    };
    let done = json!({"came_of_it": "done"});
    assert_eq!(call("worker/escape", "nothing"), done);
    assert_eq!(call(&format!("worker/{ID}"), "nothing"), done);
    let help = ["appstore", "call", "worker/escape", "escape.help"];
    assert_eq!(pair.planner.ok(&help)["methods"][0]["name"], "escape.try");
    assert_eq!(
        pair.planner.ok(&["appstore", "list", "worker"]),
        json!({"apps": [{"id": ID, "version": "1.0.0", "methods": ["escape.try", "escape.help"]}]})
    );
    let wrong = ["appstore", "call", "worker/escape", "try", "{\"tri\":1}"];
    let wrong = pair.planner.refused(&wrong, "invalid_argument");
    assert!(
        wrong["message"].as_str().unwrap().contains("$: \"try\""),
        "{wrong}"
    );
    let crashed = [
        "appstore",
        "call",
        "worker/escape",
        "try",
        "{\"try\":\"read /etc/shadow\"}",
    ];
    pair.planner.ok(&crashed);
    let (other, _) = pair.refused("worker/nothing", "permission_denied");
    assert_eq!(other, "worker: this app was not granted");

    let own = pair.planner.ok(&["info"]);
    let calls = pair.calls();
    assert_eq!(calls.len(), 6, "{calls:#?}");
    for call in &calls {
        assert_eq!(call["caller"], own["address"]);
        assert_eq!(call["agent"].as_str().unwrap().len(), 64);
    }
    let outcomes: Vec<_> = calls
        .iter()
        .map(|call| call["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(
        outcomes,
        [
            "ok",
            "ok",
            "ok",
            "invalid_params",
            "ok",
            "permission_denied"
        ]
    );

    pair.worker.ok(&["approve", "planner"]);
    assert_eq!(pair.refused("worker/escape", "not_trusted").0, there);
    pair.grant(&[]);
    pair.worker.ok(&["untrust", "planner"]);
    // Nor is it seen any more.
    pair.refused("worker/escape", "not_found");
}

#[test]
fn a_budget_holds_over_a_restart_and_a_rate_within_a_minute() {
    let pair = Pair::granted(&["--app-budget", "3"]);
    let call = [
        "appstore",
        "call",
        "worker/escape",
        "try",
        "{\"try\":\"nothing\"}",
    ];
    pair.planner.ok(&call);
    pair.planner.ok(&call);
    pair.worker.ok(&["daemon", "stop"]);
    pair.worker.ok(&["daemon", "start"]);
    pair.planner.ok(&call);
    let (words, _) = pair.refused("worker/escape", "permission_denied");
    assert!(words.contains("all 3 calls"), "{words}");
    // Help costs nothing of it.
    pair.planner
        .ok(&["appstore", "call", "worker/escape", "help"]);
    assert_eq!(pair.worker.ok(&["trust"])["trusted"][0]["apps"]["used"], 3);

    // Three of this minute were asked before.
    pair.grant(&["--app-rate", "5"]);
    pair.planner.ok(&call);
    pair.planner.ok(&call);
    let refused = pair.planner.refused(&call, "rate_limited");
    let wait = refused["retry_after_ms"].as_u64().unwrap();
    assert!(wait <= 60_000, "{wait}");
}

#[test]
fn a_call_ends_when_its_grant_does() {
    let pair = Pair::granted(&[]);
    for end in [&["approve", "planner"][..], &["untrust", "planner"]] {
        let call = pair.begun();
        pair.worker.ok(end);
        let output = call.wait_with_output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["code"], "not_trusted", "{answer}");
        let calls = pair.calls();
        assert_eq!(calls.last().unwrap()["outcome"], "cancelled");
        pair.worker.ok(&["appstore", "call", "escape", "help"]);
        if end[0] == "approve" {
            pair.grant(&[]);
        }
    }
}

#[test]
fn a_call_ends_when_its_caller_leaves_or_its_deadline_passes() {
    let pair = Pair::granted(&[]);
    let mut call = pair.begun();
    call.kill().unwrap();
    call.wait().unwrap();
    until(|| {
        pair.calls()
            .last()
            .is_some_and(|call| call["outcome"] == "cancelled")
    });
    let asleep = "{\"try\":\"sleep 60000\"}";
    let call = [
        "--timeout",
        "1s",
        "appstore",
        "call",
        "worker/escape",
        "try",
        asleep,
    ];
    pair.planner.refused(&call, "timeout");
    until(|| {
        let outcome = pair.calls().last().unwrap()["outcome"].clone();
        pair.calls().len() == 2 && (outcome == "cancelled" || outcome == "timeout")
    });
}

#[test]
fn a_hostile_peer_harms_nobody() {
    let pair = Pair::granted(&[]);
    for data in [
        "",
        "x",
        "\u{7f}\u{7f}",
        "{\"call\":{}}",
        &"[".repeat(100_000),
    ] {
        let send = ["--timeout", "2s", "send", "worker", "1003", "--data", data];
        pair.planner.command(&send).output().unwrap();
    }
    let call = [
        "appstore",
        "call",
        "worker/escape",
        "try",
        "{\"try\":\"nothing\"}",
    ];
    let mut refused = 0;
    for _ in 0..10 {
        let calls: Vec<Child> = (0..10)
            .map(|_| {
                let mut call = pair.planner.command(&call);
                call.stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for call in calls {
            let output = call.wait_with_output().unwrap();
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            refused += u32::from(answer["code"] == "rate_limited");
        }
    }
    assert!(refused >= 40, "{refused} of 100");
    let others = ["appstore", "call", "escape", "try", "{\"try\":\"nothing\"}"];
    assert_eq!(pair.worker.ok(&others), json!({"came_of_it": "done"}));
    let calls = pair.calls();
    let kept = calls
        .iter()
        .filter(|call| call["outcome"] == "rate_limited");
    assert!(kept.count() <= 10, "refusals push others out of the log");
}
