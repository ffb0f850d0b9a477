//! Every command as its users run it: the program itself against a daemon of fixed answers on a real socket.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

#[path = "../../../crates/pilot-api/tests/fake/mod.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod fake;

use std::process::{Output, Stdio};

use fake::{OWN, PEER, Running};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const ALICE_ADDRESS: &str = "0:A91F.0000.7C2E";
/// The id of the fake's message in notices and of what it routes.
const NOTICE_MESSAGE: &str = "00112233445566778899aabbccddeeff";
const PEER_ADDRESS: &str = "0:4B2E.0000.1A3D";

fn command(running: &Running, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilotctl"));
    command
        .args(args)
        .env_clear()
        .env("PILOT_HOME", running.directory.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(running: &Running, line: &str) -> Output {
    let args: Vec<&str> = line.split(' ').collect();
    command(running, &args).output().await.unwrap()
}

/// The one JSON document on standard output, and the exit code.
async fn asked(running: &Running, line: &str) -> (Value, i32) {
    document(&run(running, &format!("--json {line}")).await)
}

fn document(output: &Output) -> (Value, i32) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "not one line: {text:?}");
    (
        serde_json::from_str(&text).unwrap(),
        output.status.code().unwrap(),
    )
}

async fn words(running: &Running, line: &str) -> String {
    let output = run(running, line).await;
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn peer() -> Value {
    json!({"node_id": PEER, "address": PEER_ADDRESS, "hostname": "planner"})
}

/// The peer's fields with these beside them.
fn peer_with(mut fields: Value) -> Value {
    let mut all = peer();
    all.as_object_mut()
        .unwrap()
        .append(fields.as_object_mut().unwrap());
    all
}

#[tokio::test]
async fn commands_about_apps_answer_with_the_contracts_fields() {
    let running = Running::start();
    let app = json!({"id": "org.example.aegis", "version": "1.0.0", "state": "running",
        "methods": ["aegis.check", "aegis.help"], "reason": null});
    let installed = json!({"id": "org.example.aegis", "version": "1.0.0", "previous": null,
        "publisher": "ab".repeat(32), "grants": ["data"], "problem": null});
    for (line, data) in [
        ("appstore list", json!({ "apps": [app] })),
        (
            "appstore call aegis aegis.check [7]",
            json!({"method": "aegis.check", "params": [7]}),
        ),
        (
            "approve planner --apps aegis --app-rate 5 --app-budget 9 --catalogue",
            peer_with(
                json!({"status": "approved", "fingerprint": "cdcd-cdcd", "scope": "7,1000-1002", "apps": null}),
            ),
        ),
        (
            "appstore list planner",
            json!({"apps": [{"id": "org.example.aegis", "version": "1.0.0", "methods": ["aegis.check", "aegis.help"]}]}),
        ),
        (
            "appstore call planner/aegis aegis.check [7]",
            json!({"method": "aegis.check", "params": [7]}),
        ),
        (
            "appstore filter status",
            json!({"app": "org.example.aegis", "stages": ["inbox"], "on_failure": "block", "counts": {"passed": 3,
                "flagged": 1, "blocked": 1, "failed": 1, "last_failure": "it did not answer within 3 s"}}),
        ),
        ("appstore install aegis --grant data", installed.clone()),
        ("appstore rollback aegis", installed),
        (
            "appstore uninstall aegis --keep-data",
            json!({"id": "org.example.aegis", "data_kept": true}),
        ),
    ] {
        let (answer, code) = asked(&running, line).await;
        assert_eq!(answer, json!({"status": "ok", "data": data}), "{line}");
        assert_eq!(code, 0, "{line}");
    }
}

#[tokio::test]
async fn commands_about_capabilities_answer_with_the_contracts_fields() {
    let running = Running::start();
    let key = "cd".repeat(32);
    let searched = |tags: Value, capabilities: Value| {
        peer_with(
            json!({"public": true, "public_key": key, "tags": tags, "capabilities": capabilities, "description": "plans"}),
        )
    };
    for (line, data) in [
        (
            "set-capabilities translate@1.0.0 plan@0.1.0-rc.1",
            json!({"node_id": OWN, "capabilities": ["translate@1.0.0", "plan@0.1.0-rc.1"]}),
        ),
        (
            "clear-capabilities",
            json!({"node_id": OWN, "capabilities": []}),
        ),
        (
            "search lann",
            json!({"agents": [searched(json!([]), json!([]))], "total": 1}),
        ),
        (
            "search --tag gpu --tag fast --capability plan --limit 5",
            json!({"agents": [searched(json!(["gpu", "fast"]), json!(["plan"]))], "total": 6}),
        ),
        ("search nobody here", json!({"agents": [], "total": 0})),
    ] {
        let (answer, code) = asked(&running, line).await;
        assert_eq!(answer, json!({"status": "ok", "data": data}), "{line}");
        assert_eq!(code, 0, "{line}");
    }
}

#[tokio::test]
async fn commands_about_groups_answer_with_the_contracts_fields() {
    let running = Running::start();
    let changed = |status: &str| json!({"status": status, "network_id": 7, "name": "trading", "node_id": PEER, "address": PEER_ADDRESS});
    let joined = json!({"network_id": 7, "name": "trading", "role": "member"});
    let left = json!({"network_id": 7, "name": "trading"});
    let mut owner = json!({"node_id": OWN, "address": ALICE_ADDRESS, "hostname": "worker"});
    owner.as_object_mut().unwrap().append(
        json!({"role": "owner", "online": true})
            .as_object_mut()
            .unwrap(),
    );
    for (line, data) in [
        (
            "group create MARKET --join token --auto-trust",
            json!({"network_id": 7, "name": "market", "role": "owner", "group_id": "ab".repeat(32), "token": "cd".repeat(16)}),
        ),
        (
            "group list",
            json!({"networks": [{"network_id": 7, "name": "trading", "join_rule": "token", "role": "owner", "members": 2, "auto_trust": true}]}),
        ),
        ("group join TRADING --token abc", joined.clone()),
        ("network join trading", joined.clone()),
        ("group accept trading", joined),
        ("group leave", left.clone()),
        ("group decline trading", left),
        (
            "group members trading",
            json!({"network_id": 7, "name": "trading", "members": [owner, peer_with(json!({"role": "member", "online": true}))]}),
        ),
        ("group invite planner", changed("invited")),
        ("group kick planner --group 7", changed("kicked")),
        ("group role planner admin", changed("admin")),
        (
            "group invites",
            json!({"invites": [{"network_id": 7, "name": "trading", "from": PEER, "from_address": PEER_ADDRESS,
                "from_hostname": "planner", "expires_at": "2026-01-01T00:00:00Z"}]}),
        ),
        (
            "group policy --set join=open --set broadcast=owner --set ports=all",
            json!({"network_id": 7, "name": "trading", "join_rule": "open", "auto_trust": true, "ports": "all", "broadcast": "owner", "mailbox": true}),
        ),
        (
            "broadcast trading hello",
            json!({"network_id": 7, "sent": 2, "delivered": 1, "deposited": 1}),
        ),
        (
            "group route trading --capability translate --data hi --wait 5s",
            json!({"network_id": 7, "target": PEER_ADDRESS, "node_id": PEER, "id": NOTICE_MESSAGE,
                "attempts": [
                    {"node_id": 0x5C3F_0000_0001_u64, "address": "0:5C3F.0000.0001", "hostname": "busy", "outcome": "failed", "message": "it is gone"},
                    peer_with(json!({"outcome": "answered"})),
                ],
                "reply": {"from": PEER, "from_address": PEER_ADDRESS, "from_hostname": "planner", "type": "text",
                    "id": NOTICE_MESSAGE, "data": "hi"}}),
        ),
    ] {
        let (answer, code) = asked(&running, line).await;
        assert_eq!(answer, json!({"status": "ok", "data": data}), "{line}");
        assert_eq!(code, 0, "{line}");
    }
    for (line, code) in [
        ("group create trading", 8),
        ("group create Not_A_Name", 2),
        ("group policy --set join=everybody", 2),
        ("group role planner owner", 2),
    ] {
        let (_, exit) = asked(&running, line).await;
        assert_eq!(exit, code, "{line}");
    }
    for line in [
        "group list",
        "group members",
        "group invites",
        "group policy",
    ] {
        assert!(words(&running, line).await.lines().count() > 1, "{line}");
    }
}

#[tokio::test]
async fn commands_about_keys_answer_with_the_contracts_fields() {
    let running = Running::start();
    for (line, data) in [
        (
            "rotate-key",
            json!({"node_id": OWN, "address": "0:A91F.0000.7C2E", "hostname": "worker", "public_key": "bc".repeat(32),
                "fingerprint": "bcbc-bcbc", "generation": 0, "seq": 1}),
        ),
        (
            "recovery show",
            json!({"node_id": OWN, "address": "0:A91F.0000.7C2E", "hostname": "worker", "agent_id": "ab".repeat(32),
                "public_key": "ab".repeat(32), "generation": 0, "seq": 1, "state": "current", "refused_by": null,
                "recoverable": true, "commitment": "ef".repeat(32), "set_in_generation": 0, "set_in_seq": 1,
                "set_at": "2026-01-01T00:00:00Z"}),
        ),
    ] {
        let (answer, code) = asked(&running, line).await;
        assert_eq!(answer, json!({"status": "ok", "data": data}), "{line}");
        assert_eq!(code, 0, "{line}");
    }
}

/// Trust with the peer, without its name and address.
fn trusted() -> Value {
    json!({"fingerprint": "cdcd-cdcd", "learnt_by": "name", "mutual": true, "frozen": false, "network": 0,
        "scope": "7,1000-1002", "approved_at": "2026-01-01T00:00:00Z", "expires_at": null,
        "apps": {"ids": ["org.example.aegis"], "catalogue": true, "per_minute": 60, "budget": 100, "used": 3}})
}

#[tokio::test]
async fn every_command_answers_with_the_contracts_fields() {
    let running = Running::start();
    let key = "cd".repeat(32);
    let found = json!({"public": true, "public_key": key, "tags": ["gpu"]});
    let looked = json!({"public": true, "public_key": key, "tags": [], "capabilities": ["translate@1.0.0"],
        "capability_details": [{"name": "translate", "version": "1.0.0", "description": "translates", "input": {"type": "string"}}],
        "networks": [0], "last_seen_unix": 1_767_225_600, "frozen": false});
    let live = json!({"path": "direct", "relay": null, "rtt_ms": 0.42, "encrypted": true, "authenticated": true});
    let knock = json!({"justification": "let us plan\u{1b}[31m", "fingerprint": "cdcd-cdcd", "received_at": "2026-01-01T00:00:00Z"});
    let approved = |scope: &str| {
        peer_with(
            json!({"status": "approved", "fingerprint": "cdcd-cdcd", "scope": scope, "apps": null}),
        )
    };
    let datagram = json!({"src_addr": PEER_ADDRESS, "src_port": 50_000, "src_node_id": PEER,
        "src_hostname": "planner", "port": 5000, "data": "tick\u{1b}[31m", "bytes": 9});
    let event = json!({"topic": "jobs/done", "from": PEER, "from_address": PEER_ADDRESS,
        "from_hostname": "planner", "data": "7\u{1b}[31m", "bytes": 6});
    let pong = json!({"seq": 1, "bytes": 32, "rtt_ms": 22.4, "path": "direct", "error": null});
    for (line, data) in [
        (
            "set-hostname worker",
            json!({"node_id": OWN, "hostname": "worker"}),
        ),
        ("clear-hostname", json!({"node_id": OWN, "hostname": null})),
        (
            "set-tags gpu fast",
            json!({"node_id": OWN, "tags": ["gpu", "fast"]}),
        ),
        ("clear-tags", json!({"node_id": OWN, "tags": []})),
        ("set-public", json!({"node_id": OWN, "public": true})),
        ("set-private", json!({"node_id": OWN, "public": false})),
        ("ticket", json!({"ticket": "pilot-ticket:0"})),
        (
            "ticket --expires 2m",
            json!({"ticket": "pilot-ticket:120000"}),
        ),
        ("find planner", peer_with(found)),
        ("lookup 0:4B2E.0000.1A3D", peer_with(looked.clone())),
        ("lookup 82660940585533", peer_with(looked)),
        (
            "peers",
            json!({"peers": [peer_with(live.clone())], "total": 1}),
        ),
        (
            "peers --search lann",
            json!({"peers": [peer_with(live)], "total": 1}),
        ),
        ("peers --search x", json!({"peers": [], "total": 0})),
        (
            "handshake planner",
            json!({"status": "trusted", "node_id": PEER}),
        ),
        (
            "handshake nobody let us talk",
            json!({"status": "sent", "node_id": null}),
        ),
        ("pending", json!({"pending": [peer_with(knock)]})),
        ("approve planner", approved("7,1000-1002")),
        (
            "approve planner --ports all --expires 7d --one-way",
            approved("all"),
        ),
        (
            "approve planner --ports 80,7000-7010",
            approved("80,7000-7010"),
        ),
        (
            "reject planner not now",
            peer_with(json!({"status": "rejected"})),
        ),
        ("untrust planner", peer_with(json!({"status": "untrusted"}))),
        ("trust", json!({"trusted": [peer_with(trusted())]})),
        (
            "ping planner",
            json!({"target": PEER_ADDRESS, "results": [pong]}),
        ),
        (
            "connect planner --message hi",
            json!({"target": PEER_ADDRESS, "node_id": PEER, "port": 1000, "sent": 2, "response": "hello, hi"}),
        ),
        (
            "send planner 7 --data -x",
            json!({"target": PEER_ADDRESS, "node_id": PEER, "port": 7, "sent": 2, "response": "-x"}),
        ),
        (
            "send-file planner /tmp/a.txt b.txt",
            json!({"files": [sent_file("a.txt"), sent_file("b.txt")], "skipped": []}),
        ),
        (
            "received",
            json!({"files": [{"name": "a.txt", "bytes": 4, "from": PEER, "from_address": PEER_ADDRESS,
                "from_hostname": "planner", "sha256": "ef".repeat(32), "path": "/home/worker/.pilot/received/a.txt",
                "received_at": "2026-01-01T00:00:00Z"}], "total": 1, "dir": "/home/worker/.pilot/received"}),
        ),
        (
            "publish planner jobs/done --data hi",
            json!({"target": PEER_ADDRESS, "node_id": PEER, "topic": "jobs/done", "bytes": 2, "subscribers": 2}),
        ),
        (
            "subscribe planner jobs/* --count 2",
            json!({"events": [event.clone(), event], "dropped": 3, "timeout": false}),
        ),
        (
            "watch --kind knock --count 1 --after 3",
            json!({"notices": [{"at": "2026-01-01T00:00:00Z", "kind": "missed", "count": 2}], "timeout": false}),
        ),
        (
            "watch --kind knock --kind message --count 2",
            json!({"notices": [
                {"id": 7, "at": "2026-01-01T00:00:00Z", "kind": "knock", "agent": peer()},
                {"id": 8, "at": "2026-01-01T00:00:00Z", "kind": "message", "message": {"id": NOTICE_MESSAGE, "from": PEER,
                    "from_address": PEER_ADDRESS, "from_hostname": "planner", "type": "text", "data": "rain\u{1b}[31m\nat six",
                    "bytes": 17, "received_at": "2026-01-01T00:00:00Z", "reply_to": null, "trust": "trusted", "via": "direct"}},
            ], "timeout": false}),
        ),
        (
            "webhook set https://hooks.example/pilot --kind message",
            json!({"url": "https://hooks.example/pilot", "applied": true, "secret": "5e".repeat(32), "kinds": ["message"]}),
        ),
        (
            "webhook clear",
            json!({"url": null, "applied": true, "kinds": []}),
        ),
        (
            "webhook test",
            json!({"url": "https://hooks.example/pilot", "status": 204, "duration_ms": 12.5}),
        ),
        (
            "webhook status",
            json!({"url": "https://hooks.example/pilot", "kinds": ["message", "knock"], "state": "retrying", "delivered": 40,
                "lost": 2, "waiting": 3, "last_error": "it answered 503"}),
        ),
        (
            "dgram planner 5000 --data hi",
            json!({"target": PEER_ADDRESS, "node_id": PEER, "port": 5000, "bytes": 2}),
        ),
        (
            "listen 5000 --count 2",
            json!({"messages": [datagram.clone(), datagram], "timeout": false}),
        ),
        (
            "bench planner 1",
            json!({"target": PEER_ADDRESS, "node_id": PEER, "bytes": 1 << 20, "duration_ms": 8.0,
                "gbit_per_s": 1.048_576, "intact": true, "reverse": false, "path": "direct", "rtt_ms": 0.42}),
        ),
        (
            "disconnect 1",
            json!({"id": 1, "status": "disconnected", "remote_addr": PEER_ADDRESS, "remote_node_id": PEER}),
        ),
        ("deregister", json!({"node_id": OWN, "registered": false})),
        (
            "send-message planner --data hi",
            json!({"target": PEER_ADDRESS, "node_id": PEER, "type": "text", "bytes": 2,
            "id": "01".repeat(16), "ack": "stored"}),
        ),
    ] {
        let (answer, code) = asked(&running, line).await;
        assert_eq!(answer, json!({"status": "ok", "data": data}), "{line}");
        assert_eq!(code, 0, "{line}");
    }
}

#[tokio::test]
async fn capabilities_come_from_files_too_and_what_is_none_is_refused_in_words() {
    let running = Running::start();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let list = file(
        "list.json",
        br#"["say@1.0.0",{"name":"plan","version":"2.0.0","description":"plans","input":{"type":"object"}}]"#,
    );
    let (answer, _) = asked(&running, &format!("set-capabilities {list} more@0.0.1")).await;
    assert_eq!(
        answer["data"]["capabilities"],
        json!(["say@1.0.0", "plan@2.0.0", "more@0.0.1"])
    );
    let large = format!(
        r#"[{{"name":"a","version":"1.0.0","input":"{}"}}]"#,
        "x".repeat(1 << 20)
    );
    for (argument, expected) in [
        (file("large.json", large.as_bytes()), "at most 12288"),
        (
            file(
                "much.json",
                format!(
                    r#"["a@1.0.0",{{"name":"b","version":"1.0.0","input":"{}"}}]"#,
                    "x".repeat(50_000)
                )
                .as_bytes(),
            ),
            "at most 12288",
        ),
        (file("none.json", b"nothing"), "JSON list"),
        ("/no/such/file".to_owned(), "neither NAME@VERSION"),
        ("plan@one".to_owned(), "semantic version"),
    ] {
        let (answer, code) = asked(&running, &format!("set-capabilities {argument}")).await;
        assert_eq!(
            (&answer["code"], code),
            (&json!("invalid_argument"), 2),
            "{answer}"
        );
        let words = answer["message"].as_str().unwrap();
        assert!(
            words.contains(expected) && words.len() < 400,
            "{argument}: {words}"
        );
    }
    let help = words(&running, "search --help").await;
    assert!(help.contains("Example"), "{help}");
}

fn sent_file(name: &str) -> Value {
    json!({"target": PEER_ADDRESS, "node_id": PEER, "filename": name, "bytes": 4, "sha256": "ef".repeat(32),
        "verified": true, "resumed_from": 0, "bytes_sent": 4, "tries": 1, "throughput_mbps": 1.5})
}

#[tokio::test]
async fn files_that_arrived_are_told_also_when_a_later_one_does_not() {
    let running = Running::start();
    let (answer, code) = asked(&running, "send-file planner a.txt missing c.txt").await;
    assert_eq!((&answer["code"], code), (&json!("not_found"), 3));
    assert_eq!(
        answer["data"],
        json!({"files": [sent_file("a.txt")], "skipped": []})
    );
    assert!(words(&running, "received").await.contains("a.txt"));
}

#[tokio::test]
async fn datagrams_go_on_line_by_line_until_the_deadline_that_was_asked_for() {
    let running = Running::start();
    let output = run(&running, "--json --timeout 300ms listen 5000").await;
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["src_addr"], PEER_ADDRESS);
    assert!(
        words(&running, "listen 5000 --count 1")
            .await
            .starts_with("planner:50000 tick")
    );
    let (nothing, code) = asked(&running, "--timeout 50ms listen 5001 --count 1").await;
    assert_eq!((&nothing["code"], code), (&json!("timeout"), 7));
}

#[tokio::test]
async fn every_shell_gets_its_completions() {
    let running = Running::start();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = words(&running, &format!("completions {shell}")).await;
        assert!(script.contains("send-message"), "{shell}");
    }
}

#[tokio::test]
async fn this_agent_is_shown_with_all_its_fields() {
    let running = Running::start();
    let (answer, _) = asked(&running, "info").await;
    let info = answer["data"].as_object().unwrap();
    let fields = "node_id address hostname public_key version uptime_secs public tags capabilities peers connections ports rendezvous \
        embedded nat endpoints bytes_sent bytes_recv drops api";
    for field in fields.split_whitespace() {
        assert!(info.contains_key(field), "{field} is missing");
    }
    assert_eq!(info["address"], ALICE_ADDRESS);
    assert_eq!(
        info["rendezvous"][0],
        json!({"url": "pilot://abcd@127.0.0.1:9000", "state": "connected", "embedded": true})
    );
    assert_eq!(
        info["nat"],
        json!({"mapping": "unknown", "filtering": "unknown"})
    );
    let (answer, _) = asked(&running, "daemon status").await;
    let status = answer["data"].as_object().unwrap();
    let fields =
        "running responsive pid socket node_id address hostname uptime_secs peers connections";
    for field in fields.split_whitespace() {
        assert!(status.contains_key(field), "{field} is missing");
    }
    let (answer, _) = asked(&running, "connections").await;
    assert_eq!(
        answer["data"]["connections"][0],
        json!({"id": 3, "local_port": 49152, "remote_addr": PEER_ADDRESS, "remote_node_id": PEER, "remote_port": 1000,
            "state": "open", "cong_win": 14720, "in_flight": 0, "srtt_ms": 22.4, "bytes_sent": 5, "bytes_recv": 6, "retransmits": 0})
    );
}

#[tokio::test]
async fn the_network_is_drawn_as_this_agent_sees_it() {
    let running = Running::start();
    let (answer, _) = asked(&running, "topology").await;
    let (nodes, edges) = (&answer["data"]["nodes"], &answer["data"]["edges"]);
    let kinds: Vec<&Value> = nodes
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["kind"])
        .collect();
    assert_eq!(kinds, ["own", "rendezvous", "agent"], "{answer}");
    assert_eq!(edges[1]["to"], PEER_ADDRESS);
    assert_eq!(
        (&edges[1]["path"], &edges[1]["trust"]),
        (&json!("direct"), &json!("mutual"))
    );
    for (format, start) in [
        ("text", "worker "),
        ("dot", "graph pilot {"),
        ("svg", "<svg"),
        ("json", "{\"nodes\""),
    ] {
        let drawn = words(&running, &format!("topology --format {format}")).await;
        assert!(drawn.starts_with(start), "{drawn}");
        assert!(drawn.contains("planner"), "{drawn}");
    }
}

#[tokio::test]
async fn work_is_shown_once_where_nobody_watches() {
    let running = Running::start();
    let (answer, code) = asked(&running, "top --interval 1ms").await;
    let data = &answer["data"];
    assert_eq!((code, &data["address"]), (0, &json!(ALICE_ADDRESS)));
    assert_eq!(data["bytes_per_second"], json!({"sent": 0, "received": 0}));
    assert_eq!(data["inbox_total"], 2);
    assert_eq!(data["peers"][0]["hostname"], "planner");
    assert_eq!(data["peers"][0]["streams"], 1);
    assert_eq!(data["connections"][0]["id"], 3);
    let text = words(&running, "top --interval 1ms").await;
    assert!(text.contains("planner") && text.contains("0 B/s"), "{text}");
}

#[tokio::test]
async fn the_manual_is_made_from_the_commands() {
    let running = Running::start();
    let page = words(&running, "man send-message").await;
    assert!(page.contains(".TH") && page.contains("reply"), "{page}");
    let (answer, code) = asked(&running, "man nothing").await;
    assert_eq!((&answer["code"], code), (&json!("invalid_argument"), 2));
    let dir = running.directory.path().join("man");
    let (answer, _) = asked(&running, &format!("man --dir {}", dir.display())).await;
    let pages = answer["data"]["pages"].as_array().unwrap();
    assert!(
        pages.contains(&json!("pilotctl-group-create.1")),
        "{answer}"
    );
    assert!(dir.join("pilotctl.1").exists());
}

#[tokio::test]
async fn watchdogs_get_an_exit_code_and_programs_learn_every_command() {
    let running = Running::start();
    let (answer, code) = asked(&running, "health").await;
    assert_eq!((code, &answer["data"]["healthy"]), (0, &json!(true)));
    assert_eq!(answer["data"]["rendezvous"][0]["state"], "connected");
    let (answer, code) = asked(&running, "context").await;
    assert_eq!((code, &answer["data"]["program"]), (0, &json!("pilotctl")));
    let commands = answer["data"]["commands"].as_array().unwrap();
    let ping = commands.iter().find(|it| it["command"] == "ping").unwrap();
    let parameters = &ping["parameters"];
    assert_eq!(parameters["required"], json!(["peer"]));
    assert_eq!(parameters["properties"]["peer"]["x-position"], 1);
    assert_eq!(parameters["properties"]["count"]["x-flag"], "--count");
    let globals = &answer["data"]["global_parameters"]["properties"];
    assert_eq!(globals["json"]["type"], "boolean");
    let errors = answer["data"]["errors"].as_array().unwrap();
    assert!(errors.contains(&json!({"code": "not_running", "exit": 4})));
}

#[tokio::test]
async fn messages_and_the_inbox_answer_with_the_contracts_fields() {
    let running = Running::start();
    let (answer, _) = asked(&running, "send-message planner --data hi --wait 5s").await;
    assert_eq!(
        answer["data"]["reply"],
        json!({"from": PEER, "from_address": PEER_ADDRESS, "from_hostname": "planner", "type": "text",
            "id": "02".repeat(16), "data": "pong"})
    );
    let (answer, _) = asked(
        &running,
        "send-message planner --wait --data {\"a\":1} --type json",
    )
    .await;
    assert_eq!(answer["data"]["type"], "json");
    assert_eq!(answer["data"]["reply"]["data"], "pong");
    let (answer, _) = asked(&running, "inbox").await;
    let first = json!({"id": "01".repeat(16), "from": PEER, "from_address": PEER_ADDRESS, "from_hostname": "planner",
        "type": "text", "data": "hello", "bytes": 5, "received_at": "2026-01-01T00:00:00Z", "reply_to": null, "trust": "trusted", "via": "direct"});
    assert_eq!(answer["data"]["messages"][0], first);
    assert_eq!(answer["data"]["messages"][1]["via"], "mailbox");
    assert_eq!(
        answer["data"]["messages"][1]["sent_at"],
        "2026-01-01T00:00:00Z"
    );
    assert_eq!(answer["data"]["messages"][1]["data_b64"], "//4=");
    assert_eq!(answer["data"]["messages"][1]["reply_to"], "01".repeat(16));
    assert_eq!(answer["data"]["total"], 2);
    let (answer, _) = asked(&running, &format!("inbox read {}", "01".repeat(16))).await;
    assert_eq!(answer["data"], json!({"messages": [first], "total": 1}));
    let (answer, code) = asked(&running, &format!("inbox read {}", "09".repeat(16))).await;
    assert_eq!((&answer["code"], code), (&json!("not_found"), 3));
    let named = format!("send-message planner --data hi --id {}", "0a".repeat(16));
    let (answer, _) = asked(&running, &named).await;
    assert_eq!(answer["data"]["id"], "0a".repeat(16));
    let (answer, code) = asked(&running, "send-message planner --data hi --id 12").await;
    assert_eq!((&answer["code"], code), (&json!("invalid_argument"), 2));
    for line in [
        "inbox --search hell --from planner",
        "inbox --limit 1",
        "inbox --since 2h --limit 1",
        "inbox --since 2026-01-01T00:00:00Z --limit 1 --clear",
    ] {
        let (answer, _) = asked(&running, line).await;
        assert_eq!(
            answer["data"]["messages"].as_array().unwrap().len(),
            1,
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_body_comes_from_a_file_or_standard_input() {
    let running = Running::start();
    let file = running.directory.path().join("body");
    std::fs::write(&file, b"\xff\xfe\xfd").unwrap();
    let (answer, _) = asked(
        &running,
        &format!("send-message planner --data @{}", file.display()),
    )
    .await;
    assert_eq!(answer["data"]["type"], "binary");
    assert_eq!(answer["data"]["bytes"], 3);
    let (answer, code) = asked(
        &running,
        &format!(
            "send-message planner --type text --data @{}",
            file.display()
        ),
    )
    .await;
    assert_eq!((&answer["code"], code), (&json!("invalid_argument"), 2));
    let (answer, code) = asked(&running, "send-message planner --data @/nonexistent").await;
    assert_eq!((&answer["code"], code), (&json!("invalid_argument"), 2));
    let output = piped(
        &running,
        &["--json", "send-message", "planner", "--data", "-"],
        b"from a pipe",
    )
    .await;
    assert_eq!(document(&output).0["data"]["bytes"], 11);
}

async fn piped(running: &Running, args: &[&str], input: &[u8]) -> Output {
    let mut child = command(running, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = async {
        // A command that fails reads nothing.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(feeding, child.wait_with_output());
    output.unwrap()
}

#[tokio::test]
async fn a_pipe_passes_bytes_both_ways_until_both_ends_close() {
    let running = Running::start();
    let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i % 253) as u8).collect();
    let echoed = piped(&running, &["connect", "planner", "7"], &sent).await;
    assert!(echoed.status.success(), "{:?}", echoed.stderr);
    assert!(
        echoed.stdout == sent,
        "{} bytes came back",
        echoed.stdout.len()
    );
    let answered = piped(&running, &["connect", "planner"], b"world").await;
    assert_eq!(answered.stdout, b"hello, world");
    let json = piped(&running, &["--json", "connect", "planner"], b"world").await;
    assert_eq!(document(&json).0["data"]["response"], "hello, world");
    let broken = piped(&running, &["connect", "planner", "9"], b"").await;
    assert_eq!(broken.status.code(), Some(6));
    let why = String::from_utf8(broken.stderr).unwrap();
    assert!(
        why.contains("the peer reset the stream: peer_restarted"),
        "{why}"
    );
}

#[tokio::test]
async fn a_broken_pipe_ends_while_standard_input_is_still_open() {
    let running = Running::start();
    let mut child = command(&running, &["connect", "planner", "9"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _open = child.stdin.take();
    assert_eq!(child.wait().await.unwrap().code(), Some(6));
}

#[tokio::test]
async fn received_streams_are_passed_on_or_kept() {
    let running = Running::start();
    let offer = async |bytes: &[u8]| {
        let (near, mut far) = tokio::io::duplex(64);
        running.fake.inbound.lock().await.push(near);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            far.write_all(&bytes).await.unwrap();
            far.shutdown().await.unwrap();
            // The other direction ends when the receiver closes it.
            let mut rest = vec![];
            tokio::io::AsyncReadExt::read_to_end(&mut far, &mut rest)
                .await
                .unwrap();
        });
    };
    offer(b"raw \xff bytes").await;
    let output = run(&running, "recv 1000").await;
    assert_eq!(output.stdout, b"raw \xff bytes");
    offer(b"kept").await;
    let (answer, code) = asked(&running, "recv 1000 --count 2 --timeout 300ms").await;
    assert_eq!(code, 0);
    assert_eq!(
        answer["data"],
        json!({"timeout": true, "messages": [{"seq": 1, "from": PEER, "from_address": PEER_ADDRESS,
            "from_hostname": "planner", "port": 1000, "data": "kept", "bytes": 4}]})
    );
    let (answer, code) = asked(&running, "recv 1000 --timeout 100ms").await;
    assert_eq!((&answer["code"], code), (&json!("timeout"), 7));
}

#[tokio::test]
async fn each_error_has_its_exit_code_and_says_what_to_do() {
    let running = Running::start();
    for (line, code, exit) in [
        ("find nobody", "not_found", 3),
        ("ping stranger", "not_trusted", 5),
        ("connect planner 22 --message x", "connection_failed", 6),
        ("send planner 22 --data x", "connection_failed", 6),
        ("set-hostname planner", "already_exists", 8),
        ("handshake flood", "rate_limited", 10),
        ("handshake nobody --wait 50ms", "timeout", 7),
        ("ping slow --timeout 100ms", "timeout", 7),
        ("ping away --count 2", "timeout", 7),
        ("lookup slow --timeout 50ms", "timeout", 7),
    ] {
        let (answer, found) = asked(&running, line).await;
        assert_eq!(
            (answer["status"].as_str(), answer["code"].as_str()),
            (Some("error"), Some(code)),
            "{line}"
        );
        assert_eq!(found, exit, "{line}");
        let output = run(&running, line).await;
        assert_eq!(output.status.code(), Some(exit), "{line}");
        assert!(output.stdout.is_empty(), "{line}: {:?}", output.stdout);
        let message = answer["message"].as_str().unwrap();
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(message),
            "{line}"
        );
    }
    let (answer, _) = asked(&running, "ping stranger").await;
    assert_eq!(answer["hint"], "pilotctl handshake stranger");
    let (answer, _) = asked(&running, "handshake flood").await;
    assert_eq!(answer["retry_after_ms"], 1500);
    let (answer, _) = asked(&running, "ping away --count 2").await;
    assert_eq!(answer["data"]["results"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_wrong_command_line_is_an_invalid_argument() {
    let running = Running::start();
    for line in [
        "nothing",
        "bench planner 0",
        "listen 5000 --count 0",
        "publish planner jobs/* --data x",
        "forward x planner:80",
        "forward 65536 planner:80",
        "forward 8080 planner",
        "forward 8080 planner:x",
        "forward localhost:8080 planner:80",
        "expose localhost:80",
        "serve . --port x",
        "proxy --listen here",
        "publish planner a//b --data x",
        "subscribe planner #/a",
        "disconnect x",
        "completions csh",
        "find",
        "find Planner",
        "ping a.b",
        "ping 0:A91F.0000",
        "ping planner --count 0",
        "ping planner --count x",
        "send planner 65536 --data x",
        "send planner 7",
        "approve planner --ports 9-7",
        "approve planner --expires 7",
        "info --timeout 5",
        "info extra",
        "info --unknown",
        "-q -v info",
        "inbox read 12",
        "inbox --since yesterday",
        "send-message planner --data {} --reply-to x",
        "send-message planner --data nojson --type json",
        "daemon",
        "daemon start --listen here",
        "config --set public",
        "config --set colour=red",
    ] {
        let (answer, exit) = asked(&running, line).await;
        assert_eq!(answer["code"], "invalid_argument", "{line}: {answer}");
        assert_eq!(exit, 2, "{line}");
        assert!(
            !answer["message"].as_str().unwrap().contains('\n'),
            "{line}"
        );
        let output = run(&running, line).await;
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{line}"
        );
    }
    let (answer, _) = asked(&running, "ping planner --count x").await;
    assert!(
        answer["message"].as_str().unwrap().contains("--count"),
        "{answer}"
    );
    let no_command = command(&running, &[]).output().await.unwrap();
    assert_eq!(no_command.status.code(), Some(2));
}

#[tokio::test]
async fn without_a_daemon_every_command_says_how_to_start_one() {
    let running = Running::start();
    let nowhere = "--socket /nonexistent/s";
    for line in [
        "info",
        "find a",
        "pending",
        "ping a",
        "inbox",
        "connect a --message x",
        "recv 7",
        "daemon stop",
    ] {
        let (answer, exit) = asked(&running, &format!("{nowhere} {line}")).await;
        assert_eq!(
            (&answer["code"], exit),
            (&json!("not_running"), 4),
            "{line}"
        );
        assert_eq!(answer["hint"], "pilotctl daemon start", "{line}");
    }
    let (answer, exit) = asked(&running, &format!("{nowhere} daemon status")).await;
    assert_eq!(exit, 0);
    assert_eq!(answer["data"]["running"], false);
    let check = run(&running, &format!("{nowhere} daemon status --check")).await;
    assert_eq!(check.status.code(), Some(4));
    assert!(check.stdout.is_empty() && check.stderr.is_empty());
    let check = run(&running, "daemon status --check").await;
    assert_eq!(check.status.code(), Some(0));
    assert!(check.stdout.is_empty() && check.stderr.is_empty());
}

#[tokio::test]
async fn people_get_words() {
    let running = Running::start();
    for (line, expected) in [
        ("ping planner", "✓ reply from 0:4B2E.0000.1A3D · 22ms\n"),
        (
            "version",
            concat!("pilotctl ", env!("CARGO_PKG_VERSION"), "\n"),
        ),
        ("set-hostname worker", "✓ this agent is worker\n"),
        ("ticket", "pilot-ticket:0\n"),
        ("connect planner --message hi", "hello, hi"),
        (
            "approve planner",
            "✓ planner (0:4B2E.0000.1A3D) may reach ports 7,1000-1002, key cdcd-cdcd\n",
        ),
        (
            "peers",
            "NAME     ADDRESS           PATH    RTT\nplanner  0:4B2E.0000.1A3D  direct  0.42ms\n",
        ),
    ] {
        assert_eq!(words(&running, line).await, expected, "{line}");
    }
    for line in [
        "info",
        "daemon status",
        "pending",
        "trust",
        "inbox",
        "connections",
        "lookup planner",
        "config",
    ] {
        let text = words(&running, line).await;
        assert!(text.lines().count() > 1, "{line}: {text}");
        assert!(!text.contains('\u{1b}'), "{line}: {text:?}");
    }
    let text = words(&running, &format!("inbox read {}", "01".repeat(16))).await;
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_error() {
    let running = Running::start();
    let mut child = command(&running, &["info"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// By a process of its own: a file that this one had open for writing while another thread forks cannot be executed.
fn copy_program(to: &std::path::Path) {
    let copied = std::process::Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_pilotctl"))
        .arg(to)
        .status();
    assert!(copied.unwrap().success());
}

#[tokio::test]
async fn another_users_socket_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let running = Running::start();
    let open = |path: &std::path::Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    };
    // A copy, as the build's directory may be closed to others.
    let program = running.directory.path().join("pilotctl");
    copy_program(&program);
    open(&program);
    let as_nobody = async || {
        let socket = running.socket();
        let output = Command::new(&program)
            .args(["--json", "--socket"])
            .arg(socket)
            .arg("info")
            .env_clear()
            .uid(65534)
            .output()
            .await
            .unwrap();
        document(&output)
    };
    open(running.directory.path());
    let (closed, exit) = as_nobody().await;
    assert_eq!(
        (&closed["code"], exit),
        (&json!("permission_denied"), 9),
        "the socket's mode"
    );
    open(&running.socket());
    let (refused, exit) = as_nobody().await;
    assert_eq!(
        (&refused["code"], exit),
        (&json!("permission_denied"), 9),
        "the peer's uid"
    );
}

#[tokio::test]
async fn the_configuration_is_written_and_shown() {
    let running = Running::start();
    let home = running.directory.path().join("new");
    let with_home = |line: &str| format!("--home {} {line}", home.display());
    let (answer, _) = asked(&running, &with_home("config")).await;
    assert_eq!(answer["data"]["rendezvous"], json!([]));
    assert!(!home.exists(), "to look at it makes no home");
    let (answer, exit) = asked(
        &running,
        &with_home("init --hostname worker --rendezvous h:9000"),
    )
    .await;
    assert_eq!(exit, 0);
    assert_eq!(answer["data"]["hostname"], "worker");
    asked(
        &running,
        &with_home("config --set tags=gpu,fast --set public=true"),
    )
    .await;
    let (answer, _) = asked(&running, &with_home("config")).await;
    let data = &answer["data"];
    assert_eq!(
        (
            &data["hostname"],
            &data["tags"],
            &data["public"],
            &data["rendezvous"]
        ),
        (
            &json!("worker"),
            &json!(["gpu", "fast"]),
            &json!(true),
            &json!(["h:9000"])
        )
    );
    let (answer, exit) = asked(&running, &with_home("config --set listen=here")).await;
    assert_eq!((&answer["code"], exit), (&json!("invalid_argument"), 2));
}
