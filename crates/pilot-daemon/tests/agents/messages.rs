//! The data exchange and the inbox.

use pilot_api::types::{
    InboxMessage, InboxReadRequest, InboxRequest, MessageKind, MessageSent, PendingRequest,
    SendMessageRequest, TrustRequest,
};
use pilot_api::{ErrorCode, Payload, PeerRef};
use pilot_daemon::Config;
use pilot_wire::MessageId;

use crate::harness::{Agent, Network, start, until};

fn message(peer: PeerRef, body: &[u8]) -> SendMessageRequest {
    SendMessageRequest {
        peer,
        body: Payload::new(body.to_vec()),
        kind: MessageKind::Text,
        id: None,
        reply_to: None,
        wait_ms: None,
        timeout_ms: None,
        traceparent: None,
    }
}

/// Waits for the first message, and gives it.
async fn first_message(agent: &Agent) -> InboxMessage {
    until(|| async { agent.call(InboxRequest::default()).await.unwrap().total > 0 }).await;
    agent
        .call(InboxRequest::default())
        .await
        .unwrap()
        .messages
        .remove(0)
}

/// Asks, lets the other answer what came, and gives the question as it was sent, with its answer.
async fn asked_and_answered(asks: &Agent, answers: &Agent) -> MessageSent {
    let question = SendMessageRequest {
        wait_ms: Some(10_000),
        ..message(answers.name(), b"how are you?")
    };
    let answer = async {
        let asked = first_message(answers).await;
        let reply = SendMessageRequest {
            reply_to: Some(asked.id),
            ..message(asks.peer(), b"fine")
        };
        answers.call(reply).await.unwrap()
    };
    let (sent, answered) = tokio::join!(asks.call(question), answer);
    let sent = sent.unwrap();
    let reply = sent.reply.clone().unwrap();
    assert_eq!(
        (reply.id, reply.body.as_bytes()),
        (answered.id, b"fine".as_slice())
    );
    assert_eq!(reply.from, answers.ready.agent.node_id);
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_stored_read_and_answered() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let sent = asked_and_answered(&one, &other).await;
    assert_eq!(sent.ack, "stored");
    let kept = other
        .call(InboxReadRequest {
            id: sent.id,
            quarantined: false,
        })
        .await
        .unwrap()
        .messages
        .remove(0);
    assert_eq!(kept.body.unwrap().as_bytes(), b"how are you?");
    assert_eq!(
        (kept.from, kept.trust.as_str()),
        (one.ready.agent.node_id, "trusted")
    );
    let answer = first_message(&one).await;
    assert_eq!(answer.reply_to, Some(sent.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_any_kind_and_size_arrive_whole() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let body: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let sent = SendMessageRequest {
        kind: MessageKind::Binary,
        ..message(other.name(), &body)
    };
    let sent = one.call(sent).await.unwrap();
    assert_eq!(sent.bytes, 12_000_000);
    let kept = other
        .call(InboxReadRequest {
            id: sent.id,
            quarantined: false,
        })
        .await
        .unwrap()
        .messages
        .remove(0);
    assert!(
        kept.body.unwrap().as_bytes() == body,
        "the body changed on the way"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_without_an_answer_ends_in_time_and_the_message_stays() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let question = SendMessageRequest {
        wait_ms: Some(50),
        ..message(other.name(), b"anybody?")
    };
    let error = one.call(question).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert_eq!(
        first_message(&other).await.body.unwrap().as_bytes(),
        b"anybody?"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_approves_all_is_asked_on_the_way_and_may_only_answer() {
    let network = Network::new().await;
    let service = Config {
        public: true,
        auto_approve: true,
        ..network.config("service")
    };
    let (client, service) = tokio::join!(network.start("client"), start(service));
    let service = service.unwrap();
    asked_and_answered(&client, &service).await;
    let trusted = client.call(TrustRequest::default()).await.unwrap().trusted;
    assert_eq!(trusted.len(), 1);
    assert_eq!(trusted[0].scope, "reply-only");
    let unasked = service
        .call(message(client.peer(), b"buy this"))
        .await
        .unwrap_err();
    assert_eq!(unasked.code, ErrorCode::NotTrusted, "{unasked:?}");
    assert_eq!(client.call(InboxRequest::default()).await.unwrap().total, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untrusted_agent_that_asks_first_is_not_asked_on_the_way() {
    let network = Network::new().await;
    let public = Config {
        public: true,
        ..network.config("public")
    };
    let (client, public) = tokio::join!(network.start("client"), start(public));
    let public = public.unwrap();
    let error = client.call(message(public.name(), b"x")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotTrusted);
    assert_eq!(error.hint.as_deref(), Some("pilotctl handshake public"));
    assert!(
        public
            .call(PendingRequest {})
            .await
            .unwrap()
            .pending
            .is_empty(),
        "it knocked"
    );
    let nobody = client
        .call(message("nobody".parse().unwrap(), b"x"))
        .await
        .unwrap_err();
    assert_eq!(nobody.code, ErrorCode::NotFound);
    let unknown = InboxReadRequest {
        quarantined: false,
        id: MessageId::new([0; 16]),
    };
    assert_eq!(
        client.call(unknown).await.unwrap_err().code,
        ErrorCode::NotFound
    );
}
