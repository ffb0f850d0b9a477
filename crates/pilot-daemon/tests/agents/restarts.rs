//! What stays through a restart.

use pilot_api::types::{
    InfoRequest, PingRequest, SetHostnameRequest, SetTagsRequest, StatusRequest, TrustRequest,
};
use pilot_api::{ErrorCode, PeerRef};
use pilot_daemon::Config;

use crate::harness::{Network, start, until};

fn ping(peer: PeerRef) -> PingRequest {
    PingRequest {
        peer,
        timeout_ms: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn address_name_and_trust_are_kept_and_pings_work_from_both_sides() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    one.call(ping(other.name())).await.unwrap();
    let before = one.ready.clone();
    one.stop().await;

    // Name and rendezvous were given by flags at the first start: they are remembered.
    let config = Config {
        hostname: None,
        rendezvous: vec![],
        ..network.config("one")
    };
    let one = start(config).await.unwrap();
    assert_eq!(one.ready.agent, before.agent);
    assert_eq!(one.ready.rendezvous[0].url, before.rendezvous[0].url);
    assert_eq!(
        one.call(TrustRequest::default())
            .await
            .unwrap()
            .trusted
            .len(),
        1
    );
    one.call(ping(other.name())).await.unwrap();
    other.call(ping(one.name())).await.unwrap();
    other.stop().await;
    let other = network.start("other").await;
    other.call(ping(one.name())).await.unwrap();
    one.call(ping(other.name())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_ended_leaves_no_socket_and_frees_its_home() {
    let network = Network::new().await;
    let agent = network.start("agent").await;
    let status = agent.call(StatusRequest {}).await.unwrap();
    assert!(status.running && status.pid == Some(std::process::id()));
    let client = agent.client.clone();
    agent.stop().await;
    assert!(!client.socket().exists());
    assert_eq!(
        client.call(&StatusRequest {}).await.unwrap_err().code,
        ErrorCode::NotRunning
    );
    network.start("agent").await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_profile_is_the_same_after_a_restart() {
    let network = Network::new().await;
    let agent = network.start("agent").await;
    let rename = SetHostnameRequest {
        hostname: "renamed".parse().ok(),
    };
    assert_eq!(
        agent.call(rename).await.unwrap().hostname,
        "renamed".parse().ok()
    );
    agent
        .call(SetTagsRequest {
            tags: vec!["gpu".parse().unwrap()],
        })
        .await
        .unwrap();
    agent.stop().await;
    let agent = start(Config {
        hostname: None,
        ..network.config("agent")
    })
    .await
    .unwrap();
    let info = agent.call(InfoRequest {}).await.unwrap();
    assert_eq!(info.agent.hostname, "renamed".parse().ok());
    assert_eq!(info.tags, ["gpu".parse().unwrap()]);
    assert!(!info.embedded && info.rendezvous[0].url == network.rendezvous().url());
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_agents_talk_on_while_the_rendezvous_is_gone() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    one.call(ping(other.name())).await.unwrap();
    network.rendezvous().shutdown().await;
    until(|| async { one.call(InfoRequest {}).await.unwrap().rendezvous[0].state == "connecting" })
        .await;
    one.call(ping(other.name())).await.unwrap();
    other.call(ping(one.name())).await.unwrap();
}
