//! What happens, watched and posted.

use std::collections::VecDeque;
use std::time::Duration;

use pilot_api::types::{
    MessageKind, Notice, NoticeKind, PublishRequest, SendMessageRequest, SetWebhookRequest,
    TestWebhookRequest, UntrustRequest, WatchRequest, WebhookRequest, What,
};
use pilot_api::{ErrorCode, Payload, Watching};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::harness::{Agent, Network, offline_config, start, until};

async fn watch(agent: &Agent, kinds: &str, after: Option<u64>) -> Watching {
    let kinds = (!kinds.is_empty()).then(|| kinds.to_owned());
    let request = WatchRequest { kinds, after };
    agent.client.watch(&request).await.unwrap()
}

async fn next(watching: &mut Watching) -> Notice {
    let next = timeout(Duration::from_secs(20), watching.next()).await;
    next.unwrap().unwrap().unwrap()
}

fn message(to: &Agent, text: &str) -> SendMessageRequest {
    SendMessageRequest {
        peer: to.name(),
        body: Payload::new(text.as_bytes().to_vec()),
        kind: MessageKind::Text,
        id: None,
        reply_to: None,
        wait_ms: None,
        timeout_ms: None,
        traceparent: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_is_told_of_knocks_trust_messages_and_events() {
    let network = Network::new().await;
    let (one, other) = tokio::join!(network.start("one"), network.start("other"));
    let mut all = watch(&other, "", None).await;
    one.befriend(&other).await;
    one.call(message(&other, "hello")).await.unwrap();
    let event = PublishRequest {
        peer: other.name(),
        topic: "jobs/done".parse().unwrap(),
        body: Payload::new(b"7".to_vec()),
        timeout_ms: None,
    };
    one.call(event).await.unwrap();
    other
        .call(UntrustRequest { peer: one.name() })
        .await
        .unwrap();
    let (mut seen, mut last) = (vec![], 0);
    while !(seen.contains(&NoticeKind::Untrusted) && seen.contains(&NoticeKind::Event)) {
        let notice = next(&mut all).await;
        match &notice.what {
            What::Knock { agent } | What::Trusted { agent } => assert_eq!(*agent, one.ready.agent),
            What::Message { message } => {
                assert_eq!(message.body.as_ref().unwrap().as_bytes(), b"hello");
                assert_eq!(message.from_hostname, one.ready.agent.hostname);
            }
            What::Event { event } => assert_eq!(event.topic.as_str(), "jobs/done"),
            What::Untrusted { .. }
            | What::File { .. }
            | What::Group { .. }
            | What::Rendezvous { .. }
            | What::Test { .. }
            | What::Missed { .. } => {}
        }
        if let Some(id) = notice.id {
            assert!(id > last, "numbers grow");
            last = id;
        }
        seen.push(notice.what.kind());
    }
    for kind in [NoticeKind::Knock, NoticeKind::Trusted, NoticeKind::Message] {
        assert!(seen.contains(&kind), "{kind:?} of {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_gets_what_came_meanwhile_and_only_what_was_asked_for() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    one.call(message(&other, "first")).await.unwrap();
    let mut before = watch(&other, "message", Some(0)).await;
    let first = next(&mut before).await;
    drop(before);
    one.call(message(&other, "second")).await.unwrap();
    one.call(message(&other, "third")).await.unwrap();
    let mut after = watch(&other, "message", first.id).await;
    for text in ["second", "third"] {
        let What::Message { message } = next(&mut after).await.what else {
            panic!("another kind than was asked for");
        };
        assert_eq!(message.body.unwrap().as_text(), Some(text));
    }
    let wrong = WatchRequest {
        kinds: Some("messages".to_owned()),
        after: None,
    };
    let refused = other.client.watch(&wrong).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
}

/// Takes posts and answers them with these statuses, then with 204; gives the bodies that were taken.
async fn receive(listener: TcpListener, mut statuses: VecDeque<u16>, wanted: usize) -> Vec<Value> {
    let mut taken = vec![];
    while taken.len() < wanted {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = vec![];
        let body = loop {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0);
            let text = String::from_utf8_lossy(&read);
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
            if let Some(Ok(body)) = body.map(serde_json::from_str::<Value>) {
                break body;
            }
        };
        let status = statuses.pop_front().unwrap_or(204);
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        if status == 204 {
            taken.push(body);
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_each_notice_once_over_failures_and_is_kept_over_restarts() {
    let network = Network::new().await;
    let (one, other) = network.friends("one", "other").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let set = SetWebhookRequest {
        url: Some(url.clone()),
        secret: None,
        kinds: vec![NoticeKind::Message],
    };
    let set = other.call(set).await.unwrap();
    assert!(set.applied && set.secret.is_some_and(|secret| secret.len() == 64));
    let receiving = tokio::spawn(receive(listener, VecDeque::from([503]), 2));
    one.call(message(&other, "first")).await.unwrap();
    one.call(message(&other, "second")).await.unwrap();
    let posted = receiving.await.unwrap();
    let texts = posted.iter().map(|it| &it["message"]["data"]);
    assert_eq!(texts.collect::<Vec<_>>(), ["first", "second"]);
    let own = other.ready.agent.address.to_string();
    assert_eq!(posted[0]["to"]["address"], own.as_str());
    until(|| async {
        let status = other.call(WebhookRequest {}).await.unwrap();
        (status.delivered, status.lost, status.state.as_str()) == (2, 0, "working")
    })
    .await;
    // It is in the configuration: a restart goes on with it, and nobody is there now.
    other.stop().await;
    let again = start(network.config("other")).await.unwrap();
    assert_eq!(again.call(WebhookRequest {}).await.unwrap().url, Some(url));
    let test = TestWebhookRequest { timeout_ms: None };
    let failed = again.call(test.clone()).await.unwrap_err();
    assert_eq!(failed.code, ErrorCode::ConnectionFailed);
    again.call(SetWebhookRequest::default()).await.unwrap();
    assert_eq!(again.call(WebhookRequest {}).await.unwrap().state, "off");
    let none = again.call(test).await.unwrap_err();
    assert_eq!(none.code, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn a_configuration_with_half_a_webhook_does_not_start() {
    let network = Network::new().await;
    let config = offline_config(&network.home("half"));
    std::fs::create_dir(&config.home).unwrap();
    let text = r#"{"webhook_url":"http://127.0.0.1:1/"}"#;
    std::fs::write(config.home.join("config.json"), text).unwrap();
    let Err(error) = start(config).await else {
        panic!("it started");
    };
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains("webhook_secret"), "{error}");
}
