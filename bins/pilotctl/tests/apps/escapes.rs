//! The escape suite: each attempt is stopped, and the same attempt succeeds once the rule against it is left off.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use pilot_appstore::{CallError, Protection};

use crate::bench::{Bench, Setting, pilotctl, program};

/// The attempt ends the app, and the audit log says why.
async fn is_ended(setting: &Setting, what: &str, why: &str) {
    let bench = Bench::new(setting);
    let error = bench.attempt(what).await.unwrap_err();
    assert!(matches!(&error, CallError::Ended(_)), "{what}: {error}");
    let entry = bench.audited_end().unwrap();
    assert_eq!(entry.outcome, why, "{what}: {entry:?}");
    bench.recovers().await;
}

/// The attempt comes to nothing but an error of the kernel.
async fn is_refused(setting: &Setting, what: &str, error: &str) {
    let bench = Bench::new(setting);
    let came_of_it = bench.attempt(what).await.unwrap();
    assert!(came_of_it.contains(error), "{what}: {came_of_it}");
}

/// The attempt works: whatever stops it elsewhere is not the attempt's own fault.
async fn works(setting: &Setting, what: &str) {
    let bench = Bench::new(setting);
    let came_of_it = bench.attempt(what).await.unwrap();
    assert!(came_of_it.starts_with("done"), "{what}: {came_of_it}");
}

fn without(protections: &[Protection]) -> Setting {
    Setting {
        without: protections.to_vec(),
        ..Setting::default()
    }
}

fn granted(grants: &[&str]) -> Setting {
    let grants = grants.iter().map(|grant| (*grant).to_owned()).collect();
    Setting {
        grants,
        ..Setting::default()
    }
}

#[tokio::test]
async fn an_app_begins_with_nothing() {
    let bench = Bench::plain();
    assert_eq!(bench.attempt("environment").await.unwrap(), "0 1");
    let bench = Bench::new(&granted(&["env:PATH"]));
    assert_eq!(bench.attempt("environment").await.unwrap(), "1 1");
}

#[tokio::test]
async fn no_file_is_opened_without_a_grant() {
    is_refused(&Setting::default(), "read /etc/passwd", "os error 1").await;
    is_refused(&Setting::default(), "stat /etc/passwd", "os error 1").await;
    works(
        &without(&[Protection::Calls, Protection::Files]),
        "stat /etc/passwd",
    )
    .await;
}

#[tokio::test]
async fn with_a_grant_for_some_files_others_stay_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
    for dir in [&inside, &outside] {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("text"), "done reading").unwrap();
    }
    let grant = format!("read:{}", inside.display());
    let setting = granted(&[&grant]);
    works(&setting, &format!("read {}/text", inside.display())).await;
    let reading = format!("read {}/text", outside.display());
    is_refused(&setting, &reading, "os error 13").await;
    let climbing = format!("read {}/../out/text", inside.display());
    is_refused(&setting, &climbing, "os error 13").await;
    let open = Setting {
        without: vec![Protection::Files],
        ..setting.clone()
    };
    works(&open, &reading).await;
    // To read is not to write.
    let writing = format!("write {}/new", inside.display());
    is_refused(&setting, &writing, "os error").await;
    assert!(!inside.join("new").exists());
}

#[tokio::test]
async fn nothing_is_written_outside_of_its_own_directory() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("written");
    let setting = granted(&["data"]);
    let bench = Bench::new(&setting);
    assert_eq!(bench.attempt("write mine").await.unwrap(), "done");
    let mine = bench
        .dir
        .path()
        .join("home/apps-data/org.example.escape/mine");
    assert_eq!(fs::read_to_string(mine).unwrap(), "written by an app");
    let writing = format!("write {}", outside.display());
    is_refused(&setting, &writing, "os error 13").await;
    assert!(!outside.exists());
    let own_program = "write ../../apps/org.example.escape/1.0.0/escape";
    is_refused(&setting, own_program, "os error 13").await;
    let open = Setting {
        without: vec![Protection::Files],
        ..setting
    };
    works(&open, &writing).await;
    assert!(outside.exists());
}

#[tokio::test]
async fn the_daemons_memory_and_environment_are_not_read() {
    for file in ["environ", "maps", "mem"] {
        let reading = format!("read /proc/{}/{file}", std::process::id());
        is_refused(&granted(&["data"]), &reading, "os error 13").await;
    }
    let reading = format!("read /proc/{}/comm", std::process::id());
    let open = Bench::new(&Setting {
        without: vec![Protection::Files],
        ..granted(&["data"])
    });
    assert!(!open.attempt(&reading).await.unwrap().contains("os error"));
}

#[tokio::test]
async fn there_is_no_network() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connecting = format!("connect {}", listener.local_addr().unwrap().port());
    is_ended(&Setting::default(), &connecting, "forbidden_call").await;
    is_ended(&Setting::default(), "listen", "forbidden_call").await;
    // The walls behind that one: Landlock, and an empty network where the machine permits one.
    let by_landlock = without(&[Protection::Calls, Protection::Namespaces]);
    is_refused(&by_landlock, &connecting, "os error 13").await;
    let may_unshare = Command::new("unshare").args(["-Urn", "true"]).status();
    if may_unshare.is_ok_and(|status| status.success()) {
        let by_namespace = without(&[Protection::Calls, Protection::Files]);
        is_refused(&by_namespace, &connecting, "os error 101").await;
    }
    let all = [Protection::Calls, Protection::Files, Protection::Namespaces];
    works(&without(&all), &connecting).await;
    works(&without(&all), "listen").await;
    is_ended(&Setting::default(), "send_descriptor", "forbidden_call").await;
    // Without that it arrives, as a byte that is no answer: what ends the app then is not the filter.
    let unfiltered = Bench::new(&without(&[Protection::Calls]));
    let error = unfiltered.attempt("send_descriptor").await.unwrap_err();
    assert!(matches!(error, CallError::Ended(_)), "{error}");
    let end = unfiltered.audited_end().unwrap();
    assert_ne!(end.outcome, "forbidden_call", "{end:?}");
}

#[tokio::test]
async fn there_is_no_other_process_or_thread() {
    for what in ["fork", "thread"] {
        is_ended(&Setting::default(), what, "forbidden_call").await;
        // Behind the filter stands the count of its threads.
        let unfiltered = without(&[Protection::Calls]);
        if is_counted_by_the_kernel() {
            is_refused(&unfiltered, what, "os error 11").await;
        }
        works(&uncounted(&[Protection::Calls], ""), what).await;
    }
}

/// Whether the kernel counts an app's threads here: by a group, or by its user in a namespace of users.
fn is_counted_by_the_kernel() -> bool {
    let bench = Bench::plain();
    let kernel = bench.host.store().kernel();
    kernel.groups.pids || kernel.own_users
}

fn uncounted(protections: &[Protection], limits: &'static str) -> Setting {
    let all = [protections, &[Protection::Threads, Protection::Groups]].concat();
    Setting {
        limits,
        ..without(&all)
    }
}

#[tokio::test]
async fn an_app_with_threads_makes_threads_and_nothing_else() {
    let four = Setting {
        limits: "threads = 4\ncall_ms = 5000",
        ..granted(&["data"])
    };
    works(&four, "thread").await;
    works(&four, "threads 3").await;
    for what in [
        "fork",
        "vfork",
        "exec /bin/true",
        "clone 11",
        // A thread with a new network, one with other files, one that is traced, one without the shared memory.
        "clone 40010f00",
        "clone 10b00",
        "clone 12f00",
        "clone 10e00",
    ] {
        is_ended(&four, what, "forbidden_call").await;
    }
    // Its flags are where no filter sees them: there is no such call.
    is_refused(&four, "clone3", "os error 38").await;
    is_refused(&without(&[Protection::Calls]), "clone3", "os error 22").await;
    let open = [Protection::Calls];
    works(&uncounted(&open, "threads = 4"), "fork").await;
    works(&uncounted(&open, "threads = 4"), "vfork").await;
}

#[tokio::test]
async fn no_more_threads_than_were_granted() {
    let four = "threads = 4\ncall_ms = 5000";
    let setting = Setting {
        limits: four,
        ..Setting::default()
    };
    if is_counted_by_the_kernel() {
        is_refused(&setting, "threads 4", "os error 11").await;
    } else {
        is_ended(&setting, "threads 4", "threads").await;
    }
    works(&uncounted(&[], four), "threads 4").await;
    // Where nothing of the kernel's counts them, the daemon does: root's user has no bound.
    if rustix::process::geteuid().is_root() {
        let ungrouped = Setting {
            without: vec![Protection::Groups],
            ..setting
        };
        is_ended(&ungrouped, "threads 4", "threads").await;
    }
}

#[tokio::test]
async fn every_rule_holds_for_every_thread() {
    let two = Setting {
        limits: "threads = 2",
        ..granted(&["data"])
    };
    is_refused(&two, "in_thread read /etc/passwd", "os error 13").await;
    is_refused(&two, "in_thread code", "os error 1").await;
    for what in ["in_thread fork", "in_thread listen", "in_thread kill 1"] {
        is_ended(&two, what, "forbidden_call").await;
    }
    is_ended(&two, "in_thread memory 50000000", "memory").await;
    let slow = Setting {
        limits: "threads = 2\ncpu_seconds = 1\ncall_ms = 15000",
        ..Setting::default()
    };
    is_ended(&slow, "in_thread cpu", "cpu").await;
    let open = Setting {
        without: vec![Protection::Files],
        ..two
    };
    let read = Bench::new(&open);
    let read = read.attempt("in_thread read /etc/passwd").await.unwrap();
    assert!(!read.contains("os error"), "{read}");
}

/// Where the machine lets the daemon make groups.
#[tokio::test]
async fn a_group_bounds_memory_and_is_gone_with_the_app() {
    let unlimited = Setting {
        without: vec![Protection::Memory],
        ..Setting::default()
    };
    let bench = Bench::new(&unlimited);
    if !bench.host.store().kernel().groups.memory {
        return;
    }
    let error = bench.attempt("memory 60000000").await.unwrap_err();
    assert!(matches!(error, CallError::Ended(_)), "{error}");
    assert_eq!(bench.audited_end().unwrap().outcome, "memory");
    works(
        &without(&[Protection::Memory, Protection::Groups]),
        "memory 60000000",
    )
    .await;
    bench.recovers().await;
    let pid = bench.host.standing(&crate::bench::id()).await.pid.unwrap();
    let groups = groups_of(pid);
    assert!(!groups.is_empty());
    bench.host.stop(&crate::bench::id()).await;
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
}

/// The directories of a process' own groups.
fn groups_of(pid: u32) -> Vec<std::path::PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounted = |names: &str, path: &str| {
        let first = names.split(',').next().unwrap();
        let dir = format!("/sys/fs/cgroup/{first}{path}");
        path.contains("pilot-app-").then(|| dir.into())
    };
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        mounted(fields.next()?, fields.next()?)
    });
    lines.collect()
}

#[tokio::test]
async fn there_is_no_other_program() {
    is_ended(&Setting::default(), "exec /bin/true", "forbidden_call").await;
    // Not by the sandbox' own door either: the number of its descriptor is beyond all that the app can have.
    let setting = granted(&["read:/bin", "read:/usr/bin"]);
    is_refused(&setting, "exec_fd 16 /bin/true", "os error 9").await;
    is_ended(&setting, "exec_fd 10 /bin/true", "forbidden_call").await;
    let unbounded = Setting {
        without: vec![Protection::OpenFiles, Protection::Files],
        ..setting
    };
    let bench = Bench::new(&unbounded);
    let error = bench.attempt("exec_fd 16 /bin/true").await.unwrap_err();
    assert!(
        error.to_string().contains("exit code"),
        "it became another program: {error}"
    );
}

#[tokio::test]
async fn other_processes_are_neither_signalled_nor_traced() {
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    for what in ["kill", "ptrace"] {
        let attempt = format!("{what} {}", other.id());
        is_ended(&Setting::default(), &attempt, "forbidden_call").await;
        // The second wall is Landlock's scope.
        is_refused(&without(&[Protection::Calls]), &attempt, "os error 1").await;
    }
    let open = without(&[Protection::Calls, Protection::Files]);
    works(&open, &format!("kill {}", other.id())).await;
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn memory_is_bounded_shared_memory_too_and_none_becomes_code() {
    works(&Setting::default(), "memory 10000000").await;
    is_ended(&Setting::default(), "memory 50000000", "memory").await;
    works(
        &without(&[Protection::Memory, Protection::Groups]),
        "memory 50000000",
    )
    .await;
    is_refused(&Setting::default(), "shared 50000000", "os error 1").await;
    is_refused(&Setting::default(), "code", "os error 1").await;
    works(&without(&[Protection::Calls]), "shared 50000000").await;
    works(&without(&[Protection::Calls]), "code").await;
}

/// Root's rights over others' files are capabilities.
#[tokio::test]
async fn an_app_of_roots_is_no_root() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("others");
    fs::write(&file, "done reading").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&file, Some(65534), Some(65534)).unwrap();
    let setting = granted(&[&format!("read:{}", dir.path().display())]);
    let reading = format!("read {}", file.display());
    is_refused(&setting, &reading, "os error 13").await;
    let open = Setting {
        without: vec![Protection::Capabilities],
        ..setting
    };
    works(&open, &reading).await;
}

#[tokio::test]
async fn cpu_time_is_bounded() {
    let limits = "cpu_seconds = 1\ncall_ms = 15000";
    let setting = Setting {
        limits,
        ..Setting::default()
    };
    is_ended(&setting, "cpu", "cpu").await;
}

#[tokio::test]
async fn a_call_that_does_not_end_is_ended() {
    is_ended(&Setting::default(), "sleep 60000", "deadline").await;
    let unbounded = without(&[Protection::Cpu]);
    is_ended(&unbounded, "cpu", "deadline").await;
}

#[tokio::test]
async fn descriptors_are_bounded() {
    is_refused(&Setting::default(), "descriptors 100", "os error 24").await;
    works(&without(&[Protection::OpenFiles]), "descriptors 100").await;
    works(&Setting::default(), "descriptors 10").await;
}

#[tokio::test]
async fn a_disk_is_not_filled() {
    let small = Setting {
        limits: "data_mb = 1",
        ..granted(&["data"])
    };
    is_ended(&small, "fill 1048577", "file_size").await;
    is_ended(&small, "fill 524288", "data").await;
    let unbounded = Setting {
        without: vec![Protection::FileSize],
        ..small
    };
    is_ended(&unbounded, "fill 1048577", "data").await;
}

#[tokio::test]
async fn a_log_is_not_flooded() {
    is_ended(&Setting::default(), "flood 1000", "log_flood").await;
    let bench = Bench::plain();
    assert_eq!(bench.attempt("flood 100").await.unwrap(), "done");
}

#[tokio::test]
async fn answers_that_are_none_end_the_app() {
    is_ended(&Setting::default(), "malformed", "malformed_answer").await;
    is_ended(&Setting::default(), "foreign", "malformed_answer").await;
    is_ended(&Setting::default(), "endless", "answer_too_long").await;
    let bench = Bench::plain();
    let error = bench.attempt("wrong").await.unwrap_err();
    assert!(matches!(error, CallError::Result(_)), "{error}");
}

/// Rights that root has do not matter, and neither does their lack.
#[test]
fn everything_holds_for_another_user_too() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path(), open.clone()).unwrap();
    let copy = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, open.clone()).unwrap();
        path
    };
    let tests = copy(
        "tests",
        &fs::read(std::env::current_exe().unwrap()).unwrap(),
    );
    let ctl = copy("pilotctl", &fs::read(pilotctl()).unwrap());
    let app = copy("app", program());
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(tests)
        .args(["--test-threads=2", "escapes::", "connections::"])
        .env("PILOT_ESCAPE_CTL", ctl)
        .env("PILOT_ESCAPE_APP", app)
        .env("TMPDIR", "/tmp")
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("32 passed"), "{text}");
}
