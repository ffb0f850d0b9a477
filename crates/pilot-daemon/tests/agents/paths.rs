//! Paths as they are explained.

use pilot_api::ErrorCode;
use pilot_api::types::{ExplainRequest, Explained, PathKind, PeersRequest, PingRequest};

use crate::harness::{Agent, Network, until};

async fn explain(from: &Agent, to: &Agent) -> Explained {
    from.call(ExplainRequest {
        peer: to.name(),
        timeout_ms: None,
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_path_is_the_one_in_use_and_needs_nothing() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let ping = PingRequest {
        peer: other.name(),
        timeout_ms: None,
    };
    one.call(ping).await.unwrap();
    until(|| async { explain(&one, &other).await.chosen == PathKind::Direct }).await;
    let explained = explain(&one, &other).await;
    assert_eq!(explained.agent.node_id, other.ready.agent.node_id);
    assert!(explained.trusted);
    let used: Vec<_> = explained
        .candidates
        .iter()
        .filter(|path| path.state == "in_use")
        .collect();
    assert_eq!(used.len(), 1, "{explained:?}");
    assert!(used[0].addr.as_ref().unwrap().starts_with("127.0.0.1:"));
    assert_eq!((explained.relay, explained.next_step), (None, None));
    assert_eq!(explained.nat.mapping, "unknown");
    let peers = one.call(PeersRequest::default()).await.unwrap();
    assert!(
        peers
            .peers
            .iter()
            .all(|peer| (peer.path == PathKind::Relay) == peer.relay.is_some())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visible_agent_without_trust_is_told_to_be_knocked_at() {
    let network = Network::new().await;
    let mut public = network.config("shop");
    public.public = true;
    let shop = crate::harness::start(public).await.unwrap();
    let buyer = network.start("buyer").await;
    let explained = explain(&buyer, &shop).await;
    assert!(!explained.trusted);
    assert_eq!(explained.chosen, PathKind::None);
    assert_eq!(explained.candidates, vec![]);
    let step = explained.next_step.unwrap();
    assert!(step.ends_with("pilotctl handshake shop"), "{step}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invisible_agent_is_not_found_and_oneself_is_no_peer() {
    let network = Network::new().await;
    let (one, hidden) = tokio::join!(network.start("one"), network.start("hidden"));
    let ask = |peer| {
        one.call(ExplainRequest {
            peer,
            timeout_ms: None,
        })
    };
    let error = ask(hidden.name()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    let error = ask(one.name()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
}
