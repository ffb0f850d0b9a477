//! The program with its own daemon and rendezvous: the demo, and a daemon's life in the background.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn pilotctl(home: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pilotctl"))
        .arg("--json")
        .args(line.split(' '))
        .env_clear()
        .env("PILOT_HOME", home.join("agent"))
        .env("PILOT_RENDEZVOUS_HOME", home.join("rendezvous"))
        .output()
        .unwrap()
}

/// Ends what a test that failed has left.
struct Cleanup<'a>(&'a Path);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        pilotctl(self.0, "daemon stop");
        pilotctl(self.0, "rendezvous stop");
    }
}

fn answer(output: &Output) -> (Value, i32) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let document = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    (document, output.status.code().unwrap())
}

#[test]
fn a_daemon_starts_in_the_background_with_the_embedded_rendezvous_and_stops() {
    let home = tempfile::tempdir().unwrap();
    let _cleanup = Cleanup(home.path());
    let (started, code) = answer(&pilotctl(home.path(), "daemon start --hostname worker"));
    assert_eq!(code, 0, "{started}");
    let data = &started["data"];
    assert_eq!(data["hostname"], "worker");
    assert_eq!(data["rendezvous"][0]["embedded"], true);
    assert!(data["log_file"].as_str().unwrap().ends_with("daemon.log"));
    let (again, code) = answer(&pilotctl(home.path(), "daemon start"));
    assert_eq!(
        (&again["code"], code),
        (&json!("already_exists"), 8),
        "{again}"
    );
    let (status, _) = answer(&pilotctl(home.path(), "daemon status"));
    assert_eq!(status["data"]["pid"], data["pid"]);
    assert_eq!(status["data"]["address"], data["address"]);
    let (rendezvous, _) = answer(&pilotctl(home.path(), "rendezvous status"));
    assert_eq!(rendezvous["data"]["running"], true, "{rendezvous}");
    let (stopped, code) = answer(&pilotctl(home.path(), "daemon stop"));
    assert_eq!(code, 0, "{stopped}");
    assert_eq!(
        stopped["data"],
        json!({"pid": data["pid"], "forced": false, "undelivered_bytes": 0})
    );
    let (gone, code) = answer(&pilotctl(home.path(), "daemon stop"));
    assert_eq!((&gone["code"], code), (&json!("not_running"), 4));
    let (stopped, code) = answer(&pilotctl(home.path(), "rendezvous stop"));
    assert_eq!(
        (&stopped["data"]["forced"], code),
        (&json!(false), 0),
        "{stopped}"
    );
    let (gone, code) = answer(&pilotctl(home.path(), "rendezvous stop"));
    assert_eq!((&gone["code"], code), (&json!("not_running"), 4), "{gone}");
}

#[test]
fn what_an_agent_can_do_is_found_by_search_and_by_the_directory() {
    let home = tempfile::tempdir().unwrap();
    let _cleanup = Cleanup(home.path());
    let start = "daemon start --hostname oracle --public --tags gpu --capability forecast@1.2.0 --capability say@1.0.0";
    let (started, code) = answer(&pilotctl(home.path(), start));
    assert_eq!(code, 0, "{started}");
    let (info, _) = answer(&pilotctl(home.path(), "info"));
    assert_eq!(
        info["data"]["capabilities"],
        json!(["forecast@1.2.0", "say@1.0.0"])
    );
    let (found, code) = answer(&pilotctl(
        home.path(),
        "search oracle --tag gpu --capability forecast",
    ));
    assert_eq!((&found["data"]["total"], code), (&json!(1), 0), "{found}");
    let agent = &found["data"]["agents"][0];
    assert_eq!(agent["address"], started["data"]["address"]);
    assert_eq!(agent["capabilities"], info["data"]["capabilities"]);
    let asked = r#"send-message list-agents --data /data{"search":"forecast","limit":10} --wait"#;
    let (told, code) = answer(&pilotctl(home.path(), asked));
    assert_eq!(code, 0, "{told}");
    let page = told["data"]["reply"]["data"].as_str().unwrap();
    let page: Value = serde_json::from_str(page).unwrap();
    assert_eq!(
        (&page["total"], &page["items"][0]["hostname"]),
        (&json!(1), &json!("oracle"))
    );
    let (refused, code) = answer(&pilotctl(home.path(), "search --limit 1000000000"));
    assert_eq!(
        (&refused["code"], code),
        (&json!("invalid_argument"), 2),
        "{refused}"
    );
}

#[test]
fn a_daemon_that_cannot_start_passes_its_error_on() {
    let home = tempfile::tempdir().unwrap();
    let agent = home.path().join("agent");
    std::fs::create_dir(&agent).unwrap();
    std::fs::write(agent.join("config.json"), "{").unwrap();
    let (refused, code) = answer(&pilotctl(home.path(), "daemon start"));
    assert_eq!(
        (&refused["code"], code),
        (&json!("invalid_argument"), 2),
        "{refused}"
    );
    assert!(
        refused["message"].as_str().unwrap().contains("config.json"),
        "{refused}"
    );
}

#[test]
fn the_demo_tells_its_story_without_a_home_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    // A copy that everybody may execute, in a directory that everybody may write. It is made by a process of its own: a file
    // that this one had open for writing while another thread forks cannot be executed.
    let program = temporary.path().join("pilotctl");
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_pilotctl"))
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let stage = temporary.path().join("stage");
    std::fs::create_dir(&stage).unwrap();
    for path in [temporary.path(), &stage, &program] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = Command::new(&program);
    if rustix::process::geteuid().is_root() {
        command.uid(65534);
    }
    let output = command
        .args(["--json", "demo"])
        .env_clear()
        .env("TMPDIR", &stage)
        .output()
        .unwrap();
    let (told, code) = answer(&output);
    assert_eq!(code, 0, "{told}");
    let figures = told["data"]["figures"].as_array().unwrap();
    assert!(figures.len() >= 6, "{told}");
    assert_eq!(
        std::fs::read_dir(&stage).unwrap().count(),
        0,
        "something is left"
    );
}
