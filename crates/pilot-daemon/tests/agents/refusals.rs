//! What a daemon does not do, and how it says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pilot_api::ErrorCode;
use pilot_api::types::{InfoRequest, SetHostnameRequest};
use pilot_daemon::Config;

use crate::harness::{LOOK, Network, offline_config, rendezvous, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_a_home_is_refused() {
    let network = Network::new().await;
    let agent = network.start("agent").await;
    let error = start(network.config("agent")).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    let pid = std::process::id().to_string();
    assert!(error.message.contains(&pid), "{error}");
    agent.call(InfoRequest {}).await.expect("the first runs on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_identity_stops_the_start_and_is_left_alone() {
    let network = Network::new().await;
    network.start("agent").await.stop().await;
    let path = network.home("agent").join("identity.json");
    let whole = fs::read(&path).unwrap();
    for damaged in [&b""[..], b"{", &whole[..whole.len() / 2], b"\xff\xfe"] {
        fs::write(&path, damaged).unwrap();
        let error = start(network.config("agent")).await.err().unwrap();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{error}");
        assert!(
            error.message.contains("identity.json is damaged"),
            "{error}"
        );
        assert!(error.message.contains("put back a copy"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "it was overwritten");
    }
    fs::write(&path, &whole).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = start(network.config("agent")).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::PermissionDenied);
    assert!(error.message.contains("chmod 600"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    network.start("agent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_hostname_is_refused_by_name() {
    let network = Network::new().await;
    let _first = network.start("planner").await;
    let second = Config {
        hostname: "planner".parse().ok(),
        ..network.config("second")
    };
    let error = start(second).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    assert_eq!(error.message, "hostname planner is taken by another agent");

    let third = network.start("third").await;
    let claim = SetHostnameRequest {
        hostname: "planner".parse().ok(),
    };
    let error = third.call(claim).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    let info = third.call(InfoRequest {}).await.unwrap();
    assert_eq!(
        info.agent.hostname,
        "third".parse().ok(),
        "it lost its own name"
    );
    let reserved = SetHostnameRequest {
        hostname: "registry".parse().ok(),
    };
    assert_eq!(
        third.call(reserved).await.unwrap_err().code,
        ErrorCode::InvalidArgument
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendezvous_with_another_key_than_the_named_one_is_refused_with_both() {
    let network = Network::new().await;
    let url = network.rendezvous().url();
    let (key, host_port) = url
        .strip_prefix("pilot://")
        .unwrap()
        .split_once('@')
        .unwrap();
    let other_key = "ab".repeat(32);
    let named = Config {
        rendezvous: vec![format!("pilot://{other_key}@{host_port}")],
        ..network.config("named")
    };
    let error = start(named).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::ConnectionFailed);
    assert!(
        error.message.contains(&other_key) && error.message.contains(key),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendezvous_that_took_a_pinned_ones_place_is_refused_with_both() {
    let network = Network::new().await;
    let first = rendezvous(network.home("first"), "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let first_url = first.url();
    let (key, host_port) = key_and_place(&first_url);
    let trusting = Config {
        rendezvous: vec![host_port.to_owned()],
        ..network.config("trusting")
    };
    start(trusting.clone()).await.unwrap().stop().await;
    let listen = first.listen();
    first.shutdown().await;
    drop(first);
    let impostor = loop {
        // The first one's socket is free once its loop has ended.
        if let Ok(started) = rendezvous(network.home("impostor"), listen).await {
            break started;
        }
        tokio::time::sleep(LOOK).await;
    };
    let error = start(trusting).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::ConnectionFailed);
    let found = impostor.url();
    let (found, _) = key_and_place(&found);
    assert!(
        error.message.contains(found) && error.message.contains(key),
        "{error}"
    );
}

fn key_and_place(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("pilot://").unwrap();
    rest.split_once('@').unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rendezvous_a_first_start_fails_and_a_known_agent_goes_on() {
    let network = Network::new().await;
    network.start("known").await.stop().await;
    // A socket that answers nothing, and keeps others off its port.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = vec![silent.local_addr().unwrap().to_string()];
    let fresh = Config {
        rendezvous: nowhere.clone(),
        ..offline_config(&network.home("fresh"))
    };
    let known = Config {
        rendezvous: nowhere,
        ..network.config("known")
    };
    let (fresh, known) = tokio::join!(start(fresh), start(known));
    let error = fresh.err().unwrap();
    assert_eq!(error.code, ErrorCode::ConnectionFailed);
    assert_eq!(error.message, "no rendezvous answered within 10 s");
    assert_eq!(known.unwrap().ready.rendezvous[0].state, "connecting");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_way_to_start_the_embedded_rendezvous_another_is_asked_for() {
    let network = Network::new().await;
    let error = start(offline_config(&network.home("agent")))
        .await
        .err()
        .unwrap();
    assert_eq!(error.code, ErrorCode::ConnectionFailed);
    assert!(error.hint.unwrap().contains("--rendezvous"));
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_settings_are_named_and_change_nothing() {
    let network = Network::new().await;
    let home = network.home("agent");
    fs::create_dir(&home).unwrap();
    for (text, named) in [
        ("{", "config.json"),
        (r#"{"hostname": 7}"#, "field hostname"),
        (r#"{"listen": "here"}"#, "field listen"),
        (
            r#"{"rendezvous": ["pilot://zz@host:1"]}"#,
            "invalid rendezvous key",
        ),
    ] {
        fs::write(home.join("config.json"), text).unwrap();
        let error = start(offline_config(&home)).await.err().unwrap();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{text}: {error}");
        assert!(error.message.contains(named), "{text}: {error}");
        assert_eq!(fs::read_to_string(home.join("config.json")).unwrap(), text);
    }
}
