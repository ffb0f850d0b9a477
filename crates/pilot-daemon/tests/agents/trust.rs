//! Knocking, approving, revoking; what strangers see.

use pilot_api::types::{
    ApproveRequest, DialRequest, FindRequest, HandshakeStatus, LookupRequest, PeersRequest,
    PendingRequest, PingRequest, RejectRequest, SetVisibilityRequest, TrustRequest, UntrustRequest,
};
use pilot_api::{ApiError, ErrorCode, PeerRef};
use pilot_types::{Hostname, Port};

use crate::harness::{Agent, Network, approve, handshake, until};

fn find(name: &str) -> FindRequest {
    FindRequest {
        name: name.parse().unwrap(),
        timeout_ms: None,
    }
}

fn ping(peer: PeerRef) -> PingRequest {
    PingRequest {
        peer,
        timeout_ms: None,
    }
}

fn dial(peer: PeerRef) -> DialRequest {
    DialRequest {
        peer,
        port: Port::STDIO,
        timeout_ms: None,
        traceparent: None,
    }
}

/// What an agent is told of a name by every command that could tell it something.
async fn told(agent: &Agent, name: &str) -> Vec<ApiError> {
    let peer: PeerRef = name.parse().unwrap();
    let lookup = LookupRequest {
        peer: peer.clone(),
        timeout_ms: None,
    };
    vec![
        agent.call(find(name)).await.unwrap_err(),
        agent.call(lookup).await.unwrap_err(),
        agent.call(ping(peer.clone())).await.unwrap_err(),
        agent.client.dial(&dial(peer)).await.unwrap_err(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_tell_a_private_agent_from_none() {
    let network = Network::new().await;
    let (stranger, hidden) = tokio::join!(network.start("stranger"), network.start("hidden"));
    let of_hidden = told(&stranger, "hidden").await;
    let of_nobody = told(&stranger, "nobody").await;
    for (hidden, nobody) in of_hidden.iter().zip(&of_nobody) {
        assert_eq!(hidden.code, ErrorCode::NotFound);
        assert_eq!(hidden.message.replace("hidden", "nobody"), nobody.message);
        assert_eq!(
            (&hidden.hint, hidden.retry_after_ms),
            (&nobody.hint, nobody.retry_after_ms)
        );
    }
    for name in ["hidden", "nobody"] {
        let knocked = stranger
            .call(handshake(name.parse().unwrap()))
            .await
            .unwrap();
        assert_eq!(
            (knocked.status, knocked.node_id),
            (HandshakeStatus::Sent, None)
        );
    }
    hidden.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_approve_each_other_and_see_each_other() {
    let network = Network::new().await;
    let (one, other) = tokio::join!(network.start("one"), network.start("other"));
    let request = pilot_api::types::HandshakeRequest {
        reason: Some("to plan".to_owned()),
        ..handshake(other.name())
    };
    assert_eq!(
        one.call(request).await.unwrap().status,
        HandshakeStatus::Sent
    );
    other.until_knocked().await;
    let pending = other.call(PendingRequest {}).await.unwrap().pending;
    assert_eq!(pending[0].agent, one.ready.agent);
    assert_eq!(pending[0].justification, "to plan");

    let approved = other.call(approve(one.peer())).await.unwrap();
    assert_eq!(
        (approved.agent, approved.scope.as_str()),
        (one.ready.agent.clone(), "7,1000-1002")
    );
    assert_eq!(approved.fingerprint, pending[0].fingerprint);
    one.befriend_is_done(&other).await;

    for (from, to) in [(&one, &other), (&other, &one)] {
        let pong = from.call(ping(to.name())).await.unwrap();
        assert_eq!(pong.agent, to.ready.agent);
        let found = from
            .call(find(to.name().to_string().as_str()))
            .await
            .unwrap();
        assert!(found.agent == to.ready.agent && !found.public);
        let trusted = from.call(TrustRequest::default()).await.unwrap().trusted;
        assert!(
            trusted.len() == 1
                && trusted[0].mutual
                && trusted[0].agent.node_id == to.ready.agent.node_id
        );
        let peers = from.call(PeersRequest::default()).await.unwrap();
        assert!(peers.total == 1 && peers.peers[0].encrypted && peers.peers[0].authenticated);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_that_was_revoked_is_gone_on_both_sides_at_once() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    one.call(ping(other.name())).await.unwrap();
    let untrusted = other
        .call(UntrustRequest { peer: one.name() })
        .await
        .unwrap();
    assert_eq!(untrusted.agent.node_id, one.ready.agent.node_id);
    let refused =
        |error: &ApiError| [ErrorCode::NotTrusted, ErrorCode::NotFound].contains(&error.code);
    until(|| async {
        one.call(ping(other.peer()))
            .await
            .is_err_and(|error| refused(&error))
    })
    .await;
    assert!(
        other
            .call(TrustRequest::default())
            .await
            .unwrap()
            .trusted
            .is_empty()
    );
    let again = other
        .call(UntrustRequest { peer: one.peer() })
        .await
        .unwrap_err();
    assert_eq!(again.code, ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_knock_is_gone() {
    let network = Network::new().await;
    let (one, other) = tokio::join!(network.start("one"), network.start("other"));
    one.call(handshake(other.name())).await.unwrap();
    other.until_knocked().await;
    let reject = RejectRequest {
        peer: one.peer(),
        reason: Some("no".to_owned()),
    };
    assert_eq!(
        other.call(reject.clone()).await.unwrap().agent,
        one.ready.agent
    );
    assert!(
        other
            .call(PendingRequest {})
            .await
            .unwrap()
            .pending
            .is_empty()
    );
    let nobody = RejectRequest {
        peer: "nobody".parse().unwrap(),
        reason: None,
    };
    assert_eq!(
        other.call(nobody).await.unwrap_err().code,
        ErrorCode::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visible_agent_that_has_not_granted_trust_says_what_to_do_next() {
    let network = Network::new().await;
    let (stranger, public) = tokio::join!(network.start("stranger"), network.start("public"));
    public
        .call(SetVisibilityRequest { public: true })
        .await
        .unwrap();
    let found = stranger.call(find("public")).await.unwrap();
    assert!(found.public && found.agent == public.ready.agent);
    for error in [
        stranger.call(ping(public.name())).await.unwrap_err(),
        stranger
            .client
            .dial(&dial(public.name()))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.code, ErrorCode::NotTrusted, "{error:?}");
        assert_eq!(error.hint.as_deref(), Some("pilotctl handshake public"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_holds_for_the_ports_that_it_names() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let narrow = ApproveRequest {
        ports: pilot_wire::Scope::parse_ports("7").ok(),
        ..approve(one.peer())
    };
    assert_eq!(other.call(narrow).await.unwrap().scope, "7");
    let (_, stream) = one.client.dial(&dial(other.name())).await.unwrap();
    let error = one.client.outcome(stream.number()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotTrusted, "{error:?}");
    let hint = error.hint.unwrap_or_default();
    assert!(hint.contains("pilotctl approve one --ports 7,"), "{hint}");
}

impl Agent {
    async fn befriend_is_done(&self, other: &Self) {
        until(|| async {
            let trusted = self.call(TrustRequest::default()).await.unwrap().trusted;
            trusted
                .iter()
                .any(|peer| peer.mutual && peer.agent.hostname == hostname(other))
        })
        .await;
        until(|| async {
            let trusted = other.call(TrustRequest::default()).await.unwrap().trusted;
            trusted.iter().any(|peer| peer.mutual)
        })
        .await;
    }
}

fn hostname(agent: &Agent) -> Option<Hostname> {
    agent.ready.agent.hostname.clone()
}
