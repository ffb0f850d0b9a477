//! The way to the network: what was granted is reached by the daemon's broker, and nothing else by any means.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pilot_appstore::{CallError, Dialling, Duplex, Overlay, Protection};

use crate::bench::{Bench, Setting, id, secret};

/// Answers each connection's first line with itself, as long as the test runs.
pub(super) fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut heard = [0; 6];
                if stream.read_exact(&mut heard).is_ok() {
                    stream.write_all(&heard).unwrap();
                }
            });
        }
    });
    port
}

fn granted(grants: &[String]) -> Setting {
    Setting {
        grants: grants.to_vec(),
        ..Setting::default()
    }
}

fn without(protection: Protection, setting: &Setting) -> Setting {
    Setting {
        without: vec![protection],
        ..setting.clone()
    }
}

async fn comes_to(setting: &Setting, what: &str, words: &str) {
    let bench = Bench::new(setting);
    let came_of_it = bench.attempt(what).await.unwrap();
    assert!(came_of_it.contains(words), "{what}: {came_of_it}");
}

#[tokio::test]
async fn a_host_and_port_that_were_granted_are_reached_and_no_others() {
    let [port, other] = [echo(), echo()];
    let setting = granted(&[format!("net:127.0.0.1:{port}")]);
    comes_to(
        &setting,
        &format!("exchange 127.0.0.1 {port}"),
        "done hello",
    )
    .await;
    comes_to(
        &setting,
        &format!("exchange localhost {port}"),
        "done hello",
    )
    .await;
    let elsewhere = format!("exchange 127.0.0.1 {other}");
    comes_to(&setting, &elsewhere, "not_granted").await;
    comes_to(
        &setting,
        &format!("exchange 127.0.0.2 {port}"),
        "not_granted",
    )
    .await;
    // The second wall is that of the addresses.
    comes_to(&without(Protection::Grants, &setting), &elsewhere, "inside").await;
    let open = Setting {
        without: vec![Protection::Grants, Protection::Addresses],
        ..setting.clone()
    };
    comes_to(&open, &elsewhere, "done hello").await;
    // The words say what its owner may do: more to an app that asks for many hosts.
    for (grant, is_hinted) in [
        (format!("net:127.0.0.1:{port}"), false),
        ("net:*:443".to_owned(), true),
    ] {
        let bench = Bench::new(&granted(&[grant]));
        let words = bench.attempt(&elsewhere).await.unwrap();
        let hint = format!("--grant net:127.0.0.1:{other}");
        assert_eq!(words.contains(&hint), is_hinted, "{words}");
    }
}

#[tokio::test]
async fn an_app_with_connections_has_no_socket_of_its_own() {
    let port = echo();
    let setting = granted(&[format!("net:127.0.0.1:{port}")]);
    for what in [
        &format!("connect {port}"),
        "listen",
        "datagram",
        "protocol 6",
        "send_descriptor",
    ] {
        let bench = Bench::new(&setting);
        let error = bench.attempt(what).await.unwrap_err();
        assert!(matches!(&error, CallError::Ended(_)), "{what}: {error}");
        assert_eq!(bench.audited_end().unwrap().outcome, "forbidden_call");
    }
    // The walls behind that one.
    let by_landlock = Setting {
        without: vec![Protection::Calls, Protection::Namespaces],
        ..setting.clone()
    };
    comes_to(&by_landlock, &format!("connect {port}"), "os error 13").await;
    let may_unshare = Command::new("unshare").args(["-Urn", "true"]).status();
    if may_unshare.is_ok_and(|status| status.success()) {
        let by_namespace = Setting {
            without: vec![Protection::Calls, Protection::Files],
            ..setting.clone()
        };
        comes_to(&by_namespace, &format!("connect {port}"), "os error 101").await;
    }
    let all = [Protection::Calls, Protection::Files, Protection::Namespaces];
    let open = Setting {
        without: all.to_vec(),
        ..setting
    };
    comes_to(&open, &format!("connect {port}"), "done").await;
}

#[tokio::test]
async fn a_name_does_not_lead_into_the_machine() {
    let port = echo();
    let named = |grants: &[String]| Setting {
        names: vec!["inside.example"],
        ..granted(grants)
    };
    let asking = format!("exchange inside.example {port}");
    let by_name = named(&[format!("net:inside.example:{port}")]);
    comes_to(&by_name, &asking, "inside").await;
    comes_to(
        &without(Protection::Addresses, &by_name),
        &asking,
        "done hello",
    )
    .await;
    // A wildcard is for the internet.
    let all = named(&["net:*:*".to_owned()]);
    comes_to(&all, &asking, "inside").await;
    for host in [
        "127.0.0.1",
        "localhost",
        "::1",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ] {
        comes_to(&all, &format!("exchange {host} {port}"), "not_granted").await;
    }
    comes_to(&all, "exchange 127.1 80", "invalid").await;
    comes_to(&all, "exchange 169.254.169.254 80", "not_granted").await;
    comes_to(&all, "exchange outside.example 80", "not_found").await;
    // Who grants the address too means it.
    let both = named(&["net:*:*".to_owned(), format!("net:127.0.0.1:{port}")]);
    comes_to(&both, &asking, "done hello").await;
}

#[tokio::test]
async fn connections_at_a_time_are_bounded() {
    let port = echo();
    let setting = Setting {
        limits: "connections = 2",
        ..granted(&[format!("net:127.0.0.1:{port}")])
    };
    comes_to(&setting, &format!("hold 2 127.0.0.1 {port}"), "done").await;
    let three = format!("hold 3 127.0.0.1 {port}");
    comes_to(&setting, &three, "too_many").await;
    comes_to(&without(Protection::Connections, &setting), &three, "done").await;
    // What the app closes is free again.
    let bench = Bench::new(&setting);
    for _ in 0..5 {
        let exchanged = bench.attempt(&format!("exchange 127.0.0.1 {port}")).await;
        assert_eq!(exchanged.unwrap(), "done hello");
    }
}

/// Takes one connection and hands its far end to the test.
fn taking() -> (u16, thread::JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, thread::spawn(move || listener.accept().unwrap().0))
}

/// Whether the other side is gone within some seconds.
fn is_cut(mut connection: TcpStream) -> bool {
    let patience = Some(Duration::from_secs(10));
    connection.set_read_timeout(patience).unwrap();
    match connection.read(&mut [0; 8]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[tokio::test]
async fn a_connection_ends_with_what_is_installed() {
    let (port, taken) = taking();
    let bench = Bench::new(&granted(&[format!("net:127.0.0.1:{port}")]));
    let held = bench.attempt(&format!("hold 1 127.0.0.1 {port}")).await;
    assert_eq!(held.unwrap(), "done");
    let (id, gone) = (id(), id());
    let removed = bench
        .host
        .change(&id, move |store| store.uninstall(&gone, false));
    removed.await.unwrap();
    assert!(is_cut(taken.join().unwrap()));
}

#[tokio::test]
async fn a_connection_ends_with_a_call_that_does_not_end() {
    let (port, taken) = taking();
    let bench = Bench::new(&granted(&[format!("net:127.0.0.1:{port}")]));
    let error = bench
        .attempt(&format!("hold_on 127.0.0.1 {port}"))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Ended(_)), "{error}");
    assert_eq!(bench.audited_end().unwrap().outcome, "deadline");
    assert!(is_cut(taken.join().unwrap()));
}

#[tokio::test]
async fn a_connection_ends_when_the_publisher_is_revoked() {
    for (protections, is_ended) in [(vec![], true), (vec![Protection::Revocation], false)] {
        let (port, taken) = taking();
        let bench = Bench::new(&Setting {
            without: protections,
            ..granted(&[format!("net:127.0.0.1:{port}")])
        });
        let held = bench.attempt(&format!("hold 1 127.0.0.1 {port}")).await;
        assert_eq!(held.unwrap(), "done");
        let publishers = bench.host.store().publishers();
        publishers.revoke(secret().public()).unwrap();
        // The broker lives on the test's own runtime.
        let cut = tokio::task::spawn_blocking(move || is_cut(taken.join().unwrap()));
        assert_eq!(cut.await.unwrap(), is_ended);
    }
}

#[tokio::test]
async fn every_connection_is_audited_and_a_flood_of_them_is_summed_up() {
    let port = echo();
    let bench = Bench::new(&Setting {
        limits: "call_ms = 15000",
        ..granted(&[format!("net:127.0.0.1:{port}")])
    });
    bench
        .attempt(&format!("exchange 127.0.0.1 {port}"))
        .await
        .unwrap();
    bench.attempt("ask_often example.org 443").await.unwrap();
    bench.host.stop(&id()).await;
    let entries = bench.audited_connections();
    let first = &entries[0];
    let target = format!("net:127.0.0.1:{port}");
    assert_eq!(first.target.as_deref(), Some(target.as_str()));
    assert_eq!(
        (first.outcome.as_str(), first.caller.as_str()),
        ("ok", "app")
    );
    assert_eq!(entries[1].outcome, "not_granted");
    assert_eq!(entries.len(), 61);
    let words = entries[60].reason.as_deref().unwrap();
    assert_eq!(words, "11 more connections, 11 of them refused");
}

#[tokio::test]
async fn what_is_no_request_is_answered_and_harms_nobody() {
    let bench = Bench::new(&granted(&["net:*:443".to_owned()]));
    let long = format!("raw {}", "x".repeat(100_000));
    for what in [
        "raw hello",
        "raw {}",
        "raw {^port^:1}",
        "raw {^host^:^a^,^port^:0}",
        &long,
    ] {
        let came_of_it = bench.attempt(what).await.unwrap();
        let is_answered = came_of_it.contains("invalid") || came_of_it.contains("os error 90");
        assert!(is_answered, "{}: {came_of_it}", &what[..10]);
    }
    assert_eq!(bench.attempt("nothing").await.unwrap(), "done");
    // Without a grant for it there is no broker.
    let plain = Bench::plain();
    let came_of_it = plain.attempt("raw {}").await.unwrap();
    assert!(came_of_it.contains("no broker"), "{came_of_it}");
}

/// Agents that answer with what they hear.
struct Echoing;

impl Overlay for Echoing {
    fn dial(&self, peer: String, _: u16) -> Dialling<'_> {
        Box::pin(async move {
            if peer != "worker" {
                return Err(format!("nobody is called {peer}"));
            }
            let (near, far) = tokio::io::duplex(64);
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(far);
                tokio::io::copy(&mut read, &mut write).await
            });
            Ok(Box::new(near) as Box<dyn Duplex>)
        })
    }
}

#[tokio::test]
async fn an_agent_that_was_granted_is_reached_and_no_other() {
    let bench = Bench::new(&granted(&["overlay:worker:7".to_owned()]));
    let answer = bench.attempt("peer worker").await.unwrap();
    assert!(answer.contains("no overlay"), "{answer}");
    bench.host.set_overlay(Arc::new(Echoing));
    assert_eq!(
        bench.attempt("peer worker").await.unwrap(),
        "done by a stream"
    );
    let answer = bench.attempt("peer other").await.unwrap();
    assert!(answer.contains("not_granted"), "{answer}");
    let open = without(
        Protection::Grants,
        &granted(&["overlay:worker:7".to_owned()]),
    );
    let open = Bench::new(&open);
    open.host.set_overlay(Arc::new(Echoing));
    let answer = open.attempt("peer other").await.unwrap();
    assert!(answer.contains("nobody is called other"), "{answer}");
}
